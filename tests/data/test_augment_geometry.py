"""Random moves on the device: where windows go, how angles and factors are spread, and what boxes and masks do."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cvdl_jax.core.parallel import PMAP_AXIS, row_random
from cvdl_jax.data.augment import crops, policy
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images.crops import resized_crop

KEY = jax.random.key(5)
RNG = np.random.default_rng(0)
SIZE = H, W = 24, 20
OFTEN = 0.001  # a right distribution fails a test with this probability, once and for all: the key is fixed
EVERY = (
    "flip", "vertical_flip", "padded_crop(3)", "random_crop(18, 16)", "center_crop(18, 16)", "corner_crop(18, 16)",
    "random_resized_crop(30, 10, scale=(0.6, 1.0), order='nearest')", "rotate(30, order='nearest')",
    "shear(order='nearest')", "scale(order='nearest')", "stretch(order='nearest')",
)  # fmt: skip


@cache
def compiled(text):
    return jax.jit(lambda batch, key: policy.build(text).update(None, batch, key)[1])


def apply(text, batch, key=KEY):
    return jax.tree.map(np.asarray, compiled(text)(batch, key))


@pytest.mark.curriculum("F34")
def test_a_lost_box_erases_no_row_of_a_mask_that_has_as_many_rows_as_there_are_boxes():
    box = np.zeros((1, 16, 4), np.float32)
    box[:, :8], box[:, 8:] = [0, 0, 0.1, 0.1], [0.9, 0.9, 1, 1]
    ones = jnp.ones((1, 16, 16, 1))
    batch = {"image": ones, "objects/bbox": jnp.asarray(box), "objects/instance_mask": ones.astype(jnp.uint8)}
    out = apply("random_crop(16, padding=8)", batch | {"boxes_mask": jnp.ones((1, 16))}, jax.random.key(3))
    assert 0 < out["boxes_mask"].sum() < 16
    np.testing.assert_array_equal(out["image"], out["objects/instance_mask"])


def windows(x, height, width):
    """Every window of images [b, h, w]: {place: [b, height, width]}."""
    places = [(y, x_) for y in range(x.shape[1] - height + 1) for x_ in range(x.shape[2] - width + 1)]
    return {(y, x_): x[:, y : y + height, x_ : x_ + width] for y, x_ in places}


def places(out, wide):
    """Which window of `wide` each row of `out` is, as a number; both [b, h, w]."""
    every = np.stack(list(windows(wide, *out.shape[1:]).values()), 1)  # [b, places, h, w]
    same = np.all(every == out[:, None], axis=(2, 3))
    assert np.all(same.sum(1) == 1)
    return same.argmax(1), same.shape[1]


def scenes(b=12):
    """Images that show their masks, one box a scene and its label; a second row is padding."""
    mask = np.zeros((b, H, W, 1), np.uint8)
    mask[:, 9:15, 7:12] = 1
    box = np.zeros((b, 2, 4), np.float32)
    box[:, 0] = [9 / H, 7 / W, 15 / H, 12 / W]
    return {
        "image": jnp.asarray(mask, jnp.float32),
        "instance_mask": jnp.asarray(mask),
        "segmentation_mask": jnp.asarray(mask[..., 0]),
        "objects/bbox": jnp.asarray(box),
        "objects/label": jnp.asarray([[3, 0]] * b, jnp.int32),
        "boxes_mask": jnp.asarray([[1.0, 0.0]] * b),
        "label": jnp.arange(b),
    }


@pytest.mark.curriculum("F11", "F34", "F35")
@pytest.mark.parametrize("text", EVERY)
def test_boxes_and_masks_go_with_the_image(text):
    before = scenes()
    out = apply(text, before)
    seen = out["segmentation_mask"] == 1
    np.testing.assert_array_equal(out["image"][..., 0] == 1, seen)
    np.testing.assert_array_equal(out["instance_mask"][..., 0] == 1, seen)
    assert set(np.unique(out["segmentation_mask"])) <= {0, 1, 255}
    assert set(np.unique(out["instance_mask"])) == {0, 1}
    height, width = seen.shape[1:]
    for mask, boxes in zip(seen, out["objects/bbox"], strict=True):
        y, x = np.nonzero(mask)
        pixels = boxes[0] * [height, width, height, width]
        around = [y.min(), x.min(), y.max() + 1, x.max() + 1]
        slack = 1.3 * max(1, height / H)  # a corner of less than a pixel is seen in no pixel
        np.testing.assert_allclose(pixels, around, atol=slack if "nearest" in text else 1e-4)
    np.testing.assert_array_equal(out["objects/bbox"][:, 1], 0)
    np.testing.assert_array_equal(out["boxes_mask"], before["boxes_mask"])
    np.testing.assert_array_equal(out["objects/label"], before["objects/label"])
    np.testing.assert_array_equal(out["label"], before["label"])


@pytest.mark.curriculum("F34", "F35")
def test_two_devices_move_what_one_moves():
    text = "rotate(30)"
    whole = apply(text, scenes())
    halves = jax.tree.map(lambda x: x.reshape(2, 6, *x.shape[1:]), scenes())
    update = policy.build(text).update
    parts = jax.jit(jax.vmap(lambda b: update(None, b, KEY)[1], axis_name=PMAP_AXIS))(halves)
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name].reshape(value.shape), value, atol=1e-6)
    assert len(np.unique(whole["objects/bbox"][:, 0], axis=0)) == 12  # and each row moves on its own


@pytest.mark.curriculum("F11", "F12")
@given(st.integers(0, 2**16), st.sampled_from(["flip", "vertical_flip"]))
def test_two_flips_change_nothing(seed, name):
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.random((2, 2, 3, 2), np.float32), 0)
    batch = {
        "image": rng.random((2, 4, 3, 2), np.float32),
        "mask": rng.integers(0, 9, (2, 4, 3)),
        "bbox": np.concatenate([low, high], -1),
    }
    out = apply(f"{name}(1.0) | {name}(1.0)", batch)
    np.testing.assert_array_equal(out["image"], batch["image"])
    np.testing.assert_array_equal(out["mask"], batch["mask"])
    np.testing.assert_allclose(out["bbox"], batch["bbox"], atol=1e-6)


@pytest.mark.curriculum("F14", "F15", "F17")
@pytest.mark.parametrize(
    ("text", "pads", "mode"),
    [
        ("random_crop(4, 2)", (0, 0), "constant"),
        ("random_crop(5, padding=1, fill=0.5)", (1, 1), "constant"),
        ("translate((0.4, 0.25), mode='reflect')", (2, 1), "reflect"),
        ("corner_crop(3)", (0, 0), "constant"),
    ],
)
def test_windows_are_slices_at_uniform_places(text, pads, mode):
    b = 1500
    image = RNG.random((b, 5, 4), np.float32)
    out = apply(text, {"image": image[..., None]})["image"][..., 0]
    more = {"constant_values": 0.5 if "fill" in text else 0.0} if mode == "constant" else {}
    wide = np.pad(image, ((0, 0), *((p, p) for p in pads)), mode, **more)
    number, n = places(out, wide)
    count = np.bincount(number, minlength=n)
    if text.startswith("corner"):  # windows of 3 x 3 in 5 x 4 pixels: rows 0..2, columns 0..1; the centre is at (1, 0)
        assert count[3] == 0
        count = np.delete(count, 3)
    assert stats.chisquare(count).pvalue > OFTEN


@pytest.mark.curriculum("F15")
def test_the_centre_is_one_window_and_what_is_not_chosen_takes_it():
    image = RNG.random((6, 7, 6, 2), np.float32)
    for text in ("center_crop(4, 3)", "random_crop(4, 3, probability=0.0)", "corner_crop(4, 3, probability=0.0)"):
        np.testing.assert_array_equal(apply(text, {"image": image})["image"], image[:, 1:5, 1:4])


def recovered(text, b=1500):
    """The matrices [b, 2, 2] that an operation applied, read off an image of coordinates."""
    y, x = np.mgrid[-8:9, -8:9].astype(np.float32)
    image = np.broadcast_to(np.stack([y, x], -1), (b, 17, 17, 2))
    out = apply(text, {"image": image})["image"]
    return np.stack([out[:, 9, 8], out[:, 8, 9]], -1)  # columns: where (1, 0) and (0, 1) come from


def assert_uniform(values, low, high):
    assert stats.kstest((values - low) / (high - low), "uniform").pvalue > OFTEN


@pytest.mark.curriculum("F13")
def test_angles_are_uniform():
    m = recovered("rotate(40)")
    np.testing.assert_allclose(np.linalg.det(m), 1, atol=1e-5)
    assert_uniform(np.rad2deg(np.arctan2(m[:, 0, 1], m[:, 0, 0])), -40, 40)


@pytest.mark.curriculum("F16", "F19")
def test_factors_are_log_uniform():
    m = recovered("scale(0.5, 3)")
    np.testing.assert_allclose(m[:, 0, 0], m[:, 1, 1], atol=1e-5)
    assert_uniform(-np.log(m[:, 0, 0]), math.log(0.5), math.log(3))
    m = recovered("stretch(2)")
    np.testing.assert_allclose(m[:, 0, 0] * m[:, 1, 1], 1, atol=1e-5)
    assert_uniform(np.log(m[:, 0, 0] / m[:, 1, 1]), -math.log(2), math.log(2))


@pytest.mark.curriculum("F18")
def test_slopes_are_uniform():
    m = recovered("shear(0.5, 0.25)")
    np.testing.assert_allclose(np.linalg.det(m), 1, atol=1e-5)
    assert_uniform(-m[:, 1, 0], -0.5, 0.5)
    assert_uniform(-m[:, 0, 1], -0.25, 0.25)


def torchvision_window(rng, h, w, scale, ratio):
    """One draw of torchvision's RandomResizedCrop.get_params, in its words."""
    for _ in range(10):
        area = h * w * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        m, n = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < m <= w and 0 < n <= h:
            return rng.integers(0, h - n + 1), rng.integers(0, w - m + 1), n, m
    if w / h < min(ratio):
        m, n = w, round(w / min(ratio))
    elif w / h > max(ratio):
        n, m = h, round(h * max(ratio))
    else:
        n, m = h, w
    return (h - n) // 2, (w - m) // 2, n, m


