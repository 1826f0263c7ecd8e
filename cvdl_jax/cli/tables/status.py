"""`--status`: how far every run is, and when all of them may be done."""

from collections.abc import Sequence
from statistics import fmean

from cvdl_jax.cli.tables.plan import Planned
from cvdl_jax.engine.progress import UNKNOWN, duration
from cvdl_jax.report.table_cells import grid
from cvdl_jax.workdir.folder import Workdir
from cvdl_jax.workdir.metric_log import read
from cvdl_jax.workdir.run_state import DONE, STATES, RunState, seconds, state_of


def report(planned: Sequence[Planned], workers: int) -> str:
    """A line per run and the totals.

    Args:
        planned: the runs.
        workers: how many would run at once.
    """
    states = [state_of(each.workdir, each.config) for each in planned]
    left = estimates(planned, states)
    lines = [
        [each.label, str(each.seed), state.state, steps(state), eta(state, rest), each.workdir.name, state.message]
        for each, state, rest in zip(planned, states, left, strict=True)
    ]
    return f"{grid(['run', 'seed', 'state', 'step', 'ETA', 'folder', ''], lines)}\n\n{totals(states, left, workers)}"


def steps(state: RunState) -> str:
    """Step k of n."""
    of = f" of {state.total_steps:,}" if state.total_steps is not None else ""
    return f"{state.step:,}{of}"


def eta(state: RunState, rest: float | None) -> str:
    """Time that a run still needs, "about" where only its siblings tell."""
    if state.state == DONE:
        return ""
    if rest is None:
        return UNKNOWN
    return duration(rest) if state.eta_seconds is not None else f"about {duration(rest)}"


def estimates(planned: Sequence[Planned], states: Sequence[RunState]) -> list[float | None]:
    """Seconds that each run still needs: at its own pace, else what the finished runs of its row took."""
    took: dict[str, list[float]] = {}
    for each, state in zip(planned, states, strict=True):
        if state.state == DONE:
            spent = seconds(read(Workdir(each.workdir).metrics))
            took.setdefault(each.row, []).extend([] if spent is None else [spent])
    return [
        state.eta_seconds
        if state.eta_seconds is not None
        else fmean(took[each.row]) if took.get(each.row) else None
        for each, state in zip(planned, states, strict=True)
    ]  # fmt: skip


def totals(states: Sequence[RunState], left: Sequence[float | None], workers: int) -> str:
    """How many runs are in which state, and how long all that are not done may take."""
    counts = {name: sum(state.state == name for state in states) for name in STATES}
    shown = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    missing = [rest for state, rest in zip(states, left, strict=True) if state.state != DONE]
    if not missing:
        return f"{len(states)} runs: {shown}"
    known = [rest for rest in missing if rest is not None]
    unknown = len(missing) - len(known)
    at_once = max(1, min(workers, len(missing)))
    needed = max(sum(known) / at_once, max(known, default=0.0))
    time = f"about {duration(needed)} left, {at_once} at a time" if known else "time left not known yet"
    without = f" ({unknown} runs without an estimate)" if known and unknown else ""
    return f"{len(states)} runs: {shown}; {time}{without}"
