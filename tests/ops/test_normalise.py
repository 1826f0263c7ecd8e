"""One normaliser for every kind, its worked numbers, and the layers and formulas around it."""

import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import datasets
from cvdl_jax.data import load, scaling
from cvdl_jax.data import pixels as to_float
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn import norms
from cvdl_jax.ops import normalise as ops
from cvdl_jax.ops.normalise import axes_of, normalise

STORED = json.loads((Path(__file__).parents[1] / "stored" / "torch_norms.json").read_text())
X = np.array(STORED["x"], np.float32)  # three batches [b, h, w, c]
PARAMS = {"scale": np.array(STORED["scale"], np.float32), "bias": np.array(STORED["bias"], np.float32)}


def toy(value):
    """Three inputs of four channels and two coefficients, [3, 2, 4]: primes, Fibonacci numbers, 1 to 8."""
    a, b = [[2, 3], [5, 7], [value, 13], [17, 19]], [[0, 1], [1, 2], [3, 5], [8, 13]]
    return np.array([a, b, [[1, 2], [3, 4], [5, 6], [7, 8]]], np.float32).transpose(0, 2, 1)


def moments(x, kind, groups=None):
    y, mean, var = normalise(x, axes_of(kind, x.ndim), 1e-5, groups)
    np.testing.assert_allclose(y.shape, x.shape)
    return np.asarray(mean), np.asarray(var)


@pytest.mark.curriculum("G12")
def test_the_worked_numbers_of_all_four_kinds():
    mean, var = moments(toy(21), "batch")
    np.testing.assert_allclose(mean, [1.5, 3.666667, 8.833333, 12], rtol=1e-6)
    np.testing.assert_allclose(var, [0.916667, 3.888889, 39.472222, 22], rtol=1e-6)
    mean, var = moments(toy(21), "layer")
    np.testing.assert_allclose(mean, [10.875, 4.125, 4.5])
    np.testing.assert_allclose(var, [50.109375, 17.109375, 5.25])
    mean, var = moments(toy(21), "instance")
    np.testing.assert_allclose(mean, [[2.5, 6, 17, 18], [0.5, 1.5, 4, 10.5], [1.5, 3.5, 5.5, 7.5]])
    np.testing.assert_allclose(var, [[0.25, 1, 16, 1], [0.25, 0.25, 1, 6.25], [0.25] * 4])
    mean, var = moments(toy(21), "group", 2)
    np.testing.assert_allclose(mean, [[4.25, 17.5], [1, 7.25], [2.5, 6.5]])
    np.testing.assert_allclose(var, [[3.6875, 8.75], [0.5, 14.1875], [1.25, 1.25]])


@pytest.mark.curriculum("G12")
def test_the_worked_numbers_with_eleven_instead_of_twenty_one():
    x = toy(11)
    np.testing.assert_allclose([m[2] for m in moments(x, "batch")], [7.166667, 12.805556], rtol=1e-6)
    np.testing.assert_allclose([m[0] for m in moments(x, "layer")], [9.625, 35.734375])
    np.testing.assert_allclose([m[0, 2] for m in moments(x, "instance")], [12, 1])
    np.testing.assert_allclose([m[0, 1] for m in moments(x, "group", 2)], [15, 10])


@pytest.mark.curriculum("G12", "G11")
@settings(max_examples=8)
@given(st.integers(0, 9), st.sampled_from([(2, 3, 3, 6), (2, 4, 6)]))
def test_every_kind_leaves_mean_zero_and_variance_one(seed, shape):
    """Over its own set of coefficients; one group is layer normalisation, a group a channel instance normalisation."""
    x = np.random.default_rng(seed).normal(3, 2, shape).astype(np.float32)
    for kind in ("batch", "layer"):
        y = np.asarray(normalise(x, axes_of(kind, x.ndim), 1e-6)[0])
        axes = axes_of(kind, x.ndim)
        np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
        np.testing.assert_allclose(y.var(axes), 1, rtol=1e-3)
    group = axes_of("group", x.ndim)
    np.testing.assert_allclose(normalise(x, group, groups=1)[0], normalise(x, axes_of("layer", x.ndim))[0], atol=1e-6)
    instance = normalise(x, axes_of("instance", x.ndim))[0]
    np.testing.assert_allclose(normalise(x, group, groups=6)[0], instance, atol=1e-6)


