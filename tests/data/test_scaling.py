"""Scaling of inputs: equal to scikit-learn's, fitted on the training split alone, the same for every split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state
from cvdl_jax.data import load, pixels, scaling
from cvdl_jax.data.host import HostStage, bordered, fitting
from cvdl_jax.data.load import Data
from cvdl_jax.engine import build
from cvdl_jax.errors import ConfigError, DataError

FEATURES = np.array([[1.0, 200.0, 3.0], [2.0, 100.0, 3.0], [4.0, 500.0, 3.0], [9.0, 400.0, 3.0]])


@pytest.mark.curriculum("W9", "W10")
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 7), min_size=1, max_size=5), st.integers(-6, 6))
def test_features_are_scaled_as_scikit_learn_does(seed, sizes, magnitude):
    rng = np.random.default_rng(seed)
    chunks = [rng.normal(3.0, 1.0, (n, 4)) * 10.0**magnitude for n in [*sizes, 2]]
    x = np.concatenate(chunks)
    for kind, oracle in (("standardise", StandardScaler()), ("min_max", MinMaxScaler((-1, 1)))):
        expected = oracle.fit_transform(x)
        np.testing.assert_allclose(scaling.fit(kind, chunks).apply(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.curriculum("W8", "W9", "W10")
def test_worked_numbers():
    mean = FEATURES.mean(0)
    np.testing.assert_allclose(mean, [4, 300, 3])
    np.testing.assert_allclose(scaling.fit("channel_mean", [FEATURES]).apply(FEATURES), FEATURES - mean)
    scaled = scaling.fit("standardise", [FEATURES]).apply(FEATURES)
    np.testing.assert_allclose(scaled[:, 1], np.array([-100, -200, 200, 100]) / np.sqrt(25000))
    np.testing.assert_array_equal(scaled[:, 2], 0)  # constant: shifted only
    np.testing.assert_allclose(scaling.fit("min_max", [FEATURES]).apply(FEATURES)[:, 0], [-1, -0.75, -0.25, 1])
    np.testing.assert_array_equal(scaling.fit("min_max", [FEATURES]).apply(FEATURES)[:, 2], 0)
    for kind in scaling.KINDS:
        scaler = scaling.fit(kind, [FEATURES])
        np.testing.assert_allclose(scaler.undo(scaler.apply(FEATURES)), FEATURES)


@pytest.mark.curriculum("W8", "G17")
def test_images_by_channel_and_by_pixel():
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 2), np.uint8)
    images[:, 0, 0, 0] = 7
    unit = images / 255
    channel = scaling.fit("standardise", [images[:4], images[4:]])
    np.testing.assert_allclose(channel.mean, unit.mean((0, 1, 2)))
    np.testing.assert_allclose(channel.std, unit.std((0, 1, 2)))
    pixel = scaling.fit("standardise_pixels", [images[:4], images[4:]])
    np.testing.assert_allclose(pixel.mean, unit.mean(0))
    assert pixel.std[0, 0, 0] == 1
    np.testing.assert_allclose(pixel.std.ravel()[1:], unit.std(0).ravel()[1:])
    x = jnp.asarray(unit, jnp.float32)
    for scaler in (channel, pixel, scaling.fit("mean_image", [images])):
        scaled = pixels.normalise(x, scaling._plain(scaler.mean), scaling._plain(scaler.std))
        np.testing.assert_allclose(scaled, scaler.apply(unit), rtol=1e-4, atol=1e-5)


@pytest.mark.curriculum("W11", "G17")
def test_a_run_fits_on_its_training_split_alone():
    config = configs.load("configs/classify/softmax.py:smoke", ["--config.normalise={'fit': 'standardise_pixels'}"])
    data = build.load_data(config)
    resolved = scaling.resolved(config, data)
    train = data.splits["train"].arrays["image"] / 255
    np.testing.assert_allclose(resolved.normalise.mean, train.mean(0))
    assert config.normalise.to_dict() == {"fit": "standardise_pixels"}  # what is saved is what was asked for
    everything = np.concatenate([split.arrays["image"] for split in data.splits.values()]) / 255
    assert np.abs(everything.mean(0) - train.mean(0)).max() > 1e-3
    plain = configs.load("configs/classify/softmax.py:smoke")
    assert scaling.resolved(plain, data) is plain
    build.build(config)


@pytest.mark.curriculum("W10", "W11")
@pytest.mark.parametrize("kind", ["min_max", "standardise"])
def test_validation_and_test_are_scaled_by_the_statistics_of_training(kind):
    """A linear model that is the identity shows what it sees: (x - mean) / std of the training split, everywhere."""
    overrides = ["config.data.name=xor", f"config.normalise={{'fit': '{kind}'}}"]
    built = build.build(configs.load("configs/classify/softmax.py:smoke", overrides))
    points = {key: split.arrays["features"].astype(np.float64) for key, split in built.data.splits.items()}

    def scaler(x):
        if kind == "min_max":
            return (x.max(0) + x.min(0)) / 2, (x.max(0) - x.min(0)) / 2
        return x.mean(0), x.std(0)

    def model_sees(key):
        batch = {name: jnp.asarray(x) for name, x in built.data.splits[key].arrays.items()}
        batch["mask"] = jnp.ones(len(batch["label"]))
        state = create_state(built.task, jax.random.key(0), batch)
        params = jax.tree.map(lambda x: jnp.eye(2) if x.ndim == 2 else jnp.zeros_like(x), state.params)
        evaluation = built.task.evals[key]
        return evaluation.step(state._replace(params=params), batch, jax.random.key(0))["scores"]

    mean, std = scaler(points["train"])
    for key in ("validation", "test"):
        scaled = np.asarray(model_sees(key))
        np.testing.assert_allclose(scaled, (points[key] - mean) / std, atol=1e-5)
        own_mean, own_std = scaler(points[key])
        assert np.abs(scaled - (points[key] - own_mean) / own_std).max() > 1e-2  # its own statistics are others
    if kind == "min_max":
        train = (points["train"] - mean) / std
        assert train.min() == pytest.approx(-1) and train.max() == pytest.approx(1)
        assert max(np.abs(model_sees(key)).max() for key in ("validation", "test")) > 1  # they may leave -1..1


@pytest.mark.curriculum("W11")
def test_statistics_are_fitted_on_what_evaluations_see_not_on_random_windows():
    """Windows of the left half and of the right half have other means; the middle is the same at every fit."""
    from dataclasses import replace

    split = load.load("digits", train="train[:64]", resident="never").splits["train"]
    stage = HostStage((5, 5), crop="random_resized", crop_scale=(0.1, 0.3))
    random = replace(split, stage=stage)
    middle = replace(split, stage=stage.for_evaluation())
    config = configs.load("configs/classify/softmax.py", ["config.normalise={'fit': 'standardise'}"])
    fits = [scaling.resolved(config, Data({"train": one}, 10, (), "digits", "", "", "")).normalise for one in
            (random, middle)]  # fmt: skip
    images = middle.batch(np.arange(64))["image"] / 255
    for fitted in fits:
        np.testing.assert_allclose((fitted.mean, fitted.std), (images.mean((0, 1, 2)), images.std((0, 1, 2))))
    windows = random.batch(np.arange(64))["image"] / 255
    assert abs(windows.mean() - images.mean()) > 0.01


@pytest.mark.curriculum("W9")
def test_features_of_a_run_are_scaled():
    config = configs.load("configs/toy/mlp.py:smoke", ["--config.normalise={'fit': 'min_max'}"])
    data = build.load_data(config)
    normalise = scaling.resolved(config, data).normalise
    x = data.splits["train"].arrays["features"]
    np.testing.assert_allclose(np.array(normalise.mean), (x.max(0) + x.min(0)) / 2, rtol=1e-6)
    build.build(config)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{'fit': 'standardize'}", "did you mean 'standardise'"),
        ("{'fit': 'min_max', 'mean': (0.5,)}", "leave these two out"),
        ("{'fitted': 'min_max'}", "did you mean 'fit'"),
    ],
)
def test_mistakes(section, words):
    with pytest.raises(ConfigError, match=words):
        build.build(configs.load("configs/classify/softmax.py:smoke", [f"--config.normalise={section}"]))


def test_what_cannot_be_fitted():
    with pytest.raises(DataError, match="no examples"):
        scaling.fit("standardise", [])
    with pytest.raises(DataError, match="1 input values are not finite"):
        scaling.fit("standardise", [np.array([[1.0, np.nan]])])
    with pytest.raises(ConfigError, match="needs a training split"):
        scaling.resolved(configs.load("configs/classify/softmax.py", ["--config.normalise={'fit': 'min_max'}"]), None)
    with pytest.raises(ConfigError, match=r"mean has the shape \(2, 2, 1\), the image \(3, 3, 1\)"):
        pixels.normalise(jnp.zeros((4, 3, 3, 1)), mean=(((1.0,), (2.0,)),) * 2)


@pytest.mark.curriculum("W13")
def test_resize_crop_and_pad_keep_what_they_say():
    image = np.full((20, 40, 3), 200, np.uint8)
    image[:, :10] = 10
    sizes = {crop: HostStage((16, 16), crop=crop) for crop in ("none", "pad", "center")}
    shown = {crop: stage._image("image", image, "image", None) for crop, stage in sizes.items()}
    assert {x.shape for x in shown.values()} == {(16, 16, 3)}
    assert (shown["none"][:, :3] == 10).all() and (shown["none"][:, 5:] == 200).all()  # all of it, squeezed
    assert (shown["pad"][:4] == 0).all() and (shown["pad"][12:] == 0).all()  # all of it, in its aspect
    np.testing.assert_array_equal(shown["pad"][4:12, 5:], 200)
    assert (shown["center"][:, 1:] == 200).all()  # the middle of it, in its aspect
    mask = sizes["pad"]._image("segmentation_mask", np.ones((20, 40, 1), np.uint8), "mask", None)
    assert set(np.unique(mask)) == {1, 255} and (mask[4:12] == 1).all()


@given(*(st.integers(1, 400) for _ in range(4)))
def test_the_padded_image_fits_and_touches_two_sides(height, width, most_h, most_w):
    h, w = fitting(height, width, most_h, most_w)
    assert 1 <= h <= most_h and 1 <= w <= most_w and (h == most_h or w == most_w)
    assert abs(h * width - w * height) <= max(height, width) or 1 in (h, w)
    assert bordered(np.ones((h, w, 1), np.uint8), most_h, most_w, 0).sum() == h * w
