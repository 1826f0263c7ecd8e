"""The study of compound scaling: how large each way of scaling becomes, and what is chosen on which split."""

import jax
import numpy as np
import pytest

from configs.studies import compound_scaling as config_file
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.compound_scaling import Scaling, growth, nearest
from experiments.studies import compound_scaling as page
from experiments.studies.compound_scaling import Study


@pytest.mark.curriculum("H53")
def test_networks_are_scaled_in_depth_width_and_resolution():
    study = Study(channels=(4, 6), convolutions=2, side=8)
    model, side = page.scaled(study, 5, Scaling(1.5, 2.0, 1.25))
    assert (model.channels, model.convolutions, side) == ((8, 12), 3, 10)
    # 3x3 convolutions on 8x8 and 4x4 pixels (3-4-4, 4-6-6), then five scores at 2x2
    base = 64 * 9 * (3 * 4 + 4 * 4) + 16 * 9 * (4 * 6 + 6 * 6) + 4 * 6 * 5
    assert page.multiply_adds(study, 5, 3, Scaling(1.0, 1.0, 1.0)) == base
    deeper = base + 64 * 9 * 4 * 4 + 16 * 9 * 6 * 6
    assert page.multiply_adds(study, 5, 3, Scaling(1.5, 1.0, 1.0)) == deeper
    assert page.multiply_adds(study, 5, 3, Scaling(1.0, 1.0, 2.0)) == 4 * base


def test_a_way_of_scaling_ends_at_the_nearest_number_of_multiply_adds():
    def count(by):  # whole layers and channels
        return 100 * np.ceil(2 * by.depth) * np.round(4 * by.width) ** 2 * np.round(16 * by.resolution) ** 2

    base = count(Scaling(1.0, 1.0, 1.0))
    for way, expected in zip(page.SINGLE.values(), ((8, 4, 16), (2, 8, 16), (2, 4, 32)), strict=True):
        by = nearest(count, way, 4 * base, 8.0)
        layers, channels, side = np.ceil(2 * by.depth), np.round(4 * by.width), np.round(16 * by.resolution)
        assert (layers, channels, side) == expected
    for target, channels in ((4 * base * 49 / 64, 7), (4 * base * 0.9, 8), (4 * base * 0.86, 7)):  # 7: 0.766, 8: 1
        assert np.round(4 * nearest(count, page.SINGLE["width"], target, 8.0).width) == channels


@pytest.mark.curriculum("H53")
def test_the_bases_are_chosen_on_validation_and_the_ways_compared_on_the_test_set(monkeypatch):
    asked = []

    def trained(study, data, classes, by, steps, seeds):
        asked.append((by, steps, list(seeds)))
        loss = abs(by.depth - 1.0) + abs(by.width - 1.2) + abs(by.resolution - 1.2)
        return [{"validation": (loss, 0.0), "test": (-loss, by.width / 10 + 0.01 * seed)} for seed in seeds]

    def multiply_adds(study, classes, channels, by):
        return 1000 * np.ceil(2 * by.depth) * np.round(4 * by.width) ** 2 * np.round(16 * by.resolution) ** 2

    monkeypatch.setattr(page, "trained", trained)
    monkeypatch.setattr(page, "multiply_adds", multiply_adds)
    data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    study = Study(data=data, grid=0.2, tolerance=0.1, steps=7, search_steps=3, seeds=2, factor=3.0)
    metrics, accuracies = page.measure(study, 5)
    searched = [by for by, steps, seeds in asked if (steps, seeds) == (3, [5])]
    assert len(searched) == len(asked) - 5 and all(abs(growth(*by) - 2) <= 0.1 + 1e-9 for by in searched)
    assert (metrics["alpha"], metrics["beta"], metrics["gamma"]) == (1.0, 1.2, 1.2)
    assert [seeds for _, steps, seeds in asked if steps == 7] == [[5, 6]] * 5
    assert list(accuracies) == ["base", "compound", "depth", "width", "resolution"]
    for name in list(accuracies)[1:]:
        assert 0.75 < metrics[f"{name}_macs"] / (3 * metrics["base_macs"]) < 1.35
    by = dict(zip(accuracies, [by for by, steps, _ in asked if steps == 7], strict=True))
    assert 1.0 == by["compound"].depth < 1.2 < by["compound"].width == by["compound"].resolution
    assert metrics["width_gain"] == pytest.approx((by["width"].width - by["compound"].width) / 10)
    assert set(page.draw(accuracies)) == {"scaling"}


def test_a_network_learns_and_growing_by_nothing_is_refused():
    rng = np.random.default_rng(0)
    label = np.arange(48) % 3
    image = (0.1 * rng.random((48, 8, 8, 3)) + (np.arange(3) == label[:, None])[:, None, None]).astype(np.float32)
    data = {name: (jax.numpy.asarray(image), jax.numpy.asarray(label)) for name in ("train", "validation", "test")}
    study = Study(channels=(4,), convolutions=1, side=4, batch_size=16, lr=2e-2)
    (one, other) = page.trained(study, data, 3, Scaling(1.0, 1.0, 1.0), 40, [0, 1])
    assert one["test"][1] > 0.9 and one["test"] == one["validation"] != other["test"]
    config = config_file.get_config()
    config.study.factor = 1.0
    with pytest.raises(ConfigError, match=r"config\.study\.factor=1\.0 must be above 1"):
        page.make(configs.from_plain(configs.to_plain(config)), Info(None, (), {}, {}, 1, 0, np.inf, 0))
