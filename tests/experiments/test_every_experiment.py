"""What holds for every experiment: averaged weights alone are evaluated and drawn, and padding has no influence."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state
from cvdl_jax.engine import build
from cvdl_jax.engine.program import to_unit

ROOT = Path(__file__).resolve().parents[2]
ROWS = 8


def recipes():
    """{experiment: the first config of it}, without studies."""
    found = {}
    for path in sorted((ROOT / "configs").rglob("*.py")):
        folder = path.parent.name
        if path.stem in ("__init__", "datasets") or folder in ("tables", "sweeps", "studies", "configs"):
            continue
        file = path.relative_to(ROOT).as_posix()
        found.setdefault(configs.load(f"{file}:smoke").experiment, file)
    return found


RECIPES = recipes()
AVERAGED = [name for name in RECIPES if "ema" in build.load_experiment(name).READS]
OPTIONS = {"xla_backend_optimization_level": 0}


def made(name, *overrides, rows=ROWS):
    """(the task of an experiment's smoke run, its first state, a batch of its validation split with a mask)."""
    built = build.build(configs.load(f"{RECIPES[name]}:smoke", overrides))
    split = built.data.splits.get("validation") if built.data is not None else None
    raw = {} if split is None else split.batch(np.arange(min(rows, split.size)))
    batch = to_unit({key: jnp.asarray(x) for key, x in raw.items()})
    if batch:
        batch["mask"] = jnp.ones(len(next(iter(batch.values()))))
    return (
        built.task,
        jax.jit(partial(create_state, built.task), compiler_options=OPTIONS)(jax.random.key(0), batch),
        batch,
    )


def averaged_part(state):
    """The sub-tree of the parameters that is averaged, None for all of them."""
    shapes = partial(jax.tree.map, jnp.shape)
    average = shapes(state.extra["ema"])
    if shapes(state.params) == average:
        return None
    (name,) = [name for name, tree in state.params.items() if shapes(tree) == average]
    return name


def seen_by(evaluation, state, batch, key):
    """The state that an evaluation sees, after its pass over a batch, if it begins with one."""
    before = evaluation.before
    return state if before is None else before.apply(state, before.step(state, batch, key))


def answers(task, state, batch, key):
    """All that evaluations and predictions say of a batch, {name: arrays}."""
    told = {}
    for name, evaluation in task.evals.items():
        seen = seen_by(evaluation, state, batch, key)
        told[name] = evaluation.step(seen, {} if isinstance(evaluation.data, int) else batch, key)
    rows = {name: x for name, x in batch.items() if name != "mask"}
    for name in ("predict", "features"):
        function = getattr(task, name)
        if function is not None:
            told[name] = function(state, rows)
    return told


def drawn(value):
    """What a figure, a text or an image of a report shows, as bytes."""
    if hasattr(value, "savefig"):
        value.set_dpi(30)
        canvas = FigureCanvasAgg(value)
        canvas.draw()
        return bytes(canvas.buffer_rgba())
    return (
        value.encode() if isinstance(value, str) else b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(value))
    )


@pytest.mark.long
@pytest.mark.parametrize("name", AVERAGED)
def test_it_is_evaluated_and_drawn_by_the_average_alone(name):
    task, state, batch = made(name, "--config.ema={'decay': 0.9}")
    part = averaged_part(state)
    told = jax.jit(partial(answers, task), compiler_options=OPTIONS)
    moved = jax.tree.map(lambda x: x * 1.01 + 0.01, state.extra["ema"])
    good = state._replace(extra={**state.extra, "ema": moved})
    params = jax.tree.map(lambda x: jnp.full_like(x, 0.3), state.params if part is None else state.params[part])
    other = good._replace(params=params if part is None else {**state.params, part: params})
    first, second, present = (told(s, batch, jax.random.key(1)) for s in (good, other, state))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    different = [not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first, present)), strict=True)]
    assert any(different)
    if task.report is not None:
        pages = [task.report(s, batch, jax.random.key(2)) for s in (good, other)]
        assert pages[0].keys() == pages[1].keys() and all(drawn(pages[0][k]) == drawn(pages[1][k]) for k in pages[0])


@pytest.mark.long
@pytest.mark.parametrize("name", RECIPES)
def test_rows_of_padding_have_no_influence(name):
    task, state, batch = made(name)
    evals = {n: e for n, e in task.evals.items() if not isinstance(e.data, int)}
    rows = len(batch["mask"]) if batch else 0
    if not evals or rows < 3:
        pytest.skip("it evaluates no batches of examples")
    real = rows - rows // 2
    batch["mask"] = (jnp.arange(rows) < real).astype(jnp.float32)
    other = {k: x if k == "mask" else x.at[real:].set(x[: rows - real][::-1]) for k, x in batch.items()}
    step = jax.jit(
        lambda b: {n: e.step(state, b, jax.random.key(1)) for n, e in evals.items()}, compiler_options=OPTIONS
    )
    for outputs in zip(*(jax.tree.leaves_with_path(step(b), is_leaf=is_sum) for b in (batch, other)), strict=True):
        (path, one), (_, two) = outputs
        whole = isinstance(one, tuple)
        one, two = (x if whole else (x[:real],) for x in (one, two))
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6, err_msg=jax.tree_util.keystr(path))


def is_sum(x):
    """A sum with its weight, or an array that is added over batches, in which all rows have gone up."""
    return isinstance(x, tuple)
