"""Activations: worked values, closed-form derivatives against automatic and numerical ones, the learned slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_for_tests import input_of, make_model
from scipy import special

from cvdl_jax.core.trees import names
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.activations import ACTIVATIONS, PReLU, activation, derivative
from cvdl_jax.ops import activation_derivatives as derivatives
from cvdl_jax.optim.param_groups import DECAY, matches

WITH_ARGUMENTS = ["relu(at_zero=1)", "leaky_relu(slope=0.1)", "leaky_relu(2.0)", "elu(alpha=0.5)", "sine(omega=30.0)"]
NAMES = [*derivatives.DERIVATIVES, *WITH_ARGUMENTS]
ROWS = {
    "identity": "B5", "sigmoid": "B6", "relu": "B7", "leaky_relu": "B8", "tanh": "B10", "sine": "B11", "elu": "B12",
    "gelu": "B13", "gelu_tanh": "B13",
}  # fmt: skip
GRID = np.concatenate([np.linspace(-6, 6, 97), [-1e-3, 0, 1e-3]]).astype(np.float32)  # 0 twice: the kink itself


def with_rows(*rows):
    """Parameters whose first is an activation, each marked with the row of the curriculum that it is."""

    def marked(row):
        name = row.partition("(")[0] if isinstance(row, str) else row[0].partition("(")[0]
        marks = [pytest.mark.curriculum(ROWS[name])] if name in ROWS else []
        return pytest.param(*([row] if isinstance(row, str) else row), marks=marks)

    return [marked(row) for row in rows]


@jax.jit
def values_and_slopes(z):
    """{name: (g, automatic g', closed g')} of all activations, compiled together."""

    def one(name):
        y, slope = jax.jvp(activation(name), (z,), (jnp.ones_like(z),))
        return y, slope, derivative(name)(z)

    return {name: one(name) for name in NAMES}


@pytest.fixture(scope="module")
def computed():
    return jax.tree.map(np.asarray, values_and_slopes(GRID))


def test_every_activation_has_its_derivative():
    assert ACTIVATIONS.keys() - derivatives.DERIVATIVES.keys() == {"prelu"}  # which has it as a function of its slope
    assert derivatives.DERIVATIVES.keys() <= ACTIVATIONS.keys()


@pytest.mark.parametrize("name", with_rows(*NAMES))
def test_closed_forms_equal_automatic_differentiation(name, computed):
    _, automatic, closed = computed[name]
    np.testing.assert_allclose(closed, automatic, atol=3e-6 * max(1, np.abs(automatic).max()))


@pytest.mark.parametrize("name", with_rows(*NAMES))
def test_closed_forms_equal_central_differences(name):
    """In float64 and away from kinks, with SciPy's and NumPy's functions as the oracle."""
    z, h = np.linspace(-5, 5, 41) + 0.013, 1e-5
    numeric = (ORACLES[name](z + h) - ORACLES[name](z - h)) / (2 * h)
    with jax.enable_x64(True):
        np.testing.assert_allclose(derivative(name)(jnp.asarray(z)), numeric, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(activation(name)(jnp.asarray(z)), ORACLES[name](z), rtol=1e-12, atol=1e-14)


ORACLES = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "relu(at_zero=1)": lambda z: np.maximum(z, 0),
    "relu6": lambda z: np.minimum(np.maximum(z, 0), 6),
    "hard_sigmoid": lambda z: np.clip(z + 3, 0, 6) / 6,
    "hard_swish": lambda z: z * np.clip(z + 3, 0, 6) / 6,
    "leaky_relu": lambda z: np.where(z >= 0, z, 0.01 * z),
    "leaky_relu(slope=0.1)": lambda z: np.maximum(0.1 * z, z),
    "leaky_relu(2.0)": lambda z: np.where(z >= 0, z, 2 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "elu(alpha=0.5)": lambda z: np.where(z > 0, z, 0.5 * np.expm1(z)),
    "tanh": np.tanh,
    "lecun_tanh": lambda z: 1.7159 * np.tanh(2 * z / 3),
    "sigmoid": special.expit,
    "sine": np.sin,
    "sine(omega=30.0)": lambda z: np.sin(30 * z),
    "silu": lambda z: z * special.expit(z),
    "gelu": lambda z: z * special.ndtr(z),
    "quick_gelu": lambda z: z * special.expit(1.702 * z),
    "gelu_tanh": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
}


def at(name, z):
    """(g, g') at one point."""
    y, slope = jax.jvp(activation(name), (jnp.float32(z),), (jnp.float32(1),))
    np.testing.assert_allclose(derivative(name)(jnp.float32(z)), slope, atol=1e-6)
    return float(y), float(slope)


@pytest.mark.parametrize(
    ("name", "z", "value", "slope"),
    with_rows(
        ("identity", -3, -3, 1),
        ("sigmoid", 0, 0.5, 0.25),  # the steepest point
        ("sigmoid", 1, 0.7310586, 0.1966119),
        ("sigmoid", 200, 1, 0),  # saturated, and finite
        ("sigmoid", -200, 0, 0),
        ("relu", -2, 0, 0),
        ("relu", 2, 2, 1),
        ("relu", 0, 0, 0),
        ("relu(at_zero=1)", 0, 0, 1),
        ("relu(at_zero=0.5)", 0, 0, 0.5),
        ("relu6", 5, 5, 1),
        ("relu6", 7, 6, 0),
        ("relu6", 6, 6, 0),
        ("hard_sigmoid", 1, 2 / 3, 1 / 6),
        ("hard_sigmoid", -4, 0, 0),
        ("hard_swish", 1, 2 / 3, 5 / 6),  # z (z + 3) / 6 has the derivative (2 z + 3) / 6
        ("hard_swish", 4, 4, 1),
        ("hard_swish", -4, 0, 0),
        ("leaky_relu", -2, -0.02, 0.01),
        ("leaky_relu(slope=0.1)", -2, -0.2, 0.1),
        ("leaky_relu(slope=0.1)", 0, 0, 1),
        ("leaky_relu(slope=2.0)", -2, -4, 2),  # max(2 z, z) would be -2
        ("tanh", 0, 0, 1),
        ("tanh", 1, 0.7615942, 0.4199743),  # 1 - a^2
        ("lecun_tanh", 1, 0.9999967, 0.7554123),
        ("sine", np.pi / 3, 0.8660254, 0.5),
        ("sine(omega=2.0)", np.pi / 6, 0.8660254, 1.0),
        ("elu", -1, -0.6321206, 0.3678794),
        ("elu(alpha=0.5)", -1, -0.3160603, 0.1839397),
        ("elu(alpha=0.5)", 1, 1, 1),
        ("gelu", 1, 0.8413447, 1.0833155),  # Phi(1) + phi(1)
        ("gelu", -1, -0.1586553, -0.0833155),
        ("quick_gelu", 1, 0.8457958, 1.0677796),
        ("gelu_tanh", 1, 0.8411920, 1.0829641),
        ("gelu_tanh", -1, -0.1588080, -0.0829641),
    ),
)
def test_worked_values(name, z, value, slope):
    np.testing.assert_allclose(at(name, z), (value, slope), atol=1e-6)


@pytest.mark.curriculum("B6", "B10")
def test_sigmoid_and_tanh_are_one_function_and_saturate(computed):
    sigmoid, tanh = computed["sigmoid"][0], computed["tanh"][0]
    np.testing.assert_allclose(tanh[48::2], 2 * special.expit(2 * GRID[48::2]) - 1, atol=1e-6)
    assert (np.diff(sigmoid[:97]) >= 0).all() and (sigmoid > 0).all() and (sigmoid < 1).all()
    assert derivative("sigmoid")(jnp.float32(10)) < 1e-4 and derivative("sigmoid")(jnp.float32(80)) > 0  # no cancelling


@pytest.mark.curriculum("B9")
@pytest.mark.parametrize("shared", [False, True])
def test_prelu_learns_a_slope_per_channel_or_per_layer(shared):
    layer, z = PReLU(0.25, shared), jnp.asarray(np.random.default_rng(0).normal(size=(6, 5, 3)), jnp.float32)
    params = layer.init(jax.random.key(0), z)["params"]
    assert params["slope"].shape == ((1,) if shared else (3,)) and (params["slope"] == 0.25).all()
    params = {"slope": params["slope"] + 0.1 * jnp.arange(1.0, 1 + len(params["slope"]))}
    slopes = np.broadcast_to(params["slope"][None, None], z.shape)
    y, pull = jax.vjp(lambda p, z: layer.apply({"params": p}, z), params, z)
    np.testing.assert_allclose(y, np.where(z >= 0, z, slopes * z), rtol=1e-6)
    d_params, dz = pull(jnp.ones_like(z))
    np.testing.assert_allclose(dz, derivatives.prelu(z, slopes), rtol=1e-6)
    below = np.minimum(z, 0).sum((0, 1))
    np.testing.assert_allclose(d_params["slope"], [below.sum()] if shared else below, rtol=1e-5)


@pytest.mark.curriculum("B9")
@pytest.mark.parametrize("name", ["mlp_tiny", "lenet5_tiny", "resnet8_tiny"])
def test_models_take_prelu_and_do_not_decay_it(name):
    model = make_model(name, 3, "float32", activation="prelu(initial=0.1)")
    x = np.zeros((1, *input_of(name)), np.float32)
    shapes = jax.eval_shape(lambda k: model.init(k, x, True)["params"], jax.random.key(0))
    slopes = [path for path in names(shapes) if path.endswith("slope")]
    assert len(slopes) == {"mlp_tiny": 2, "lenet5_tiny": 4, "resnet8_tiny": 7}[name]
    assert not any(matches(DECAY, path) for path in slopes)


def test_prelu_outside_of_a_module_is_refused():
    with pytest.raises(ConfigError, match="prelu has a parameter, so it works only inside a Flax module"):
        activation("prelu")(jnp.zeros((2, 3)))
    with pytest.raises(ConfigError, match="derivative of prelu needs its learned slope"):
        derivative("prelu")


@pytest.mark.curriculum("B11")
def test_a_perceptron_of_sines_is_the_sum_of_sines_that_numpy_makes():
    model = make_model("mlp", 1, "float32", hidden=(4,), activation="sine(omega=3.0)")
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    variables = model.init(jax.random.key(0), x, False)
    hidden, head = (variables["params"][layer]["kernel"] for layer in ("dense0", "head"))
    np.testing.assert_allclose(model.apply(variables, x, False)[0], np.sin(3 * (x @ hidden)) @ head, atol=1e-5)


@pytest.mark.curriculum("B14", "B15")
@given(st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3))
def test_softmax_jacobian_and_its_stable_forms(scores):
    z = np.array(scores)
    p = np.exp(z) / np.exp(z).sum()  # the naive form, finite here
    jacobian, automatic, stable, log_p, far = softmax_forms(z.astype(np.float32))
    np.testing.assert_allclose(jacobian, np.diag(p) - np.outer(p, p), atol=1e-6)
    np.testing.assert_allclose(jacobian, automatic, atol=1e-6)
    np.testing.assert_allclose(jacobian.sum(1), 0, atol=1e-6)
    np.testing.assert_allclose(stable, p, rtol=1e-4, atol=1e-30)
    np.testing.assert_allclose(log_p, np.log(p), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(far.sum(), 1, atol=1e-6)  # scores a thousand times as large, where e^z overflows


@jax.jit
def softmax_forms(z):
    jacobian = derivatives.softmax_jacobian(z[None])[0]
    return jacobian, jax.jacobian(jax.nn.softmax)(z), jax.nn.softmax(z), jax.nn.log_softmax(z), jax.nn.softmax(1000 * z)


@pytest.mark.curriculum("B14")
def test_softmax_worked_example():
    """The sum of the exponentials is 22051.005, not 22026.466, which is exp(10) alone."""
    z = np.array([3.2, -5, 10])
    exponentials = [24.5325302, 0.0067379, 22026.4657948]
    np.testing.assert_allclose(np.exp(z), exponentials, atol=5e-8)
    np.testing.assert_allclose(sum(exponentials), 22051.0050630, rtol=1e-9)
    p = softmax_forms(z.astype(np.float32))[2]
    np.testing.assert_allclose(p, [0.00111253, 3.0556e-7, 0.99888716], rtol=1e-4)
    np.testing.assert_allclose(p, np.array(exponentials) / 22051.0050630, rtol=1e-4)


@pytest.mark.parametrize("name", ["", "relu | tanh", "relu relu", "leaky(", None])
def test_what_is_no_activation_is_refused(name):
    with pytest.raises(ConfigError, match=r"config\.model\.activation"):
        activation(name)


def test_unknown_arguments_are_refused():
    with pytest.raises(ConfigError, match=r"slop.*did you mean 'slope'"):
        activation("leaky_relu(slop=0.1)")
    with pytest.raises(ConfigError, match=r"'x' is not|x is not an argument"):
        activation("relu(x=1)")
    with pytest.raises(ConfigError, match=r"at_zero=2.* must lie in \[0, 1\]"):
        activation("relu(at_zero=2)")(jnp.zeros(1))
