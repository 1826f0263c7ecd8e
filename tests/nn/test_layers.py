"""Shared layers against NumPy: dropout and its independence of layouts, normalisation, attention, activations."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from cvdl_jax.core.parallel import PMAP_AXIS
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.attention import Attention
from cvdl_jax.nn.batch_norm import BatchNorm, layer_norm
from cvdl_jax.nn.common import product_of_rows
from cvdl_jax.nn.dropout import Dropout, DropPath
from cvdl_jax.nn.init import HE_NORMAL


@partial(jax.jit, static_argnums=(0, 3))
def drop(layer, x, key, train=True):
    return layer.apply({}, x, train, rngs={"dropout": key})


@pytest.mark.curriculum("F4", "F5")
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_drops_its_rate_and_keeps_the_mean(rate):
    x = np.ones((200, 500), np.float32)
    y = np.asarray(drop(Dropout(rate), x, jax.random.key(0)))
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6)
    sigma = np.sqrt(rate * (1 - rate) / x.size)
    assert abs(kept.mean() - (1 - rate)) < 5 * sigma
    # rows and columns are independent: their counts scatter like binomials
    for axis, n in ((0, 200), (1, 500)):
        np.testing.assert_allclose(kept.mean(axis).std(), np.sqrt(rate * (1 - rate) / n), rtol=0.2)
    np.testing.assert_array_equal(drop(Dropout(rate), x, jax.random.key(0), False), x)


@pytest.mark.curriculum("F38")
def test_dropout_averages_to_the_evaluated_network_for_a_linear_layer():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 20)), rng.normal(size=(20, 3))
    masks = drop(Dropout(0.5), np.repeat(x, 20_000, 0).astype(np.float32), jax.random.key(0))
    outputs = np.asarray(masks) @ w
    error = outputs.std(0) / np.sqrt(len(outputs))
    assert (np.abs(outputs.mean(0) - (x @ w)[0]) < 4 * error).all()
    assert (outputs.std(0) > 0.5).all()  # single masks differ


@pytest.mark.parametrize("layer", [Dropout(0.4), DropPath(0.4)])
def test_a_rows_mask_depends_only_on_its_global_index(layer):
    """One call of eight rows, the first three of them, and four mapped devices of two rows see the same masks."""
    x, key = np.random.default_rng(0).normal(size=(8, 3, 5)).astype(np.float32), jax.random.key(3)
    whole = drop(layer, x, key)
    np.testing.assert_array_equal(drop(layer, x[:3], key), whole[:3])
    mapped = jax.vmap(lambda part: layer.apply({}, part, True, rngs={"dropout": key}), axis_name=PMAP_AXIS)
    np.testing.assert_array_equal(mapped(x.reshape(4, 2, 3, 5)).reshape(8, 3, 5), whole)
    assert len(np.unique(np.asarray(whole != 0).reshape(8, -1), axis=0)) > 1  # rows differ from each other
    assert not np.array_equal(whole, drop(layer, x, jax.random.key(4)))


def test_drop_path_drops_whole_rows():
    x = np.ones((4000, 2, 3), np.float32)
    y = np.asarray(drop(DropPath(0.25), x, jax.random.key(0)))
    assert (np.ptp(y.reshape(4000, -1), axis=1) == 0).all()
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
    assert abs((y[:, 0, 0] == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4000)
    np.testing.assert_array_equal(drop(DropPath(0.25), x, jax.random.key(0), False), x)


@pytest.mark.parametrize("layer", [Dropout, DropPath])
def test_dropout_keeps_the_dtype_and_needs_no_key_at_rate_zero(layer):
    x = jnp.ones((2, 3), jnp.bfloat16)
    assert drop(layer(0.5), x, jax.random.key(0)).dtype == jnp.bfloat16
    np.testing.assert_array_equal(layer(0.0).apply({}, x, True), x)
    for rate in (1.0, -0.1):
        with pytest.raises(ConfigError, match=r"must lie in \[0, 1\)"):
            layer(rate).apply({}, x, False)


def numpy_batch_norm(x, scale=1.0, bias=0.0, epsilon=1e-5):
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return (x - mean) / np.sqrt(var + epsilon) * scale + bias, mean, var


@partial(jax.jit, static_argnums=(0, 3))
def batch_norm(layer, variables, x, train):
    return layer.apply(variables, x, train, mutable=["batch_stats"])


def norm_variables(c, scale=None, bias=None, mean=None, var=None):
    """Variables of a BatchNorm of c channels."""
    given = {"scale": scale, "bias": bias, "mean": mean, "var": var}
    start = {"scale": 1, "bias": 0, "mean": 0, "var": 1}
    values = {k: np.full(c, start[k], np.float32) if v is None else np.float32(v) for k, v in given.items()}
    return {
        "params": {"scale": values["scale"], "bias": values["bias"]},
        "batch_stats": {"mean": values["mean"], "var": values["var"]},
    }


@pytest.mark.curriculum("G1", "G2")
@pytest.mark.parametrize("shape", [(6, 4), (3, 5, 5, 4)])
def test_batch_norm_equals_numpy(shape):
    """Dense and convolutional; running averages keep 0.9 of the old value and add 0.1 of the batch's."""
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, size=shape).astype(np.float32)
    variables = norm_variables(4, rng.normal(size=4), rng.normal(size=4), rng.normal(size=4), rng.uniform(1, 2, 4))
    params, stats = variables["params"], variables["batch_stats"]
    y, new = batch_norm(BatchNorm(), variables, x, True)
    expected, mean, var = numpy_batch_norm(x.astype(np.float64), params["scale"], params["bias"])
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.9 * stats["mean"] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 * stats["var"] + 0.1 * var, rtol=1e-5)
    y, new = batch_norm(BatchNorm(), variables, x, False)
    expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_array_equal(new["batch_stats"]["mean"], stats["mean"])


