"""Trained runs of single tasks as one predictor of all of them: an ensemble of models that each say something else.

    combined = combining.combine(("runs/digit_alone", "runs/angle_alone"))
    combined.predict(images)            # {"digit": [b], "angle": [b]}; images uint8, or float in 0..1, [b, h, w, c]
    combined.measure("test")            # {"digit/accuracy": ..., "angle/error_degrees": ...}

Each run keeps its own network, or, where all were trained on one frozen trunk, the trunk is computed once. They must
see the same data by the same preprocessing: a network that reads images in another way would be wrong without a word.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.core.trees import path_name
from cvdl_jax.data import order, pixels
from cvdl_jax.engine import runs
from cvdl_jax.engine.build import Run
from cvdl_jax.engine.program import to_unit
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.models import shared_trunk
from cvdl_jax.models.shared_trunk import Job
from cvdl_jax.nn.apply import apply_eval
from cvdl_jax.optim.ema import averaged
from cvdl_jax.workdir import data_facts, test_set_ledger

TRUNK = "trunk"  # of the parameters of a `SharedTrunk`
# Keys of config.data that change neither the examples of an evaluation nor what a network sees of them.
FREE = ("data_dir", "resident", "resident_limit", "cache", "features", "order_seed", "spread", "resample", "label",
        "accept_changed")  # fmt: skip


class Part(NamedTuple):
    """One run: its folder, what was built, its tasks, network and preprocessing, the averaged weights where it has any.

    Attributes:
        workdir: of the run.
        built: see `runs.load_built`.
        tasks: {name: Job}.
        model: `(x, train) -> ({task: outputs}, out)`.
        normalise: images in 0..1 -> what the network sees.
        variables: {"params", "batch_stats"} of the network.
        step: of the checkpoint.
    """

    workdir: str
    built: Run
    tasks: Mapping[str, Job]
    model: Any
    normalise: Callable[[jax.Array], jax.Array]
    variables: Mapping[str, Any]
    step: int


class Combined(NamedTuple):
    """Several runs as one predictor.

    Attributes:
        tasks: {name: Job} of all runs.
        predict: `images [b, h, w, c], bytes or floats in 0..1, -> {task: predictions [b, ...]}`.
        measure: `split -> {"task/loss", "task/MEASURE": figure}` of a split of the runs' data. A look at a test set
            which a run did not take when it ended is counted, and a second one refused (`test_set_ledger.py`).
        parameters: how many numbers the networks hold together.
    """

    tasks: Mapping[str, Job]
    predict: Callable[[Any], dict[str, np.ndarray]]
    measure: Callable[[str], dict[str, float]]
    parameters: int


def combine(workdirs: Sequence[str], trunk: Literal["own", "shared"] = "own", which: str = "best") -> Combined:
    """Trained runs of single tasks as one predictor; nothing is trained.

    Args:
        workdirs: of two or more runs that have `config.tasks`, of different ones.
        trunk: "own", the network of each run; or "shared", one trunk with the heads of all, for runs that were trained
            on the same frozen trunk.
        which: "best", "latest" or a step.

    Raises:
        ConfigError: for runs that cannot be combined, saying why.
    """
    if trunk not in ("own", "shared"):
        raise ConfigError(f"trunk={trunk!r} must be 'own' or 'shared'")
    parts = load(workdirs, which)
    check_alike(parts)
    tasks = {name: job for part in parts for name, job in part.tasks.items()}
    variables, outputs_of = (shared if trunk == "shared" else separate)(parts)
    outputs = jax.jit(lambda batch: outputs_of(variables, to_unit(batch)["image"]))

    def predict(images: Any) -> dict[str, np.ndarray]:
        said = outputs({"image": jnp.asarray(images)})
        return {name: np.asarray(job.head.read(said[name])) for name, job in tasks.items()}

    def measure(split: str = "test") -> dict[str, float]:
        return _measured(parts, outputs, split)

    count = sum(np.size(x) for x in jax.tree.leaves(_params(variables, trunk)))
    return Combined(tasks, predict, measure, count)


def _params(variables: Mapping[str, Any], trunk: str) -> Any:
    return variables["params"] if trunk == "shared" else [part["params"] for part in variables.values()]


def _measured(parts: Sequence[Part], outputs: Callable, split: str) -> dict[str, float]:
    """The measures of all tasks on a split: sums over its examples, divided once."""
    splits = [part.built.data.splits if part.built.data else {} for part in parts]
    known = {name for own in splits for name in own}
    if any(split not in own for own in splits):
        raise ConfigError(f"split={split!r} is not one of the runs' data; {nearest(split, known - {split})}")
    looks = [
        (part, test_set_ledger.look(part.built.config, split, part.step, "auto"))
        for part in parts
        if split in part.built.task.evals and part.built.task.evals[split].final
    ]
    for part, look in looks:
        test_set_ledger.check(part.workdir, look, again=False)
    seen = [own[split].for_evaluation() for own in splits]
    size, n, totals = parts[0].built.config.batch_size, seen[0].size, {}
    for step in range(order.eval_steps(n, size)):
        index, mask = order.eval_batch(step, size, n)
        batches = [{name: jnp.asarray(x) for name, x in own.batch(index).items()} for own in seen]
        said = outputs({"image": batches[0]["image"]})
        for part, batch in zip(parts, batches, strict=True):  # the labels of a task are those of its run
            views = shared_trunk.looks(part.tasks, said, batch, jnp.asarray(mask))
            sums = shared_trunk.measures(part.tasks, views, shared_trunk.losses_of(part.tasks, views, 1.0))
            for name, pair in sums.items():
                totals[name] = totals.get(name, np.zeros(2)) + np.asarray([float(x) for x in pair])
    metrics = {name: float(total / weight) if weight else float("nan") for name, (total, weight) in totals.items()}
    for part, look in looks:
        own = {f"{split}/{name}": value for name, value in metrics.items() if name.partition("/")[0] in part.tasks}
        test_set_ledger.record(part.workdir, look, own)
    return metrics


def load(workdirs: Sequence[str], which: str = "best") -> list[Part]:
    """The runs that are to be combined.

    Args:
        workdirs: of two or more runs that have `config.tasks`, of different ones.
        which: "best", "latest" or a step.

    Raises:
        ConfigError: for fewer runs, one of another experiment or with statistics that are not its own, or a task twice.
    """
    if len(workdirs) < 2:
        raise ConfigError(f"runs={tuple(workdirs)}: name the workdirs of two or more runs to combine")
    parts: list[Part] = []
    for workdir in workdirs:
        built, state, step = runs.load_evaluated(workdir, which, with_data=True)
        if not built.config.get("tasks"):
            raise ConfigError(
                f"runs: {workdir} is a run of experiment {built.config.experiment!r}, which has no config.tasks; runs "
                "of a task each can be combined, such as configs/regimes/digits_angle.py:task=digit"
            )
        if built.config.batch_stats != "running":
            raise ConfigError(
                f"runs: {workdir} has config.batch_stats={built.config.batch_stats!r}; only runs with "
                "'running' can be combined"
            )
        tasks = shared_trunk.jobs(built.config.tasks, built.info.spec)
        for other in parts:
            for task in tasks.keys() & other.tasks.keys():
                raise ConfigError(f"runs: {other.workdir} and {workdir} both have the task {task!r}")
        model = shared_trunk.make_model(built.config, tasks)
        normalise = configs.partially(pixels.normalise, built.fitted.normalise, "config.normalise", "image")
        state = averaged(jax.device_get(state))
        variables = {"params": state.params["model"], "batch_stats": state.extra["batch_stats"]["model"]}
        parts.append(Part(workdir, built, tasks, model, normalise, variables, step))
    return parts


def check_alike(parts: Sequence[Part]) -> None:
    """Refuses runs that do not see the same data by the same preprocessing.

    Args:
        parts: from `load`.

    Raises:
        ConfigError: naming the run and what differs.
    """
    first = parts[0]
    for part in parts[1:]:
        for what, of in (("config.data", _data), ("the normalisation", _normalise), ("the data", _fingerprint)):
            own, other = of(part), of(first)
            for key in (key for key in sorted({*own, *other}) if own.get(key) != other.get(key)):
                raise ConfigError(
                    f"runs: {what} of {part.workdir} has {key}={own.get(key)!r} and that of {first.workdir} "
                    f"{other.get(key)!r}; combine runs that see the same data in the same way"
                )


def _data(part: Part) -> dict[str, Any]:
    return {key: value for key, value in configs.to_plain(part.built.config.data).items() if key not in FREE}


def _normalise(part: Part) -> dict[str, Any]:
    return configs.to_plain(part.built.fitted.normalise)


def _fingerprint(part: Part) -> dict[str, str]:
    kept = data_facts.read(part.workdir)
    return {} if kept is None or kept["data"] is None else {"fingerprint": kept["data"]["fingerprint"]}


def separate(parts: Sequence[Part]) -> tuple[dict[str, Any], Callable]:
    """Each run with a network of its own.

    Returns:
        ({"run0": variables, ...}, `(variables, image) -> {task: outputs}`).
    """

    def outputs(variables: Mapping[str, Any], image: jax.Array) -> dict[str, jax.Array]:
        together = {}
        for i, part in enumerate(parts):
            together |= _apply(part.model, variables[f"run{i}"], part.normalise(image))
        return together

    return {f"run{i}": part.variables for i, part in enumerate(parts)}, outputs


def shared(parts: Sequence[Part]) -> tuple[dict[str, Any], Callable]:
    """One trunk, that all runs have, with the heads of all.

    Returns:
        (variables of one network, `(variables, image) -> {task: outputs}`).

    Raises:
        ConfigError: for a run without a trunk apart from its heads, with another network, or with other weights in it.
    """
    first = parts[0]
    for part in parts:
        if TRUNK not in part.variables["params"]:
            raise ConfigError(f"trunk='shared': {part.workdir} has no trunk apart from its heads")
        own, other = (configs.to_plain(one.built.config.model) for one in (part, first))
        for key in (key for key in sorted({*own, *other}) if own.get(key) != other.get(key)):
            raise ConfigError(
                f"trunk='shared': {part.workdir} has config.model.{key}={own.get(key)!r} and {first.workdir} "
                f"{other.get(key)!r}, so that its head reads other features; use trunk='own'"
            )
    theirs = [{key: _named(v.variables[key].get(TRUNK, {})) for key in v.variables} for v in parts]
    for part, own in zip(parts[1:], theirs[1:], strict=True):
        for key, arrays in theirs[0].items():
            differ = [n for n in sorted({*arrays, *own[key]}) if not _equal(arrays.get(n), own[key].get(n))]
            if differ:
                raise ConfigError(
                    f"trunk='shared': {part.workdir} and {first.workdir} differ in {key}/{TRUNK}/"
                    f"{differ[0]}; train the second with config.init_from={first.workdir}, "
                    "config.optim.lr_factors=(('model/trunk/.*', 0.0),) and a trunk without batch normalisation, or "
                    "use trunk='own'"
                )
    tasks = {name: job for part in parts for name, job in part.tasks.items()}
    model = shared_trunk.make_model(first.built.config, tasks)
    params = {name: value for part in parts for name, value in part.variables["params"].items()}
    variables = {"params": params, "batch_stats": first.variables["batch_stats"]}
    return variables, lambda variables, image: _apply(model, variables, first.normalise(image))


def _named(tree: Any) -> dict[str, Any]:
    return {path_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def _equal(one: Any, other: Any) -> bool:
    return one is not None and other is not None and np.array_equal(np.asarray(one), np.asarray(other))


def _apply(model: Any, variables: Mapping[str, Any], x: jax.Array) -> dict[str, jax.Array]:
    state = State(np.int32(0), variables["params"], {}, {"batch_stats": variables["batch_stats"]})
    return apply_eval(model, state, x)[0]
