"""Augmentation on the device: NumPy oracles, identity at probability 0, the same draws in every layout."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.core.parallel import PMAP_AXIS
from cvdl_jax.data.augment import policy
from cvdl_jax.data.pixels import normalise, to_unit
from cvdl_jax.errors import ConfigError

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
IMAGE = RNG.random((16, 6, 5, 3), np.float32)
LABEL = RNG.integers(0, 4, 16).astype(np.int32)
MAKE = {  # arguments that suit an image of 6 x 5, and make the key matter
    "cutout": {"size": 3},
    "random_crop": {"height": 6, "width": 5, "padding": 2},
    "corner_crop": {"height": 6, "width": 5, "padding": 2},
    "label_noise": {"probability": 0.5},
    "smooth_labels": {"probability": 0.5},
}
FIXED = {"center_crop"}  # nothing random in it
UNLABELLED = {"mosaic"}  # one label of an image is none of four images
BOX = np.sort(RNG.random((16, 2, 2, 2), np.float32), 2).reshape(16, 2, 4)
MASK = RNG.integers(0, 4, (16, 6, 5, 1)).astype(np.uint8)
TRUTH = {  # what operations on the ground truth change in place of the image
    "label_noise": {},
    "smooth_labels": {},
    "box_jitter": {"objects/bbox": BOX},
    "mask_erode": {"segmentation_mask": MASK},
    "mask_dilate": {"segmentation_mask": MASK},
    "mask_warp": {"segmentation_mask": MASK},
}


def batch(name=""):
    more = {entry: jnp.asarray(value) for entry, value in TRUTH.get(name, {}).items()}
    label = {} if name in UNLABELLED else {"label": jnp.asarray(LABEL)}
    return {"image": jnp.asarray(IMAGE), **label, **more}


def apply(text, key=KEY, **more):
    return policy.build(text, 4).update(None, {**batch(text.split("(")[0]), **more}, key)[1]


def call(name, **arguments):
    return f"{name}({', '.join(f'{k}={v}' for k, v in {**MAKE.get(name, {}), **arguments}.items())})"


def same(a, b):
    return all(np.array_equal(a[entry], b[entry]) for entry in a)


@pytest.mark.curriculum("F11", "F12")
@pytest.mark.parametrize(("name", "axis"), [("flip", 2), ("vertical_flip", 1)])
def test_flips_mirror_whole_rows(name, axis):
    np.testing.assert_array_equal(apply(f"{name}(1.0)")["image"], np.flip(IMAGE, axis))
    mixed = np.asarray(apply(name)["image"])
    flipped = [np.array_equal(m, f) for m, f in zip(mixed, np.flip(IMAGE, axis), strict=True)]
    kept = [np.array_equal(m, i) for m, i in zip(mixed, IMAGE, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 2 <= sum(flipped) <= 14


@pytest.mark.curriculum("F34", "F35")
@pytest.mark.parametrize(("name", "axis"), [("flip", 1), ("vertical_flip", 0)])
def test_flips_move_boxes_and_masks_with_the_pixels(name, axis):
    mask = np.zeros((16, 8, 4, 1), np.uint8)
    mask[:, 1:3, 0:3] = 7
    box = np.zeros((16, 2, 4), np.float32)
    box[:, 0] = [1 / 8, 0, 3 / 8, 3 / 4]  # the second row is padding
    more = {"image": jnp.asarray(mask / 7.0), "instance_mask": jnp.asarray(mask), "objects/bbox": jnp.asarray(box)}
    out = jax.tree.map(np.asarray, apply(name, **more))
    for image, moved, boxes in zip(out["image"], out["instance_mask"], out["objects/bbox"], strict=True):
        np.testing.assert_array_equal(image * 7, moved)
        y, x, _ = np.nonzero(moved)
        expected = [y.min() / 8, x.min() / 4, (y.max() + 1) / 8, (x.max() + 1) / 4]
        np.testing.assert_allclose(boxes, [expected, [0, 0, 0, 0]], atol=1e-6)
    assert 2 <= np.sum(out["objects/bbox"][:, 0, axis] != box[0, 0, axis]) <= 14  # some rows moved, some did not


@pytest.mark.curriculum("F14")
@pytest.mark.parametrize(("mode", "pad"), [("zeros", "constant"), ("reflect", "reflect"), ("edge", "edge")])
def test_padded_crop_is_one_of_all_windows(mode, pad):
    out = np.asarray(apply(f"padded_crop(2, mode={mode!r})")["image"])
    padded = np.pad(IMAGE, ((0, 0), (2, 2), (2, 2), (0, 0)), pad)
    offsets = []
    for row, wide in zip(out, padded, strict=True):
        windows = {(y, x): wide[y : y + 6, x : x + 5] for y in range(5) for x in range(5)}
        offsets += [next(place for place, window in windows.items() if np.array_equal(row, window))]
    assert len(set(offsets)) > 5  # rows move on their own


@pytest.mark.curriculum("F28")
def test_cutout_hides_one_square_around_a_uniform_centre():
    many = {"image": jnp.ones((4000, 6, 5, 1)), "label": jnp.zeros(4000, jnp.int32)}
    out = np.asarray(policy.build("cutout(size=3, fill=0.25)").update(None, many, KEY)[1]["image"])[..., 0]
    count = np.zeros((6, 5))
    for row in out:
        ys, xs = np.nonzero(row == 0.25)
        assert np.all(row[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] == 0.25)
        assert ys.max() - ys.min() < 3 and xs.max() - xs.min() < 3
        count += row == 0.25
    y, x = np.mgrid[:6, :5]  # a pixel is hidden by the centres at most one away
    near = np.array([[np.sum((abs(y - i) <= 1) & (abs(x - j) <= 1)) for j in range(5)] for i in range(6)])
    np.testing.assert_allclose(count / 4000, near / 30, atol=0.03)


@pytest.mark.curriculum("F29")
def test_mixup_blends_neighbours_and_keeps_the_sum_of_labels():
    out = apply("mixup(alpha=1.0)")
    label = np.asarray(out["label"])
    one_hot = np.eye(4, dtype=np.float32)[LABEL]
    partner = np.arange(16) ^ 1
    differ = np.flatnonzero(LABEL != LABEL[partner])
    keep = np.ones(16)
    keep[differ] = label[differ, LABEL[differ]]
    blend = keep[differ, None] * one_hot[differ] + (1 - keep[differ, None]) * one_hot[partner[differ]]
    np.testing.assert_allclose(label[differ], blend, atol=1e-6)
    image = keep[:, None, None, None] * IMAGE + (1 - keep[:, None, None, None]) * IMAGE[partner]
    np.testing.assert_allclose(out["image"][differ], image[differ], atol=1e-6)
    np.testing.assert_allclose(label.sum(-1), 1, atol=1e-6)
    assert len({round(k, 4) for k in keep[differ]}) == len(differ)


@pytest.mark.curriculum("F29")
def test_mixup_draws_its_weight_from_beta():
    many = {"image": jnp.zeros((4096, 1, 1, 1)).at[::2].set(1), "label": jnp.zeros(4096, jnp.int32)}
    keep = np.asarray(policy.build("mixup(0.5)", 2).update(None, many, KEY)[1]["image"])[::2].ravel()
    assert abs(keep.mean() - 0.5) < 0.03
    assert abs(keep.var() - 1 / 8) < 0.01  # Beta(a, a) has variance 1 / (4 (2 a + 1))


@functools.cache
def compiled(name):
    """The operation as training runs it; traced and compiled once for all that is asked of it."""
    return jax.jit(policy.build(call(name), 4).update)


def drawn(name, key=KEY):
    return compiled(name)(None, batch(name), key)[1]


@pytest.mark.parametrize("name", sorted(policy.operations().keys() - FIXED))
class TestEveryOperation:
    """Compiled: op by op, each primitive would be a program of its own. The oracles above run without `jit`."""

    def test_probability_zero_is_the_identity(self, name):
        assert "probability" in inspect.signature(policy.find(name)).parameters
        never = jax.jit(policy.build(call(name, probability=0.0), 4).update)
        np.testing.assert_array_equal(never(None, batch(name), KEY)[1]["image"], IMAGE)

    def test_the_key_decides_and_shapes_stay(self, name):
        first, second = drawn(name), drawn(name)
        other = drawn(name, jax.random.key(4))
        assert same(first, second) and not same(first, other)
        assert np.array_equal(first["image"], IMAGE) == (name in TRUTH)
        assert first["image"].shape == IMAGE.shape and first["image"].dtype == np.float32
        assert first["image"].min() >= 0 and first["image"].max() <= 1

    def test_two_devices_draw_what_one_draws(self, name):
        whole = drawn(name)
        halves = jax.tree.map(lambda x: x.reshape(2, 8, *x.shape[1:]), batch(name))
        update = policy.build(call(name), 4).update
        parts = jax.jit(jax.vmap(lambda b: update(None, b, KEY)[1], axis_name=PMAP_AXIS))(halves)
        for entry, value in whole.items():
            np.testing.assert_allclose(parts[entry].reshape(value.shape), value, atol=1e-6)


def test_a_policy_applies_in_order_and_an_empty_one_is_none():
    assert policy.build("") is None
    out = apply("flip(1.0) | vertical_flip(probability=1.0)")
    np.testing.assert_array_equal(out["image"], IMAGE[:, ::-1, ::-1])
    assert set(policy.operations()) >= {"flip", "vertical_flip", "padded_crop", "cutout", "mixup"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flop", "no operation 'flop'; did you mean 'flip'"),
        ("flip(probabilty=1.0)", "did you mean 'probability'"),
        ("flip(probability=2.0)", "between 0 and 1"),
        ("cutout(size=0)", "at least 1"),
        ("cutout(size='big')", "size"),
        ("padded_crop(mode='mirror')", "mode"),
        ("mixup(alpha=-1)", "at least 0 and finite"),
        ("mixup(alpha=1e999)", "at least 0 and finite"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(text, message):
    with pytest.raises(ConfigError, match=message):
        policy.build(text, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cutout(size=12)", r"cutout\(size=12\) hides images of 6 x 5 pixels wherever it lies; choose at most 3"),
        ("padded_crop(6)", "padded_crop pads images of 6 pixels by 6 on each side.*choose less than 6, such as 1"),
        ("random_crop(4, padding=5)", "pads images of 5 pixels by 5"),
    ],
)
def test_sizes_that_leave_nothing_of_the_image(text, message):
    with pytest.raises(ConfigError, match=message):
        policy.build(text).update(None, {"image": jnp.zeros((2, 6, 5, 1))}, KEY)


def test_mistakes_that_show_in_the_batch():
    odd = {"image": jnp.zeros((3, 2, 2, 1)), "label": jnp.zeros(3, jnp.int32)}
    with pytest.raises(ConfigError, match="a device has 3 rows"):
        policy.build("mixup", 2).update(None, odd, KEY)
    with pytest.raises(ConfigError, match="no classes"):
        policy.build("mixup").update(None, odd, KEY)
    with pytest.raises(ConfigError, match=r"'segmentation_mask'.*config.data.features"):
        apply("mixup", segmentation_mask=jnp.zeros((16, 6, 5, 1), jnp.uint8))
    with pytest.raises(ConfigError, match="finds no label"):
        policy.build("mixup", 2).update(None, {"image": jnp.zeros((2, 2, 2, 1))}, KEY)
    with pytest.raises(ConfigError, match=r"'segmentation_mask'.*config.data.features"):
        apply("padded_crop(1)", segmentation_mask=jnp.zeros((16, 3, 5, 1), jnp.uint8))


def test_pixels_become_floats_and_are_normalised():
    pixels = jnp.asarray([[[[0, 255, 51]]]], jnp.uint8)
    np.testing.assert_allclose(to_unit(pixels), [[[[0, 1, 0.2]]]], rtol=1e-6)
    out = normalise(to_unit(pixels), mean=(0.5, 0.5, 0.2), std=(0.5, 0.25, 2.0))
    np.testing.assert_allclose(out, [[[[-1, 2, 0]]]], atol=1e-6)
    with pytest.raises(ConfigError, match="mean has 2 numbers, the image has 3 channels"):
        normalise(to_unit(pixels), mean=(0.5, 0.5))
    with pytest.raises(ConfigError, match="must be positive"):
        normalise(to_unit(pixels), std=(0.0,))
    with pytest.raises(TypeError, match="int32"):
        to_unit(jnp.zeros((1, 1, 1), jnp.int32))