@pytest.mark.curriculum("F16")
@pytest.mark.parametrize("shape", [(40, 30), (4, 100)])  # of the second, almost no try fits
def test_random_windows_are_those_of_torchvision(shape):
    scale, ratio, b = (0.3, 1.0), (0.75, 4 / 3), 1500
    draw = jax.jit(jax.vmap(lambda key: crops._resized_window(key, *shape, scale, ratio)))
    ours = np.asarray(draw(jax.random.split(KEY, b)))
    rng = np.random.default_rng(1)
    theirs = np.asarray([torchvision_window(rng, *shape, scale, ratio) for _ in range(b)])
    assert np.all(ours[:, :2] >= 0) and np.all(ours[:, :2] + ours[:, 2:] <= shape) and np.all(ours[:, 2:] > 0)
    for i in range(4):
        assert stats.ks_2samp(ours[:, i], theirs[:, i]).pvalue > OFTEN
    assert stats.ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > OFTEN


@pytest.mark.curriculum("F16")
def test_the_resized_crop_is_its_window_at_another_size():
    image = RNG.random((4, 10, 12, 3), np.float32)
    scale, ratio = (0.25, 0.5), (1.0, 2.0)
    out = apply(f"random_resized_crop(7, 8, {scale}, {ratio})", {"image": image})["image"]
    where = jax.random.split(jax.random.fold_in(KEY, 0))[0]
    draw = jax.jit(lambda k: row_random(lambda k, _: crops._resized_window(k, 10, 12, scale, ratio), k, (4, 4)))
    np.testing.assert_allclose(out, resized_crop(jnp.asarray(image), draw(where), (7, 8)), atol=1e-6)
    whole = jnp.asarray([[0, 0, 10, 12]] * 4)
    kept = apply("random_resized_crop(7, 8, probability=0.0)", {"image": image})["image"]
    np.testing.assert_allclose(kept, resized_crop(jnp.asarray(image), whole, (7, 8)), atol=1e-6)


