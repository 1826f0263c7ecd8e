"""Morphing: codes that find their images, the nearest of several, ways whose ends they are, the averaged generator."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.figures import images
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import create_state
from cvdl_jax.data.load import load
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.latent_walks import slerp
from experiments import morph


class Copy(nn.Module):
    """An image is its code, times a factor that is 1."""

    latent: int = 64

    @nn.compact
    def __call__(self, z, train):
        return 2 * self.param("factor", nn.initializers.ones, ()) * z.reshape(-1, 8, 8, 1) - 1, {}


def task_of(monkeypatch, **more):
    config = configs.load("configs/generate/morph.py:smoke")
    config.morph.update(more)
    config.optim = {"name": "adam", "lr": 0.05}
    monkeypatch.setattr(registry, "create", lambda *a, **k: Copy())
    return morph.make(config, Info(None, (), {}, {}, 16, 300, float("inf"), 0))


@pytest.mark.curriculum("R28")
def test_codes_find_their_images_and_a_way_leads_from_one_to_the_other(monkeypatch):
    task = task_of(monkeypatch, pairs=1, points=3, starts=2)
    state = create_state(task, jax.random.key(0), {})
    first = state.params["codes"]
    assert first.shape == (2, 2, 64) and len(np.unique(first)) == first.size

    def update(state, _):
        state, _, sums = task.train.update(state, {}, jax.random.key(0))
        return state, sums["codes/loss"][0]

    new, losses = jax.jit(lambda state: jax.lax.scan(update, state, None, 150))(state)
    target = load("digits", train="", test="test").splits["test"].batch(np.arange(2))["image"] / 255
    far = np.sqrt(((np.float64(first) - target.reshape(2, 1, -1)) ** 2).sum(-1))
    assert float(losses[0]) == pytest.approx(far.sum(), rel=1e-5)
    np.testing.assert_allclose(new.params["codes"], np.broadcast_to(target.reshape(2, 1, 64), (2, 2, 64)), atol=0.15)
    assert float(new.params["generator"]["factor"]) == 1  # the generator stays
    # of several codes the nearest counts
    spoilt = new._replace(params={**new.params, "codes": new.params["codes"].at[:, 0].add(5.0)})
    values = {k: float(a / b) for k, (a, b) in task.evals["morph"].step(spoilt, {}, None).items()}
    assert values["distance"] < 0.5 < values["between_images"] < values["of_random_codes"]
    expected = np.sqrt(((target[0] - target[1]) ** 2).sum())
    assert values["between_images"] == pytest.approx(expected, rel=1e-5)
    shown = []
    monkeypatch.setattr(images, "mosaic", lambda x, columns: shown.append((np.asarray(x), columns)))
    task.report(spoilt, {}, None)
    ((row, columns),) = shown
    codes = np.asarray(spoilt.params["codes"][:, 1])
    assert columns == 5 and row.shape == (5, 8, 8, 1)
    ways = [target[0].ravel(), codes[0], np.asarray(slerp(codes[0], codes[1], 0.5)), codes[1], target[1].ravel()]
    np.testing.assert_allclose(row.reshape(5, -1), ways, atol=1e-5)
    # images are those of the averaged generator, where the run that was loaded had one
    twice = spoilt._replace(extra={**spoilt.extra, "ema": {"factor": jnp.float32(2)}})
    np.testing.assert_allclose(morph.decoded(Copy(), twice, codes).reshape(2, -1), 2 * codes, rtol=1e-5, atol=1e-6)


@pytest.mark.curriculum("R28")
def test_what_is_measured_of_two_pairs(monkeypatch):
    """Neighbours are pairs, codes are compared by the nearest start, and what random ones give is a mean."""
    task = task_of(monkeypatch, pairs=2, starts=3)
    state = create_state(task, jax.random.key(0), {})
    target, codes = np.float64(state.extra["images"]).reshape(4, 1, 64), np.float64(state.params["codes"])
    values = {k: float(a / b) for k, (a, b) in task.evals["morph"].step(state, {}, None).items()}
    far = np.sqrt(((codes - target) ** 2).sum(-1))
    assert values["distance"] == pytest.approx(far.min(1).mean(), rel=1e-5)
    chance = np.float64(jax.random.normal(jax.random.key(0), (4, 3, 64)))
    assert values["of_random_codes"] == pytest.approx(np.sqrt(((chance - target) ** 2).sum(-1)).mean(), rel=1e-5)
    pairs = [np.sqrt(((target[i] - target[i + 1]) ** 2).sum()) for i in (0, 2)]
    assert values["between_images"] == pytest.approx(np.mean(pairs), rel=1e-5)
    best = codes[np.arange(4), far.argmin(1)]
    assert values["pixel_l1"] == pytest.approx(abs(best - target[:, 0]).mean(), rel=1e-5)


def test_images_of_floats_are_taken_as_they_are(monkeypatch):
    floats = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
    monkeypatch.setattr(morph.recipe, "whole_splits", lambda *a: (None, {"test": {"image": floats}}))
    state = create_state(task_of(monkeypatch, pairs=1), jax.random.key(0), {})
    np.testing.assert_array_equal(state.extra["images"], floats)


def test_too_few_images_and_unknown_settings_are_named(monkeypatch):
    with pytest.raises(ConfigError, match=r"config\.morph\.point"):
        task_of(monkeypatch, point=3)
    with pytest.raises(ConfigError, match=r"config\.morph\.pairs=200 needs 400 images in 'test'"):
        task_of(monkeypatch, pairs=200)