def test_batch_norm_of_the_worked_example():
    """Three inputs of two pixels and four channels; channel means 1.5, 11/3, 53/6, 12."""
    a, b = [[2, 3], [5, 7], [21, 13], [17, 19]], [[0, 1], [1, 2], [3, 5], [8, 13]]
    x = np.array([a, b, [[1, 2], [3, 4], [5, 6], [7, 8]]], np.float32).transpose(0, 2, 1)  # [3, 2, 4]
    _, new = batch_norm(BatchNorm(momentum=1.0), norm_variables(4), x, True)
    np.testing.assert_allclose(new["batch_stats"]["mean"], [1.5, 3.666667, 8.833333, 12], rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], [0.916667, 3.888889, 39.472222, 22], rtol=1e-5)


@pytest.mark.curriculum("G5")
def test_batch_norm_can_be_the_identity():
    x = np.random.default_rng(0).normal(3, 2, size=(16, 4)).astype(np.float32)
    variables = norm_variables(4, np.sqrt(x.var(0) + 1e-5), x.mean(0))
    np.testing.assert_allclose(batch_norm(BatchNorm(), variables, x, True)[0], x, atol=1e-5)


def test_batch_norm_of_mapped_devices_equals_one_global_batch():
    """Values, running statistics and gradients, four devices of two rows against eight rows."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(1, 2, size=(2, 8, 3)).astype(np.float32)
    layer, variables = BatchNorm(), norm_variables(3, [1, 2, 3], [0.5, 0, -1])

    def loss(x, w):
        y, new = layer.apply(variables, x, True, mutable=["batch_stats"])
        return (y * w).sum(), new

    def mapped(x):
        parts = jax.vmap(loss, axis_name=PMAP_AXIS)(x.reshape(4, 2, 3), w.reshape(4, 2, 3))
        return parts[0].sum(), parts[1]

    (value, new), grad = jax.jit(jax.value_and_grad(loss, has_aux=True))(x, w)
    (mapped_value, mapped_new), mapped_grad = jax.jit(jax.value_and_grad(mapped, has_aux=True))(x)
    np.testing.assert_allclose(mapped_value, value, rtol=1e-5)
    np.testing.assert_allclose(mapped_grad, grad, atol=1e-5)
    for one, four in zip(jax.tree.leaves(new), jax.tree.leaves(mapped_new), strict=True):
        np.testing.assert_allclose(four, np.broadcast_to(one, four.shape), rtol=1e-5)


def test_batch_norm_statistics_are_float32_and_do_not_cancel():
    """bfloat16 in and out; a mean of 3,000 and a spread of 1."""
    x = np.random.default_rng(0).normal(3000, 1, size=(256, 2)).astype(np.float32)
    for mean in ([0.0, 0.0], [2999.0, 3001.0]):  # before the first step, and once the running mean has arrived
        y, new = batch_norm(BatchNorm(momentum=1.0), norm_variables(2, mean=mean), x, True)
        np.testing.assert_allclose(y, numpy_batch_norm(x.astype(np.float64))[0], atol=1e-3)
        np.testing.assert_allclose(new["batch_stats"]["var"], x.astype(np.float64).var(0), rtol=1e-4)
    y, new = batch_norm(BatchNorm(dtype=jnp.bfloat16), norm_variables(2), x.astype(jnp.bfloat16), True)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} == {jnp.dtype("float32")}


@pytest.mark.curriculum("G9")
def test_layer_norm_is_per_example():
    """The three inputs of the worked example as vectors: means 10.875, 4.125, 4.5."""
    x = np.array([[2, 3, 5, 7, 21, 13, 17, 19], [0, 1, 1, 2, 3, 5, 8, 13], range(1, 9)], np.float32)
    layer = layer_norm(jnp.float32)
    params = {"scale": jnp.arange(8.0), "bias": jnp.ones(8)}
    mean, var = np.array([[10.875], [4.125], [4.5]]), np.array([[50.109375], [17.109375], [5.25]])
    expected = (x - mean) / np.sqrt(var + 1e-6) * np.arange(8) + 1
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, atol=1e-5)


@pytest.fixture(scope="module")
def attention():
    """Self-attention of three heads on [2, 5, 12], and what it computed."""
    layer = Attention(3, return_weights=True)
    x = np.random.default_rng(0).normal(size=(2, 5, 12)).astype(np.float32)
    variables = layer.init(jax.random.key(0), x, False)
    params = jax.tree.map(lambda p: p + 0.05, variables["params"])  # biases too
    y, out = jax.jit(partial(layer.apply, train=False))({"params": params}, x)
    return layer, params, x, y, out["weights"]


@pytest.mark.curriculum("J5")
def test_attention_equals_a_numpy_loop_over_heads(attention):
    _, params, x, y, weights = attention
    params = jax.tree.map(np.asarray, params)
    w, bias = params["qkv"]["kernel"].reshape(12, 3, 3, 4), params["qkv"]["bias"].reshape(3, 3, 4)
    for i, tokens in enumerate(x):
        heads = []
        for h in range(3):
            q, k, v = (tokens @ w[:, j, h] + bias[j, h] for j in range(3))
            a = special.softmax(q @ k.T / np.sqrt(4), axis=1)
            np.testing.assert_allclose(weights[i, h], a, atol=1e-5)
            heads.append(a @ v)
        expected = np.concatenate(heads, 1) @ params["proj"]["kernel"] + params["proj"]["bias"]
        np.testing.assert_allclose(y[i], expected, atol=1e-4)


def test_attention_commutes_with_a_permutation_of_tokens(attention):
    layer, params, x, y, _ = attention
    order = np.array([3, 0, 4, 1, 2])
    permuted = jax.jit(partial(layer.apply, train=False))({"params": params}, x[:, order])[0]
    np.testing.assert_allclose(permuted, y[:, order], atol=1e-5)


def test_attention_softmax_is_float32_under_bfloat16(attention):
    _, params, x, _, weights = attention
    layer = Attention(3, return_weights=True, dtype=jnp.bfloat16)
    y, out = jax.jit(partial(layer.apply, train=False))({"params": params}, x)
    narrow = out["weights"]
    assert y.dtype == jnp.bfloat16 and narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow.sum(-1), 1, atol=1e-6)  # bfloat16 would be off by 1e-2
    np.testing.assert_allclose(narrow, weights, atol=0.05)


def test_attention_returns_no_weights_unless_asked(attention):
    _, params, x, y, _ = attention
    plain, out = Attention(3).apply({"params": params}, x, False)
    assert out == {}
    np.testing.assert_allclose(plain, y, atol=1e-5)


def test_attention_adds_the_bias_of_row_i_modulo_k(attention):
    """Biases [2, 1, n, n] of four rows: row 2 has that of row 0; minus infinity in effect forbids a pair."""
    _, params, x, _, _ = attention
    layer, bias = Attention(3, return_weights=True), np.zeros((2, 1, 5, 5), np.float32)
    bias[1, 0, :, 4] = -1e9
    bias[0, 0, 0, 1] = 1.5
    four = np.concatenate([x, x[::-1]])
    _, plain = layer.apply({"params": params}, four, False)
    _, biased = layer.apply({"params": params}, four, False, bias)
    expected = special.softmax(np.log(plain["weights"]) + bias[[0, 1, 0, 1]], -1)
    np.testing.assert_allclose(biased["weights"], expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"must be \[k, 3 or 1, 5, 5\], k a divisor of 2"):
        layer.apply({"params": params}, x, False, np.zeros((3, 1, 5, 5), np.float32))


def test_attention_is_fused_only_where_nothing_needs_its_weights(attention, monkeypatch):
    """With XLA's form of the fused function in the place of cuDNN's, the result is that of the plain one."""
    from cvdl_jax.nn import attention as module

    _, params, x, y, _ = attention
    fused, calls = jax.nn.dot_product_attention, []

    def noted(q, k, v, implementation):
        calls.append(implementation)
        return fused(q, k, v, implementation="xla")

    assert not module.fuses(jnp.bfloat16, 64)  # on a CPU
    monkeypatch.setattr(module, "fuses", lambda dtype, channels: True)
    monkeypatch.setattr(jax.nn, "dot_product_attention", noted)
    np.testing.assert_allclose(Attention(3).apply({"params": params}, x, False)[0], y, atol=1e-5)
    assert calls == ["cudnn"]
    Attention(3, return_weights=True).apply({"params": params}, x, False)
    Attention(3, 0.5).apply({"params": params}, x, True, rngs={"dropout": jax.random.key(0)})
    Attention(3).apply({"params": params}, x, False, np.zeros((1, 1, 5, 5), np.float32))
    assert calls == ["cudnn"]
    Attention(3, 0.5).apply({"params": params}, x, False)
    assert calls == 2 * ["cudnn"]


@pytest.mark.parametrize(
    ("dtype", "channels", "capability", "platform", "fused"),
    [
        ("bfloat16", 64, "9.0", "gpu", True),
        ("float16", 128, "8.0", "gpu", True),
        ("float32", 64, "9.0", "gpu", False),
        ("bfloat16", 20, "9.0", "gpu", False),
        ("bfloat16", 136, "9.0", "gpu", False),
        ("bfloat16", 64, "7.5", "gpu", False),
        ("bfloat16", 64, "gfx90a", "gpu", False),
        ("bfloat16", 64, "9.0", "tpu", False),
    ],
)
def test_where_cudnn_takes_attention(dtype, channels, capability, platform, fused, monkeypatch):
    from types import SimpleNamespace

    from cvdl_jax.nn import attention as module

    monkeypatch.setattr(module, "backend", lambda: platform)
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jax, "local_devices", lambda backend: [SimpleNamespace(compute_capability=capability)])
    assert module.fuses(dtype, channels) is fused


def test_fused_attention_counts_both_products():
    """Twice b h n^2 d forwards, as the plain form; twice that backwards."""
    from types import SimpleNamespace

    from cvdl_jax.core.counting import equation_macs

    value = SimpleNamespace(aval=SimpleNamespace(shape=(2, 5, 3, 4)))  # b, n, h, d
    for name, products in (("fwd_wrapper", 2), ("bwd_wrapper", 4)):
        primitive = SimpleNamespace(name=f"dot_product_attention_{name}")
        equation = SimpleNamespace(primitive=primitive, invars=[value, value, value])
        assert equation_macs(equation) == products * 2 * 3 * 5 * 5 * 4


def test_he_initialisation_has_the_variance_of_its_fan_in():
    kernel = HE_NORMAL(jax.random.key(0), (3, 3, 64, 256))
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 64)), rtol=0.01)
    assert np.abs(kernel).max() > 3 * kernel.std()  # not truncated


X = np.linspace(-4, 4, 33)
ORACLES = {
    "identity": X,
    "relu": np.maximum(X, 0),
    "leaky_relu": np.where(X > 0, X, 0.01 * X),
    "elu": np.where(X > 0, X, np.exp(X) - 1),
    "tanh": np.tanh(X),
    "lecun_tanh": 1.7159 * np.tanh(2 * X / 3),
    "sigmoid": 1 / (1 + np.exp(-X)),
    "silu": X / (1 + np.exp(-X)),
    "gelu": 0.5 * X * (1 + special.erf(X / np.sqrt(2))),
    "gelu_tanh": 0.5 * X * (1 + np.tanh(np.sqrt(2 / np.pi) * (X + 0.044715 * X**3))),
}


@pytest.mark.parametrize("name", ORACLES)
def test_activations_equal_numpy(name):
    np.testing.assert_allclose(activation(name)(jnp.asarray(X, jnp.float32)), ORACLES[name], atol=1e-5)


@pytest.mark.curriculum("B13")
def test_gelu_has_an_exact_and_a_tanh_form():
    x = jnp.array([1.0, -1.0])
    np.testing.assert_allclose(activation("gelu")(x), [0.8413447, -0.1586553], atol=1e-6)
    np.testing.assert_allclose(activation("gelu_tanh")(x), [0.8411920, -0.1588080], atol=1e-6)


def test_unknown_activation_names_the_nearest():
    with pytest.raises(ConfigError, match=r"config\.model\.activation='relo' is not known; did you mean 'relu'\?"):
        activation("relo")


def test_layers_are_flax_modules():
    assert all(isinstance(layer, nn.Module) for layer in (Dropout(0.1), BatchNorm(), layer_norm(jnp.float32)))


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_a_product_of_rows_is_the_dense_layers_product(shape):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=shape).astype(np.float32), rng.normal(size=(5, 7)).astype(np.float32)
    dense, rows = nn.Dense(7), nn.Dense(7, dot_general=product_of_rows)
    params = {"params": {"kernel": kernel, "bias": np.arange(7, dtype=np.float32)}}
    expected = np.einsum("...d,dk->...k", x, kernel) + np.arange(7)
    np.testing.assert_allclose(rows.apply(params, x), expected, rtol=1e-5, atol=1e-5)
    ours, theirs = (
        jax.grad(lambda p, layer=layer: jnp.sin(layer.apply(p, x)).sum())(params) for layer in (rows, dense)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), ours, theirs)


def test_a_product_of_rows_is_none_of_other_axes():
    with pytest.raises(ValueError, match="product of a dense layer"):
        nn.DenseGeneral(4, axis=(1, 2), dot_general=product_of_rows).init(jax.random.key(0), jnp.zeros((2, 3, 5)))