@pytest.mark.curriculum("F34")
@pytest.mark.parametrize(("least", "kept"), [(0.25, [1, 0, 1, 1, 0]), (0.3, [1, 0, 0, 1, 0]), (1.0, [1, 0, 0, 0, 0])])
def test_a_box_that_leaves_becomes_padding(least, kept):
    """Windows of 4 x 4 in the centre of 8 x 8: rows and columns 2 ... 5."""
    boxes = np.asarray([[3, 3, 5, 6], [0, 0, 2, 8], [0, 0, 4, 4], [1, 2, 3, 6], [0, 0, 0, 0]], np.float32)[None] / 8
    batch = {
        "image": np.zeros((1, 8, 8, 3), np.float32),
        "objects/bbox": boxes,
        "objects/label": np.asarray([[4, 5, 6, 7, 0]], np.int32),
        "boxes_mask": np.asarray([[1, 1, 1, 1, 0]], np.float32),
    }
    out = apply(
        f"center_crop(4, min_visible={least})", batch
    )  # of the third box 4 of 16 pixels are left, 4 of 8 of the next
    if least == 0.25:
        kept = [1, 0, 1, 1, 0]
    inside = np.asarray([[1, 1, 3, 4], [0] * 4, [0, 0, 2, 2], [0, 0, 1, 4], [0] * 4], np.float32) / 4
    np.testing.assert_allclose(out["objects/bbox"][0], inside * np.asarray(kept)[:, None], atol=1e-6)
    np.testing.assert_array_equal(out["boxes_mask"][0], kept)
    np.testing.assert_array_equal(out["objects/label"][0], np.asarray([4, 5, 6, 7, 0]) * kept)


