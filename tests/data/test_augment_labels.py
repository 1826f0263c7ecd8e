"""Noise on the ground truth: rates, validity and morphology against NumPy and SciPy; images stay bit for bit."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from cvdl_jax.data.augment import policy
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import masks

KEY = jax.random.key(11)
RNG = np.random.default_rng(3)
IMAGE = RNG.random((16, 8, 8, 3), np.float32)
LABEL = RNG.integers(0, 5, 16).astype(np.int32)


@cache
def compiled(text):
    return jax.jit(policy.build(text, 5).update)


def run(text, key=KEY, **more):
    batch = {"image": IMAGE, "label": LABEL, **more}
    out = jax.tree.map(np.asarray, compiled(text)(None, batch, key)[1])
    np.testing.assert_array_equal(out["image"], batch["image"])
    return out


def within(successes, n, p):
    """Whether a count is inside the central 0.9998 of the binomial distribution."""
    low, high = stats.binom.interval(0.9998, n, p)
    return low <= successes <= high


@pytest.mark.curriculum("F33")
@pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
def test_label_noise_flips_at_its_rate_to_any_other_class(probability):
    label = np.full(4000, 2, np.int32)
    out = run(f"label_noise({probability})", label=label)["label"]
    assert out.dtype == np.int32
    flipped = out[out != 2]
    assert within(len(flipped), 4000, probability)
    if len(flipped):
        values, counts = np.unique(flipped, return_counts=True)
        assert list(values) == [0, 1, 3, 4] and stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.curriculum("F33")
def test_label_noise_on_objects_leaves_padding():
    label = RNG.integers(0, 5, (16, 6)).astype(np.int32)
    real = (np.arange(6) < RNG.integers(0, 7, 16)[:, None]).astype(np.float32)
    out = run("label_noise(1.0, entry='objects/label')", **{"objects/label": label, "boxes_mask": real})
    np.testing.assert_array_equal(out["objects/label"] != label, real == 1)
    np.testing.assert_array_equal(out["label"], LABEL)


@pytest.mark.curriculum("F33")
def test_smooth_labels_is_label_smoothing():
    one_hot = np.eye(5, dtype=np.float32)[LABEL]
    expected = optax.smooth_labels(jnp.asarray(one_hot), 0.2)
    np.testing.assert_allclose(run("smooth_labels(0.2)")["label"], expected, atol=1e-6)
    np.testing.assert_allclose(run("smooth_labels(0.2)", label=one_hot)["label"], expected, atol=1e-6)
    soft = run("smooth_labels(0.2, probability=0.5)")["label"]
    smoothed = soft.max(1) < 1
    assert 2 <= smoothed.sum() <= 14
    np.testing.assert_allclose(soft, np.where(smoothed[:, None], expected, one_hot), atol=1e-6)


SIDES = st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)).map(sorted)


@pytest.mark.curriculum("F34")
@given(data=st.data())
def test_jittered_boxes_are_boxes(data):
    boxes = np.zeros((2, 3, 4), np.float32)
    for i in range(2):
        (top, bottom), (left, right) = data.draw(SIDES), data.draw(SIDES)
        boxes[i, 0] = top, left, bottom, right
    batch = {"image": IMAGE[:2], "label": LABEL[:2], "objects/bbox": boxes}
    key = jax.random.key(data.draw(st.integers(0, 1000)))
    out = run("box_jitter(0.49)", key, **batch)["objects/bbox"]
    assert out.min() >= 0 and out.max() <= 1
    assert np.all(out[:, 1:] == 0)  # padding
    low, high, size = out[:, 0, :2], out[:, 0, 2:], boxes[:, 0, 2:] - boxes[:, 0, :2]
    assert np.all(low <= high)
    assert np.all(low[size > 1e-3] < high[size > 1e-3])
    assert np.all(abs(out - boxes)[:, 0] <= 0.49 * np.tile(size, 2) + 1e-6)


@pytest.mark.curriculum("F34")
def test_sides_move_by_a_uniform_part_of_the_box():
    boxes = np.tile(np.asarray([0.3, 0.2, 0.5, 0.8], np.float32), (1000, 2, 1))
    real = np.tile(np.asarray([1, 0], np.float32), (1000, 1))
    more = {"image": np.zeros((1000, 1, 1, 1), np.float32), "objects/bbox": boxes, "boxes_mask": real}
    out = run("box_jitter(0.2)", label=np.zeros(1000, np.int32), **more)["objects/bbox"]
    np.testing.assert_array_equal(out[:, 1], boxes[:, 1])  # masked out
    moved = (out - boxes)[:, 0] / np.asarray([0.2, 0.6, 0.2, 0.6])[None]
    assert all(stats.kstest(side, stats.uniform(-0.2, 0.4).cdf).pvalue > 1e-3 for side in moved.T)
    assert abs(np.corrcoef(moved.T) - np.eye(4)).max() < 0.15
    some = run("box_jitter(0.2, probability=0.3)", label=np.zeros(1000, np.int32), **more)["objects/bbox"]
    assert within(np.sum(some[:, 0, 0] != 0.3), 1000, 0.3)


BLOBS = (ndimage.gaussian_filter(RNG.random((16, 20, 20)), (0, 2, 2)) > 0.51).astype(np.uint8)[..., None]
LABELS = ndimage.zoom(RNG.integers(0, 4, (16, 5, 5)), (1, 4, 4), order=0).astype(np.uint8)[..., None]
HOLES = np.where(RNG.random(LABELS.shape) < 0.1, 255, LABELS).astype(np.uint8)
J = {name: jax.jit(getattr(masks, name), static_argnums=1) for name in ("erode", "dilate")}


def by_loops(mask, kind):
    """One pixel of erosion or dilation of labels [h, w], ignoring 255."""
    out = mask.copy()
    for i, j in np.ndindex(mask.shape):
        near = mask[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
        near = near[near != 255]
        if kind == "erode" and mask[i, j] != 255 and np.any(near != mask[i, j]):
            out[i, j] = 0
        if kind == "dilate" and mask[i, j] == 0:
            out[i, j] = near.max()
    return out


@pytest.mark.curriculum("F35")
def test_erosion_and_dilation_are_scipys_and_respect_labels_to_ignore():
    square = np.ones((3, 3))
    for size in (1, 2):
        eroded, dilated = (np.asarray(J[name](BLOBS, size)) for name in ("erode", "dilate"))
        for i, blob in enumerate(BLOBS[..., 0]):
            np.testing.assert_array_equal(eroded[i, ..., 0], ndimage.binary_erosion(blob, square, size, border_value=1))
            np.testing.assert_array_equal(dilated[i, ..., 0], ndimage.binary_dilation(blob, square, size))
    for name in ("erode", "dilate"):
        out = np.asarray(J[name](HOLES, 1))
        assert out.dtype == np.uint8
        np.testing.assert_array_equal(out[..., 0], [by_loops(mask, name) for mask in HOLES[..., 0]])


@pytest.mark.curriculum("F35")
def test_rims_come_and_go_on_some_rows_of_all_masks():
    both = {"segmentation_mask": LABELS, "instance_mask": BLOBS}
    for name in ("erode", "dilate"):
        out = run(f"mask_{name}(2)", **both)
        change = [np.asarray(J[name](mask, 2)) for mask in both.values()]
        rows = (out["segmentation_mask"] != LABELS).any((1, 2, 3))
        assert 2 <= rows.sum() <= 14
        for mask, changed in zip(both, change, strict=True):
            np.testing.assert_array_equal(out[mask], np.where(rows[:, None, None, None], changed, both[mask]))
    one = run("mask_dilate(1, 1.0, entry='instance_mask')", **both)
    np.testing.assert_array_equal(one["segmentation_mask"], LABELS)
    np.testing.assert_array_equal(one["instance_mask"], J["dilate"](BLOBS, 1))


@pytest.mark.parametrize("name", ["mask_erode(1, 1.0)", "mask_dilate(1, 1.0)", "mask_warp(3.0, cell=5)"])
def test_the_object_of_number_255_is_one_like_the_others(name):
    one = np.where(BLOBS > 0, 7, 0).astype(np.uint8)
    out, other = (
        run(name, instance_mask=mask)["instance_mask"] for mask in (one, np.where(one, 255, 0).astype(np.uint8))
    )
    assert other.dtype == np.uint8 and not np.array_equal(out, one)
    np.testing.assert_array_equal(np.where(out, 255, 0), other)


@pytest.mark.curriculum("F35")
def test_warped_boundaries_move_by_at_most_the_amount():
    halves = np.zeros((16, 20, 20, 1), np.uint8)
    halves[:, :, 10:] = 3
    halves[:, 5] = 255
    out = run("mask_warp(3.0, cell=5)", m_mask=halves)["m_mask"]
    np.testing.assert_array_equal(out == 255, halves == 255)
    assert set(np.unique(out)) == {0, 3, 255}
    clear = out[..., 0][:, np.arange(20) != 5]
    assert np.all(clear[:, :, :7] == 0) and np.all(clear[:, :, 13:] == 3)
    edge = np.sum(clear == 0, 2)  # where the boundary is: [16, 19]
    assert edge.min() <= 8 and edge.max() >= 12
    assert abs(np.diff(edge, axis=1)).max() <= 3 and np.ptp(edge, axis=1).min() > 0  # smooth, not straight
    assert len(np.unique(edge, axis=0)) == 16  # each row its own
    still = run("mask_warp(0.4)", m_mask=halves)["m_mask"]
    np.testing.assert_array_equal(still, halves)


def test_displacement_takes_the_label_there():
    moves = RNG.uniform(-4, 4, (16, 20, 20, 2)).astype(np.float32)
    mask = RNG.integers(0, 9, (16, 20, 20, 1)).astype(np.int32)
    out = np.asarray(jax.jit(masks.displace)(mask, moves))
    i, y, x = np.mgrid[:16, :20, :20]
    place = np.clip(np.stack([y, x], -1) + np.rint(moves).astype(int), 0, 19)
    np.testing.assert_array_equal(out, mask[i, place[..., 0], place[..., 1]])


@pytest.mark.curriculum("F33")
def test_label_noise_reaches_every_class_in_narrow_types():
    batch = {"image": jnp.zeros((4096, 1, 1, 1)), "label": jnp.full(4096, 199, jnp.uint8)}
    label = policy.build("label_noise(1.0)", 200).update(None, batch, KEY)[1]["label"]
    assert label.dtype == jnp.uint8 and set(np.unique(label)) == set(range(199))


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("label_noise(1.5)", {}, "between 0 and 1"),
        ("smooth_labels(1.5)", {}, r"smooth_labels\(smoothing=1.5\) must be between 0 and 1"),
        ("box_jitter(0.5)", {}, r"box_jitter\(amount=0.5\) must be between 0 and 0.49"),
        ("mask_erode(0)", {}, "at least 1"),
        ("mask_warp(-1.0)", {}, "at least 0"),
        ("mask_warp(cell=0)", {}, "at least 1"),
        (
            "label_noise",
            {"label": np.eye(16, 5, dtype=np.float32)},
            "takes class numbers.*before operations",
        ),
        ("label_noise(entry='y')", {}, r"label_noise finds no 'y' in the batch, which has \['image', 'label'\]"),
        ("box_jitter", {}, "box_jitter finds no 'objects/bbox'"),
        ("mask_warp", {}, "mask_warp finds no '..._mask' in the batch"),
        ("mask_warp(entry='label')", {}, r"mask_warp\(entry='label'\) must name a mask"),
    ],
)
def test_mistakes(text, more, message):
    with pytest.raises(ConfigError, match=message):
        run(text, **more)


@pytest.mark.curriculum("F34")
def test_boxes_in_pixels_are_refused_where_their_values_are_known():
    batch = {"image": IMAGE, "objects/bbox": jnp.full((16, 1, 4), jnp.asarray([10.0, 10, 50, 50]))}
    words = r"box_jitter moves boxes .* in 0..1, and 'objects/bbox' holds \[10.0, 10.0, 50.0, 50.0\]; divide pixels"
    with pytest.raises(ConfigError, match=words):
        policy.build("box_jitter").update(None, batch, KEY)


def test_labels_need_classes():
    batch = {"image": IMAGE, "label": LABEL}
    with pytest.raises(ConfigError, match="label_noise changes class labels, and the data set has no classes"):
        policy.build("label_noise").update(None, batch, KEY)
    with pytest.raises(ConfigError, match="needs another class, and there is 1"):
        policy.build("label_noise", 1).update(None, batch, KEY)
