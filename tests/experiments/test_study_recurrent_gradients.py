"""Gradients through time: Jacobians as the textbook has them, powers of linear networks, and what the gates mend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.activation_derivatives import DERIVATIVES
from cvdl_jax.ops.textbook import recurrent
from experiments.studies import recurrent_gradients as study

FUNCTIONS = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}
KEY = jax.random.key(0)


@pytest.mark.curriculum("K6")
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_enlargements_are_those_of_the_product_of_jacobians(kind):
    with jax.enable_x64(True):
        rms, largest, gradient = study.profile(f"{kind} 1.3", KEY, 4, 3, 2, 0.5)
        keys = jax.random.split(KEY, 3)
        _, kernel, bias = study.initial(f"{kind} 1.3", keys[0], 3)
        weights = recurrent.Weights(jnp.eye(3), kernel, bias)
        products = 0.5 * jax.random.normal(keys[1], (4, 2, 3))
        _, unrolled = recurrent.forward(weights, products, jnp.zeros((2, 3)), FUNCTIONS[kind])
        for lag in range(5):
            across = recurrent.jacobian(weights, unrolled.z[4 - lag :], DERIVATIVES[kind])
            assert rms[lag] == pytest.approx(np.sqrt((np.asarray(across) ** 2).sum((1, 2)).mean() / 3))
            assert largest[lag] == pytest.approx(np.linalg.norm(across, 2, (1, 2)).mean())
        pull = jax.random.normal(keys[2], (2, 3)) / 3**0.5 / 2
        dh = jnp.zeros((4, 2, 3)).at[-1].set(pull)
        expected, _, _ = recurrent.backward(weights, unrolled, dh, DERIVATIVES[kind])
        np.testing.assert_allclose(gradient, expected.hh, atol=1e-12)


@pytest.mark.curriculum("K6")
def test_matrices_are_as_the_case_says():
    with jax.enable_x64(True):
        assert abs(np.linalg.eigvals(study.initial("tanh 0.7", KEY, 5)[1])).max() == pytest.approx(0.7)
        q = study.initial("sigmoid orthogonal", KEY, 5)[1]
        np.testing.assert_allclose(q @ q.T, np.eye(5), atol=1e-12)
        np.testing.assert_array_equal(study.initial("relu identity", KEY, 5)[1], np.eye(5))
        name, kernel, bias = study.initial("lstm 3", KEY, 2)
        assert (name, kernel.shape) == ("lstm", (2, 8))
        np.testing.assert_array_equal(bias, [0, 0, 3, 3, 0, 0, 0, 0])
        np.testing.assert_array_equal(study.initial("gru 3", KEY, 2)[2], [0, 0, 3, 3, 0, 0])


@pytest.mark.curriculum("K6")
def test_a_gradient_at_rest_changes_by_the_slope_times_the_matrix():
    """Without inputs tanh has the slope 1, so an orthogonal matrix keeps the norm; the cell of an LSTM keeps the share
    of its forget gate, and the other gates, half open, add what comes by the candidate."""
    with jax.enable_x64(True):
        rms, largest, _ = study.profile("tanh orthogonal", KEY, 6, 4, 1, 0.0)
        np.testing.assert_allclose([rms, largest], np.ones((2, 7)), rtol=1e-12)
        rms, _, _ = study.profile("relu identity", KEY, 6, 4, 1, 0.0)
        assert rms[-1] == 0  # ReLU's slope at 0 is 0
        rms, _, _ = study.profile("lstm 2", KEY, 6, 4, 1, 0.0)
        kernel, forget = study.initial("lstm 2", jax.random.split(KEY, 3)[0], 4)[1], 1 / (1 + np.exp(-2.0))
        candidate, eye = np.asarray(kernel[:, 8:12]).T, np.eye(4)
        cell = np.concatenate([candidate / 2, forget * eye], 1)  # c = f c' + tanh(h' U_g) / 2, h = tanh(c) / 2
        step = np.concatenate([cell / 2, cell])
        for lag in range(1, 7):
            across = np.linalg.matrix_power(step, lag)[:4]
            assert rms[lag] == pytest.approx(np.sqrt((across**2).sum() / 4))


@pytest.mark.curriculum("K6")
def test_vanilla_networks_vanish_and_explode_and_gates_arrive():
    cases = ("tanh 0.5", "sigmoid 1.0", "relu 3.0", "lstm 4")
    metrics, profiles = study.compare(0, cases, lag=20, units=8, examples=4)
    assert metrics["tanh_0.5/decades"] < -6 and metrics["sigmoid_1.0/decades"] < -12
    assert metrics["relu_3.0/decades"] > 1 and metrics["relu_3.0/largest"] >= metrics["relu_3.0/decades"]
    assert -1.5 < metrics["lstm_4/decades"] < 1
    assert metrics["relu_3.0/gradient"] > 0 and metrics["relu_3.0/clipped"] == pytest.approx(0, abs=1e-9)
    assert metrics["tanh_0.5/clipped"] == metrics["tanh_0.5/gradient"] < 0
    axes = study.draw(profiles)["recurrent_gradients"].axes
    for i, axis in enumerate(axes):
        np.testing.assert_array_equal([line.get_ydata() for line in axis.lines], [p[i] for p in profiles.values()])


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("cosine 1", "'cosine 1' must begin with one of tanh, sigmoid, relu, lstm, gru"),
        ("tanh large", "'tanh large' must end in a number, 'orthogonal' or 'identity'"),
        ("gru identity", "'gru identity' has orthogonal matrices; give the bias of a gate: 'gru 1'"),
    ],
)
def test_cases_are_checked(case, message):
    with pytest.raises(ConfigError, match=message):
        study.initial(case, KEY, 2)


def test_a_study_takes_no_steps():
    with pytest.raises(ConfigError, match="takes no steps"):
        build(configs.load("configs/studies/recurrent_gradients.py:smoke", ["--config.total_steps=2"]))
