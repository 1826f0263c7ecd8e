"""Pretext tasks: a step learns the task's labels and not the classes; evaluations of both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state
from cvdl_jax.data import pretext
from cvdl_jax.engine.build import build
from cvdl_jax.models.self_supervised import Method
from experiments import pretext as page


class Corner:
    """Stands for an encoder: it says 0 where the first pixel is bright, else 1."""

    def apply(self, variables, x, train, **how):
        bright = x[:, 0, 0, 0]
        return jnp.stack([bright, 1 - bright, -jnp.ones_like(bright), -jnp.ones_like(bright)], 1), {}


@pytest.mark.curriculum("I21")
def test_the_accuracy_of_the_task_is_of_real_rows():
    """A bright corner that no turn has moved: right for label 0, and for label 1, where it went elsewhere."""
    images = jnp.zeros((40, 2, 2, 1)).at[:, 0, 0].set(1.0)
    method = Method(Corner(), None, lambda x: x, None, None)
    state = create_state_of()
    batch = {"image": images, "mask": jnp.arange(40) < 30}
    task, key = pretext.rotation(), jax.random.key(0)
    labels = np.asarray(pretext.draw(task, state, batch, key)[1][pretext.PRETEXT])
    out = page.pretext_step(method, task, state, {**batch, "mask": batch["mask"].astype(float)}, key)
    np.testing.assert_allclose(out["accuracy"], ((labels[:30] <= 1).sum(), 30))
    np.testing.assert_array_equal(out["right"], labels <= 1)


def create_state_of():
    from cvdl_jax.core.task import State

    return State(0, {"encoder": {}}, {}, {"batch_stats": {"encoder": {}}})


@pytest.mark.curriculum("I21")
@pytest.mark.parametrize(("task", "classes"), [("rotation", 4), ("jigsaw", 24), ("labels", 10)])
def test_a_step_learns_from_the_labels_of_the_task(task, classes):
    run = build(
        configs.load(
            f"configs/regimes/pretext.py:task={task},smoke",
            ["--config.augment=flip(probability=1.0)", "--config.model={'name': 'mlp_tiny'}"],
        )
    )
    batch = {key: jnp.asarray(x) for key, x in run.data.splits["train"].batch(np.arange(8)).items()}
    batch["image"] = batch["image"] / 255
    state = jax.jit(lambda b: create_state(run.task, jax.random.key(0), b))(batch)
    assert state.params["encoder"]["head"]["bias"].shape == (classes,)
    assert state.extra["probe"]["kernel"].shape == (8, 10)  # of the features below the head
    step = jax.jit(run.task.train.update, compiler_options={"xla_backend_optimization_level": 0})
    after, shown, sums = step(state, batch, jax.random.key(1))
    assert sums["loss"][1] == 8 and shown[pretext.PRETEXT].max() < classes
    other = step(state, {**batch, "label": (batch["label"] + 1) % 10}, jax.random.key(1))[0]
    same = jax.tree.map(lambda a, b: bool((a == b).all()), after.params, other.params)
    assert all(jax.tree.leaves(same)) == (task != "labels")
    if task == "labels":
        np.testing.assert_array_equal(shown[pretext.PRETEXT], batch["label"])
        np.testing.assert_array_equal(shown["image"], batch["image"][:, :, ::-1])
    if task == "rotation":  # of what the augmentation made: mirrored behind it, a quarter turn would be the other one
        for row, label in enumerate(np.asarray(shown[pretext.PRETEXT])):
            np.testing.assert_array_equal(shown["image"][row], np.rot90(batch["image"][row, :, ::-1], label))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, after.params)
    assert any(jax.tree.leaves(changed))
    expected = {"validation": False, "test": True, "validation_pretext": False, "test_pretext": True}
    assert {name: e.final for name, e in run.task.evals.items()} == expected
    assert run.task.evals["test_pretext"].data == "test" and run.task.evals["validation_pretext"].data == "validation"
