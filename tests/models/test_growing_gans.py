"""Conditional, progressive and style-based players: between two levels, styles, noise, and parts against NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model
from test_generators import make
from test_models import quick_jit

from cvdl_jax.core import counting
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.growing import doubled, seen_at

RNG = np.random.default_rng(0)


def initial(model, x):
    return quick_jit(partial(model.init, train=False))(jax.random.key(0), x)


Z = RNG.normal(size=(4, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def progressive():
    generator = make("progressive_generator_tiny")
    params = initial(generator, Z)
    return quick_jit(lambda level: generator.apply(params, Z, False, level)[0]), quick_jit(
        lambda: generator.apply(params, Z, False)[0]
    )()


@pytest.mark.curriculum("R20")
def test_a_generator_fades_from_the_enlarged_small_image_to_the_large_one(progressive):
    at, whole = progressive
    small, large = at(jnp.float32(0)), at(jnp.float32(1))
    np.testing.assert_allclose(large, whole, atol=1e-6)
    np.testing.assert_allclose(small, doubled(small[:, ::2, ::2]), atol=1e-6)  # four equal pixels
    assert np.abs(small - large).max() > 0.05
    np.testing.assert_allclose(at(jnp.float32(0.25)), 0.25 * large + 0.75 * small, atol=1e-5)


@pytest.fixture(scope="module")
def critic():
    model = make_model("progressive_discriminator_tiny", 1)
    x = RNG.normal(size=(3, 8, 8, 1)).astype(np.float32)
    variables = initial(model, x)

    def score(params, x, level):
        return model.apply({"params": params}, x, False, level)[0][:, 0].sum()

    return variables["params"], x, quick_jit(jax.value_and_grad(score))


@pytest.mark.curriculum("R20")
def test_a_discriminator_at_a_low_level_sees_the_small_image_alone(critic):
    params, x, score = critic
    low = [score(params, seen_at(x, jnp.float32(level), 2), jnp.float32(0)) for level in (0, 1)]
    np.testing.assert_allclose(low[0][0], low[1][0], rtol=1e-5)  # the detail makes no difference
    used = {name: bool(np.abs(jax.tree.leaves(g)[0]).max() > 0) for name, g in low[1][1].items()}
    assert not any(used[name] for name in used if name.startswith("level1"))  # no gradient before it is used
    assert used["level0_colour"] and used["level0_conv0"] and used["head"]
    half = score(params, x, jnp.float32(0.5))[1]
    assert all(np.abs(jax.tree.leaves(half[name])[0]).max() > 0 for name in half)
    full = score(params, x, jnp.float32(1))[1]
    assert np.abs(full["level0_colour"]["kernel"]).max() == 0 < np.abs(full["level1_colour"]["kernel"]).max()


@pytest.fixture(scope="module")
def style():
    generator = make("stylegan_generator_tiny")
    variables = initial(generator, Z)
    scales = {name: p for name, p in variables["params"].items() if "noise" in name}
    variables = {**variables, "batch_stats": {"mean_style": jnp.arange(5.0) / 5}}
    loud = {name: {"scale": jnp.ones_like(p["scale"])} for name, p in scales.items()}
    return generator, variables, {**variables, "params": {**variables["params"], **loud}}, scales


@pytest.mark.curriculum("R22")
def test_truncation_moves_styles_to_their_mean(style):
    generator, variables, *_ = style
    made = quick_jit(lambda psi: generator.apply(variables, Z, False, truncation=psi))
    (whole, out), (middle, _), (half, halved) = made(1.0), made(0.0), made(0.5)
    np.testing.assert_allclose(whole, quick_jit(partial(generator.apply, train=False))(variables, Z)[0], atol=1e-5)
    np.testing.assert_allclose(middle, np.broadcast_to(middle[:1], middle.shape), atol=1e-5)  # one image for all z
    mean = np.arange(5) / 5
    np.testing.assert_allclose(halved["style"], mean + 0.5 * (np.asarray(out["style"]) - mean), atol=1e-5)
    assert np.abs(half - whole).max() > 1e-3
    own = quick_jit(partial(generator.clone(truncation=0.5).apply, train=False))(variables, Z)[0]
    np.testing.assert_allclose(own, half, atol=1e-5)


@pytest.mark.curriculum("R22")
def test_mixed_styles_begin_at_a_layer(style):
    """From layer 0 on it is the other image, from the last layer's end on the first one, between them a third."""
    generator, variables, *_ = style
    made = quick_jit(lambda z, first: generator.apply(variables, z, False, other=Z[::-1], first=first)[0])
    own, other, mixed = made(Z, 4), made(Z, 0), made(Z, 2)
    np.testing.assert_allclose(other, own[::-1], atol=1e-5)
    assert np.abs(mixed - own).max() > 1e-3 and np.abs(mixed - other).max() > 1e-3


@pytest.mark.curriculum("R22")
def test_training_keeps_the_mean_style_and_mixes(style):
    generator, variables, *_ = style
    key = jax.random.key(1)
    more = {"rngs": {"dropout": key}, "mutable": ["batch_stats"]}
    train = lambda mixing, level=1.0: quick_jit(  # noqa: E731
        lambda: generator.clone(mixing=mixing).apply(variables, Z, True, jnp.float32(level), **more)
    )()
    (plain, out), new = train(0.0)
    expected = 0.995 * np.arange(5) / 5 + 0.005 * np.asarray(out["style"]).mean(0)
    np.testing.assert_allclose(new["batch_stats"]["mean_style"], expected, rtol=1e-5)
    (mixed, _), again = train(1.0)
    np.testing.assert_allclose(again["batch_stats"]["mean_style"], expected, rtol=1e-5)  # of the first style alone
    assert (np.abs(mixed - plain).max((1, 2, 3)) > 1e-4).all()
    first, both = (train(mixing, 0.0)[0][0] for mixing in (0.0, 1.0))  # of two layers, the second of which is mixed
    assert (np.abs(both - first).max((1, 2, 3)) > 1e-4).all()


