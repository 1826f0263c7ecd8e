"""Panoptic quality by hand and beside loops over pixels; masks as images of ids; average precision of them."""

import numpy as np
import pytest

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import panoptic
from cvdl_jax.metrics.detection import coco_metrics
from cvdl_jax.ops.images.watershed import boxes_of


def quality(ids, classes, true_ids, true_classes, c=2, **more):
    ids, true_ids = np.atleast_2d(ids), np.atleast_2d(true_ids)
    segments = panoptic.matched(ids, classes, true_ids, true_classes, **more)
    return panoptic.counted(segments, classes, true_classes, c)


def by_loops(ids, classes, true_ids, true_classes, void, crowd, c):
    """Kirillov et al. 2019, word by word, with sets of pixels."""
    where = lambda x, k: set(zip(*np.nonzero(x == k), strict=True))  # noqa: E731
    empty = set(zip(*np.nonzero(void), strict=True))
    iou, tp, fp, fn = np.zeros(c), np.zeros(c, int), np.zeros(c, int), np.zeros(c, int)
    done = set()
    for t, of in enumerate(true_classes):
        truth = where(true_ids, t + 1) - empty
        hit = False
        for p, guess in enumerate(classes):
            pixels = where(ids, p + 1)
            union = len(truth | pixels) - len(pixels & empty)
            if guess == of and truth and pixels and not crowd[t] and len(truth & pixels) / union > 0.5:
                iou[of] += len(truth & pixels) / union
                tp[of], hit = tp[of] + 1, True
                done.add(p)
        fn[of] += bool(truth) and not hit and not crowd[t]
    for p, guess in enumerate(classes):
        pixels = where(ids, p + 1)
        if p in done or not pixels:
            continue
        excuse = empty.union(*(where(true_ids, t + 1) for t, of in enumerate(true_classes) if crowd[t] and of == guess))
        fp[guess] += len(pixels & excuse) <= len(pixels) / 2
    return iou, tp, fp, fn


@pytest.mark.curriculum("M19")
def test_the_counts_are_those_of_loops_over_pixels():
    rng = np.random.default_rng(0)
    matched = 0
    for _ in range(40):
        true_ids = np.repeat(np.repeat(rng.integers(0, 5, (3, 3)), 3, 0), 3, 1)
        ids = np.where(rng.random((9, 9)) < 0.85, true_ids, rng.integers(0, 5, (9, 9)))
        true_classes, classes = rng.integers(0, 2, 4), None
        classes = np.where(rng.random(4) < 0.8, true_classes, 1 - true_classes)
        void, crowd = rng.random((9, 9)) < 0.2, rng.random(4) < 0.3
        ours = quality(ids, classes, true_ids, true_classes, void=void, crowd=crowd)
        for a, b in zip(ours, by_loops(ids, classes, true_ids, true_classes, void, crowd, 2), strict=True):
            np.testing.assert_allclose(a, b)
        matched += ours.matched.sum()
    assert matched > 40


@pytest.mark.curriculum("M19")
def test_two_objects_one_right_with_iou_three_quarters_and_one_missed():
    """PQ = 0.75 / (1 + 1/2 + 1/2) = 0.375 = SQ 0.75 times RQ 0.5; the other class is perfect."""
    truth = [1, 1, 1, 1, 0, 2, 2, 2, 0, 3]
    guess = [1, 1, 1, 0, 0, 0, 2, 0, 0, 3]
    counts = quality(guess, [0, 0, 1], truth, [0, 0, 1])
    classes = panoptic.per_class(counts)
    assert {k: x.tolist() for k, x in classes.items()} == {"pq": [0.375, 1], "sq": [0.75, 1], "rq": [0.5, 1]}
    assert panoptic.summary(counts, ("a", "b")) == {
        "pq": 0.6875, "sq": 0.875, "rq": 0.75, "pq/a": 0.375, "pq/b": 1.0
    }  # fmt: skip


