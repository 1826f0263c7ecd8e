"""Back-propagation through time against automatic differentiation, its sum over later times, one matrix or two."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.nn.recurrent import through_time
from cvdl_jax.ops.activation_derivatives import DERIVATIVES
from cvdl_jax.ops.textbook import recurrent

T, B, D, U = 5, 2, 3, 4
FUNCTIONS = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}
CELLS = {"tanh": "rnn", "sigmoid": "rnn_sigmoid", "relu": "rnn_relu"}


def drawn(seed=0):
    """Weights, inputs, a first state and the derivative of a cost by each state."""
    rng = np.random.default_rng(seed)
    weights = recurrent.Weights(*(jnp.asarray(rng.normal(size=s)) for s in ((D, U), (U, U), (U,))))
    return weights, *(jnp.asarray(rng.normal(size=s)) for s in ((T, B, D), (B, U), (T, B, U)))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def same(ours, theirs):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), ours, theirs)


@pytest.mark.curriculum("K1")
def test_one_step_by_hand():
    """x = (1, 2), h = 0.5, W_ih = (0.1, -0.3), W_hh = 0.4, b = 0.25: z = 0.1 - 0.6 + 0.2 + 0.25 = -0.05."""
    weights = recurrent.Weights(jnp.array([[0.1], [-0.3]]), jnp.array([[0.4]]), jnp.array([0.25]))
    x, h = jnp.array([[1.0, 2.0]]), jnp.array([[0.5]])
    assert float(recurrent.cell(weights, x, h)[0, 0]) == pytest.approx(-0.05)
    states, _ = recurrent.forward(weights, x[None], h, jnp.tanh)
    assert float(states[0, 0, 0]) == pytest.approx(-0.049958, abs=1e-6)
    np.testing.assert_allclose(recurrent.joined(weights), [[0.1], [-0.3], [0.4]])


@pytest.mark.curriculum("K1")
def test_one_matrix_is_two():
    """[x, h] [W_ih; W_hh] = x W_ih + h W_hh, and the gradient of the one is those of the two, one over the other."""
    weights, x, h, pull = drawn()
    w = recurrent.joined(weights)
    same(recurrent.joined_cell(w, weights.b, x[0], h), recurrent.cell(weights, x[0], h))
    loss = lambda z: (jnp.tanh(z) * pull[0]).sum()  # noqa: E731
    one, bias, dx, dh = jax.grad(lambda *a: loss(recurrent.joined_cell(*a)), (0, 1, 2, 3))(w, weights.b, x[0], h)
    two, dx2, dh2 = jax.grad(lambda *a: loss(recurrent.cell(*a)), (0, 1, 2))(weights, x[0], h)
    same((one, bias, dx, dh), (recurrent.joined(two), two.b, dx2, dh2))


@pytest.mark.curriculum("K1", "K4")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_layer_runs_these_equations_and_has_these_gradients(name):
    """The scan of `nn/recurrent.py`, its states and its gradients, by hand."""
    weights, x, h, pull = drawn()

    def run(weights, x):
        return through_time(
            CELLS[name], False, x @ weights.ih + weights.b[None, None], {"h": h}, {"kernel": weights.hh}
        )[0]

    states, unrolled = recurrent.forward(weights, x, h, FUNCTIONS[name])
    same(states, run(weights, x))
    grads, dx, _ = recurrent.backward(weights, unrolled, pull, DERIVATIVES[name])
    same((grads, dx), jax.grad(lambda *a: (run(*a) * pull).sum(), (0, 1))(weights, x))


@pytest.mark.curriculum("K4")
@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_the_gradient_at_a_step_is_a_sum_over_later_times(name):
    """dh_k = sum over t >= k of (dL_t / dh_t) (dh_t / dh_k); costs of earlier times add nothing."""
    weights, x, h, pull = drawn(1)
    _, unrolled = recurrent.forward(weights, x, h, FUNCTIONS[name])
    dz = recurrent.backward(weights, unrolled, pull, DERIVATIVES[name])[2]
    alone = [
        recurrent.backward(weights, unrolled, pull * (jnp.arange(T) == t)[:, None, None], DERIVATIVES[name])[2]
        for t in range(T)
    ]
    same(dz, sum(alone))
    for t in range(T):
        assert not np.any(alone[t][t + 1 :]) and np.abs(alone[t][: t + 1]).max((1, 2)).all()
        for k in range(t + 1):
            across = recurrent.jacobian(weights, unrolled.z[k + 1 : t + 1], DERIVATIVES[name])
            dh = jnp.einsum("bij,bj->bi", across, pull[t])
            same(alone[t][k], dh * DERIVATIVES[name](unrolled.z[k]))


@pytest.mark.curriculum("K6")
def test_the_jacobian_is_that_of_automatic_differentiation():
    """Also where the state is far from 0, and the product of a linear network is a power of its matrix."""
    weights, x, h, _ = drawn(2)
    _, unrolled = recurrent.forward(weights, x, h, jnp.tanh)
    across = recurrent.jacobian(weights, unrolled.z, DERIVATIVES["tanh"])
    last = jax.jacrev(lambda h: recurrent.forward(weights, x[:, :1], h[None], jnp.tanh)[0][-1, 0])(h[0])
    same(across[0], last.T)
    linear = recurrent.jacobian(weights, jnp.ones((3, 1, U)), DERIVATIVES["identity"])
    same(linear[0], jnp.linalg.matrix_power(weights.hh, 3))
    same(recurrent.jacobian(weights, unrolled.z[:0], DERIVATIVES["tanh"])[1], jnp.eye(U))


@pytest.mark.curriculum("K5")
@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_a_cut_stops_the_gradient_and_not_the_state(cut):
    """The truncated gradient is that of pieces whose first state is a constant."""
    weights, x, h, pull = drawn(3)

    def truncated(weights):
        total, state = 0.0, h
        for start in range(0, T, cut):
            part = slice(start, start + cut)
            states, _ = recurrent.forward(weights, x[part], jax.lax.stop_gradient(state), jnp.tanh)
            total, state = total + (states * pull[part]).sum(), states[-1]
        return total

    _, unrolled = recurrent.forward(weights, x, h, jnp.tanh)
    grads, _, dz = recurrent.backward(weights, unrolled, pull, DERIVATIVES["tanh"], cut)
    same(grads, jax.grad(truncated)(weights))
    whole = recurrent.backward(weights, unrolled, pull, DERIVATIVES["tanh"])[2]
    assert np.allclose(dz, whole) == (cut >= T)
