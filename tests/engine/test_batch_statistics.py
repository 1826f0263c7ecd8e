"""Statistics of batch normalisation for evaluations: running averages, of the whole training split, of the batch."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core import parallel
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import Eval, Pass, State, Task
from cvdl_jax.data.host import HostStage
from cvdl_jax.engine import batch_statistics
from cvdl_jax.engine.build import build
from cvdl_jax.engine.evaluate import evaluate, prepare
from cvdl_jax.engine.program import Program
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.apply import apply_eval, initialise
from cvdl_jax.nn.batch_norm import BatchNorm

RANDOM = np.random.default_rng(0)
BATCH = 8


@dataclass
class Split:
    """Features in memory."""

    size: int
    stage: Any = field(default_factory=HostStage)

    def __post_init__(self):
        self.arrays = {"features": RANDOM.normal(3, 2, (self.size, 4)).astype(np.float32)}

    def for_evaluation(self):
        return self


TRAIN, VALIDATION = Split(37), Split(11)
INFO = Info(
    num_classes=None, class_names=(), spec={"features": jax.ShapeDtypeStruct((BATCH, 4), jnp.float32)},
    sizes={"train": 37, "validation": 11}, batch_size=BATCH, total_steps=0, steps_per_epoch=1.0, seed=0,
)  # fmt: skip


class Model(nn.Module):
    """Two normalised layers."""

    norm: bool = True

    @nn.compact
    def __call__(self, x, train):
        for i in range(2):
            x = nn.Dense(4, name=f"dense{i}")(x)
            x = nn.relu(BatchNorm(name=f"norm{i}")(x, train) if self.norm else x)
        return x


def step(model, on, state, batch, key):
    y, mask = apply_eval(model, state, batch["features"], on=on), batch["mask"]
    return {"mean": ((y.mean(-1) * mask).sum(), mask.sum()), "output": y}


def make_task(on=None, norm=True):
    model = Model(norm)

    def init(key, batch):
        params, stats = initialise(model, key, batch["features"][:1], False)
        return {"params": {on: params} if on else params, "extra": {"batch_stats": {on: stats} if on else stats}}

    each = Eval(partial(step, model, on), data="validation")
    return Task(init, None, {"first": each, "second": each})


def make_program(task):
    splits = {"train": TRAIN, "validation": VALIDATION}
    spec = {"features": jax.ShapeDtypeStruct((4,), jnp.float32)}
    arrays = {name: split.arrays for name, split in splits.items()}
    mesh = parallel.make_mesh(jax.devices()[:1])
    program = Program(task, 0, mesh, spec, BATCH, BATCH, arrays, splits=splits)
    for job in program.jobs().values():
        job()
    return program


def by_hand(params, x):
    """Statistics of both layers from batches of 8, 8, 8, 8 and 5 rows."""
    sums = [[0.0, 0.0, 0], [0.0, 0.0, 0]]
    for start in range(0, len(x), BATCH):
        h = x[start : start + BATCH].astype(np.float64)
        for i, total in enumerate(sums):
            h = h @ np.asarray(params[f"dense{i}"]["kernel"], np.float64)
            total[0] += h.sum(0)
            total[1] += ((h - h.mean(0)) ** 2).sum(0)
            total[2] += len(h) - 1
            h = np.maximum((h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5), 0)
    return [(total / len(x), deviations / freedom) for total, deviations, freedom in sums]


@pytest.mark.curriculum("G3")
@pytest.mark.parametrize("on", [None, "network"])
def test_exact_statistics_equal_a_numpy_loop_over_the_training_split(on):
    """And the first layer's mean is that of all examples; the state itself is left as it was."""
    program = make_program(batch_statistics.evaluated_by(make_task(on), INFO, "exact"))
    state = program.create()
    before = jax.device_get(state)
    metrics, rows = evaluate(program, "first", state, VALIDATION, 0)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), before)
    params = before.params[on] if on else before.params
    expected = by_hand(params, TRAIN.arrays["features"])
    stats = prepare(program, "first", state, 0).extra["batch_stats"]
    stats = stats[on] if on else stats
    for i, (mean, var) in enumerate(expected):
        np.testing.assert_allclose(stats[f"norm{i}"]["mean"], mean, rtol=1e-4)
        np.testing.assert_allclose(stats[f"norm{i}"]["var"], var, rtol=1e-4)
    whole = TRAIN.arrays["features"] @ np.asarray(params["dense0"]["kernel"])
    np.testing.assert_allclose(stats["norm0"]["mean"], whole.mean(0), rtol=1e-4)
    h = VALIDATION.arrays["features"]
    for i, (mean, var) in enumerate(expected):
        h = np.maximum((h @ np.asarray(params[f"dense{i}"]["kernel"]) - mean) / np.sqrt(var + 1e-5), 0)
    np.testing.assert_allclose(rows["output"], h, atol=1e-4)
    np.testing.assert_allclose(metrics["mean"], h.mean(), rtol=1e-4)
    evaluate(program, "second", state, VALIDATION, 0)  # shares the pass, compiled once and made once
    assert program.traces == {"eval": 2, "pass": 1}
    assert evaluate(program, "first", program.create(), VALIDATION, 0, interrupted=lambda: True) is None