@pytest.mark.curriculum("M19")
def test_hand_made_cases():
    two, one = [1, 1, 0, 2, 2], [1, 1, 0, 0, 0]
    swapped = quality([2, 2, 0, 1, 1], [0, 0], two, [0, 0])  # other numbers for the same objects
    assert swapped.matched.tolist() == [2, 0] and panoptic.summary(swapped)["pq"] == 1
    classes = quality(two, [1, 0], two, [0, 1])  # the right masks with the other's class
    assert panoptic.summary(classes)["pq"] == 0 and classes.extra.tolist() == classes.missed.tolist() == [1, 1]
    half = quality([1, 1, 1, 1], [0], [1, 1, 0, 0], [0])  # an IoU of exactly one half is none
    assert half.matched.sum() == 0 and half.extra[0] == half.missed[0] == 1
    nothing = quality([0] * 5, [0, 0], two, [0, 0])
    assert panoptic.summary(nothing) == {
        "pq": 0,
        "sq": 0,
        "rq": 0,
        "pq/0": 0,
        "pq/1": pytest.approx(np.nan, nan_ok=True),
    }
    false = quality(one, [0], [0] * 5, [0])
    assert panoptic.summary(false)["pq"] == 0 and false.extra.tolist() == [1, 0]
    assert panoptic.summary(quality([0] * 5, [0], [0] * 5, [0]))["pq"] == 0  # neither truth nor predictions
    crowd = quality(one, [0], [1] * 5, [0], crowd=[True])
    assert crowd.extra.sum() == crowd.missed.sum() == 0
    assert quality(one, [1], [1] * 5, [0], crowd=[True]).extra.tolist() == [0, 1]  # a crowd of another class
    void = quality([1, 1, 1, 0, 0], [0], [0] * 5, [0], void=[[1, 1, 0, 0, 0]])
    assert void.extra.sum() == 0
    part = quality([1, 1, 1, 1], [0], [1, 1, 0, 0], [0], void=[[0, 0, 1, 1]])  # void pixels are in no union
    assert part.iou[0] == 1
    vanished = quality([0] * 5, [0], one, [0, 0], true_mask=[1, 1])  # an object without a pixel is missed
    assert vanished.missed.tolist() == [2, 0]


def test_counts_are_added_over_images_not_averaged():
    perfect, wrong = quality([1, 1], [0], [1, 1], [0]), quality([0, 1], [0], [1, 0], [0])
    total = panoptic.sum_of([perfect, wrong, wrong], 2)
    assert panoptic.per_class(total)["pq"][0] == 1 / 3 and total.extra.dtype == np.int64
    assert panoptic.summary(panoptic.sum_of([], 2))["pq"] == 0
    with pytest.raises(DataError, match="the predicted ids reach from 0 to 2, and there are classes for 1 to 1"):
        quality([0, 2], [0], [0, 1], [0])
    with pytest.raises(DataError, match=r"segments have .* pixels, true ones"):
        quality([0, 1], [0], [0, 1, 1], [0])
    with pytest.raises(DataError, match="a predicted segment has the class 2, and there are 2 classes"):
        quality([1], [2], [0], [0])


@pytest.mark.curriculum("M18", "N30")
def test_boxes_and_average_precision_of_images_of_ids():
    ids = np.zeros((2, 8, 10), int)
    ids[0, 1:3, 2:7], ids[0, 5:8, 0:1], ids[1, 0:4, 8:10] = 1, 3, 2
    assert (boxes_of(ids[0], 3) * [8, 10, 8, 10]).tolist() == [[1, 2, 3, 7], [0, 0, 0, 0], [5, 0, 8, 1]]
    real = {"mask": np.array([[1, 0, 1], [0, 1, 0]]), "classes": np.zeros((2, 3), int)}
    masks = panoptic.masks_of(ids, 3)
    assert masks[0].shape == (3, 8, 10) and masks[1, 1].sum() == 8 and not masks[0, 1].any()
    dense = np.stack([masks[0], masks[1]])
    guess = {**real, "scores": np.array([[0.9, 0, 0.3], [0, 0.8, 0]])}
    shifted = np.roll(ids, 1, 2)
    few = panoptic.masks_of(shifted, 3)
    for most in (100, 1):
        lazy = coco_metrics({**guess, "masks": few}, {**real, "masks": masks}, 1, (8, 10), "masks", most)
        whole = {**guess, "masks": np.stack([few[0], few[1]])}
        assert lazy == coco_metrics(whole, {**real, "masks": dense}, 1, (8, 10), "masks", most)
        # IoU of the first 2/3, of the others 0 and 1/3: right at thresholds up to 0.65, of three objects
        assert lazy["coco_ap50"] == pytest.approx(34 / 101) and lazy["coco_ap"] == pytest.approx(0.4 * 34 / 101)
    boxes = panoptic.all_boxes(ids, 3)
    same = coco_metrics({**guess, "boxes": boxes}, {**real, "boxes": boxes}, 1, (8, 10))
    assert same["coco_ap"] == pytest.approx(1) and panoptic.all_boxes(ids[:0], 3).shape == (0, 3, 4)


