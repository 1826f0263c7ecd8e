"""Overlaps of pairs, formats, pyramids of anchors, soft suppression, label vectors, points and cells."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import detection
from cvdl_jax.ops import anchors as anchors_of
from cvdl_jax.ops import boxes, cells, points, suppression
from cvdl_jax.ops.losses import boxes as box_losses
from cvdl_jax.ops.textbook.labels import detection_vector, from_detection_vector

RNG = np.random.default_rng(0)


def random_boxes(*shape, rng=RNG):
    corners = rng.random((*shape, 2, 2)).astype(np.float32)
    return np.concatenate([corners.min(-2), corners.max(-2) + 0.01], -1)


def overlaps_in_a_loop(a, b):
    """IoU, GIoU and DIoU of two boxes, from their definitions."""
    area = lambda box: max(box[2] - box[0], 0) * max(box[3] - box[1], 0)  # noqa: E731
    shared = area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
    around = [min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])]
    union = area(a) + area(b) - shared
    gap = sum(((a[i] + a[i + 2]) / 2 - (b[i] + b[i + 2]) / 2) ** 2 for i in (0, 1))
    diagonal = (around[2] - around[0]) ** 2 + (around[3] - around[1]) ** 2
    iou = shared / union
    return iou, iou - (area(around) - union) / area(around), iou - gap / diagonal


@pytest.mark.curriculum("L1")
def test_overlaps_of_all_pairs_and_of_partners_equal_a_loop():
    a, b = random_boxes(6), random_boxes(5)
    expected = np.array([[overlaps_in_a_loop(p, q) for q in b] for p in a])  # [n, m, 3]
    for k, name in enumerate(("iou", "giou", "diou")):
        measure = getattr(boxes, name)
        np.testing.assert_allclose(jax.jit(measure)(a, b), expected[..., k], atol=1e-5)
        partners = np.stack([expected[i, i, k] for i in range(5)])
        np.testing.assert_allclose(jax.jit(partial(boxes.of_pairs, measure))(a[:5], b), partners, atol=1e-5)
        np.testing.assert_allclose(jax.jit(getattr(box_losses, name))(a[:5], b), 1 - partners, atol=1e-5)


@pytest.mark.curriculum("L1")
def test_distance_iou_by_hand():
    a = jnp.float32([[0, 0, 2, 2]])
    b = jnp.float32([[1, 1, 3, 3], [0, 4, 2, 6], [0, 0, 2, 2], [0.5, 0.5, 1, 1]])
    # centres (1, 1) and (2, 2), around 3x3; 4 apart, around 2x6; the same; inside: IoU 1/16, off by (1/4, 1/4) of 8
    np.testing.assert_allclose(boxes.diou(a, b), [[1 / 7 - 2 / 18, -16 / 40, 1, 1 / 16 - 0.125 / 8]], atol=1e-6)
    nothing = jnp.zeros((1, 4))
    grad = jax.grad(lambda x: boxes.diou(x, nothing).sum())(nothing)
    assert boxes.diou(nothing, nothing) == 0 and np.isfinite(grad).all()


def test_a_loss_pulls_a_box_that_does_not_overlap():
    far, true = jnp.float32([[0, 0, 0.1, 0.1]]), jnp.float32([[0.5, 0.5, 0.7, 0.7]])
    names = ("iou", "giou", "diou")
    slopes = jax.jit(jax.jacrev(lambda x: jnp.stack([getattr(box_losses, name)(x, true)[0] for name in names])))(far)
    assert not slopes[0].any() and (slopes[1:, 0, 2:] < 0).all()  # its far corner moves towards the other box


@pytest.mark.curriculum("L2")
def test_every_format_becomes_every_other_and_back():
    box = jnp.float32([[1, 2, 5, 10]])
    expected = {
        "corners": [1, 2, 5, 10], "centres": [3, 6, 4, 8], "xywh": [2, 1, 8, 4], "xyxy": [2, 1, 10, 5],
        "cxcywh": [6, 3, 8, 4],
    }  # fmt: skip
    for source, numbers in expected.items():
        for target, wanted in expected.items():
            np.testing.assert_allclose(boxes.convert(jnp.float32([numbers]), source, target), [wanted], atol=1e-6)
    with pytest.raises(ConfigError, match="there is no format of boxes 'xyhw'; did you mean 'xywh'"):
        boxes.convert(box, "xyhw", "corners")
    in_pixels = boxes.to_pixels(box / 10, 20, 40)
    np.testing.assert_allclose(boxes.from_pixels(in_pixels, 20, 40), box / 10, rtol=1e-6)


@pytest.mark.curriculum("L15")
def test_a_pyramid_of_anchors_grows_with_its_strides():
    levels = anchors_of.anchor_pyramid([(4, 6), (2, 3)], (32, 48), scale=2.0, octaves=2, ratios=(0.5, 2.0))
    assert [len(level) for level in levels] == [4 * 6 * 4, 2 * 3 * 4]
    for level, stride, (rows, columns) in zip(levels, (8, 16), [(4, 6), (2, 3)], strict=True):
        shown = np.asarray(boxes.to_centres(boxes.to_pixels(jnp.asarray(level), 32, 48))).reshape(
            rows, columns, 2, 2, 4
        )
        np.testing.assert_allclose(shown[1, 2, 0, 0, :2], [1.5 * stride, 2.5 * stride], rtol=1e-5)
        h, w = shown[0, 0, ..., 2], shown[0, 0, ..., 3]
        np.testing.assert_allclose(np.sqrt(h * w), 2 * stride * np.sqrt([[1, 1], [2, 2]]), rtol=1e-5)
        np.testing.assert_allclose(h / w, [[0.5, 2]] * 2, rtol=1e-5)
    assert [anchors_of.stride_of(*sizes) for sizes in ((4, 27), (7, 27), (27, 27), (30, 240))] == [8, 4, 1, 8]


@pytest.mark.curriculum("L17")
def test_the_rule_of_the_best_anchor_can_be_left_out():
    anchors = jnp.float32([[0, 0, 10, 10], [50, 50, 60, 60]])
    true = jnp.float32([[0, 0, 10, 10], [52, 52, 64, 64]])
    assert anchors_of.match(true, jnp.ones(2), anchors)[1].tolist() == [1, 1]
    assert anchors_of.match(true, jnp.ones(2), anchors, best_anchor=False)[1].tolist() == [1, 0]
    with pytest.raises(ConfigError, match=r"config\.match\.negative=0\.6 must be at most config\.match\.positive=0\.5"):
        anchors_of.match(true, jnp.ones(2), anchors, negative=0.6)


def soft_nms_in_loops(made, scores, classes, keep, decay, threshold, sigma, least):
    scores, taken = scores.astype(np.float64).copy(), []
    left = [i for i in range(len(made)) if scores[i] > least]
    while left and len(taken) < keep:
        best = max(left, key=lambda i: (scores[i], -i))
        if scores[best] <= least:
            break
        taken.append((best, scores[best]))
        left.remove(best)
        for i in left:
            if classes[i] == classes[best]:
                overlap = overlaps_in_a_loop(made[best], made[i])[0]
                if decay == "linear":
                    scores[i] *= 1 - overlap if overlap >= threshold else 1
                else:
                    scores[i] *= np.exp(-(overlap**2) / sigma)
    return taken


@pytest.mark.curriculum("L7")
@pytest.mark.parametrize("decay", ["linear", "gaussian"])
def test_soft_suppression_equals_loops(decay):
    made, scores = random_boxes(8, 20), RNG.random((8, 20)).astype(np.float32)
    classes = RNG.integers(0, 2, (8, 20))
    how = {"keep": 15, "decay": decay, "iou_threshold": 0.3, "sigma": 0.4, "score_threshold": 0.2}
    places, values, valid = jax.jit(jax.vmap(partial(suppression.soft_nms, **how)))(made, scores, classes)
    lengths = set()
    for i in range(8):
        expected = soft_nms_in_loops(made[i], scores[i], classes[i], 15, decay, 0.3, 0.4, 0.2)
        real = np.asarray(valid)[i]
        assert np.asarray(places)[i][real].tolist() == [place for place, _ in expected]
        np.testing.assert_allclose(np.asarray(values)[i][real], [value for _, value in expected], rtol=1e-4)
        lengths.add(len(expected))
    assert min(lengths) < 15  # some have fallen below the threshold


@pytest.mark.curriculum("L7")
def test_detections_are_suppressed_softly_and_twins_wholly():
    made = jnp.float32([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.4], [0, 0, 0.5, 0.5]])
    scores = jnp.float32([[0.9], [0.8], [0.7]])
    out = suppression.detections(made, scores, keep=3, suppression="linear")
    np.testing.assert_allclose(out["scores"], [0.9, 0.8 * (1 - 0.8), 0], rtol=1e-5)
    out = suppression.detections(made, scores, keep=3, suppression="gaussian", sigma=0.5)
    np.testing.assert_allclose(out["scores"][:2], [0.9, 0.8 * np.exp(-0.64 / 0.5)], rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"suppression": "gaussian", "iou_threshold": 0.3},
            "iou_threshold=0.3 has no effect on suppression='gauss",
        ),
        ({"sigma": 0.3}, "sigma=0.3 has no effect on suppression='hard'"),
        ({"suppression": "linear", "sigma": 0.3}, "sigma=0.3 has no effect on suppression='linear'"),
    ],
)
def test_a_number_that_the_suppression_does_not_read_is_refused(more, said):
    with pytest.raises(ConfigError, match=said):
        suppression.detections(jnp.zeros((2, 4)), jnp.zeros((2, 3)), **more)


@pytest.mark.parametrize("which", ["hard", "linear", "gaussian"])
def test_an_image_whose_scores_are_no_numbers_is_none_without_objects(which):
    made, scores = jnp.tile(jnp.float32([[0, 0, 0.5, 0.5]]), (300, 1)), jnp.full((300, 1), 0.01).at[0].set(0.9)
    whole = suppression.detections(made, scores, suppression=which)
    assert np.asarray(whole["scores"])[0] == pytest.approx(0.9) and not np.isnan(whole["scores"]).any()
    for broken in (scores.at[7].set(jnp.nan), jnp.full((300, 1), jnp.nan)):
        out = jax.jit(partial(suppression.detections, suppression=which))(made, broken)
        assert np.isnan(out["scores"]).all() and np.asarray(out["mask"]).all()
    truth = {"boxes": np.zeros((1, 1, 4)), "classes": np.zeros((1, 1), int), "mask": np.ones((1, 1))}
    with pytest.raises(DataError, match="not all finite; look for an overflow in the model"):
        detection.voc_metrics({name: np.asarray(x)[None] for name, x in out.items()}, truth, 1)


@pytest.mark.curriculum("L7")
def test_nothing_to_suppress_gives_nothing():
    none = (jnp.zeros((0, 4)), jnp.zeros(0), jnp.zeros(0, jnp.int32))
    assert not suppression.nms(*none, keep=3)[1].any() and not suppression.soft_nms(*none, keep=3)[2].any()
    low = suppression.detections(jnp.zeros((2, 4)), jnp.zeros((2, 3)), keep=4)
    assert not low["mask"].any() and not low["boxes"].any()


@pytest.mark.curriculum("L3")
def test_the_label_of_an_image_holds_background_classes_and_box():
    vectors = detection_vector([2, 0], [[0.5, 0.6, 0.2, 0.1], [9, 9, 9, 9]], 3)
    np.testing.assert_allclose(vectors, [[0, 0, 1, 0, 0.5, 0.6, 0.2, 0.1], [1, 0, 0, 0, 0, 0, 0, 0]])
    labels, box = from_detection_vector(vectors)
    assert labels.tolist() == [2, 0] and box.shape == (2, 4) and box[0, 1] == np.float32(0.6)
    with pytest.raises(ValueError, match=r"box must be \[2, 4\]"):
        detection_vector([2, 0], [[1, 2, 3, 4]], 3)
    with pytest.raises(ValueError, match="labels"):
        detection_vector([4], [[0.0] * 4], 3)


# Points and cells ---------------------------------------------------------------------------------------------------


def point_targets_in_loops(true, labels, mask, places, strides, ranges, radius):
    label, distance = np.zeros(len(places), int), np.zeros((len(places), 4))
    for i, (y, x) in enumerate(places):
        smallest = np.inf
        for box, c, real in zip(true, labels, mask, strict=True):
            sides = np.array([y - box[0], x - box[1], box[2] - y, box[3] - x])
            away = max(abs(y - (box[0] + box[2]) / 2), abs(x - (box[1] + box[3]) / 2))
            fits = sides.min() > 0 and away <= radius * strides[i] and ranges[i][0] < sides.max() <= ranges[i][1]
            area = (box[2] - box[0]) * (box[3] - box[1])
            if real and fits and area < smallest:
                smallest, label[i], distance[i] = area, c + 1, sides
    return label, distance


@pytest.mark.curriculum("L22")
@pytest.mark.parametrize("seed", range(3))
def test_targets_of_points_equal_loops(seed):
    rng = np.random.default_rng(seed)
    true, labels = random_boxes(5, rng=rng) * 32, rng.integers(0, 3, 5)
    mask = np.float32([1, 1, 1, 1, 0])
    places = np.concatenate([points.point_grid(8, 8, (32, 32)), points.point_grid(4, 4, (32, 32))])
    strides = np.float32([4] * 64 + [8] * 16)
    ranges = np.float32([[0, 12]] * 64 + [[12, np.inf]] * 16)
    label, distance = jax.jit(points.point_targets)(true, labels, mask, places, strides, ranges)
    expected = point_targets_in_loops(true, labels, mask, places, strides, ranges, 1.5)
    np.testing.assert_array_equal(label, expected[0])
    np.testing.assert_allclose(distance, expected[1], atol=1e-4)
    assert len(set(expected[0].tolist())) > 1
    rebuilt = points.from_distances(jnp.asarray(places), distance)[expected[0] > 0]
    assert all(np.abs(true - box).max(1).min() < 1e-3 for box in np.asarray(rebuilt))


@pytest.mark.curriculum("L22")
def test_centreness_by_hand():  # equation 3: t, l, b, r
    sides = jnp.float32([[2, 3, 2, 3], [1, 3, 4, 3], [1, 2, 4, 8], [0, 1, 2, 1], [-1, 1, 2, 1]])
    np.testing.assert_allclose(points.centreness(sides), [1, 0.5, 0.25, 0, 0], atol=1e-6)
    np.testing.assert_allclose(points.point_grid(2, 2, (8, 4)), [[2, 1], [2, 3], [6, 1], [6, 3]])


@pytest.mark.curriculum("L25")
def test_a_box_belongs_to_the_cell_of_its_centre_and_comes_back():
    true = jnp.float32([[0.0, 0.5, 0.2, 0.9], [0.9, 0.9, 1.0, 1.0], [0.4, 0.4, 0.6, 0.6]])
    assert cells.cells_of(true, 2, 4).tolist() == [2, 7, 6]  # centres (0.1, 0.7), (0.95, 0.95), (0.5, 0.5)
    corner = cells.cell_corners(2, 4)[cells.cells_of(true, 2, 4)]
    places = cells.in_cells(true, corner, 2, 4)
    np.testing.assert_allclose(places[0], [0.2, 0.8, 0.2, 0.4], atol=1e-6)
    np.testing.assert_allclose(cells.from_cells(places, corner, 2, 4), true, atol=1e-6)
    assert cells.cells_of(jnp.float32([[1.0, 1.0, 1.2, 1.2]]), 2, 4).tolist() == [7]  # outside: the nearest
    index, present = cells.first_in(jnp.int32([3, 1, 1]), jnp.float32([0, 1, 1]), 4)
    assert present.tolist() == [False, True, False, False] and index[1] == 1


@pytest.mark.curriculum("L27")
def test_shapes_are_chosen_and_clustered_by_overlap():
    shapes = jnp.float32([[0.1, 0.1], [0.2, 0.4], [0.4, 0.2]])
    true = jnp.float32([[0.5, 0.5, 0.7, 0.9], [0.1, 0.1, 0.22, 0.21], [0, 0, 0.5, 0.2]])
    assert cells.best_shapes(true, shapes).tolist() == [1, 0, 2]
    np.testing.assert_allclose(cells.centred_iou(jnp.float32([[0.2, 0.2]]), shapes), [[0.25, 0.5, 0.5]], rtol=1e-5)
    near = np.repeat(np.float32([[0.1, 0.1], [0.2, 0.4], [0.5, 0.5]]), 10, 0) + RNG.normal(0, 0.003, (30, 2))
    made = np.concatenate([np.zeros((30, 2)), near], 1)
    np.testing.assert_allclose(cells.clustered_shapes(made, 3), [[0.1, 0.1], [0.2, 0.4], [0.5, 0.5]], atol=0.01)
    with pytest.raises(ValueError, match="2 boxes cannot make 3 clusters"):
        cells.clustered_shapes(made[:2], 3)
