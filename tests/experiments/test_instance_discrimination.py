"""The memory of single images: which rows change, to what, and an image that comes twice in a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from experiments import instance_discrimination as page

CONFIG = "configs/regimes/instance_discrimination.py:smoke"
MODEL = "--config.model={'name': 'mlp_tiny'}"


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.curriculum("I18")
def test_the_rows_of_the_batch_change_and_no_others():
    """Image 4 comes twice: its two vectors count as their mean, whatever their order."""
    rng = np.random.default_rng(0)
    memory, vectors = unit(rng.normal(size=(6, 3))), unit(rng.normal(size=(3, 3)))
    index = np.asarray([4, 1, 4])
    expected = memory.copy()
    expected[1] = unit(0.3 * memory[1] + 0.7 * vectors[1])
    expected[4] = unit(0.3 * memory[4] + 0.7 * (vectors[0] + vectors[2]) / 2)
    new = page.updated(jnp.asarray(memory), index, jnp.asarray(vectors), 0.3)
    np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-6)
    turned = page.updated(jnp.asarray(memory), index[::-1].copy(), jnp.asarray(vectors[::-1].copy()), 0.3)
    np.testing.assert_allclose(new, turned, rtol=1e-6)


@pytest.mark.curriculum("I18")
def test_a_step_writes_the_places_of_its_images():
    run = build(
        configs.load(
            CONFIG, [MODEL, "--config.augment=", "--config.projection.size=4", "--config.instances.proximal=2"]
        )
    )
    rows = np.asarray([7, 900, 3, 1148, 20, 21, 22, 23])
    batch = {key: jnp.asarray(x) for key, x in run.data.splits["train"].batch(rows).items()}
    batch["image"] = batch["image"] / 255
    state = jax.jit(lambda b: create_state(run.task, jax.random.key(0), b))(batch)
    old = np.asarray(state.extra["memory"])
    assert old.shape == (1149, 4)
    np.testing.assert_allclose((old**2).sum(1), 1, rtol=1e-5)
    step = jax.jit(run.task.train.update, compiler_options={"xla_backend_optimization_level": 0})
    after, _, sums = step(state, batch, jax.random.key(1))
    changed = (np.asarray(after.extra["memory"]) != old).any(1)
    np.testing.assert_array_equal(np.flatnonzero(changed), np.sort(rows))
    x = np.asarray(run.task.predict(state, batch)["features"])
    projector = state.params["projector"]["last"]
    f = unit(x @ np.asarray(projector["kernel"]) + np.asarray(projector["bias"]))
    np.testing.assert_allclose(after.extra["memory"][rows], unit((old[rows] + f) / 2), rtol=1e-4, atol=1e-5)
    logits = old @ f.T / 0.07  # of a linear projector, before the step
    loss = np.log(np.exp(logits).sum(0)) - logits[rows, np.arange(8)] + 2 * ((f - old[rows]) ** 2).sum(1)
    np.testing.assert_allclose(sums["loss"][0], loss.sum(), rtol=1e-4)


def test_images_that_are_made_of_several_have_no_class():
    with pytest.raises(ConfigError, match=r"config\.augment: mixup makes one image of several, and each is a class"):
        build(configs.load(CONFIG, [MODEL, "--config.augment=flip | mixup"]))
    build(configs.load(CONFIG, [MODEL, "--config.augment=repeated_augmentation"]))  # whose rows keep their numbers


def test_without_numbers_there_is_no_memory():
    with pytest.raises(ConfigError, match="keeps a vector of each training image; set config"):
        build(configs.load(CONFIG, ["--config.data.numbered=False", "--config.probe={}"]))
