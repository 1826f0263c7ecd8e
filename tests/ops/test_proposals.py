"""Proposals: suppression in rounds, the best of several levels, samples of anchors and of regions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.ops import boxes as boxes_of
from cvdl_jax.ops.proposals import Match, Sample, drawn, propose, sample_anchors, sample_regions
from cvdl_jax.ops.suppression import detections, nms, survivors

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
rng = np.random.default_rng(0)


def some_boxes(n, largest=0.5):
    low = rng.random((n, 2)) * (1 - largest)
    return np.concatenate([low, low + rng.uniform(0.05, largest, (n, 2))], 1).astype(np.float32)


def iou(a, b):
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    return shared / ((a[:, 2:] - a[:, :2]).prod(-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(-1)[None] - shared)


def encoded(box, anchor):
    (y, x, h, w), (ay, ax, ah, aw) = ([*(v[:2] + v[2:]) / 2, *v[2:] - v[:2]] for v in (box, anchor))
    return [(y - ay) / ah, (x - ax) / aw, np.log(h / ah), np.log(w / aw)]


@pytest.mark.curriculum("L7")
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_suppression_in_rounds_is_the_greedy_one(threshold):
    boxes, valid = some_boxes(60), rng.random(60) < 0.8
    kept = quick_jit(survivors)(boxes, valid, threshold)
    scores = np.where(valid, np.linspace(1, 0.1, 60), -1).astype(np.float32)
    places, real = quick_jit(partial(nms, keep=60))(boxes, scores, np.zeros(60, int), iou_threshold=threshold)
    assert np.flatnonzero(kept).tolist() == np.asarray(places)[np.asarray(real)].tolist()
    assert not quick_jit(survivors)(boxes, np.zeros(60, bool), threshold).any()


@pytest.mark.curriculum("L14")
def test_the_best_boxes_of_all_levels_are_proposed():
    """A loop: candidates of each level, cut to the image, greedy suppression in the level, then the best of all."""
    anchors = [some_boxes(40), some_boxes(12)]
    deltas = [rng.normal(0, 0.3, (n, 4)).astype(np.float32) for n in (40, 12)]
    scores = [rng.permutation(n).astype(np.float32) + k / 2 for k, n in enumerate((40, 12))]
    expected = []
    for score, delta, anchor in zip(scores, deltas, anchors, strict=True):
        kept = []
        decoded = np.clip(boxes_of.decode(jnp.asarray(delta), jnp.asarray(anchor)), 0, 1)
        for i in np.argsort(-score)[:20]:
            box = decoded[i]
            if all(iou(box[None], k[None])[0, 0] < 0.4 for _, k in kept):
                kept.append((score[i], box))
        expected += kept
    expected.sort(key=lambda pair: -pair[0])
    made, mask = quick_jit(partial(propose, before=20, after=10, iou_threshold=0.4))(scores, deltas, anchors)
    assert len(expected) > 10 and made.shape == (10, 4) and mask.tolist() == [1.0] * 10
    np.testing.assert_allclose(made, [box for _, box in expected[:10]], atol=1e-6)


@pytest.mark.curriculum("L14")
def test_fewer_boxes_than_proposals_are_padded_and_boxes_outside_are_none():
    anchors = jnp.float32([[0.1, 0.1, 0.4, 0.4], [1.2, 1.2, 1.5, 1.5], [0.5, 0.5, 0.9, 0.9]])
    propose_all = quick_jit(partial(propose, before=50, after=40))
    made, mask = propose_all([np.float32([1, 3, 2])], [np.zeros((3, 4), np.float32)], [anchors])
    assert made.shape == (3, 4) and mask.tolist() == [1, 1, 0]
    np.testing.assert_allclose(made, [[0.5, 0.5, 0.9, 0.9], [0.1, 0.1, 0.4, 0.4], [0, 0, 0, 0]], atol=1e-6)


draw = quick_jit(drawn, static_argnums=2)


@pytest.mark.curriculum("L14", "L20")
@pytest.mark.parametrize(
    ("objects", "background", "expected"),
    [(30, 50, (4, 12)), (2, 50, (2, 14)), (0, 50, (0, 16)), (30, 5, (4, 5)), (0, 0, (0, 0)), (1, 3, (1, 3))],
)
def test_a_sample_has_its_size_and_its_share(objects, background, expected):
    kind = np.array([1] * objects + [0] * background + [-1] * 20)
    kind = np.random.default_rng(objects).permutation(kind)
    index, valid = draw(jax.random.key(0), kind, Sample(16, 0.25))
    assert index.shape == valid.shape == (16,)
    taken = np.asarray(index)[np.asarray(valid)]
    assert len(set(taken.tolist())) == len(taken) and valid.sum() == sum(expected)
    assert kind[taken].tolist() == [1] * expected[0] + [0] * expected[1]  # objects first, none that is ignored
    if len(taken):  # what is short is filled by all that were drawn alike
        assert np.ptp(np.unique(index, return_counts=True)[1]) <= 1


@pytest.mark.curriculum("L14", "L20")
def test_every_box_is_drawn_alike():
    kind = jnp.asarray([1] * 8 + [0] * 24)
    keys = jax.random.split(jax.random.key(1), 2000)
    index, _ = quick_jit(jax.vmap(lambda key: drawn(key, kind, Sample(16, 0.25))))(keys)
    share = np.bincount(np.asarray(index).ravel(), minlength=32) / 2000
    np.testing.assert_allclose(share, [4 / 8] * 8 + [12 / 24] * 24, atol=0.06)
    assert not np.array_equal(index[0], index[1])


TRUE = np.float32([[0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9], [0.2, 0.6, 0.4, 0.8], [0, 0, 0, 0]])
LABELS, MASK = np.int32([2, 0, 1, 1]), np.float32([1, 1, 0, 0])  # the third is a crowd, the last is padding


@pytest.mark.curriculum("L14", "L17")
def test_anchors_of_a_sample_have_their_kinds_and_boxes():
    anchors = np.concatenate([some_boxes(60), TRUE[:3] + np.float32(0.01)])
    how, sample = Match(0.7, 0.3), Sample(16, 0.5)
    chosen = quick_jit(partial(sample_anchors, how=how, sample=sample))(jax.random.key(0), TRUE, MASK, anchors)
    overlap = iou(anchors, TRUE[:2])
    for index, label, target in zip(*(np.asarray(chosen[k]) for k in ("index", "labels", "targets")), strict=True):
        best = overlap[index].max()
        if label == 1:
            assert best >= 0.7 or overlap[:, overlap[index].argmax()].max() == best
            expected = encoded(TRUE[overlap[index].argmax()], anchors[index])
            np.testing.assert_allclose(target, expected, atol=1e-5)
        else:
            assert label == 0 and best < 0.3 and not target.any()
    assert (chosen["labels"] == 1).sum() >= 2


regions_of = quick_jit(sample_regions, static_argnums=(6, 7))


@pytest.mark.curriculum("L20", "L17")
@pytest.mark.parametrize("lowest", [0.0, 0.1])
def test_regions_of_a_sample_are_what_they_overlap_with(lowest):
    """Never background as an object; a crowd is no object; regions without area or mask are not drawn."""
    near = np.concatenate([TRUE[i : i + 1] + rng.normal(0, 0.02, (6, 4)) for i in range(3)]).astype(np.float32)
    regions = np.concatenate([near, some_boxes(40), TRUE])
    real = np.ones(len(regions), np.float32)
    real[:3] = 0
    how, sample = Match(0.5, 0.5, lowest), Sample(32, 0.5)
    for seed in range(3):
        chosen = regions_of(jax.random.key(seed), TRUE, LABELS, MASK, regions, real, how, sample)
        chosen = {name: np.asarray(x) for name, x in chosen.items()}
        overlap = iou(regions, TRUE[:2])
        for index, label, matched, target in zip(
            *(chosen[k] for k in ("index", "labels", "matched", "targets")), strict=True
        ):
            if label < 0:
                continue
            assert real[index] and (regions[index, 2:] > regions[index, :2]).all()
            if label > 0:
                assert overlap[index].max() >= 0.5 and matched == overlap[index].argmax()
                assert label == LABELS[matched] + 1
                np.testing.assert_allclose(target, encoded(TRUE[matched], regions[index]), atol=1e-5)
            else:
                assert lowest <= overlap[index].max() < 0.5 and not target.any()
        assert (chosen["labels"] > 0).sum() >= 8 and (np.diff((chosen["labels"] > 0) * 1) <= 0).all()


@pytest.mark.curriculum("L20", "L17")
@pytest.mark.parametrize("count", [4, 0])
def test_an_image_without_objects_is_all_background(count):
    true, labels, mask = TRUE[:count], LABELS[:count], MASK[:count] * 0
    regions = some_boxes(20)
    given = jax.random.key(0), true, labels, mask, regions
    chosen = regions_of(*given, np.ones(20, np.float32), Match(0.5, 0.5, 0.1), Sample(8, 0.5))
    assert chosen["labels"].tolist() == [0] * 8 and not chosen["targets"].any()
    none = regions_of(*given, np.zeros(20, np.float32), Match(0.5, 0.5), Sample(8, 0.5))
    assert none["labels"].tolist() == [-1] * 8 and np.isfinite(none["targets"]).all()


@pytest.mark.curriculum("L13")
def test_a_box_of_each_class_is_detected_with_its_own_score():
    boxes = jnp.asarray(np.stack([some_boxes(5, 0.2) for _ in range(3)], 1))  # [5, 3, 4]
    scores = jnp.asarray(rng.random((5, 3)), jnp.float32)
    shown = quick_jit(partial(detections, keep=15, candidates=15, iou_threshold=0.99))(boxes, scores)
    order = np.argsort(-np.asarray(scores).ravel())
    assert shown["classes"].tolist() == (order % 3).tolist() and shown["mask"].sum() == 15
    np.testing.assert_allclose(shown["boxes"], boxes.reshape(-1, 4)[order], atol=1e-6)
