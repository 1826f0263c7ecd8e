"""Student and teacher: what follows what, by how much, what no gradient reaches, and what is remembered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State, create_state
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import momentum, self_supervised
from experiments import momentum as page

CONFIG = "configs/regimes/momentum.py"
SMALL = ["--config.model={'name': 'mlp_tiny'}", "--config.projection.hidden=(8,)", "--config.projection.size=4"]
OF = {
    "moco": ["--config.momentum.queue=24"],
    "byol": ["--config.prediction.hidden=(8,)", "--config.prediction.size=4"],
    "dino": ["--config.projection.prototypes=6"],
}


def unit(x):
    return np.asarray(x) / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module", params=list(OF))
def stepped(request):
    """A run of each method; a state whose teacher has left the student, and that state after a step."""
    name = request.param
    run = build(configs.load(f"{CONFIG}:method={name},smoke", [*SMALL, *OF[name], "--config.views=brightness"]))
    batch = {key: jnp.asarray(x) for key, x in run.data.splits["train"].batch(np.arange(16)).items()}
    batch["image"] = batch["image"] / 255
    state = jax.jit(lambda b: create_state(run.task, jax.random.key(0), b))(batch)
    moved = jax.tree.map(lambda x: 1.1 * x + 0.01, state.extra["teacher"])
    state = state._replace(step=jnp.asarray(1, jnp.int32), extra={**state.extra, "teacher": moved})
    step = jax.jit(run.task.train.update, compiler_options={"xla_backend_optimization_level": 0})
    after, seen, sums = step(state, batch, jax.random.key(1))
    return name, run, state, after, seen, sums


@pytest.mark.curriculum("I17")
def test_the_teacher_follows_the_student(stepped):
    """m of the config at every step; for BYOL and DINO halfway to 1 in the second of two steps."""
    name, _, state, after, _, sums = stepped
    m = 0.99 if name == "moco" else 1 - 0.01 * (np.cos(np.pi / 2) + 1) / 2
    for part in ("encoder", "projector"):
        new = jax.tree.map(lambda t, s: m * t + (1 - m) * s, state.extra["teacher"][part], after.params[part])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after.extra["teacher"][part], new
        )
        changed = jax.tree.map(lambda a, b: bool((a != b).any()), state.params[part], after.params[part])
        assert any(jax.tree.leaves(changed))
    assert after.extra["teacher"].keys() == {"encoder", "projector"} and sums["loss"][1] == 16
    assert ("predictor" in after.params) == (name == "byol")


def teachers(run, state, view):
    """What the teacher's projector makes of a view: the learned part has no dropout, so that keys do not matter."""
    config, info = run.config, run.info
    method = self_supervised.projecting(config, info)
    return np.asarray(self_supervised.embed(method, page.teacher_of(state), view, jax.random.key(0))[0])


@pytest.mark.curriculum("I17")
def test_what_the_teacher_leaves_behind(stepped):
    name, run, state, after, seen, _ = stepped
    memory, old = after.extra["memory"], state.extra["memory"]
    outputs = [teachers(run, state, view) for view in seen["views"]]
    if name == "moco":  # the newest come first, those of the second view, and the oldest leave
        np.testing.assert_allclose(memory["queue"][:16], unit(outputs[1]), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(memory["queue"][16:], old["queue"][:8])
        np.testing.assert_allclose((np.asarray(old["queue"]) ** 2).sum(1), 1, rtol=1e-5)
    elif name == "dino":
        mean = np.concatenate(outputs).mean(0)
        np.testing.assert_allclose(memory["centre"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    else:
        assert memory == {}


@pytest.mark.curriculum("I17")
def test_no_gradient_reaches_the_teacher(stepped):
    name, run, state, _, seen, _ = stepped
    following = momentum.chosen(run.config.momentum, 16)
    method = self_supervised.projecting(run.config, run.info)
    more = {"dtype": "float32"}
    predictor = configs.call(self_supervised.projector, run.config.prediction, "", **more) if name == "byol" else None

    def loss(params, teacher):
        now = state._replace(params=params, extra={**state.extra, "teacher": teacher})
        return page.training_loss(method, following, predictor, now, seen, jax.random.key(0))[1]["loss"][0]

    ours, theirs = jax.grad(loss, (0, 1))(state.params, state.extra["teacher"])
    assert all((g == 0).all() for g in jax.tree.leaves(theirs))
    for part in state.params:
        assert any((g != 0).any() for g in jax.tree.leaves(ours[part])), part


def test_the_teacher_of_a_state_is_what_is_evaluated():
    extra = {"batch_stats": "own", "teacher": "theirs", "teacher_statistics": "their own"}
    seen = page.teacher_of(State(0, "params", {}, extra))
    assert seen.params == "theirs" and seen.extra["batch_stats"] == "their own"


def test_views_that_the_student_alone_sees_are_compared_with_both_of_the_teachers():
    following = momentum.dino(more_views=1)
    assert set(following.pairs) == {(1, 0), (2, 0), (0, 1), (2, 1)} and following.views == 3
    assert momentum.moco(batch_size=8).pairs == ((0, 1),)
    assert momentum.moco(symmetric=True, batch_size=8).pairs == momentum.byol().pairs == ((0, 1), (1, 0))


@pytest.mark.parametrize(
    ("method", "override", "message"),
    [
        ("moco", "--config.momentum.queue=15", "queue=15 holds no batch of 16; choose 16 or more"),
        ("moco", "--config.momentum.name=mocco", "config.momentum.name='mocco' is not known; did you mean 'moco'"),
        ("moco", "--config.prediction.size=64", "config.prediction: config.momentum.name='moco' has none"),
        ("byol", "--config.prediction={}", "name='byol' needs one"),
        ("byol", "--config.prediction.size=32", "config.prediction.size must be that of config.projection, 64"),
        ("byol", "--config.projection.prototypes=8", "name='byol' has none: leave them out"),
        ("dino", "--config.projection.prototypes=0", "name='dino' needs some, such as 256"),
        ("dino", "--config.small_views=flip", "set both, or neither"),
        ("dino", "--config.momentum.more_views=2", "set both, or neither"),
        ("moco", "--config.evaluate=both", "config.evaluate='both'; expected one of 'student', 'teacher'"),
    ],
)
def test_parts_that_a_method_has_not_are_refused(method, override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(f"{CONFIG}:method={method},smoke", [override]))
