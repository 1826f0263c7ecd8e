"""Student and teacher: what follows what, by how much, what no gradient reaches, and what is remembered."""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State, create_state
from cvdl_jax.core.trees import path_name
from cvdl_jax.engine import from_run
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


def vectors(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.curriculum("I17")
def test_the_bootstrap_is_of_both_views_and_of_directions():
    """2 - 2 cos, of vectors of any length, summed over both directions."""
    s, t = vectors(0, 2, 5, 3), vectors(1, 2, 5, 3)
    made = momentum.byol().compare([(s[0], t[1]), (s[1], t[0])], {0: t[0], 1: t[1]}, {})
    expected = 4 - 2 * (unit(s[0]) * unit(t[1])).sum(1) - 2 * (unit(s[1]) * unit(t[0])).sum(1)
    np.testing.assert_allclose(made.losses, expected, rtol=1e-5)
    assert made.memory == {} == made.measures


@pytest.mark.curriculum("I17")
def test_the_student_is_compared_with_the_old_centre_and_the_new_one_is_a_mean_with_it():
    """A loop over pairs of views and rows; the student's distribution is the flatter one."""
    s, t, c = vectors(0, 3, 4, 6), vectors(1, 2, 4, 6), vectors(2, 6)
    following = momentum.dino(0.9, 0.3, 0.1, 0.7, more_views=1)
    pairs = [(s[i], t[j]) for i, j in following.pairs]
    made = following.compare(pairs, dict(enumerate(t)), {"centre": jnp.asarray(c)})
    softmax = lambda x: np.exp(x) / np.exp(x).sum()  # noqa: E731
    losses, entropies = np.zeros(4), np.zeros(4)
    for i, j in ((1, 0), (2, 0), (0, 1), (2, 1)):
        for row in range(4):
            right = softmax((t[j, row] - c) / 0.1)
            losses[row] -= right @ np.log(softmax(s[i, row] / 0.3)) / 4
            entropies[row] -= right @ np.log(np.maximum(right, 1e-12)) / 4
    np.testing.assert_allclose(made.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(made.measures["teacher_entropy"], entropies, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(made.memory["centre"], 0.7 * c + 0.3 * t.mean((0, 1)), rtol=1e-5, atol=1e-6)


@pytest.mark.curriculum("I17")
def test_a_symmetric_queue_takes_the_second_views_and_loses_its_oldest():
    s, t, old = vectors(0, 2, 3, 4), vectors(1, 2, 3, 4), unit(vectors(2, 5, 4))
    following = momentum.moco(5, 0.3, symmetric=True, batch_size=3)
    made = following.compare([(s[i], t[j]) for i, j in following.pairs], {0: t[0], 1: t[1]}, {"queue": old})
    losses = np.zeros(3)
    for i, row in itertools.product(range(2), range(3)):
        q, k = unit(s[i])[row], unit(t[1 - i])[row]
        losses[row] += (np.log(np.exp(q @ k / 0.3) + np.exp(old @ q / 0.3).sum()) - q @ k / 0.3) / 2
    np.testing.assert_allclose(made.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(made.memory["queue"], np.concatenate([unit(t[1]), old[:2]]), rtol=1e-5)


class Noting:
    """Stands for a module: a multiple of what it sees; its statistic says in which order, and its keys are kept."""

    def __init__(self, out=None):
        self.out, self.keys = out, []

    def apply(self, variables, x, train, mutable=None, rngs=None, **how):
        made = variables["params"]["scale"] * x
        made = made if self.out is None else (made, self.out)
        if not mutable:
            return made
        self.keys.append(tuple(np.asarray(jax.random.key_data(rngs["dropout"])).tolist()))
        return made, {"batch_stats": {"seen": 10 * variables["batch_stats"]["seen"] + x[0, 0]}}


def noted(*parts):
    """The parameters and statistics of such modules."""
    return {part: {"scale": jnp.float32(1)} for part in parts}, {part: {"seen": jnp.float32(0)} for part in parts}


@pytest.mark.curriculum("I17")
def test_student_and_teacher_see_both_views_with_keys_and_statistics_of_their_own():
    """Views whose first numbers are 1 and 2: statistics are 12 where both were seen in order, after what was there."""
    encoder, projector, predictor = Noting({}), Noting(), Noting()
    method = self_supervised.Method(encoder, projector, lambda x: x, None, None)
    params, stats = noted("encoder", "projector", "predictor")
    params["predictor"] = {"scale": jnp.asarray([[1.0, -1.0]])}
    theirs, their_stats = noted("encoder", "projector")
    their_stats = jax.tree.map(lambda x: x + 7, their_stats)
    extra = {"batch_stats": stats, "teacher": theirs, "teacher_statistics": their_stats, "memory": {}}
    views = jnp.asarray([[1.0, 3.0]]), jnp.asarray([[2.0, -5.0]])
    batch = {"views": views}
    new, sums = page.training_loss(
        method, momentum.byol(), predictor, State(0, params, {}, extra), batch, jax.random.key(0)
    )
    a, b = (unit(view)[0] for view in views)
    turned = np.asarray([1, -1])
    np.testing.assert_allclose(sums["loss"], (4 - 2 * (a * turned) @ b - 2 * (b * turned) @ a, 1), rtol=1e-5)
    assert jax.tree.map(float, new.extra["batch_stats"]) == {
        part: {"seen": 12.0} for part in ("encoder", "projector", "predictor")
    }
    assert jax.tree.map(float, new.extra["teacher_statistics"]) == {
        part: {"seen": 712.0} for part in ("encoder", "projector")
    }
    keys = encoder.keys + projector.keys + predictor.keys
    assert len(keys) == 10 == len(set(keys))


def test_features_are_those_of_the_student_or_of_the_teacher():
    """The student's by the average that its optimizer keeps, (y - (1 - b) z) / b = (3 - 0.5) / 0.5."""
    method = self_supervised.Method(Noting({}), None, lambda x: x, None, None)
    (params, stats), z = noted("encoder"), {"encoder": {"scale": jnp.float32(1)}}
    params = jax.tree.map(lambda x: 3 * x, params)
    free = optax.contrib.ScheduleFreeState(jnp.float32(0.5), *[jnp.zeros(())] * 3, (), z)
    extra = {"batch_stats": stats, "teacher": {"encoder": {"scale": jnp.float32(4)}}, "teacher_statistics": stats}
    batch, state = {"image": jnp.asarray([[1.0, 2.0]])}, State(0, params, {"model": free}, extra)
    np.testing.assert_allclose(page.features(method, "student", state, batch), [[5, 10]])
    np.testing.assert_allclose(page.features(method, "teacher", state, batch), [[4, 8]])


def of_run(state, *parts):
    """Its arrays by their names, all of them one more; those of some parts alone."""
    leaves = jax.tree_util.tree_leaves_with_path({"params": state.params, "extra": state.extra})
    return {path_name(p): np.asarray(x + 1) for p, x in leaves if path_name(p).startswith(parts)}


def test_weights_of_another_run_are_the_teachers_too(stepped, monkeypatch):
    """Of a run without a teacher, or with some of it, the student's; of one with a teacher, its own."""
    _, run, _, state, _, _ = stepped
    own = ("params/encoder", "params/projector", "extra/batch_stats/encoder", "extra/batch_stats/projector")
    for parts in (own, (*own, "extra/teacher/encoder"), (*own, "extra/teacher")):
        arrays = of_run(state, *parts)
        source = from_run.Source(Path("x"), arrays, frozenset(n.split("/")[1] for n in arrays if n.startswith("extra")))
        monkeypatch.setattr(from_run, "open_source", lambda *given, source=source: source)
        new, said = from_run.load_weights("x", state, run.config)
        for part in ("encoder", "projector"):
            jax.tree.map(
                np.testing.assert_array_equal, new.params[part], jax.tree.map(lambda x: x + 1, state.params[part])
            )
            expected = jax.tree.map(lambda x: x + 1, state.extra["teacher"][part])
            expected = expected if parts[-1] == "extra/teacher" else new.params[part]
            jax.tree.map(np.testing.assert_array_equal, new.extra["teacher"][part], expected)
        assert "extra/teacher" not in said  # as something that was left as initialised


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
        ("byol", "--config.prediction.prototypes=64", "config.prediction.prototypes: a predictor guesses a vector"),
        ("dino", "--config.projection.prototypes=0", "name='dino' needs some, such as 256"),
        ("dino", "--config.small_views=flip", "set both, or neither"),
        ("dino", "--config.momentum.more_views=2", "set both, or neither"),
        ("moco", "--config.evaluate=both", "config.evaluate='both'; expected one of 'student', 'teacher'"),
    ],
)
def test_parts_that_a_method_has_not_are_refused(method, override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(f"{CONFIG}:method={method},smoke", [override]))