@pytest.mark.curriculum("G3")
def test_one_batch_of_everything_has_the_unbiased_variance():
    found = {"norm0": {"count": 4.0, "total": jnp.array([8.0]), "deviations": jnp.array([6.0]), "freedom": 3.0}}
    state = (
        make_program(make_task())
        .create()
        ._replace(
            extra={"batch_stats": {"norm0": {"mean": jnp.zeros(1), "var": jnp.ones(1)}, "other": {"u": jnp.ones(2)}}}
        )
    )
    stats = batch_statistics.apply_statistics(state, {"": found}).extra["batch_stats"]
    assert float(stats["norm0"]["mean"][0]) == 2 and float(stats["norm0"]["var"][0]) == 2
    assert stats["other"] is state.extra["batch_stats"]["other"]


@pytest.mark.curriculum("G4")
def test_statistics_of_the_evaluated_batch():
    """Padded rows of the last batch, three real ones of eight, do not count."""
    program = make_program(batch_statistics.evaluated_by(make_task(), INFO, "batch"))
    state = program.create()
    _, rows = evaluate(program, "first", state, VALIDATION, 0)
    h = VALIDATION.arrays["features"][8:]
    for i in range(2):
        h = h @ np.asarray(state.params[f"dense{i}"]["kernel"])
        h = np.maximum((h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5), 0)
    np.testing.assert_allclose(rows["output"][8:], h, atol=1e-4)


def test_a_pass_sees_every_example_once_and_not_its_own_result():
    def add(state, batch, key):
        return {"n": batch["mask"].sum(), "x": (batch["features"] * batch["mask"][:, None]).sum(0)}

    def apply(state, sums):
        return state._replace(params=state.params + sums["n"])

    def look(state, batch, key):
        return {"n": (state.params, jnp.ones(()))}

    seen = Eval(look, data="validation", before=Pass(add, apply))
    program = make_program(Task(lambda key, batch: {"params": jnp.zeros(())}, None, {"first": seen}))
    state = program.create()
    for _ in range(2):
        assert evaluate(program, "first", state, VALIDATION, 0)[0]["n"] == 37
    assert float(state.params) == 0
    program.trace_evaluations()
    program.splits = {}
    program.prepared = None
    with pytest.raises(ConfigError, match=r"over the split 'train', which this run has not; set config\.data\.train"):
        evaluate(program, "first", state, VALIDATION, 0)


def looking():
    """A task whose two evaluations share a pass with the model over the training split."""

    def add(state, batch, key):
        return {"total": (apply_eval(Model(), state, batch["features"]) * batch["mask"][:, None]).sum(0)}

    task, before = make_task(), Pass(add, lambda state, sums: state)
    return task._replace(evals={name: e._replace(before=before) for name, e in task.evals.items()})


