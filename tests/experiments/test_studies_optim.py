"""Studies of optimisation: thresholds of the learning rate, paths on level sets, the noise of mini-batch gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.core.task import State
from cvdl_jax.models.backbones.mlp import MLP
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from experiments.studies import gradient_noise, learning_rate, optimizer_paths


@pytest.mark.curriculum("D4")
def test_measured_thresholds_are_those_of_theory():
    study = learning_rate.LearningRate(curvatures=(1.0, 20.0), momentum=0.9, steps=500, rates=101)
    metrics, curves = learning_rate.measure(study)
    assert metrics["threshold_sgd"] == pytest.approx(2 / 20, rel=0.011)
    assert metrics["threshold_momentum"] == pytest.approx(2 * 1.9 / 20, rel=0.011)
    assert metrics["steps_at_0.02"] > metrics["steps_at_0.2"] > metrics["steps_at_0.9"] < metrics["steps_at_0.99"]
    assert curves["1.01 of 2 / L"][-1] > curves["1.01 of 2 / L"][0]
    assert learning_rate.draw(curves)["learning_rate"].axes


@pytest.mark.curriculum("D27")
def test_paths_stay_in_the_figure_and_momentum_is_faster_in_a_ravine():
    optimizers = {"sgd": {"name": "sgd"}, "nesterov": {"name": "sgd", "momentum": 0.9, "nesterov": True}}
    study = optimizer_paths.OptimizerPaths(optimizers, steps=100, rates=(0.001, 0.01, 0.1))
    metrics, found = optimizer_paths.measure(study)
    assert len(metrics) == 2 * 2 * 4 and all(np.isfinite(value) for value in metrics.values())
    assert metrics["ravine/nesterov/gap"] < 0.1 * metrics["ravine/sgd/gap"]
    for name, paths in found.items():
        left, right, bottom, top = optimizer_paths.SURFACES[name].extent
        for path in paths.values():
            x, y = path.points.T
            assert left <= x.min() and x.max() <= right and bottom <= y.min() and y.max() <= top
    assert len(optimizer_paths.draw(found)["optimizer_paths"].axes) == 4


@pytest.fixture(scope="module")
def noisy():
    model = MLP(3, hidden=(4,))
    keys = jax.random.split(jax.random.key(0), 3)
    batch = {"features": jax.random.normal(keys[0], (48, 2)), "label": jnp.arange(48) % 3}
    one = model.init(keys[1], batch["features"][:1], False)["params"]
    params = jax.tree.map(lambda p: jnp.stack([p, p]), one)
    return model, batch, one, State(jnp.int32(0), params)


def gradients(model, params, batch):
    """[n, parameters], of each row by itself."""

    def loss(p, x, label):
        return softmax_cross_entropy(model.apply({"params": p}, x[None], False)[0], label[None])[0]

    each = jax.vmap(jax.grad(loss), (None, 0, 0))(params, batch["features"], batch["label"])
    return np.concatenate([np.asarray(g).reshape(len(g), -1) for g in jax.tree.leaves(each)], 1)


@pytest.mark.curriculum("D26")
def test_the_variance_of_gradients_falls_as_one_over_the_batch(noisy):
    model, batch, one, state = noisy
    mask = jnp.asarray(np.arange(48) < 40, jnp.float32)  # the last eight are padding
    measure = jax.jit(partial(gradient_noise.group_variances, model, lambda x: x))
    sums = measure(state, {**batch, "mask": mask}, jax.random.key(1))
    means = {name: float(total / weight) for name, (total, weight) in sums.items()}
    trace = np.trace(np.cov(gradients(model, one, batch)[:40], rowvar=False))
    found = gradient_noise.noise(means, {})
    assert found["trace"] == pytest.approx(trace, rel=1e-4)
    assert found["share_2"] == pytest.approx(1, abs=0.1) and found["share_8"] == pytest.approx(1, abs=0.25)


@pytest.mark.curriculum("D26", "D3")
def test_copies_differ_only_in_the_rows_that_they_see(noisy):
    model, batch, one, state = noisy
    study = gradient_noise.GradientNoise(sizes=(12, 48))

    @jax.jit
    def gradient(params, key):
        def objective(p):
            _, sums = gradient_noise.training_loss(study, model, lambda x: x, state._replace(params=p), batch, key)
            total, weight = sums["loss"]
            return total / weight

        return jax.grad(objective)(params)

    drawn = [gradient(state.params, jax.random.key(k)) for k in range(40)]
    flat = np.stack([np.concatenate([np.asarray(g).reshape(2, -1) for g in jax.tree.leaves(d)], 1) for d in drawn])
    whole = gradients(model, one, batch).mean(0)
    np.testing.assert_allclose(flat[:, 1], np.tile(whole, (40, 1)), atol=1e-6)  # sees every row every time
    spread = flat[:, 0].var(0).sum()
    trace = np.trace(np.cov(gradients(model, one, batch), rowvar=False))
    assert spread == pytest.approx(trace / 12 * (1 - 12 / 48), rel=0.5)  # drawn without replacement
    error = np.linalg.norm(flat[:, 0].mean(0) - whole)
    assert error < 3 * np.sqrt(spread / 40)