def test_small_whole_numbers_are_wide_enough_for_pairs():
    for dtype, n in ((np.uint8, 60), (np.int16, 250), (np.uint16, 400)):
        many = np.arange(1, n + 1, dtype=dtype)[None]
        assert panoptic.matched(many, np.arange(n) % 7, many, np.arange(n) % 7).right.all()


def test_difficult_objects_are_not_missed():
    one = {"ids": np.ones((1, 4, 4), int), "classes": np.zeros((1, 1), int), "mask": np.ones((1, 1))}
    none = {"ids": np.zeros((1, 4, 4), int), "classes": np.zeros((1, 1), int)}
    assert panoptic.of_images(none, one, 1).missed[0] == 1
    assert panoptic.of_images(none, {**one, "difficult": np.ones((1, 1), bool)}, 1).missed[0] == 0


@pytest.mark.curriculum("M19")
def test_objects_and_stuff_of_images_are_put_together():
    """Labels 0 and 3 are stuff, of the classes 2 and 3; 255 is void, and so is a free pixel of the thing 1."""
    is_stuff, number = np.zeros(256, bool), np.zeros(256, int)
    is_stuff[[0, 3]], number[[0, 3]] = True, (2, 3)
    semantic = np.array([[[0, 0, 1, 3, 255, 3]], [[0, 1, 1, 0, 0, 0]]], np.uint8)
    ids = np.array([[[0, 1, 0, 0, 0, 2]], [[0, 0, 2, 0, 0, 0]]])
    objects = {"ids": ids, "classes": np.array([[0, 1], [0, 1]]), "mask": np.array([[1, 1], [0, 1]])}
    whole = panoptic.with_stuff_of_images(is_stuff, number, {**objects, "crowd": np.array([[0, 1], [0, 0]])}, semantic)
    at = lambda i, name: [int(whole[name][i, k - 1]) if k else None for k in whole["ids"][i, 0]]  # noqa: E731
    assert at(0, "classes") == [2, 0, None, 3, None, 1] and at(1, "classes") == [2, None, 1, 2, 2, 2]
    assert at(0, "mask") == [1, 1, None, 1, None, 1] and whole["mask"].sum(1).tolist() == [4, 2]
    assert whole["crowd"].sum(1).tolist() == [1, 0] and whole["crowd"][0, 1]
    few = panoptic.with_stuff_of_images(is_stuff, number, objects, semantic, least_pixels=2)
    assert (few["ids"] == 0).sum(-1).ravel().tolist() == [4, 1] and few["mask"].sum(1).tolist() == [2, 2]
    counts = panoptic.of_images(few, {**whole, "void": semantic == 255}, 4)
    assert counts.matched.tolist() == [1, 1, 1, 0] and counts.missed.tolist() == [0, 0, 1, 1]
    extra = {**whole, "ids": np.where(semantic == 255, whole["ids"][0, 0, 3], whole["ids"])}  # a wrong guess in void
    for void, iou in ((semantic == 255, 1.0), (semantic > 255, 0.0)):  # of one right pixel and the void one
        assert panoptic.of_images(extra, {**whole, "void": void}, 4).iou[3] == iou
