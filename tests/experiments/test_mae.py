"""Masked autoencoding: how many patches are hidden, that the encoder never sees them, and that it is a ViT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State, create_state
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.models.generative.masked_autoencoder import images_of, patches_of
from experiments import mae

CONFIG = "configs/regimes/mae.py:smoke"


@pytest.fixture(scope="module")
def model():
    made, (x,) = registry.example("mae_tiny")
    x = jax.random.uniform(jax.random.key(0), (2, *x.shape[1:]))
    return made, jax.jit(made.init, static_argnums=2)(jax.random.key(1), x, False), x


def test_patches_are_cut_row_by_row():
    images = np.arange(2 * 4 * 6 * 2).reshape(2, 4, 6, 2)
    patches = patches_of(images, 2)
    assert patches.shape == (2, 6, 8)
    for place in range(6):
        y, x = 2 * (place // 3), 2 * (place % 3)
        np.testing.assert_array_equal(patches[1, place].reshape(2, 2, 2), images[1, y : y + 2, x : x + 2])
    np.testing.assert_array_equal(images_of(patches, (4, 6, 2), 2), images)


@pytest.mark.curriculum("I21")
@pytest.mark.parametrize(("share", "hidden"), [(0.75, 12), (0.6, 10), (0.1, 2)])
def test_each_row_hides_exactly_its_share(model, share, hidden):
    visible, masked = mae.draw(mae.Masking(share), model[0], jax.random.key(0), 6)
    assert visible.shape == (6, 16 - hidden) and (masked.sum(1) == hidden).all()
    for row in range(6):
        np.testing.assert_array_equal(visible[row], np.flatnonzero(masked[row] == 0))
    assert len({tuple(row) for row in np.asarray(visible)}) > 1
    few, _ = mae.draw(mae.Masking(share), model[0], jax.random.key(0), 2)
    np.testing.assert_array_equal(few, visible[:2])  # a row does not depend on the others


@pytest.mark.curriculum("I21")
def test_hidden_patches_are_not_seen_and_visible_ones_are(model):
    module, variables, x = model
    visible, masked = mae.draw(mae.Masking(), module, jax.random.key(2), 2)
    look = jax.jit(lambda x: module.apply(variables, x, False, visible)[0])
    hidden = images_of(jnp.broadcast_to(masked[..., None], (2, 16, 48)), (16, 16, 3), 4)
    guesses = look(x)
    assert guesses.shape == (2, 16, 48)
    np.testing.assert_array_equal(guesses, look(jnp.where(hidden > 0, 0.3, x)))
    assert not np.allclose(guesses, look(jnp.where(hidden > 0, x, 0.3)))
    apart = np.asarray(guesses)  # a mask token knows its place
    assert not np.allclose(apart[0, masked[0] > 0][0], apart[0, masked[0] > 0][1])


def test_all_patches_in_order_are_those_that_are_seen_by_default(model):
    module, variables, x = model
    everything = jnp.broadcast_to(jnp.arange(16)[None], (2, 16))
    whole, out = module.apply(variables, x, False)
    given, _ = module.apply(variables, x, False, everything)
    np.testing.assert_allclose(whole, given, atol=1e-6)
    np.testing.assert_allclose(out["pre_logits"], module.apply(variables, x, method="encode"), atol=1e-6)


@pytest.mark.curriculum("I21")
def test_the_encoder_is_a_vision_transformer_with_fixed_positions(model):
    _, variables, x = model
    section = {"name": "vit_patch4_16_tiny", "depth": 1, "sincos": True}
    vit = registry.create(section, "config.model", kinds=("backbones",), num_classes=0)
    _, out = vit.apply({"params": variables["params"]["encoder"]}, x, False)
    tokens = model[0].apply(variables, x, False)[1]["tokens"]
    np.testing.assert_allclose(out["tokens"], tokens, atol=1e-5)


@pytest.mark.curriculum("I21")
def test_a_step_learns_from_hidden_patches_alone():
    run = build(configs.load(CONFIG, ["--config.augment=", "--config.model.patch_size=4"]))
    batch = {key: jnp.asarray(x) for key, x in run.data.splits["train"].batch(np.arange(4)).items()}
    batch["image"] = batch["image"] / 255
    state = jax.jit(lambda b: create_state(run.task, jax.random.key(0), b))(batch)
    step = jax.jit(run.task.train.update, compiler_options={"xla_backend_optimization_level": 0})
    after, _, sums = step(state, batch, jax.random.key(1))
    assert sums["loss"][1] == 4 and np.isfinite(sums["loss"][0])
    for part in ("encoder", "decoder"):
        changed = jax.tree.map(lambda a, b: bool((a != b).any()), state.params[part], after.params[part])
        assert any(jax.tree.leaves(changed)), part
    assert {name: (e.data, e.final) for name, e in run.task.evals.items()} == {
        "validation": ("validation", False), "test": ("test", True),
        "validation_pixels": ("validation", False), "test_pixels": ("test", True),
    }  # fmt: skip
    patches = patches_of(batch["image"], 4)
    masked = np.asarray([[1, 0] * 8] * 4, np.float32)
    guesses = patches + (1 - masked)[..., None]  # right where hidden, wrong where seen
    error = mae.error(
        mae.Masking(normalised=False), run.task.evals["test_pixels"].step.args[1], batch["image"], guesses, masked
    )
    np.testing.assert_allclose(error, 0, atol=1e-10)


class Scaled:
    """Stands for a masked autoencoder: its guesses are what it is shown, times a parameter."""

    patch_size, grid = 2, (2, 3)

    def apply(self, variables, x, train, visible=None, mutable=None, method=None, **how):
        x = variables["params"]["scale"] * x
        out = x.mean((1, 2)) if method else (patches_of(x, 2), {})
        return (out, {}) if mutable else out


def scaled(scale, average):
    return State(0, {"scale": scale}, {}, {"batch_stats": {}, "ema": {"scale": average}})


X = np.random.default_rng(0).uniform(size=(3, 4, 6, 1)).astype(np.float32)


@pytest.mark.curriculum("I21")
def test_the_loss_is_of_pixels_in_0_to_1_of_the_patches_that_are_hidden_in_this_step():
    given = mae.Masking(0.5, normalised=False), Scaled(), lambda x: 2 * x - 1
    totals = set()
    for key in map(jax.random.key, (5, 6)):
        _, masked = mae.draw(given[0], given[1], jax.random.split(key)[0], 3)
        _, sums = mae.training_loss(*given, scaled(3.0, 0.0), {"image": jnp.asarray(X)}, key)
        error = ((patches_of(3 * (2 * X - 1), 2) - patches_of(X, 2)) ** 2).mean(-1)  # [b, patches]
        total = sum(error[row][np.asarray(masked[row]) > 0].mean() for row in range(3))
        np.testing.assert_allclose(sums["loss"], (total, 3), rtol=1e-5)
        totals.add(round(float(total), 4))
    assert len(totals) == 2


@pytest.mark.curriculum("I21")
def test_evaluations_are_of_real_rows_by_averaged_weights():
    given, key = (mae.Masking(0.5, normalised=False), Scaled(), lambda x: 2 * x - 1), jax.random.key(2)
    batch = {"image": jnp.asarray(X), "mask": jnp.asarray([1.0, 1, 0])}
    _, masked = mae.draw(given[0], given[1], key, 3)
    error = ((patches_of(5 * (2 * X - 1), 2) - patches_of(X, 2)) ** 2).mean(-1)
    total = sum(error[row][np.asarray(masked[row]) > 0].mean() for row in range(2))
    np.testing.assert_allclose(mae.pixels_step(*given, scaled(3.0, 5.0), batch, key)["loss"], (total, 2), rtol=1e-5)
    seen = mae.features(*given[1:], scaled(3.0, 5.0), batch)
    np.testing.assert_allclose(seen, 5 * (2 * X - 1).mean((1, 2)), rtol=1e-5)


def test_a_token_stands_where_its_patch_was(model):
    """The order in which visible patches are listed does not matter, and what they show does."""
    module, variables, x = model
    visible = mae.draw(mae.Masking(0.6), module, jax.random.key(2), 2)[0]
    look = jax.jit(lambda at: module.apply(variables, x, False, at)[0])
    np.testing.assert_allclose(look(visible), look(visible[:, ::-1]), atol=1e-5)
    assert not np.allclose(look(visible), look((visible + 1) % 16), atol=1e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.masking.share=0.001", "of 64 patches hides 0; some must be seen, and some not"),
        ("--config.masking.share=1.0", "config.masking.share=1.0 must be in \\(0, 1\\)"),
        ("--config.model.patch_size=1", "divides by the deviation of a patch, and one of a single number has none"),
        ("--config.model.patch_size=3", "patch_size=3 does not divide the image, 16x16"),
        ("--config.model={'name': 'autoencoder_tiny'}", "'autoencoder_tiny' guesses no patches; use mae_patch4_32"),
    ],
)
def test_mistakes_of_masks_are_named(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(CONFIG, [override]))
