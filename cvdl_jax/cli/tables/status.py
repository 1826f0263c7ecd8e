"""`--status`: how far every run is, and when all of them may be done."""

from collections.abc import Sequence
from statistics import fmean

from cvdl_jax.cli.tables.plan import Planned
from cvdl_jax.core.formatting import columns, count, duration
from cvdl_jax.engine.progress import UNKNOWN
from cvdl_jax.workdir.folder import Workdir
from cvdl_jax.workdir.metric_log import read
from cvdl_jax.workdir.run_state import DONE, STATES, RunState, seconds, state_of


def report(planned: Sequence[Planned], workers: int) -> str:
    """A line per run and the totals.

    Args:
        planned: the runs.
        workers: how many would run at once.
    """
    states = [state_of(run.workdir, run.config) for run in planned]
    left = estimates(planned, states)
    rows = [
        [run.label, str(run.seed), state.state, steps(state), eta(state, rest), run.workdir.name, state.message]
        for run, state, rest in zip(planned, states, left, strict=True)
    ]
    head = ["run", "seed", "state", "step", "ETA", "folder", ""]
    return "\n".join([*columns(rows, head=head), "", totals(states, left, workers)])


def steps(state: RunState) -> str:
    """Step k of n."""
    of = f" of {count(state.total_steps)}" if state.total_steps is not None else ""
    return f"{count(state.step)}{of}"


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
    for run, state in zip(planned, states, strict=True):
        if state.state == DONE:
            spent = seconds(read(Workdir(run.workdir).metrics))
            took.setdefault(run.row, []).extend([] if spent is None else [spent])
    like = {row: fmean(spent) if spent else None for row, spent in took.items()}
    return [
        like.get(run.row) if state.eta_seconds is None else state.eta_seconds
        for run, state in zip(planned, states, strict=True)
    ]


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
