"""Boxes and the losses of dense detectors: worked numbers, loops in NumPy, properties."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import anchors as anchors_of
from cvdl_jax.ops import boxes, suppression
from cvdl_jax.ops.losses import detection, regression

RNG = np.random.default_rng(0)
iou, giou = jax.jit(boxes.iou), jax.jit(boxes.giou)


def random_boxes(*shape, rng=RNG):
    corners = rng.random((*shape, 2, 2)).astype(np.float32)
    return np.concatenate([corners.min(-2), corners.max(-2) + 0.01], -1)


def iou_by_counting(a, b, n=40):
    """IoU of two boxes with corners on a grid of n lines, by counting its cells."""
    y, x = np.mgrid[:n, :n] + 0.5
    one, other = ((y > p[0]) & (y < p[2]) & (x > p[1]) & (x < p[3]) for p in (a, b))
    union = (one | other).sum()
    return (one & other).sum() / union if union else 0.0


@pytest.mark.curriculum("L1")
def test_iou_of_the_worked_example():  # OR65
    a, b = jnp.float32([[0, 0, 2, 2]]), jnp.float32([[1, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2], [5, 5, 6, 6]])
    np.testing.assert_allclose(iou(a, b), [[1 / 7, 1, 0, 0]], rtol=1e-6)
    # Dice = 2 J / (1 + J)
    np.testing.assert_allclose(2 * iou(a, b)[0, 0] / (1 + iou(a, b)[0, 0]), 0.25, rtol=1e-6)
    nothing = jnp.zeros((1, 4))
    assert iou(nothing, nothing) == 0


@pytest.mark.curriculum("L1")
@given(st.lists(st.tuples(*[st.integers(0, 40)] * 4), min_size=4, max_size=4))
def test_iou_is_what_counting_cells_gives(corners):
    made = np.array([[min(y, v), min(x, u), max(y, v), max(x, u)] for y, x, v, u in corners])
    expected = [[iou_by_counting(a, b) for b in made] for a in made]
    overlaps = np.asarray(iou(jnp.float32(made), jnp.float32(made)))
    np.testing.assert_allclose(overlaps, expected, atol=1e-6)
    centres = np.asarray(boxes.to_centres(jnp.float32(made)))
    np.testing.assert_allclose(iou(boxes.from_centres(centres), jnp.float32(made)), expected, atol=1e-5)


def test_giou_by_hand():
    a = jnp.float32([[0, 0, 2, 2]])
    b = jnp.float32([[1, 1, 3, 3], [0, 0, 2, 2], [0, 4, 2, 6]])
    # around: 9, union 7; equal; around 12, union 8
    np.testing.assert_allclose(giou(a, b), [[1 / 7 - 2 / 9, 1, -4 / 12]], rtol=1e-6)
    many = jnp.asarray(random_boxes(20))
    values = np.asarray(giou(many, many))
    assert np.all(values <= np.asarray(iou(many, many)) + 1e-6) and values.min() > -1
    grad = jax.grad(lambda x: boxes.giou(x, jnp.zeros((1, 4))).sum())(jnp.zeros((1, 4)))
    assert np.isfinite(grad).all()


@pytest.mark.curriculum("L2")
def test_formats_and_their_ways_back():
    box = jnp.float32([[1, 2, 5, 10]])
    np.testing.assert_array_equal(boxes.to_centres(box), [[3, 6, 4, 8]])
    np.testing.assert_array_equal(boxes.to_xywh(box), [[2, 1, 8, 4]])
    np.testing.assert_array_equal(boxes.to_pixels(box / 10, 20, 40), [[2, 8, 10, 40]])
    many = random_boxes(3, 7)
    for there, back in ((boxes.to_centres, boxes.from_centres), (boxes.to_xywh, boxes.from_xywh)):
        np.testing.assert_allclose(back(there(jnp.asarray(many))), many, atol=1e-6)
    np.testing.assert_allclose(np.asarray(boxes.to_pixels(jnp.asarray(many), 8, 16)) / [8, 16, 8, 16], many, atol=1e-6)
    np.testing.assert_allclose(boxes.area(many), np.prod(many[..., 2:] - many[..., :2], -1), rtol=1e-5)


@pytest.mark.curriculum("L16", "L17")
def test_encoding_of_the_worked_example_and_its_way_back():  # OR67: x, y, w, h = (10, 9, 4, 8) there
    anchor = boxes.from_centres(jnp.float32([[10, 10, 8, 4]]))
    box = boxes.from_centres(jnp.float32([[9, 12, 8, 8]]))
    np.testing.assert_allclose(boxes.encode(box, anchor), [[-0.125, 0.5, 0, 0.693147]], atol=1e-6)  # (y, x, h, w)
    many, anchors = random_boxes(50), random_boxes(50)
    np.testing.assert_allclose(boxes.decode(boxes.encode(many, anchors), anchors), many, atol=2e-5)
    wild = boxes.decode(jnp.full((1, 4), 1e4), jnp.asarray(anchors[:1]))
    assert np.isfinite(wild).all()


@pytest.mark.curriculum("L15")
def test_anchors_cover_the_grid():
    grid = anchors_of.anchor_grid(2, 3, sizes=(0.2, 0.4), ratios=(0.5, 1.0, 2.0), aspect=0.5)
    assert grid.shape == (2 * 3 * 6, 4) and grid.dtype == np.float32
    centres = np.asarray(boxes.to_centres(jnp.asarray(grid))).reshape(2, 3, 2, 3, 4)  # row, column, size, ratio
    np.testing.assert_allclose(centres[1, 2, ..., 0], 0.75, rtol=1e-5)
    np.testing.assert_allclose(centres[1, 2, ..., 1], 5 / 6, rtol=1e-5)
    h, w = centres[..., 2], centres[..., 3] / 0.5  # both in heights of the image
    np.testing.assert_allclose((h / w)[0, 0], [[0.5, 1, 2]] * 2, rtol=1e-4)
    np.testing.assert_allclose(np.sqrt(h * w)[1, 1], [[0.2] * 3, [0.4] * 3], rtol=1e-4)


def match_in_loops(true, mask, anchors, positive, negative):
    overlaps = np.asarray(iou(jnp.asarray(anchors), jnp.asarray(true)))
    real = [j for j in range(len(true)) if mask[j] > 0]
    index, kind = np.zeros(len(anchors), int), np.zeros(len(anchors), int)
    for i, row in enumerate(overlaps):
        best = max(real, key=lambda j: (row[j], -j), default=None)
        value = row[best] if best is not None else -1
        kind[i] = 1 if value >= positive else 0 if value < negative else -1
        index[i] = best if best is not None else 0
    strength = np.zeros(len(anchors))
    for j in real:
        i = int(np.argmax(overlaps[:, j]))
        if overlaps[i, j] > strength[i]:
            index[i], kind[i], strength[i] = j, 1, overlaps[i, j]
    return index, kind


@pytest.mark.curriculum("L17")
@pytest.mark.parametrize("seed", range(8))
def test_matching_equals_loops(seed):
    rng = np.random.default_rng(seed)
    true, mask = random_boxes(5, rng=rng), (rng.random(5) < 0.7).astype(np.float32)
    anchors = anchors_of.anchor_grid(6, 6, (0.2, 0.5))
    index, kind = jax.jit(anchors_of.match)(true, mask, anchors)
    expected = match_in_loops(true, mask, anchors, 0.5, 0.4)
    np.testing.assert_array_equal(kind, expected[1])
    np.testing.assert_array_equal(np.asarray(index)[expected[1] == 1], expected[0][expected[1] == 1])


@pytest.mark.curriculum("L17")
def test_an_image_without_boxes_is_background():
    anchors = jnp.asarray(anchors_of.anchor_grid(2, 2, (0.3,)))
    none, mask, labels = jnp.zeros((0, 4)), jnp.zeros(0), jnp.zeros(0, jnp.int32)
    assert [x.tolist() for x in anchors_of.match(none, mask, anchors)] == [[0] * 4, [0] * 4]
    label, delta = jax.jit(partial(anchors_of.anchor_targets, anchors_of.match))(none, labels, mask, anchors)
    assert label.dtype == jnp.int32 and label.tolist() == [0] * 4 and delta.tolist() == np.zeros((4, 4)).tolist()


@pytest.mark.curriculum("L17")
def test_every_box_gets_its_best_anchor_and_near_misses_are_ignored():
    anchors = jnp.float32([[0, 0, 10, 10], [0, 0, 10, 22], [50, 50, 60, 60], [80, 80, 90, 90]])
    true = jnp.float32([[0, 0, 10, 10], [52, 52, 64, 64], [0, 0, 0, 0]])
    index, kind = anchors_of.match(true, jnp.float32([1, 1, 0]), anchors)
    # the second anchor: IoU 0.4545 with the first box; the third: 64 / 180, but the best of the second box
    assert kind.tolist() == [1, -1, 1, 0] and index[:3].tolist() == [0, 0, 1]
    assert anchors_of.match(true, jnp.zeros(3), anchors)[1].tolist() == [0, 0, 0, 0]


def nms_in_loops(made, scores, classes, keep, iou_threshold, score_threshold):
    left = [i for i in np.argsort(-scores, kind="stable") if scores[i] > score_threshold]
    overlaps = np.asarray(iou(jnp.asarray(made), jnp.asarray(made)))
    chosen = []
    while left and len(chosen) < keep:
        best = left.pop(0)
        chosen.append(best)
        left = [i for i in left if classes[i] != classes[best] or overlaps[best, i] < iou_threshold]
    return chosen


@pytest.mark.curriculum("L7")
@pytest.mark.parametrize("keep", [3, 30])
def test_suppression_equals_loops(keep):
    made, scores = random_boxes(16, 25), RNG.random((16, 25)).round(2).astype(np.float32)  # with ties
    classes = RNG.integers(0, 2, (16, 25))
    nms = jax.jit(jax.vmap(partial(suppression.nms, keep=keep, iou_threshold=0.3, score_threshold=0.2)))
    places, valid = nms(made, scores, classes)
    for i in range(16):
        expected = nms_in_loops(made[i], scores[i], classes[i], keep, 0.3, 0.2)
        assert np.asarray(places)[i][np.asarray(valid)[i]].tolist() == expected


@pytest.mark.curriculum("L7")
def test_suppression_removes_iou_of_exactly_one_half():
    made = jnp.float32([[0, 0, 4, 4], [0, 0, 2, 4], [0, 0, 4, 1.9], [0, 0, 4, 4], [0, 0, 0, 0]])
    scores = jnp.float32([0.9, 0.8, 0.7, 0.6, 0.5])
    places, valid = suppression.nms(made, scores, jnp.int32([0, 0, 0, 1, 0]), keep=5)
    assert places[valid].tolist() == [0, 2, 3, 4] and not valid[4]


@pytest.mark.curriculum("L21")
def test_detections_are_the_best_pairs_of_box_and_class():
    made = jnp.float32([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45], [0.5, 0.5, 1.2, 1]])
    scores = jnp.float32([[0.9, 0.3], [0.8, 0.4], [0.01, 0.7]])
    out = suppression.detections(made, scores, candidates=100, keep=5)
    np.testing.assert_allclose(out["scores"], [0.9, 0.7, 0.4, 0, 0])
    assert out["classes"].tolist() == [0, 1, 1, 0, 0] and out["mask"].tolist() == [1, 1, 1, 0, 0]
    np.testing.assert_allclose(out["boxes"][1], [0.5, 0.5, 1, 1])  # clipped to the image
    assert suppression.detections(made, scores, candidates=2, keep=5)["mask"].tolist() == [1, 0, 0, 0, 0]


# Losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("C10")
def test_smooth_l1_in_both_forms():  # OR83, ER18
    x = jnp.float32([0.5, 1, 2])
    np.testing.assert_allclose(regression.smooth_l1_of_differences(x), [0.125, 0.5, 1.5])
    np.testing.assert_allclose(regression.smooth_l1_of_differences(-x, form="seed"), [0.25, 1, 2])
    beta = 0.1  # value and slope are continuous where the square ends
    near = jnp.float32([beta - 1e-4, beta + 1e-4])
    loss = partial(regression.smooth_l1_of_differences, beta=beta)
    np.testing.assert_allclose(loss(near), beta / 2, rtol=1e-2)
    np.testing.assert_allclose(jax.vmap(jax.grad(loss))(near), 1, rtol=1e-2)


@pytest.mark.curriculum("L19")
def test_focal_loss_of_the_worked_example():  # OR84
    logit = np.log(0.9 / 0.1)
    logits, labels = jnp.float32([[logit, -50.0]]), jnp.int32([1])
    np.testing.assert_allclose(detection.focal(logits, labels, alpha=None), [0.0010536052], rtol=1e-4)
    np.testing.assert_allclose(detection.focal(logits, labels, gamma=0.0, alpha=None), [0.1053605], rtol=1e-5)
    np.testing.assert_allclose(detection.focal(logits, labels), [0.25 * 0.0010536052], rtol=1e-4)


@pytest.mark.curriculum("L19")
def test_focal_loss_equals_its_formula_and_ignores():
    logits, labels = RNG.normal(size=(2, 30, 4)), RNG.integers(-1, 5, (2, 30))
    p = 1 / (1 + np.exp(-logits))
    y = labels[..., None] == np.arange(1, 5)
    p_t, alpha_t = np.where(y, p, 1 - p), np.where(y, 0.25, 0.75)
    expected = (-alpha_t * (1 - p_t) ** 2 * np.log(p_t)).sum(-1) * (labels >= 0)
    np.testing.assert_allclose(detection.focal(jnp.float32(logits), labels), expected, rtol=1e-4)


@pytest.mark.curriculum("L18")
def test_hard_negatives_are_the_hardest_of_each_image():
    logits, labels = RNG.normal(size=(3, 40, 4)).astype(np.float32), np.zeros((3, 40), int)
    labels[0, :5], labels[1, 7], labels[:, 30:] = 2, 1, -1  # the third image has no positive
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.zeros((3, 40))
    for i, row in enumerate(labels):
        losses = -np.take_along_axis(logp[i], np.maximum(row, 0)[:, None], 1)[:, 0]
        negatives = sorted(np.flatnonzero(row == 0), key=lambda j: -losses[j])[: 3 * max((row > 0).sum(), 1)]
        chosen = [*negatives, *np.flatnonzero(row > 0)]
        expected[i, chosen] = losses[chosen]
    losses = detection.hard_negatives(logits, labels)
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-6)
    assert [int((r > 0).sum()) for r in np.asarray(losses)] == [20, 4, 3]
    with pytest.raises(ConfigError, match=r"config\.loss\.ratio=0"):
        detection.hard_negatives(logits, labels, ratio=0)