@pytest.mark.curriculum("G12", "G11")
@pytest.mark.parametrize(("kind", "groups"), [("batch", None), ("layer", None), ("instance", None), ("group", 2)])
def test_epsilon_is_added_to_the_variance_of_every_kind(kind, groups):
    """With epsilon = 2 the variance left is var / (var + 2), and where nothing varies the result is 0, not NaN."""
    x = toy(21)
    y, _, var = normalise(x, axes_of(kind, 3), 2.0, groups)
    shape = (3, 2, 2, 2) if groups else x.shape
    axes = (1, 3) if groups else axes_of(kind, 3)
    np.testing.assert_allclose(np.asarray(y).reshape(shape).var(axes), var / (var + 2), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(y).reshape(shape).mean(axes), 0, atol=1e-6)
    np.testing.assert_array_equal(normalise(np.full_like(x, 7), axes_of(kind, 3), groups=groups)[0], np.zeros_like(x))


@pytest.mark.curriculum("G12")
@pytest.mark.parametrize(("kind", "groups"), [("batch", None), ("layer", None), ("instance", None), ("group", 2)])
def test_a_mean_far_from_zero_costs_no_digits(kind, groups):
    """Mean 1e4, deviation 0.1: a float32 mean is wrong by 1e-3 of a unit, a hundredth of a deviation and more."""
    x = (1e4 + 0.1 * np.random.default_rng(0).normal(size=(64, 50, 4))).astype(np.float32)
    y, mean, var = (np.asarray(part, np.float64) for part in normalise(x, axes_of(kind, 3), 1e-12, groups))
    shape, axes = ((64, 50, 2, 2), (1, 3)) if groups else (x.shape, axes_of(kind, 3))
    exact = x.astype(np.float64).reshape(shape)
    expected = (exact - exact.mean(axes, keepdims=True)) / exact.std(axes, keepdims=True)
    np.testing.assert_allclose(y.reshape(shape), expected, atol=1e-4)
    np.testing.assert_allclose(var, exact.var(axes), rtol=1e-4)
    np.testing.assert_allclose(mean, exact.mean(axes), rtol=1e-7)


@pytest.mark.curriculum("G11")
def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match=r"groups=3 must divide the 4 channels; choose one of \[1, 2, 4\]"):
        normalise(jnp.ones((2, 3, 4)), (1, 2), groups=3)
    with pytest.raises(ValueError, match="kind='bach' must be one of batch, layer, instance, group"):
        axes_of("bach", 3)


@pytest.mark.curriculum("G9", "G10", "G11")
def test_layers_equal_torch_and_the_normaliser():
    """Stored values of PyTorch 2: GroupNorm(2, 4), InstanceNorm2d(4, affine=True), layer_norm(x, (4,), ..., 1e-6)."""
    x, one = X[0], {"params": PARAMS}
    layers = {
        "group_norm": (norms.group_norm(jnp.float32, 2), "group", 2, 1e-5),
        "instance_norm": (norms.instance_norm(jnp.float32), "instance", None, 1e-5),
    }
    for name, (layer, kind, groups, epsilon) in layers.items():
        y = layer.apply(one, x)
        np.testing.assert_allclose(y, STORED[name], atol=1e-5)
        mine = np.asarray(normalise(x, axes_of(kind, 4), epsilon, groups)[0]) * PARAMS["scale"] + PARAMS["bias"]
        np.testing.assert_allclose(y, mine, atol=1e-5)
    norm = nn.LayerNorm(1e-6, use_fast_variance=False)
    np.testing.assert_allclose(norm.apply(one, x), STORED["layer_norm"], atol=1e-5)
    mine = np.asarray(normalise(x, (-1,), 1e-6)[0]) * PARAMS["scale"] + PARAMS["bias"]
    np.testing.assert_allclose(mine, STORED["layer_norm"], atol=1e-5)


def test_rms_norm_equals_numpy_and_narrow_types_keep_wide_parameters():
    layer = norms.rms_norm(jnp.bfloat16)
    params = layer.init(jax.random.key(0), X[0])["params"]
    assert params["scale"].dtype == jnp.float32
    y = norms.rms_norm(jnp.float32).apply({"params": {"scale": PARAMS["scale"]}}, X[0])
    expected = X[0] / np.sqrt((X[0] ** 2).mean(-1, keepdims=True) + 1e-6) * PARAMS["scale"]
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.curriculum("G14")
def test_local_response_normalisation():
    """All ones: five channels in the interior, three at the edge; then PyTorch's, whose alpha is divided by n."""
    y = np.asarray(ops.local_response_norm(jnp.ones((1, 1, 1, 9))))[0, 0, 0]
    np.testing.assert_allclose(y[[4, 0, 8]], [0.5944920938, 0.5945366734, 0.5945366734], rtol=1e-6)
    y = ops.local_response_norm(X[0], 2.0, 3, 0.5, 0.75, mean=True)
    np.testing.assert_allclose(y, STORED["local_response_norm"], atol=1e-5)
    a, expected = X[0], np.empty_like(X[0])
    for i in range(4):
        expected[..., i] = a[..., i] / (1 + 0.1 * (a[..., max(0, i - 1) : i + 2] ** 2).sum(-1)) ** 0.5
    np.testing.assert_allclose(ops.local_response_norm(a, 1.0, 3, 0.1, 0.5), expected, rtol=1e-5)
    assert np.isfinite(jax.grad(lambda x: ops.local_response_norm(x).sum())(X[0])).all()
    with pytest.raises(ValueError, match="n=4 must be an odd number of channels"):
        ops.local_response_norm(X[0], n=4)


