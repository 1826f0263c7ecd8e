"""Operations that hide or exchange regions: CutMix, random erasing, and refusals of cutout and mixup."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cvdl_jax.data.augment import policy
from cvdl_jax.errors import ConfigError

KEY = jax.random.key(7)
RNG = np.random.default_rng(2)
ROWS, H, W = 1000, 12, 10


@cache
def compiled(text):
    return jax.jit(policy.build(text, 4).update)


def run(text, image, label=None, key=KEY, **more):
    label = np.zeros(len(image), np.int32) if label is None else label
    return jax.tree.map(np.asarray, compiled(text)(None, {"image": image, "label": label, **more}, key)[1])


def extent(inside):
    """First and last row and column of a region [h, w], which must be a full rectangle."""
    y, x = np.nonzero(inside)
    top, bottom, left, right = y.min(), y.max(), x.min(), x.max()
    assert inside[top : bottom + 1, left : right + 1].all()
    return top, bottom, left, right


EVEN_AND_ODD = np.broadcast_to((np.arange(ROWS) % 2)[:, None, None, None], (ROWS, H, W, 1)).astype(np.float32)


@pytest.mark.curriculum("F30")
def test_cutmix_weighs_labels_by_the_share_of_pixels():
    label = np.arange(ROWS).astype(np.int32) % 2
    out = run("cutmix", EVEN_AND_ODD, label)
    foreign = out["image"][..., 0] != EVEN_AND_ODD[..., 0]
    share = foreign.mean((1, 2))
    rows = np.arange(ROWS)
    np.testing.assert_allclose(out["label"][rows, label], 1 - share, atol=1e-6)
    np.testing.assert_allclose(out["label"][rows, 1 - label], share, atol=1e-6)
    np.testing.assert_allclose(out["label"].sum(1), 1, atol=1e-6)
    assert len(np.unique(share)) > 30  # each row draws its own


@pytest.mark.curriculum("F30")
def test_cutmix_draws_the_rectangle_of_the_paper():
    foreign = (run("cutmix", EVEN_AND_ODD)["image"] != EVEN_AND_ODD)[..., 0]
    for inside in foreign[foreign.any((1, 2))]:
        top, bottom, left, right = extent(inside)
        if min(top, left) > 0 and bottom < H - 1 and right < W - 1:  # not cut off: the image's shape, rounded down
            low, high = max((bottom - top + 1) / H, (right - left + 1) / W), min(bottom - top + 2, H) / H
            assert low < min(high, (right - left + 2) / W) + 1e-6
    r = 1 - RNG.beta(1, 1, 20_000)
    sides = np.floor(np.sqrt(r)[:, None] * [H, W]).astype(int)
    first = RNG.integers(0, [H, W], (20_000, 2)) - sides // 2
    clipped = np.clip(first + sides, 0, [H, W]) - np.clip(first, 0, [H, W])
    expected = clipped.prod(1) / (H * W)
    assert stats.ks_2samp(foreign.mean((1, 2)), expected).pvalue > 1e-3
    count = np.zeros((H, W))
    for (y, x), (height, width) in zip(first, sides, strict=True):
        count[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] += 1
    np.testing.assert_allclose(foreign.mean(0), count / 20_000, atol=0.06)


@pytest.mark.curriculum("F30")
def test_cutmix_takes_the_pixels_of_the_neighbour_and_soft_labels():
    image = RNG.random((8, H, W, 3), np.float32)
    soft = RNG.dirichlet(np.ones(4), 8).astype(np.float32)
    out = run("cutmix(alpha=0.5)", image, soft)
    partner = np.arange(8) ^ 1
    foreign = (out["image"] != image).any(-1)
    np.testing.assert_array_equal(out["image"], np.where(foreign[..., None], image[partner], image))
    share = foreign.mean((1, 2))[:, None]
    np.testing.assert_allclose(out["label"], (1 - share) * soft + share * soft[partner], atol=1e-6)
    same = run("cutmix(alpha=0.0)", image, soft)
    np.testing.assert_array_equal(same["image"], image)
    np.testing.assert_array_equal(same["label"], soft)


@pytest.mark.curriculum("F28")
def test_random_erasing_hides_rectangles_of_every_area_aspect_and_place():
    ones = np.ones((ROWS, 40, 32, 1), np.float32)
    out = run("random_erasing(0.1, 0.3, 0.5, fill=0.25, probability=1.0)", ones)["image"][..., 0]
    boxes = np.array([extent(row == 0.25) for row in out])
    height, width = boxes[:, 1] - boxes[:, 0] + 1, boxes[:, 3] - boxes[:, 2] + 1
    rounding = (height + width) / 2 / (40 * 32) + 1e-3
    area = height * width / (40 * 32)
    assert np.all(area > 0.1 - rounding) and np.all(area < 0.3 + rounding)
    assert stats.kstest(area, stats.uniform(0.1, 0.2).cdf).pvalue > 1e-3
    ratio = height / width
    assert ratio.min() > 0.45 and ratio.max() < 2.2
    assert abs(np.log(ratio).mean()) < 0.06  # tall as often as wide
    assert boxes.min() == 0 and boxes[:, 1].max() == 39 and boxes[:, 3].max() == 31
    place = boxes[:, 0] / np.maximum(40 - height, 1)
    assert stats.kstest(place, stats.uniform.cdf).pvalue > 1e-4  # in whole pixels, so only nearly uniform


@pytest.mark.curriculum("F28")
def test_random_erasing_fills_with_noise_and_leaves_the_rest():
    image = np.full((200, H, W, 3), 2.0, np.float32)
    out = run("random_erasing", image)["image"]
    hidden = (out != 2).any(-1)
    assert 0.4 < hidden.any((1, 2)).mean() < 0.6  # half of the rows
    noise = out[hidden]
    assert noise.min() >= 0 and noise.max() < 1 and stats.kstest(noise.ravel(), stats.uniform.cdf).pvalue > 1e-3
    assert len(np.unique(noise)) > 0.99 * noise.size
    assert np.all(out[~hidden] == 2)


@pytest.mark.curriculum("F29", "F30")
def test_mixup_or_cutmix_is_one_of_them():
    """Pixels of 0 beside a neighbour of 1: a mixture has one value between them, a paste has both and none between."""
    rows = 300
    image, label = EVEN_AND_ODD[:rows], np.arange(rows).astype(np.int32) % 2
    out = run("mixup_or_cutmix(cutmix_share=0.25, probability=0.8)", image, label)
    pixels, own = out["image"].reshape(rows, -1), image[:, 0, 0, 0]
    between = ((pixels > 1e-6) & (pixels < 1 - 1e-6)).all(1)
    binary = np.isin(pixels, (0, 1)).all(1)
    changed = (pixels != own[:, None]).any(1)
    assert (between | binary).all() and not (between & binary).any()
    assert abs(between.mean() - 0.8 * 0.75) < 0.1 and 0.05 < (binary & changed).mean() < 0.8 * 0.25 + 0.08
    foreign = np.abs(pixels - own[:, None]).mean(1)  # the neighbour's weight, or its share of the pixels
    np.testing.assert_allclose(out["label"][np.arange(rows), 1 - label], foreign, atol=1e-5)
    np.testing.assert_allclose(out["label"].sum(1), 1, atol=1e-5)


def test_random_erasing_refuses_images_that_its_rectangles_do_not_fit():
    with pytest.raises(ConfigError, match=r"area_high=0.4\) must be at most 0.333 for images of 4 x 40 and aspect=0.3"):
        run("random_erasing", np.ones((2, 4, 40, 1), np.float32))
    out = run("random_erasing(1.0, 1.0, probability=1.0, fill=0.0)", np.ones((4, 5, 5, 1), np.float32))
    assert np.all(out["image"] == 0)  # the whole image is a rectangle too


@pytest.mark.curriculum("F29", "F30", "F33")
@pytest.mark.parametrize("text", ["mixup(1.0)", "cutmix(1.0)", "smooth_labels(0.2)"])
def test_one_hot_labels_of_whole_numbers_are_blended_as_those_of_floats(text):
    image, label = jnp.asarray(np.random.default_rng(0).random((4, 6, 6, 1), np.float32)), np.eye(4)
    build = policy.build(text, 4)
    ints, floats = (
        build.update(None, {"image": image, "label": jnp.asarray(label, dtype)}, KEY)[1]["label"]
        for dtype in ("int32", "float32")
    )
    assert ints.dtype == jnp.float32
    np.testing.assert_array_equal(ints, floats)
    assert 0 < float(ints.max()) < 1 or text != "smooth_labels(0.2)"
    np.testing.assert_allclose(ints.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cutmix(alpha=-1)", "at least 0 and finite"),
        ("cutmix(probability=2)", "between 0 and 1"),
        ("mixup_or_cutmix(cutmix_share=2)", "between 0 and 1"),
        ("mixup_or_cutmix(mixup_alpha=-1)", "at least 0 and finite"),
        ("random_erasing(area_low=0.5)", r"area_low=0.5\) must be at most area_high=0.4"),
        ("random_erasing(area_high=1.5)", "between 0 and 1"),
        ("random_erasing(aspect=0.0)", "between 0.01 and 1"),
        ("random_erasing(fill='noise')", "random"),
        ("random_erasing(fill=1.5)", "between 0 and 1"),
        ("cutout(fill=-0.5)", "between 0 and 1"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(ConfigError, match=message):
        policy.build(text, 4)


def test_mistakes_that_show_in_the_batch():
    three = {"image": jnp.zeros((3, 2, 2, 1)), "label": jnp.zeros(3, jnp.int32)}
    with pytest.raises(ConfigError, match="cutmix blends pairs of rows, and a device has 3 rows"):
        policy.build("cutmix", 2).update(None, three, KEY)
    with pytest.raises(ConfigError, match="cutmix changes class labels, and the data set has no classes"):
        policy.build("cutmix").update(None, three, KEY)
    with pytest.raises(ConfigError, match="cutmix blends images with their labels, and finds no label"):
        policy.build("cutmix", 2).update(None, {"image": three["image"]}, KEY)