def test_a_pass_of_its_own_normalises_as_the_evaluation_does():
    """By the real rows of its batches; and it stays one pass for both evaluations."""
    task = batch_statistics.evaluated_by(looking(), INFO, "batch")
    first, second = (task.evals[name].before for name in ("first", "second"))
    assert first is second
    h, mask = TRAIN.arrays["features"][:8], np.asarray([1, 1, 1, 1, 1, 0, 0, 0], np.float32)
    made = task.init(jax.random.key(0), {"features": h})
    state = State(jnp.zeros((), jnp.int32), made["params"], {}, made["extra"])
    with parallel.padded(jnp.asarray(mask)):
        total = first.step(state, {"features": h, "mask": mask}, None)["total"]
    h = h[:5]
    for i in range(2):
        h = h @ np.asarray(state.params[f"dense{i}"]["kernel"])
        h = np.maximum((h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5), 0)
    np.testing.assert_allclose(total, h.sum(0), atol=1e-4)


@pytest.mark.parametrize(
    ("task", "info", "statistics", "words"),
    [
        (looking(), INFO, "exact", "evaluation 'first' makes a pass over the training split of its own"),
        (make_task(), INFO, "extact", r"config\.batch_stats='extact' is not known; did you mean 'exact'\?"),
        (make_task(norm=False), INFO, "exact", "keeps no running averages"),
        (make_task(norm=False), INFO, "batch", "keeps no running averages"),
        (make_task(), INFO._replace(sizes={"validation": 11}), "exact", r"needs config\.data\.train"),
    ],
)
def test_a_wrong_choice_is_refused(task, info, statistics, words):
    with pytest.raises(ConfigError, match=words):
        batch_statistics.evaluated_by(task, info, statistics)


@pytest.mark.curriculum("G3")
def test_exact_statistics_of_images_count_their_places():
    """Two batches of 4 and 3 images [6, 5, 3]: 30 values a channel, in the mean and the unbiased variance."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return BatchNorm(name="norm")(x, train)

    x, model = RANDOM.normal(2, 3, (7, 6, 5, 3)).astype(np.float32), Net()
    params, stats = initialise(model, jax.random.key(0), x[:1], False)
    state = State(jnp.zeros((), jnp.int32), params, {}, {"batch_stats": stats}, {})
    step = batch_statistics.exact(lambda state, batch, key: apply_eval(model, state, batch["image"])).step
    sums = [jax.device_get(step(state, {"image": part}, None)) for part in (x[:4], x[4:])]
    new = batch_statistics.apply_statistics(state, jax.tree.map(np.add, *sums)).extra["batch_stats"]["norm"]
    parts = [part.reshape(-1, 3).astype(np.float64) for part in (x[:4], x[4:])]
    deviations = sum(((part - part.mean(0)) ** 2).sum(0) for part in parts)
    np.testing.assert_allclose(new["mean"], x.reshape(-1, 3).mean(0), rtol=1e-4)
    np.testing.assert_allclose(new["var"], deviations / (119 + 89), rtol=1e-5)
    with pytest.raises(ConfigError, match=r"needs two values a channel.*config\.eval_batch_size"):
        step(state, {"image": x[:1, :1, :1]}, None)


def test_running_averages_change_nothing():
    task = make_task()
    assert batch_statistics.evaluated_by(task, INFO, "running") is task


@pytest.mark.curriculum("G3")
def test_a_run_chooses_by_its_config():
    """One key, in no digest while it is at its default; the pass is part of what `--mode check` traces."""
    run = ["config.model.norm=batch", "config.model.hidden=(8,)"]
    exact = configs.load("configs/classify/mlp.py", [*run, "config.batch_stats=exact"])
    passes = {each.before for each in build(exact).task.evals.values()}
    assert len(passes) == 1 and passes.pop().data == "train"
    default = configs.load("configs/classify/mlp.py", run)
    assert all(each.before is None for each in build(default).task.evals.values())
    assert configs.digest(exact) != configs.digest(default)
    with pytest.raises(ConfigError, match=r"config\.batch_stats='extact'; expected one of 'running', 'exact', 'batch'"):
        configs.load("configs/classify/mlp.py", ["config.batch_stats=extact"])