@pytest.mark.curriculum("G15")
def test_adaptive_instance_normalisation_takes_on_the_statistics_of_the_style():
    rng = np.random.default_rng(0)
    scale, bias = rng.uniform(0.5, 2, (3, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    y = np.asarray(ops.adaptive_instance_norm(X[0], scale, bias, 1e-8))
    np.testing.assert_allclose(y.mean((1, 2)), bias, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), scale, rtol=1e-4)
    flat = ops.adaptive_instance_norm(jnp.ones((3, 2, 2, 4)), scale, bias)  # no contrast: epsilon keeps it finite
    np.testing.assert_allclose(flat, np.broadcast_to(bias[:, None, None], flat.shape), atol=1e-5)
    with pytest.raises(ValueError, match=r"scale of shape \(4,\) must be \[b, c\] = \(3, 4\)"):
        ops.adaptive_instance_norm(X[0], scale[0], bias)
    layer, style = norms.AdaptiveInstanceNorm(), rng.normal(size=(3, 5)).astype(np.float32)
    params = layer.init(jax.random.key(0), X[0], style)["params"]
    made = style @ np.asarray(params["style"]["kernel"]) / 5**0.5  # equalised, with five inputs; biases are 0
    expected = ops.adaptive_instance_norm(X[0], 1 + made[:, :4], made[:, 4:])
    np.testing.assert_allclose(layer.apply({"params": params}, X[0], style), expected, atol=1e-5)
    with pytest.raises(ConfigError, match=r"a style must be \[b, d\] with b=3"):
        layer.init(jax.random.key(0), X[0], style[:2])


@pytest.mark.curriculum("G16")
def test_pixel_normalisation_gives_every_pixel_length_one():
    y = np.asarray(ops.pixel_norm(X[0]))
    np.testing.assert_allclose((y**2).mean(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(y, X[0] / np.sqrt((X[0] ** 2).mean(-1, keepdims=True) + 1e-8), rtol=1e-5)
    np.testing.assert_array_equal(ops.pixel_norm(jnp.zeros((1, 2))), 0)


@pytest.mark.curriculum("G13")
def test_weight_standardisation():
    """Filters of mean 0 and variance 1 over their fan-in; the scale and offset of W have no effect on the result."""
    kernel = np.random.default_rng(0).normal(3, 2, (3, 3, 4, 5)).astype(np.float32)
    w = np.asarray(ops.standardise_weights(kernel))
    np.testing.assert_allclose(w.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(w.std((0, 1, 2)), 1, rtol=1e-4)
    expected = (kernel - kernel.mean((0, 1, 2))) / np.sqrt(kernel.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(w, expected, atol=1e-5)
    layer = norms.StandardisedConv(5, (3, 3), use_bias=False)
    plain = nn.Conv(5, (3, 3), use_bias=False).apply({"params": {"kernel": w}}, X[0])
    for scaled in (kernel, 7 * kernel - 2):
        np.testing.assert_allclose(layer.apply({"params": {"kernel": scaled}}, X[0]), plain, atol=1e-3)
    made = jax.eval_shape(layer.init, jax.random.key(0), X[0])["params"]
    assert made["kernel"].shape == (3, 3, 4, 5)
    with pytest.raises(ValueError, match="one weight a filter"):
        ops.standardise_weights(jnp.ones((1, 1, 1, 5)))


def test_spectral_normalisation_finds_the_largest_singular_value():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            layer = nn.Dense(5, use_bias=False, name="dense")
            return norms.spectral_norm(layer, 3)(x, update_stats=train)

    x = np.eye(6, dtype=np.float32)
    variables = Model().init(jax.random.key(0), x, False)
    kernel = np.asarray(variables["params"]["dense"]["kernel"])
    step = jax.jit(lambda v: Model().apply(v, x, True, mutable=["batch_stats"]))
    for _ in range(20):
        y, new = step(variables)
        variables = {**variables, **new}
    np.testing.assert_allclose(y, kernel / np.linalg.norm(kernel, 2), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(y, 2), 1, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"spectral_norm\(steps=0\)"):
        norms.spectral_norm(nn.Dense(5), 0)


@pytest.mark.parametrize("steps", [1, 3])
def test_power_iterations_of_spectral_normalisation_by_hand(steps):
    """A 3x3 convolution: u moves `steps` times, in evaluation only for itself; the kernel is a matrix [27, 4]."""

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            layer = nn.Conv(4, (3, 3), use_bias=False, name="conv")
            return norms.spectral_norm(layer, steps)(x, update_stats=train)

    x = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)
    variables = Model().init(jax.random.key(0), x, False)
    stats = {path[-1].key.split("/")[-1]: v for path, v in
             jax.tree_util.tree_leaves_with_path(variables["batch_stats"])}  # fmt: skip
    matrix = np.asarray(variables["params"]["conv"]["kernel"], np.float64).reshape(27, 4)
    u = np.asarray(stats["u"], np.float64).reshape(1, 4)

    def iterated(u):
        for _ in range(steps):
            v = u @ matrix.T
            v /= np.linalg.norm(v)
            u = v @ matrix
            u /= np.linalg.norm(u)
        return u, (v @ matrix @ u.T).item()

    u, sigma = iterated(u)
    plain = nn.Conv(4, (3, 3), use_bias=False).apply({"params": variables["params"]["conv"]}, x)
    y, new = Model().apply(variables, x, True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, plain / sigma, atol=1e-4)
    moved = {path[-1].key.split("/")[-1]: v for path, v in jax.tree_util.tree_leaves_with_path(new["batch_stats"])}
    np.testing.assert_allclose(moved["u"], u, atol=1e-5)
    np.testing.assert_allclose(moved["sigma"], sigma, rtol=1e-5)
    y, still = Model().apply({**variables, **new}, x, False, mutable=["batch_stats"])
    np.testing.assert_allclose(y, plain / iterated(u)[1], atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, still["batch_stats"], new["batch_stats"])


@pytest.mark.curriculum("G16")
def test_half_precision_neither_overflows_nor_loses_epsilon():
    assert np.all(np.isfinite(ops.pixel_norm(jnp.zeros((1, 2), jnp.float16))))
    x = np.random.default_rng(0).normal(0, 400, (2, 4, 4, 3))
    narrow = jnp.asarray(x, jnp.float16)
    expected = (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True)
    y, _, var = ops.normalise(narrow, (1, 2, 3))
    assert y.dtype == jnp.float16 and var.dtype == jnp.float32
    np.testing.assert_allclose(y.astype(np.float32), expected, atol=1e-2)
    for function in (ops.pixel_norm, ops.local_response_norm):
        wide = function(narrow.astype(jnp.float32))
        np.testing.assert_allclose(function(narrow).astype(np.float32), wide, rtol=1e-2, atol=1e-2)


def test_axes_and_places_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"axes=\(5,\): an array of shape \(2, 3, 4\) has no axis 5"):
        ops.normalise(jnp.ones((2, 3, 4)), (5,))
    np.testing.assert_array_equal(ops.normalise(X[0], (-1,))[0], ops.normalise(X[0], (3,))[0])
    with pytest.raises(ValueError, match=r"x of shape \(2, 4\) has one place to average over"):
        ops.adaptive_instance_norm(jnp.ones((2, 4)), jnp.ones((2, 4)), jnp.ones((2, 4)))


@pytest.mark.curriculum("G17")
def test_inputs_are_normalised_by_statistics_of_the_training_split_alone():
    """One pass equals NumPy over everything, gives the numbers that configs of this set use, and serves every split."""
    splits = load.load("digits", validation="validation").splits
    pixels = {name: split.arrays["image"].astype(np.float64) / 255 for name, split in splits.items()}
    mean, std = scaling.fit("standardise", np.array_split(splits["train"].arrays["image"], 5))
    np.testing.assert_allclose([mean, std], [pixels["train"].mean((0, 1, 2)), pixels["train"].std((0, 1, 2))])
    np.testing.assert_allclose([mean, std], [datasets.DIGITS["mean"], datasets.DIGITS["std"]], atol=5e-5)
    x = {name: to_float.normalise(jnp.asarray(p, jnp.float32), mean, std) for name, p in pixels.items()}
    np.testing.assert_allclose([x["train"].mean(), x["train"].std()], [0, 1], atol=1e-4)
    assert abs(float(x["validation"].mean())) > 1e-3  # not by its own
    np.testing.assert_allclose(x["validation"], (pixels["validation"] - mean) / std, atol=1e-5)
    with pytest.raises(ConfigError, match=r"config\.normalise\.std must be positive"):
        to_float.normalise(jnp.ones((1, 2, 2, 1)), (0.5,), (0.0,))
