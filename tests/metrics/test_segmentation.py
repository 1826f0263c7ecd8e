"""Pixels: counted on the device, against scikit-learn; the worked image; masks of instances, by loops and by COCO."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as oracle

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import detection, segmentation

count = jax.jit(partial(segmentation.pixel_confusions, num_classes=3))
LABELS = hnp.arrays(np.uint8, (2, 4, 5), elements=st.sampled_from([0, 1, 2, 255]))
GUESSES = hnp.arrays(np.int32, (2, 4, 5), elements=st.integers(0, 2))


@pytest.mark.curriculum("N28", "N29")
def test_worked_image():
    """OR61: 5 % of the pixels are object, all are called background. ER3: Dice is not 2 I / U, which exceeds 1."""
    labels = np.zeros((1, 10, 10), np.int32)
    labels[0, 0, :5] = 1
    m = segmentation.pixel_confusions(jnp.zeros_like(labels), jnp.asarray(labels), 2)[0]
    np.testing.assert_array_equal(m, [[95, 0], [5, 0]])
    found = segmentation.segmentation_metrics(m)
    assert found == pytest.approx(
        {
            "pixel_accuracy": 0.95, "mean_pixel_accuracy": 0.5, "mean_iou": 0.475, "mean_dice": 0.487179,
            "frequency_weighted_iou": 0.9025,
        },
        abs=5e-7,
    )  # fmt: skip
    each = segmentation.per_class(m)
    np.testing.assert_allclose(each["dice"], [0.974359, 0], atol=5e-7)
    np.testing.assert_allclose(each["iou"], [0.95, 0])


@pytest.mark.curriculum("N26", "N27", "N28")
@given(LABELS, GUESSES)
def test_measures_equal_scikit_learn(labels, guesses):
    m = count(guesses, labels)
    assert m.dtype == jnp.int32
    kept = labels != 255
    for image in range(2):
        expected = oracle.confusion_matrix(
            labels[image][kept[image]], guesses[image][kept[image]], labels=range(3)
        ) if kept[image].any() else np.zeros((3, 3))  # fmt: skip
        np.testing.assert_array_equal(m[image], expected)
    if not kept.any():
        with pytest.raises(DataError, match="no pixel was counted"):
            segmentation.segmentation_metrics(m)
        return
    y, p = labels[kept], guesses[kept]
    found = segmentation.segmentation_metrics(m)
    assert found == segmentation.segmentation_metrics(np.asarray(m).sum(0))
    iou = oracle.jaccard_score(y, p, average=None)  # of the classes that either has
    assert found["pixel_accuracy"] == pytest.approx(np.mean(y == p))
    assert found["mean_pixel_accuracy"] == pytest.approx(np.mean([np.mean(p[y == k] == k) for k in np.unique(y)]))
    assert found["mean_iou"] == pytest.approx(iou.mean())
    assert found["mean_dice"] == pytest.approx(oracle.f1_score(y, p, average="macro"))
    assert found["frequency_weighted_iou"] == pytest.approx(oracle.jaccard_score(y, p, average="weighted"))


@pytest.mark.curriculum("N29")
@given(hnp.arrays(np.int64, (3, 3), elements=st.integers(0, 9)).filter(lambda m: m.sum() > 0))
def test_dice_is_a_function_of_iou(m):
    each = segmentation.per_class(m)
    np.testing.assert_allclose(each["dice"], 2 * each["iou"] / (1 + each["iou"]), atol=1e-12)
    assert np.nanmax(each["dice"]) <= 1
    absent = (m.sum(0) + m.sum(1)) == 0
    np.testing.assert_array_equal(np.isnan(each["iou"]), absent)
    np.testing.assert_array_equal(np.isnan(each["accuracy"]), m.sum(1) == 0)


@pytest.mark.curriculum("N26")
def test_ignored_and_foreign_labels():
    labels = np.array([[[0, 255, 1, 2]], [[0, 1, 1, 7]]])
    guesses = np.array([[[0, 1, 2, 2]], [[0, 1, 0, 0]]])
    m = count(guesses, labels)
    np.testing.assert_array_equal(m[0], [[1, 0, 0], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(m[1], np.full((3, 3), -1))  # a 7 is neither a class nor ignored
    for measure in (segmentation.segmentation_metrics, segmentation.per_class):
        with pytest.raises(DataError, match="neither a class nor the ignored label"):
            measure(np.stack([m[1], np.full((3, 3), 10)]))  # though added up every count is positive
    np.testing.assert_array_equal(count(guesses, labels[..., None])[0], m[0])  # labels with a channel
    for arguments, said in [
        ((guesses, labels[:, :, :2], 3), r"must be \[b, h, w\]"),
        ((guesses * 1.0, labels, 3), "must be classes; take argmax"),
        ((guesses, labels, 300), "ignore=255 is one of the 300 classes"),
    ]:
        with pytest.raises(ConfigError, match=said):
            segmentation.pixel_confusions(*map(jnp.asarray, arguments[:2]), arguments[2])


COUNTED = jax.jit(partial(segmentation.counted, num_classes=3))


@pytest.mark.curriculum("N28", "N29")
def test_a_split_in_batches_is_the_whole_split():
    """Added matrices and counts of images, with a padded batch, against NumPy; the intervals are of whole images."""
    rng = np.random.default_rng(1)
    labels = rng.choice([0, 1, 2, 255], size=(7, 6, 5), p=[0.5, 0.3, 0.1, 0.1])
    guesses = np.where(rng.random(labels.shape) < 0.7, labels % 3, rng.integers(0, 3, labels.shape))
    rows = {"confusion": 0, "pixels": []}
    for start in (0, 4):
        index = np.minimum(np.arange(start, start + 4), 6)
        real = np.arange(start, start + 4) < 7
        one = COUNTED(guesses[index], labels[index], mask=real * 1.0)
        rows["confusion"] += np.asarray(one["confusion"].value, np.int64)
        rows["pixels"].append(np.asarray(one["pixels"])[real])
    rows["pixels"] = np.concatenate(rows["pixels"])
    kept = labels != 255
    whole = oracle.confusion_matrix(labels[kept], guesses[kept], labels=range(3))
    np.testing.assert_array_equal(rows["confusion"], whole)
    np.testing.assert_array_equal(rows["pixels"].sum(0), [np.diag(whole), whole.sum(1), whole.sum(0)])
    metrics = segmentation.summary(rows, ("sky", "road", "car"))
    assert {**metrics, **segmentation.segmentation_metrics(whole)} == metrics and metrics["examples"] == 7
    iou = oracle.jaccard_score(labels[kept], guesses[kept], average=None)
    np.testing.assert_allclose([metrics[f"iou/{name}"] for name in ("sky", "road", "car")], iou)
    again = []
    for sample in np.random.default_rng(0).integers(0, 7, (1000, 7)):
        inside = labels[sample] != 255
        m = oracle.confusion_matrix(labels[sample][inside], guesses[sample][inside], labels=range(3))
        again.append(segmentation.segmentation_metrics(m)["mean_iou"])
    np.testing.assert_allclose(
        [metrics["mean_iou_low"], metrics["mean_iou_high"]], np.quantile(again, [0.025, 0.975]), atol=1e-9
    )
    assert metrics["pixel_accuracy_low"] < metrics["pixel_accuracy"] < metrics["pixel_accuracy_high"]
    one = segmentation.summary({**rows, "pixels": rows["pixels"][:1]})
    assert "mean_iou_low" not in one and "iou/2" in one


@pytest.mark.curriculum("N26")
def test_a_split_with_a_label_that_is_no_class_is_refused():
    labels = np.zeros((3, 2, 2), int)
    labels[1, 0, 0] = 4
    one = COUNTED(np.zeros((3, 2, 2), int), labels, mask=np.ones(3))
    rows = {"confusion": np.asarray(one["confusion"].value), "pixels": np.asarray(one["pixels"])}
    assert rows["confusion"][0, 0] == 8  # of the other images
    with pytest.raises(DataError, match=r"image 1 of the split \(1 of 3 images\) has a label that is neither one of"):
        segmentation.summary(rows)
    ignored = COUNTED(np.zeros((1, 2, 2), int), np.full((1, 2, 2), 255), mask=np.ones(1))
    with pytest.raises(DataError, match="no pixel was counted"):
        segmentation.summary({"confusion": ignored["confusion"].value, "pixels": np.asarray(ignored["pixels"])})


def test_median_frequency_weights_by_hand():
    """Class 0 has 6 of the 8 counted pixels of both images, class 1 one of 4, class 2 one of 4: medians 1/4."""
    masks = np.array([[[0, 0], [0, 1]], [[0, 0], [0, 2]]])
    np.testing.assert_allclose(segmentation.median_frequency_weights(masks, 3), [1 / 3, 1, 1])
    more = np.array([[[0, 255], [0, 1]], [[0, 0], [0, 2]]])[..., None]
    np.testing.assert_allclose(segmentation.median_frequency_weights(more, 3), [7 / 15, 1, 4 / 3])
    with pytest.raises(DataError, match="class 3 has no pixel in 2 masks"):
        segmentation.median_frequency_weights(masks, 4)
    with pytest.raises(DataError, match="label 2, which is none of 2 classes"):
        segmentation.median_frequency_weights(masks, 2)


def squares(seed, images=8, classes=2, size=24):
    """Square instances, and detections that are shifted, of another class, or missing."""
    rng = np.random.default_rng(seed)

    def drawn(corners, sides):
        masks = np.zeros((*corners.shape[:2], size, size), bool)
        for i, k in np.ndindex(corners.shape[:2]):
            (y, x), s = corners[i, k], sides[i, k]
            masks[i, k, max(y, 0) : y + s, max(x, 0) : x + s] = True
        return masks

    corners, sides = rng.integers(0, 16, (images, 3, 2)), rng.integers(4, 9, (images, 3))
    labels = rng.integers(0, classes, (images, 3))
    shifted = corners + rng.integers(-1, 2, corners.shape)
    found = {
        "masks": np.concatenate([drawn(shifted, sides), drawn(corners[:, ::-1], sides)], 1),
        "classes": np.concatenate([np.where(rng.random(labels.shape) < 0.8, labels, 0), labels], 1),
        "scores": rng.permutation(images * 6).reshape(images, 6) / (images * 6),
        "mask": rng.random((images, 6)) < 0.8,
    }
    return found, {"masks": drawn(corners, sides), "classes": labels, "mask": rng.random((images, 3)) < 0.8}


@pytest.mark.curriculum("N30")
def test_overlap_of_masks_equals_loops():
    rng = np.random.default_rng(0)
    a, b = rng.random((4, 6, 7)) < 0.4, rng.random((3, 6, 7)) < 0.4
    a[0], b[0] = False, False
    expected = [[(x & y).sum() / max((x | y).sum(), 1) for y in b] for x in a]
    np.testing.assert_allclose(detection.pairwise_mask_iou(a, b), expected)
    assert detection.pairwise_mask_iou(a[:0], b).shape == (0, 3)
    with pytest.raises(DataError, match="other values than 0 and 1"):
        detection.pairwise_mask_iou(a * 0.5, b)
    with pytest.raises(DataError, match=r"must be \[n, h, w\] and \[m, h, w\]"):
        detection.pairwise_mask_iou(a, b[:, 1:])


@pytest.mark.curriculum("N30", "N25")
@pytest.mark.parametrize("seed", range(2))
def test_masks_are_matched_by_their_own_overlap(seed):
    """Filled rectangles overlap as their boxes do; masks with a hole do not."""
    found, truth = squares(seed)

    def boxed(arrays):
        rows, columns = arrays["masks"].any(3), arrays["masks"].any(2)  # [n, d, h], [n, d, w]
        low = [x.argmax(-1) for x in (rows, columns)]
        high = [x.shape[-1] - x[..., ::-1].argmax(-1) for x in (rows, columns)]
        return {**arrays, "boxes": np.stack([*low, *high], -1) / 24}

    of_masks = detection.voc_metrics(found, truth, 2, "masks")
    assert of_masks == pytest.approx(detection.voc_metrics(boxed(found), boxed(truth), 2))
    assert 0 < of_masks["voc_map"] < of_masks["voc_ap50"] < 1
    coco = [detection.coco_metrics(f, t, 2, (24, 24), kind) for f, t, kind in
            ((found, truth, "masks"), (boxed(found), boxed(truth), "boxes"))]  # fmt: skip
    assert coco[0] == pytest.approx(coco[1])
    holes = {**found, "masks": found["masks"] & (np.indices((24, 24)).sum(0) % 2 == 0)[None, None]}
    assert detection.voc_metrics(holes, truth, 2, "masks")["voc_map"] < of_masks["voc_map"] / 4


@pytest.mark.curriculum("N30", "N24")
@pytest.mark.parametrize("seed", range(2))
def test_mask_map_agrees_with_coco(seed):
    found, truth = squares(seed)
    coco = detection.coco_metrics(found, truth, 2, (24, 24), "masks")
    ours = [detection.mean_average_precision(found, truth, 2, t, "101_point", "masks")
            for t in (detection.COCO_THRESHOLDS, (0.5,), (0.75,))]  # fmt: skip
    # COCO lets a detection take another free mask when its best one is gone, so it may find a little more
    np.testing.assert_allclose(ours, list(coco.values()), atol=0.02)
    perfect = {**truth, "scores": np.ones(truth["mask"].shape)}
    assert detection.coco_metrics(perfect, truth, 2, (24, 24), "masks")["coco_ap"] == pytest.approx(1)


@pytest.mark.curriculum("N24")
def test_mean_over_classes_and_thresholds():
    found, truth = squares(3, classes=3)
    table = np.array([detection.voc_ap(found, truth, 4, t, kind="masks") for t in (0.5, 0.7)])
    assert np.isnan(table[:, 3]).all()  # the fourth class has no objects
    mean = detection.mean_average_precision(found, truth, 4, (0.5, 0.7), kind="masks")
    assert mean == pytest.approx(table[:, :3].mean())
    empty = {**truth, "mask": np.zeros_like(truth["mask"])}
    assert np.isnan(detection.mean_average_precision(found, empty, 3, kind="masks"))
    for change, said in [
        ({"thresholds": (0.0,)}, r"IoU thresholds \(0.0,\) must be in \(0, 1\]"),
        ({"kind": "pixels"}, "kind='pixels' must be boxes or masks"),
    ]:
        with pytest.raises(ConfigError, match=said):
            detection.mean_average_precision(found, truth, 3, **change)
    with pytest.raises(DataError, match="scores of detections are not all finite"):
        detection.voc_ap({**found, "scores": np.full((8, 6), np.nan)}, truth, 3, kind="masks")
    with pytest.raises(DataError, match="8 images and truth of 7"):
        detection.voc_ap(found, {k: v[:7] for k, v in truth.items()}, 3, kind="masks")