@pytest.mark.curriculum("F35")
def test_what_comes_in_is_ignored_by_masks():
    masks = {
        "segmentation_mask": np.ones((2, 6, 5), np.uint8),
        "instance_mask": np.ones((2, 6, 5, 3), np.int32),
        "soft_mask": np.ones((2, 6, 5, 1), np.float32),
        "bool_mask": np.ones((2, 6, 5), bool),
    }
    batch = {"image": np.ones((2, 6, 5, 3), np.float32), **masks}
    for text in ("translate((0.8, 0.0), fill=0.5)", "rotate(180, order='nearest', fill=0.5)"):
        out = apply(text, batch)
        came = out["image"][..., 0] == 0.5
        assert came.any() and not came.all()
        np.testing.assert_array_equal(out["segmentation_mask"], np.where(came, 255, 1))
        np.testing.assert_array_equal(out["instance_mask"], np.repeat(~came[..., None], 3, -1))
        np.testing.assert_array_equal(out["soft_mask"][..., 0], ~came)
        np.testing.assert_array_equal(out["bool_mask"], ~came)
        assert all(out[name].dtype == mask.dtype for name, mask in masks.items())
    out = apply("rotate(45, mode='edge')", batch)
    assert all(np.all(out[name] == 1) for name in batch)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rotate(degrees=200)", r"rotate\(degrees=200.0\) must be between 0 and 180"),
        ("rotate(order='cubic')", "order"),
        ("shear(x=2)", r"shear\(x=2.0\) must be between 0 and 1"),
        ("shear(y=-1)", r"shear\(y=-1.0\) must be between 0 and 1"),
        ("scale(low=0)", r"scale\(low=0.0\) must be between 0.1 and 10"),
        ("scale(1.5, 1.2)", r"scale\(high=1.2\) must be between 1.5 and 10"),
        ("stretch(0.5)", r"stretch\(ratio=0.5\) must be between 1 and 10"),
        ("scale(fill=2)", r"scale\(fill=2.0\) must be between 0 and 1"),
        ("translate(-0.1)", r"translate\(fraction=-0.1\) must be between 0 and 1"),
        ("translate((0, 2))", r"translate\(fraction=2.0\) must be between 0 and 1"),
        ("translate(mode='wrap')", "mode"),
        ("random_crop", "height is missing"),
        ("random_crop(0)", r"random_crop\(height=0\) must be at least 1"),
        ("corner_crop(3, 0)", r"corner_crop\(width=0\) must be at least 1"),
        ("random_crop(3, padding=-1)", "padding=-1"),
        ("center_crop(3, min_visible=2)", r"center_crop\(min_visible=2.0\) must be between 0 and 1"),
        (
            "random_resized_crop(scale=(0.5, 2.0))",
            r"scale=\(0.5, 2.0\)\) must be \(low, high\) .* <= 1",
        ),
        ("random_resized_crop(ratio=(2, 1))", r"ratio=\(2.0, 1.0\)\) must be \(low, high\)"),
        ("random_resized_crop(height=0)", r"height=0\) must be at least 1"),
        ("rotate(probability=2)", "between 0 and 1"),
    ],
)
def test_mistakes_in_the_policy(text, message):
    with pytest.raises(ConfigError, match=message):
        policy.build(text)


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("random_crop(9, 4)", {}, r"random_crop\(height=9\) must be at most 8: the images have 8 pixels"),
        ("center_crop(9)", {}, r"center_crop\(height=9\) must be at most 8"),
        ("corner_crop(8, 11, padding=2)", {}, r"width=11\) must be at most 10: .* 6 pixels with 2 of padding"),
        ("translate(0.05)", {}, r"translate\(fraction=0.05\) moves images of 8 x 6 by less than a pixel"),
        ("flip", {"objects/bbox": [[[0, 0, 8, 6]]]}, r"boxes .* in 0..1, and 'objects/bbox' holds \[0.0, 0.0, 8.0"),
        ("flip", {"objects/bbox": [[[0.5, 0.2, 0.1, 0.6]]]}, "'objects/bbox' holds"),
        ("flip", {"bbox": [[[0.5, 0.2, 0.6]]]}, r"boxes \[..., 4\], and 'bbox' is \[1, 1, 3\]"),
        ("flip", {"semantic_mask": np.zeros((1, 4, 6))}, r"'semantic_mask' is \[1, 4, 6\] beside images of 8 x 6"),
    ],
)
def test_mistakes_that_show_in_the_batch(text, more, message):
    batch = {"image": jnp.zeros((1, 8, 6, 3)), **{name: jnp.asarray(x, jnp.float32) for name, x in more.items()}}
    with pytest.raises(ConfigError, match=message):
        policy.build(text).update(None, batch, KEY)