@pytest.mark.curriculum("R23")
def test_noise_is_one_number_a_pixel_times_one_a_channel(style):
    generator, variables, loud, scales = style
    assert all((p["scale"] == 0).all() for p in scales.values()) and len(scales) == 4
    assert {p["scale"].shape for p in scales.values()} == {(6,), (4,)}

    @quick_jit
    def run(variables, key):
        return generator.apply(variables, Z, False, rngs={"dropout": key})[0]

    keys = jax.random.key(1), jax.random.key(2)
    np.testing.assert_array_equal(run(variables, keys[0]), run(variables, keys[1]))  # scales begin at 0
    assert np.abs(run(loud, keys[0]) - run(loud, keys[1])).max() > 0.01

    def layer(key):
        from cvdl_jax.models.generative.stylegan import Noise

        x, scale = jnp.zeros((2, 3, 3, 4)), jnp.arange(4.0)
        return np.asarray(Noise().apply({"params": {"scale": scale}}, x, rngs={"dropout": key}))

    noise = layer(keys[0])
    np.testing.assert_allclose(noise[..., 1:] / np.arange(1, 4), np.repeat(noise[..., 1:2], 3, -1), rtol=1e-5)
    assert (noise[..., 0] == 0).all() and len(np.unique(noise[..., 1])) == 18  # every pixel of every image its own


@pytest.mark.curriculum("R12")
def test_the_conditional_generator_of_the_paper():
    """100 -> 200 and 10 -> 1000, together 1200 -> 1200, then 784 sigmoids: 2,413,984 parameters, by layer."""
    generator, inputs = registry.example("cgan_generator")
    params = jax.eval_shape(partial(generator.init, train=False), jax.random.key(0), *inputs)["params"]
    layers = {name: counting.parameters(layer) for name, layer in params.items()}
    assert layers == {"of_latent": 20_200, "of_label": 11_000, "joint": 1_441_200, "pixels": 941_584}
    assert sum(layers.values()) == 2_413_984 and generator.prior == "uniform"


@pytest.mark.curriculum("R12")
def test_conditional_perceptrons_equal_numpy():
    generator, critic = make("cgan_generator_tiny"), make_model("cgan_discriminator_tiny", 1, labels=10)
    label = jnp.array([3, 0, 9, 3])
    p = initial(generator, Z)["params"]
    images = generator.apply({"params": p}, Z, False, label)[0]
    affine = lambda layer, x: np.asarray(x) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])  # noqa: E731
    told = np.eye(10)[np.asarray(label)]
    y = np.maximum(np.concatenate([affine(p["of_latent"], Z), affine(p["of_label"], told)], 1), 0)
    y = affine(p["pixels"], np.maximum(affine(p["joint"], y), 0))
    np.testing.assert_allclose((images.reshape(4, -1) + 1) / 2, 1 / (1 + np.exp(-y)), rtol=1e-4, atol=1e-5)
    d = initial(critic, images)["params"]
    maxout = lambda layer, x, n: affine(layer["pieces"], x).reshape(len(x), n, -1).max(-1)  # noqa: E731
    y = np.concatenate([maxout(d["of_image"], images.reshape(4, -1), 6), maxout(d["of_label"], told, 4)], 1)
    expected = affine(d["head"], maxout(d["joint"], y, 6))
    np.testing.assert_allclose(critic.apply({"params": d}, images, False, label)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.curriculum("R13")
@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_convolutional_players_are_told_by_a_channel(player):
    """One more input channel of the first layer, and another result for another label, row by row."""
    if player == "generator":
        model, x, first = make(labels=3), Z, "conv0"
    else:
        model, x, first = (
            make_model("dcgan_discriminator_tiny", 1, labels=3, norm="none"),
            np.ones((4, 8, 8, 1)),
            "conv0",
        )
    x = jnp.asarray(x, jnp.float32)
    variables = initial(model, x)
    assert variables["params"][first]["kernel"].shape[2] == (9 if player == "generator" else 2)
    told = quick_jit(lambda label: model.apply(variables, x, False, label)[0])
    one, other = told(jnp.array([0, 1, 2, 0])), told(jnp.array([0, 2, 2, 1]))
    same = np.asarray(jnp.abs(one - other).reshape(4, -1).max(1) == 0)
    assert same.tolist() == [True, False, True, False]
    with pytest.raises(ConfigError, match="is told one of 3 classes for each of 4 rows, got none"):
        model.apply(variables, x, False)


@pytest.mark.parametrize("name", ["progressive_generator_tiny", "stylegan_generator_tiny"])
def test_images_that_do_not_halve_are_refused(name):
    with pytest.raises(ConfigError, match=r"widths=\(6, 4\) are of 2 resolutions; images of 9x9"):
        make(name, (9, 9, 1)).init(jax.random.key(0), Z, False)
    with pytest.raises(ConfigError, match=r"\[b, 6\], got \(4, 5\)"):
        make(name).init(jax.random.key(0), Z[:, :5], False)
