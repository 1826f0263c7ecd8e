"""Paths of optimizers: the stopping rule, convergence thresholds, and the surfaces that paths are drawn on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

from cvdl_jax.ops.textbook import surfaces
from cvdl_jax.ops.textbook.trajectory import trajectory
from cvdl_jax.optim import optimizer

parabola = partial(surfaces.quadratic, curvatures=(1.0,))


def descend(lr, n, stop=0.0, f=parabola, w0=(1.0,)):
    return trajectory(f, jnp.asarray(w0), optimizer.optimizer("sgd", lr, total_steps=n), n, stop)


@pytest.mark.curriculum("D1")
def test_descent_stops_when_the_loss_changes_by_less_than_delta():
    w, n, delta = 1.0, 0, 1e-3
    points = [w]
    while True:  # w <- w - eta w, while |g(w_{t+1}) - g(w_t)| >= delta
        new = w - 0.1 * w
        change, w, n = abs(new**2 - w**2) / 2, new, n + 1
        points.append(w)
        if change < delta:
            break
    path = descend(0.1, 100, delta)
    assert int(path.steps) == n and bool(path.stopped) and 10 < n < 90
    np.testing.assert_allclose(path.points[: n + 1, 0], points, rtol=1e-5)
    np.testing.assert_array_equal(path.points[n:, 0], np.full(101 - n, path.points[n, 0]))  # it stays there
    np.testing.assert_allclose(path.values, path.points[:, 0] ** 2 / 2, rtol=1e-6)


@pytest.mark.curriculum("D1")
def test_without_a_stopping_rule_every_step_is_taken():
    path = descend(0.1, 3)
    np.testing.assert_allclose(path.points[:, 0], [1, 0.9, 0.81, 0.729], rtol=1e-6)
    assert int(path.steps) == 3 and not path.stopped
    assert int(descend(0.1, 0).steps) == 0 and descend(0.1, 0).points.shape == (1, 1)
    with pytest.raises(ValueError, match="stop=-1"):
        descend(0.1, 3, -1.0)


@pytest.mark.curriculum("D1")
def test_a_path_that_leaves_the_numbers_ends_there():
    path = descend(1e30, 10)
    assert not path.stopped and int(path.steps) < 10
    assert not np.isfinite(path.values[-1])


@pytest.mark.curriculum("D4", "D1")
def test_gradient_descent_converges_below_two_over_the_largest_curvature_only():
    f = partial(surfaces.quadratic, curvatures=(0.5, 4.0))
    for factor, grows in ((0.99, False), (1.01, True)):
        path = descend(factor * 2 / 4.0, 100, f=f, w0=(1.0, 1.0))
        assert (float(abs(path.points[-1, 1])) > 1) == grows
        np.testing.assert_allclose(path.points[:5, 1], (1 - 2 * factor) ** np.arange(5), rtol=1e-5)


@pytest.mark.curriculum("D27", "D28")
def test_trees_and_optimizers_with_state():
    w0 = {"a": jnp.ones(2), "b": jnp.ones(())}
    f = lambda w: 0.5 * (jnp.sum(w["a"] ** 2) + w["b"] ** 2)  # noqa: E731
    path = jax.jit(lambda w: trajectory(f, w, optax.adam(0.1), 4))(w0)
    assert path.points["a"].shape == (5, 2) and path.points["b"].shape == (5,)
    np.testing.assert_allclose(path.points["b"][1:3], [0.9, 0.800412], atol=3e-6)


@pytest.mark.curriculum("D27")
@pytest.mark.parametrize("name", surfaces.SURFACES)
def test_surfaces_have_their_minima_where_they_say(name):
    surface = surfaces.SURFACES[name]
    minimum, start = jnp.asarray(surface.minimum), jnp.asarray(surface.start)
    gradient, hessian = jax.jit(lambda w: (jax.grad(surface.function)(w), jax.hessian(surface.function)(w)))(minimum)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    assert np.linalg.eigvalsh(hessian).min() > 0
    assert surface.function(start) > surface.function(minimum)
    left, right, bottom, top = surface.extent
    for x, y in (surface.start, surface.minimum):
        assert left < x < right and bottom < y < top


@pytest.mark.curriculum("D27")
def test_surfaces_equal_known_values():
    w = np.array([-1.2, 1.0, 0.7], np.float32)
    assert float(surfaces.rosenbrock(jnp.asarray(w))) == pytest.approx(optimize.rosen(w), rel=1e-5)
    assert float(surfaces.beale(jnp.array([1.0, 1.0]))) == pytest.approx(14.203125)  # 1.5^2 + 2.25^2 + 2.625^2
    assert float(surfaces.beale(jnp.array([3.0, 0.5]))) == 0
    assert float(surfaces.saddle(jnp.array([0.0, 1.0]))) == -0.25
    np.testing.assert_array_equal(np.linalg.eigvalsh(jax.hessian(surfaces.saddle)(jnp.zeros(2))), [-1, 1])
    np.testing.assert_allclose(jax.hessian(surfaces.ravine)(jnp.ones(2)), np.diag([0.1, 10]), rtol=1e-6)
