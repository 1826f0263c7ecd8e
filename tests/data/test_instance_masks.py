"""Masks of instances and the rows of their objects: paired by number, through resizing, dropping and padding."""

from dataclasses import replace

import numpy as np
import pytest

from cvdl_jax.data import boxes, instances
from cvdl_jax.data.host import HostStage
from cvdl_jax.data.load import load
from cvdl_jax.data.schema import Feature
from cvdl_jax.errors import DataError
from cvdl_jax.ops.images.watershed import boxes_of

FEATURES = {
    "image": Feature("image", (None, None, 3), "uint8"),
    "instance_mask": Feature("mask", (None, None, 1), "uint8"),
    "objects/bbox": Feature("box", (None, 4), "float32"),
    "objects/label": Feature("label", (None,), "int32", 3),
    "objects/mask_id": Feature("tensor", (None,), "int32"),
}


def example():
    """Three objects whose numbers are in another order than their rows; the second one has no area."""
    mask = np.zeros((4, 8, 1), np.uint8)
    mask[0, :2], mask[2:, 4:], mask[3, 0] = 7, 2, 200
    box = [[0, 0, 0.25, 0.25], [0.75, 0, 0.75, 0.125], [0.5, 0.5, 1, 1]]
    return {
        "image": np.zeros((4, 8, 3), np.uint8), "instance_mask": mask, "objects/bbox": np.asarray(box, np.float32),
        "objects/label": np.asarray([2, 1, 0], np.int32), "objects/mask_id": np.asarray([7, 200, 2], np.int32),
    }  # fmt: skip


def finished(raw, max_boxes=4, drop=True):
    entry = instances.check(raw, FEATURES, max_boxes, lambda: "example 3")
    return instances.finish(boxes.finish(raw, FEATURES, max_boxes, drop, lambda: "example 3"), entry)


@pytest.mark.curriculum("M18")
def test_a_pixel_has_the_number_of_its_object_s_row():
    out = finished(example())
    assert out["objects/label"].tolist() == [2, 0, 0, 0] and out["boxes_dropped"] == 1
    assert out["objects/mask_id"].tolist() == [1, 2, 0, 0] and out["boxes_mask"].tolist() == [1, 1, 0, 0]
    expected = np.zeros((4, 8), int)
    expected[0, :2], expected[2:, 4:] = 1, 2  # the pixel of the object that was dropped is nobody's
    np.testing.assert_array_equal(out["instance_mask"][..., 0], expected)
    np.testing.assert_allclose(boxes_of(expected, 4), out["objects/bbox"])
    assert out["instances_lost"] == 0 and out["instance_mask"].dtype == np.uint8


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("objects/mask_id", [7, 200, 3], "example 3: 'instance_mask' has the value 2, which no object"),
        ("objects/mask_id", [7, 2, 2], "'instance_mask' has the value 200, which no object"),
        ("instance_mask", np.zeros((4, 7, 1), np.uint8), "has 4x7 pixels, its image 4x8"),
    ],
)
def test_masks_and_objects_that_do_not_fit_are_refused(entry, value, message):
    with pytest.raises(DataError, match=message):
        finished({**example(), entry: np.asarray(value)})


def test_numbers_must_differ():
    raw = {**example(), "instance_mask": np.zeros((4, 8, 1), np.uint8)}
    with pytest.raises(DataError, match=r"'objects/mask_id' is \[2, 2, 1\], and must be different numbers from 1 to"):
        finished({**raw, "objects/mask_id": np.asarray([2, 2, 1])})
    assert finished(raw)["instances_lost"] == 2  # objects without a pixel are counted, and stay
    with pytest.raises(DataError, match=r"has 2 boxes, config.data.max_boxes=1 is too small"):
        finished(example(), max_boxes=1)


def test_the_border_of_a_padded_mask_of_instances_is_no_object():
    stage = HostStage(image_size=(8, 8), crop="pad")
    some = {k: f for k, f in FEATURES.items() if "objects" not in k}
    also = {**some, "segmentation_mask": FEATURES["instance_mask"]}
    raw = {**example(), "segmentation_mask": example()["instance_mask"]}
    out = stage(raw, also, 0, 0, 0)
    assert set(np.unique(out["instance_mask"])) == {0, 2, 7, 200} and out["segmentation_mask"][0, 0, 0] == 255


@pytest.mark.curriculum("M18")
def test_shapes_deliver_masks_by_row_and_small_ones_say_what_is_lost(capsys):
    entries = ("image", "instance_mask", "objects/bbox", "objects/label")
    known = {"name": "shapes(size=32, train=24, validation=4, test=4)", "features": entries, "max_boxes": 5}
    train = load(**known, cache=False).splits["train"]
    assert "no pixel left" not in capsys.readouterr().out and set(train.spec) == {
        *entries, "objects/mask_id", "boxes_mask", "instances_lost"
    }  # fmt: skip
    arrays = train.arrays
    for i in range(24):
        tight = boxes_of(arrays["instance_mask"][i, ..., 0], 5)
        np.testing.assert_allclose(tight, arrays["objects/bbox"][i], atol=1e-6)
        np.testing.assert_array_equal(tight.any(1), arrays["boxes_mask"][i] > 0)
    small = load(**known, image_size=(3, 3), cache=False).splits["train"].arrays
    lost = int(small["instances_lost"].sum())
    assert lost > 0 and small["boxes_mask"].sum() == arrays["boxes_mask"].sum()
    assert f"{lost} of {int(arrays['boxes_mask'].sum())} objects have no pixel left" in capsys.readouterr().out
    alone = load(**{**known, "max_boxes": 0, "features": ("image", "instance_mask")}, cache=False).splits["train"]
    assert set(alone.spec) == {"image", "instance_mask"} and replace(alone, arrays=None).size == 24


@pytest.mark.curriculum("M18")
def test_nuclei_of_every_size_come_by_name(real_data):
    entries = ("image", "instance_mask", "objects/bbox", "objects/label")
    data = load("dsb2018_nuclei", str(real_data), "train[:6]", features=entries, max_boxes=255,
                image_size=(192, 192), cache=False)  # fmt: skip
    arrays = data.splits["train"].arrays
    assert data.num_classes == 1 and data.class_names == ("nucleus",)
    for i in range(6):
        n = int(arrays["boxes_mask"][i].sum())
        ids = np.unique(arrays["instance_mask"][i])
        assert n > 0 and ids.max() <= n and len(ids) - 1 == n - arrays["instances_lost"][i]
        tight = boxes_of(arrays["instance_mask"][i, ..., 0], n)
        there = tight.any(1)
        assert np.abs(tight - arrays["objects/bbox"][i, :n])[there].max() <= 2 / 192  # by nearest pixels
