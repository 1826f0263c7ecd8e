"""Initialisers: formulas of mean, spread and bounds in NumPy, exact properties, and how a config names them."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import input_of, make_model

from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.init import HE_NORMAL, INITIALIZERS, auto, initializer
from cvdl_jax.nn.recurrent import CELLS, Recurrent

KEY = jax.random.key(0)


def draw(text, shape=(500, 500), activation="identity", key=KEY):
    return np.asarray(initializer(text, activation)(key, shape, jnp.float32), np.float64)


def mark(*ids):
    return pytest.mark.curriculum(*ids)


# (text, shape, standard deviation); a normal distribution unless it is said to be uniform
WIDE, CONV = (100, 400), (3, 3, 32, 64)
NORMAL = [
    pytest.param("normal", WIDE, 0.01, marks=mark("E4")),
    pytest.param("normal(std=0.1)", WIDE, 0.1, marks=mark("E4")),
    pytest.param("xavier_fan_in", (500, 500), 0.0447214, marks=mark("E6")),
    pytest.param("xavier_fan_in", WIDE, 100**-0.5, marks=mark("E6")),  # the inputs, not the outputs, count
    pytest.param("xavier_fan_in(gain=3)", CONV, 3 / math.sqrt(9 * 32), marks=mark("E6")),
    pytest.param("glorot_normal", (500, 500), 0.0447214, marks=mark("E7")),
    pytest.param("xavier_normal", WIDE, math.sqrt(2 / 500), marks=mark("E7")),
    pytest.param("glorot_normal(gain=1.5)", WIDE, 1.5 * math.sqrt(2 / 500), marks=mark("E7")),
    pytest.param("glorot_normal", CONV, math.sqrt(2 / (9 * 32 + 9 * 64)), marks=mark("E7")),
    pytest.param("he_normal", (500, 500), 0.0632456, marks=mark("E8")),
    pytest.param("kaiming_normal", WIDE, math.sqrt(2 / 100), marks=mark("E8")),
    pytest.param("he_normal('fan_out')", WIDE, math.sqrt(2 / 400), marks=mark("E8")),
    pytest.param("he_normal(slope=0.2)", WIDE, math.sqrt(2 / (1.04 * 100)), marks=mark("E8")),
    pytest.param("he_normal(mode='fan_out', slope=0.25)", CONV, math.sqrt(2 / (1.0625 * 9 * 64)), marks=mark("E8")),
]
UNIFORM = [
    pytest.param("uniform", WIDE, 0, 0.01, marks=mark("E3")),
    pytest.param("uniform(-0.5, 0.2)", WIDE, -0.5, 0.2, marks=mark("E3")),
    pytest.param("glorot_uniform", WIDE, -math.sqrt(6 / 500), math.sqrt(6 / 500), marks=mark("E7")),
    pytest.param("xavier_uniform(2.0)", CONV, -2 * math.sqrt(6 / 864), 2 * math.sqrt(6 / 864), marks=mark("E7")),
    pytest.param("he_uniform", WIDE, -math.sqrt(6 / 100), math.sqrt(6 / 100), marks=mark("E8")),
    pytest.param("kaiming_uniform('fan_out', 1.0)", WIDE, -math.sqrt(3 / 400), math.sqrt(3 / 400), marks=mark("E8")),
]


@pytest.mark.parametrize("text, shape, std", NORMAL)
def test_normal_initialisers_have_the_formulas_spread(text, shape, std):
    w = draw(text, shape)
    assert w.shape == shape and abs(w.mean()) < 5 * std / math.sqrt(w.size)
    np.testing.assert_allclose(w.std(), std, rtol=0.02)
    np.testing.assert_allclose((w**4).mean() / std**4, 3, rtol=0.1)  # a normal distribution's, and not cut off
    assert np.abs(w).max() > 3.5 * std


@pytest.mark.parametrize("text, shape, low, high", UNIFORM)
def test_uniform_initialisers_fill_the_formulas_range(text, shape, low, high):
    w = (draw(text, shape) - low) / (high - low)
    assert w.min() >= -1e-6 and w.max() <= 1 + 1e-6
    quantiles = np.quantile(w, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quantiles, [0, 0.25, 0.5, 0.75, 1], atol=0.01)


@pytest.mark.curriculum("E1")
def test_zeros_and_constant():
    assert (draw("zeros") == 0).all() and (draw("constant(0.25)") == 0.25).all()


@pytest.mark.curriculum("E5")
@settings(max_examples=20)
@given(st.sampled_from([(1, 3), (30, 7)]), st.floats(0, 1), st.integers(0, 9))
def test_sparse_gives_every_unit_the_same_number_of_zeros(shape, sparsity, seed):
    w = draw(f"sparse({sparsity!r})", shape, key=jax.random.key(seed))
    assert ((w == 0).sum(0) == math.ceil(round(sparsity * shape[0], 9))).all()


@pytest.mark.curriculum("E5")
def test_sparse_connections_are_random_and_normal():
    w = draw("sparse(sparsity=0.9, std=0.01)", (200, 300))
    np.testing.assert_array_equal((w == 0).sum(0), 180)
    chosen = w != 0
    np.testing.assert_allclose(w[chosen].std(), 0.01, rtol=0.03)
    assert len(np.unique(chosen, axis=1).T) == 300  # every unit has its own
    share = chosen.mean(1)  # of each input, binomial with 300 trials of 0.1
    assert share.std() < 1.3 * math.sqrt(0.1 * 0.9 / 300) and share.min() > 0
    assert ((draw("sparse(0.1)", (3, 3, 10, 7)) == 0).sum((0, 1, 2)) == 9).all()  # 0.1 * 90


@pytest.mark.curriculum("E9")
@pytest.mark.parametrize("shape", [(20, 20), (30, 8), (8, 30), (3, 3, 4, 10)])
def test_orthogonal_has_orthonormal_columns_or_rows(shape):
    q = draw("orthogonal(gain=2)", shape).reshape(-1, shape[-1]) / 2
    gram = q.T @ q if len(q) >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)


@pytest.mark.curriculum("E9")
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_matrices_are_orthogonal_blocks(cell):
    params = Recurrent(cell, 6).init(KEY, jnp.zeros((1, 2, 3)))["params"]
    for q in np.split(np.asarray(params["recurrent_kernel"]), CELLS[cell].blocks, 1):
        np.testing.assert_allclose(q.T @ q, np.eye(6), atol=1e-5)


# In models ----------------------------------------------------------------------------------------------------------


@cache
def fresh(name, **overrides):
    """New parameters; compiled, because that leaves out the forward pass."""
    x = jnp.zeros((1, *input_of(name)))
    model = make_model(name, 10, "float32", **overrides)
    quick = {"xla_backend_optimization_level": 0}
    return jax.jit(lambda: model.init(KEY, x, False)["params"], compiler_options=quick)()


def leaves(params, kind):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(p[:-1]): np.asarray(leaf) for p, leaf in leaves if p[-1].key == kind}


@pytest.mark.curriculum("E10")
@pytest.mark.parametrize("name", ["mlp_tiny", "lenet5_tiny", "resnet8_tiny"])
def test_a_named_initialiser_is_used_for_every_kernel_and_biases_are_zero(name):
    for params in (fresh(name), fresh(name, kernel_init="constant(0.5)")):
        assert all((b == 0).all() for b in leaves(params, "bias").values())
    kernels = leaves(params, "kernel")
    assert len(kernels) > 2 and all((k == 0.5).all() for k in kernels.values())


@pytest.mark.curriculum("E10")
@pytest.mark.parametrize("name", ["mlp_tiny", "lenet5_tiny"])
def test_biases_may_begin_elsewhere(name):
    biases = leaves(fresh(name, bias_init=0.1), "bias")
    assert (biases.pop("['head']") == 0).all() and biases
    assert all((b == np.float32(0.1)).all() for b in biases.values())


def test_defaults_are_the_models_own():
    lecun = nn.initializers.lecun_normal()
    for name, first in (("mlp_tiny", HE_NORMAL), ("lenet5_tiny", lecun), ("resnet8_tiny", HE_NORMAL)):
        last = HE_NORMAL if name == "resnet8_tiny" else lecun
        for path, kernel in leaves(fresh(name), "kernel").items():
            ours = last if "head" in path else first
            # Flax derives the key of a parameter from its path, so a bare layer of that name would draw the same
            scale = ours(KEY, kernel.shape, jnp.float32).std()
            np.testing.assert_allclose(kernel.std(), scale, rtol=6 / math.sqrt(kernel.size))
    named = {"lenet5_tiny": "lecun_normal", "resnet8_tiny": "he_normal"}
    for name, text in named.items():
        jax.tree.map(np.testing.assert_array_equal, fresh(name), fresh(name, kernel_init=text))


@pytest.mark.curriculum("E14")
@pytest.mark.parametrize(
    "activation, std",
    [
        ("tanh", 500**-0.5), ("lecun_tanh", 500**-0.5), ("sigmoid", 500**-0.5), ("identity", 500**-0.5),
        ("relu", 250**-0.5), ("relu(at_zero=0.5)", 250**-0.5), ("gelu", 250**-0.5), ("silu", 250**-0.5),
        ("elu(alpha=0.5)", 250**-0.5),
        ("leaky_relu", math.sqrt(2 / (1.0001 * 500))), ("leaky_relu(slope=0.5)", math.sqrt(2 / (1.25 * 500))),
        ("prelu", math.sqrt(2 / (1.0625 * 500))), ("prelu(initial=0.5)", math.sqrt(2 / (1.25 * 500))),
    ],
)  # fmt: skip
def test_auto_takes_the_scale_of_the_activation(activation, std):
    np.testing.assert_allclose(draw("auto", activation=activation).std(), std, rtol=0.01)


@pytest.mark.curriculum("E14")
def test_auto_in_a_model_follows_each_layers_activation():
    for activation, gain in (("relu", 2), ("tanh", 1)):
        kernels = leaves(fresh("mlp", activation=activation, kernel_init="auto"), "kernel")
        for path, kernel in kernels.items():
            factor = 1 if "head" in path else gain  # nothing follows the scores
            np.testing.assert_allclose(kernel.std(), math.sqrt(factor / len(kernel)), rtol=6 / math.sqrt(kernel.size))


@pytest.mark.parametrize(
    "text, message",
    [
        ("he_norml", r"config\.model\.kernel_init: there is no 'he_norml': did you mean 'he_normal'\?"),
        ("he_normal(mode='fan_avg')", "one of 'fan_in', 'fan_out'"),
        ("he_normal(gain=2)", "'?gain'? is not an argument of he_normal"),
        ("he_normal | zeros", "must be one initialiser"),
        ("glorot_normal(0)", "a gain of 0.0 must be positive and finite"),
        ("sparse(1.5)", "must be a share between 0 and 1"),
        ("sparse(0.5, -1)", "must be zero or more"),
        ("normal(-0.1)", r"normal\(std=-0.1\) must be zero or more"),
        ("uniform(1, 0)", "needs low < high"),
    ],
)
def test_wrong_initialisers_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        initializer(text)


def test_auto_without_a_rule_is_refused():
    with pytest.raises(ConfigError, match=r"no rule for config\.model\.activation='sine'; name an initialiser"):
        auto("sine")
    with pytest.raises(ConfigError, match=r"config\.model\.kernel_init: there is no 'xavir_normal'"):
        fresh("mlp_tiny", kernel_init="xavir_normal")


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initialisers_keep_the_dtype(name):
    text = {"constant": "constant(1.0)"}.get(name, name)
    for dtype in (jnp.float32, jnp.bfloat16):
        shape = jax.eval_shape(lambda text=text, dtype=dtype: initializer(text)(KEY, (8, 4), dtype))
        assert shape.shape == (8, 4) and shape.dtype == dtype
