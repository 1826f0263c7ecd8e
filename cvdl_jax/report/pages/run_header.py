"""The head of a run's page: its name, state and command, how far it is, its metrics in large figures."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cvdl_jax.config import places
from cvdl_jax.core import formatting
from cvdl_jax.report.pages import numbers, provenance, replica_scores
from cvdl_jax.report.pages.curves import of_seed
from cvdl_jax.report.pages.markup import Markup, command_row, el
from cvdl_jax.report.pages.run_files import RunFiles

CARDS = 4  # metrics in large figures
LEFT_OUT = ("_low", "_high", "/examples", "/characters", "/episodes", "/samples")  # ends of intervals, and counts


def name(run: RunFiles) -> str:
    """What the run is called: its folder."""
    return run.path.absolute().name


def selected_by(run: RunFiles) -> str:
    """The metric that chooses the checkpoint; "" for the last step."""
    return (run.config.get("select") or {}).get("metric") or ""


def header(run: RunFiles) -> Markup:
    """Name, state, what the run is, its metrics in large figures, the command."""
    state = run.state.state
    experiment = (run.config.get("replicas") or run.config).get("experiment")
    what = [experiment, _model(run.config), (run.config.get("data") or {}).get("name")]
    starts = run.meta.get("starts") or []
    again = f"{places.command()} --workdir {shlex.quote(str(run.path))}"
    return Markup(
        el("h1", name(run), " ", el("span", state, class_=f"badge {state.replace(' ', '-')}"))
        + el("p", " · ".join(str(part) for part in [*what, seeds(run.config)] if part), class_="what")
        + el("p", progress(run), class_="what")
        + cards(run)
        + (command_row("Command", provenance.command(starts[0])) if starts else "")
        + (command_row("Continue it with", again) if state == "partial" else "")
    )


def replicas(run: RunFiles) -> int:
    """How many replicas the run trained at once; 0 for an ordinary run."""
    return len((run.config.get("replicas") or {}).get("seeds") or ())


def seeds(config: Mapping[str, Any]) -> str:
    """The seed, or those of the replicas."""
    several = (config.get("replicas") or {}).get("seeds")
    return f"replicas of seeds {', '.join(map(str, several))}" if several else f"seed {config.get('seed')}"


def _model(config: Mapping[str, Any]) -> str | None:
    """The model's name, or those of several."""
    model = config.get("model") or {}
    names = [str(part["name"]) for part in [model, *model.values()] if isinstance(part, Mapping) and part.get("name")]
    return " + ".join(names) or None


def is_analysis(run: RunFiles) -> bool:
    """Whether the run has ended without a training step, as it was to."""
    return bool(run.results) and not run.results.get("step")


def progress(run: RunFiles) -> str:
    """How far the run is, in words."""
    state, total = run.state, run.state.total_steps
    if is_analysis(run):
        return "an analysis: nothing is trained"
    if run.results:
        by = run.results.get("selected_by", "last step")
        how = f"by {by}" if by != "last step" else "the last one"
        chosen = f"selected step {numbers.count(run.results.get('selected_step'))} of "
        return f"{chosen}{numbers.count(run.results.get('step'))} ({how})"
    logged = int(run.rows[-1]["step"]) if run.rows else 0
    of = f" of {numbers.count(total)}" if total is not None else ""
    saved = {"partial": f"; it would continue from step {numbers.count(state.step)}",
             "failed": f"; last saved step {numbers.count(state.step)}"}.get(state.state, "")  # fmt: skip
    eta = state.eta_seconds if state.state == "running" else None
    left = f"; about {formatting.seconds(eta)} left" if eta else ""
    last = f"last logged step {numbers.count(logged)}{of}" if run.rows else "nothing is logged yet"
    return f"{last}{saved}{left}"


def main_metrics(run: RunFiles) -> list[str]:
    """Names of the metrics worth large figures: of the test set before others, the one that selects before others."""
    metrics = run.results.get("metrics") or _last_evaluation(run)[1]
    wanted = selected_by(run).rpartition("/")[2] or "accuracy"
    names = [key for key in metrics if not key.endswith(LEFT_OUT) and not (replicas(run) and of_seed(key))]
    return sorted(names, key=lambda key: (not key.startswith("test/"), key.rpartition("/")[2] != wanted))[:CARDS]


def _last_evaluation(run: RunFiles) -> tuple[int, dict[str, float]]:
    """The metrics of the last row that has an evaluation, else of the last row, with its step."""
    for row in reversed(run.rows):
        evaluated = {k: v for k, v in row.items() if "/" in k and not k.startswith(("train/", "time/"))}
        if evaluated:
            return int(row["step"]), evaluated
    last = run.rows[-1] if run.rows else {"step": 0}
    return int(last["step"]), {k: v for k, v in last.items() if k.startswith("train/")}


def cards(run: RunFiles) -> Markup:
    """The main metrics in large figures."""
    step, latest = _last_evaluation(run)
    metrics = run.results.get("metrics") or latest
    of = f", mean of {replicas(run)}" if replicas(run) else ""
    seeds = (run.config.get("replicas") or {}).get("seeds") or ()
    shown = [el("div", el("span", key.replace("/", " ") + of, class_="label"), _card(key, metrics, seeds),
                class_="card")
             for key in main_metrics(run)]  # fmt: skip
    if not shown:
        return Markup("")
    note = None if run.results else el("p", f"At step {numbers.count(step)}; not the final metrics.", class_="note")
    return Markup(el("div", shown, class_="cards") + (note or ""))


def interval(key: str, metrics: Mapping[str, float]) -> tuple[float, float] | None:
    """The 95 % interval of a proportion, None where the evaluation made none."""
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    return (low, high) if low is not None and high is not None and 0 <= low <= high <= 1 else None


def _card(key: str, metrics: Mapping[str, float], seeds: Sequence[int] = ()) -> Markup:
    over_seeds = replica_scores.spread(key, metrics, seeds) if seeds else None
    if over_seeds is not None:
        return replica_scores.card(over_seeds)
    ends, x = interval(key, metrics), metrics[key]
    if ends is None:
        return el("strong", numbers.value(x))
    n = metrics.get(key.rpartition("/")[0] + "/examples")
    of = f", {numbers.count(n)} examples" if n else ""
    said = f"{numbers.interval(*ends, True)} 95 % interval{of}"
    return Markup(el("strong", numbers.percent(x)) + el("small", said))
