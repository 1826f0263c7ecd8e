"""The host stage: Pillow oracles, windows, and what random numbers depend on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cvdl_jax.data import order
from cvdl_jax.data.boxes import PROPOSALS
from cvdl_jax.data.host import HostStage, convert_channels
from cvdl_jax.data.scenes import draw
from cvdl_jax.data.schema import Feature
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.ops.selective_search import selective_search

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 30, 3), np.uint8)
MASK = RNG.integers(0, 12, (40, 30, 1), np.uint8)
FEATURES = {"image": Feature("image", (None, None, 3), "uint8"), "mask": Feature("mask", (None, None, 1), "uint8")}


def run(stage, image=IMAGE, mask=MASK, seed=0, epoch=0, index=0):
    return stage({"image": image, "mask": mask}, FEATURES, seed, epoch, index)


def unit(seed=0):
    return order.random_unit(seed, order.HOST, 0, 0, 40)


def test_nothing_asked_nothing_done():
    out = run(HostStage())
    assert out["image"] is IMAGE and out["mask"] is MASK


def test_resize_is_pillow_bilinear_for_images_and_nearest_for_masks():
    out = run(HostStage(image_size=(20, 24)))
    expected = np.asarray(Image.fromarray(IMAGE).resize((24, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(out["image"], expected)
    expected = np.asarray(Image.fromarray(MASK[..., 0]).resize((24, 20), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(out["mask"][..., 0], expected)


def test_channels_are_converted():
    grey = convert_channels(IMAGE, 1)
    luma = IMAGE @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert abs(grey[..., 0] - luma).max() <= 0.51
    np.testing.assert_array_equal(convert_channels(grey, 3), np.repeat(grey, 3, -1))
    alpha = np.concatenate([IMAGE, IMAGE[..., :1]], -1)
    np.testing.assert_array_equal(convert_channels(alpha, 3), IMAGE)
    assert run(HostStage(channels=1))["mask"] is MASK
    with pytest.raises(DataError, match="2 channels"):
        convert_channels(IMAGE[..., :2], 3)


@pytest.mark.parametrize("crop", ["center", "random"])
def test_windows_have_the_targets_aspect(crop):
    stage = HostStage(image_size=(10, 10), crop=crop, crop_fraction=0.8)
    left, top, right, bottom = stage.window(40, 30, unit())
    assert (right - left, bottom - top) == (24, 24)
    if crop == "center":
        assert (left, top) == (3, 8)


def test_a_window_of_the_targets_size_is_cut_out_exactly():
    stage = HostStage(image_size=(30, 30), crop="random")
    cuts = set()
    for index in range(60):
        out = run(stage, index=index)
        _, top, *_ = stage.window(40, 30, order.random_unit(0, order.HOST, 0, index, 40))
        np.testing.assert_array_equal(out["image"], IMAGE[top : top + 30])
        np.testing.assert_array_equal(out["mask"], MASK[top : top + 30])
        cuts.add(top)
    assert cuts == set(range(11))


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(0, 1000),
    st.sampled_from(["center", "random", "random_resized"]),
)
def test_windows_stay_inside_the_image(height, width, seed, crop):
    stage = HostStage(image_size=(7, 11), crop=crop, crop_fraction=0.9)
    left, top, right, bottom = stage.window(height, width, unit(seed))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    image = np.zeros((height, width, 3), np.uint8)
    assert run(stage, image, image[..., :1], seed)["image"].shape == (7, 11, 3)


def test_random_resized_windows_have_the_asked_area_and_aspect():
    stage = HostStage(image_size=(8, 8), crop="random_resized", crop_scale=(0.2, 0.6), crop_ratio=(0.5, 2.0))
    boxes = np.array([stage.window(300, 300, unit(seed)) for seed in range(400)])
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, ratio = w * h / 300**2, w / h
    assert 0.199 < area.min() < 0.23 and 0.57 < area.max() < 0.601
    assert 0.499 < ratio.min() < 0.55 and 1.8 < ratio.max() < 2.001


def test_random_windows_depend_on_seed_epoch_and_index_alone():
    stage = HostStage(image_size=(8, 8), crop="random_resized")
    base = run(stage)["image"]
    np.testing.assert_array_equal(run(stage)["image"], base)
    for change in ({"seed": 1}, {"epoch": 1}, {"index": 1}):
        assert not np.array_equal(run(stage, **change)["image"], base)
    assert stage.random and not stage.for_evaluation().random
    assert stage.for_evaluation().crop == "center"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": "centre", "image_size": (8, 8)}, "did you mean 'center'"),
        ({"resize": "bilinaer"}, "did you mean 'bilinear'"),
        ({"crop": "center"}, "needs config.data.image_size"),
        ({"channels": 2}, "must be 1 or 3"),
        ({"image_size": (8, 0)}, "two positive numbers"),
        ({"image_size": (8, 8), "crop_fraction": 1.5}, "must be in"),
        ({"image_size": (8, 8), "crop_scale": (0.5, 0.1)}, "low <= high"),
    ],
)
def test_impossible_settings_name_the_key(settings, message):
    with pytest.raises(ConfigError, match=message):
        HostStage(**settings)


def test_a_window_needs_images_of_one_size():
    with pytest.raises(DataError, match="different sizes"):
        run(HostStage(image_size=(8, 8), crop="center"), mask=MASK[:20])


@pytest.mark.curriculum("L8")
def test_regions_of_selective_search_come_with_an_image():
    """Of the image as it is delivered, padded with zeros; without them a stage says what it always said."""
    stage = HostStage(image_size=(32, 32), proposals={"count": 30, "smallest": 10})
    image = draw(0, 0).image
    features = {"image": Feature("image", (64, 64, 3), "uint8")}
    out = stage({"image": image}, features, 0, 0, 0)
    expected = selective_search(out["image"], 30, smallest=10)
    np.testing.assert_array_equal(out[PROPOSALS][: len(expected)], expected)
    assert (
        out[PROPOSALS].shape == stage.added()[PROPOSALS].shape == (30, 4) and not out[PROPOSALS][len(expected) :].any()
    )
    assert stage.settings()["proposals"] == {"count": 30, "smallest": 10}
    assert "proposals" not in HostStage().settings() and HostStage().added() == {}
    assert HostStage(**stage.settings()) == stage


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"counts": 3}, r"config\.data\.proposals\.counts.*'count'"),
        ({"count": 0}, r"config\.data\.proposals\.count=0"),
        ({"image": 3}, r"config\.data\.proposals\.image"),
        ({"scales": ()}, r"config\.data\.proposals.*scale"),
    ],
)
def test_impossible_searches_are_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        HostStage(proposals=section)


def test_regions_without_an_image_are_refused():
    with pytest.raises(ConfigError, match="are regions of an 'image'"):
        HostStage(proposals={"count": 3}).check({"mask": FEATURES["mask"]})
