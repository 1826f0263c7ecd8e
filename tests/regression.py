"""A weighted linear regression with its gradient in NumPy, on which transforms and estimators are checked."""

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.core.task import State

KEY = jax.random.key(3)


def state_of(params, transform=None, extra=None, rows=None):
    state = State(jnp.int32(0), params, {}, extra or {}, rows or {})
    return transform.init(state) if transform else state


def regression_batch(n=12, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 2, n) * (np.arange(n) % 5 > 0)  # some rows are masked out
    values = {"x": rng.normal(size=(n, 3)), "y": rng.normal(size=n), "weight": weight}
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


def squared_error(state, batch, key):
    """Weighted (x w + b - y)^2 / 2 as sums."""
    del key
    error = batch["x"] @ state.params["w"] + state.params["b"] - batch["y"]
    return state, {
        "loss": (jnp.sum(0.5 * batch["weight"] * error**2), batch["weight"].sum()),
        "error": (jnp.sum(jnp.abs(error)), jnp.float32(len(error))),
    }


def regression_gradient(params, batch):
    """The same gradient in NumPy, float64."""
    x, y, weight = (np.asarray(batch[name], np.float64) for name in ("x", "y", "weight"))
    error = weight * (x @ np.asarray(params["w"], np.float64) + float(params["b"]) - y) / weight.sum()
    return {"w": x.T @ error, "b": error.sum()}


PARAMS = {"w": jnp.array([0.5, -1.0, 2.0]), "b": jnp.float32(0.25)}


def assert_close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)
