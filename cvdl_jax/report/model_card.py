"""A model card and a data statement of a finished run, in Markdown: what its files say, and blanks for the rest.

Nothing is invented: every number stands in the run's folder. What only the author knows (intended use, licences, whom
the data show, consent, ethics) is a blank that begins with FILL IN, so that a search finds what is left to write.

Reference: Mitchell et al. 2019, "Model Cards for Model Reporting"; Bender and Friedman 2018, "Data Statements for
    Natural Language Processing"; Regulation (EU) 2016/679 (GDPR), articles 5, 6 and 9.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvdl_jax.config import configs
from cvdl_jax.errors import UserError
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.report.pages import subgroups
from cvdl_jax.report.pages.run_files import RunFiles, read_run
from cvdl_jax.workdir import predictions
from cvdl_jax.workdir.folder import Workdir
from cvdl_jax.workdir.run_state import RUNNING

NAME = "MODEL_CARD.md"
BLANK = "**FILL IN:**"  # begins every blank
TRAINING = (
    "model.",
    "loss.",
    "optim.",
    "augment",
    "batch_size",
    "total_",
    "init_from",
    "ema.",
    "seed",
    "compute_dtype",
)
EMPTY = ({}, [], None, "")


def text(folder: Path) -> str:
    """The card of a run's folder.

    Raises:
        UserError: for a folder without a run, or a run that is not finished.
    """
    run = read_run(folder)
    if run.state.state == RUNNING or not Workdir(folder).done.exists():
        raise UserError(
            f"{folder} is {run.state.state} at step {run.state.step}; a card describes a finished run: let it come to "
            "its end with the command that began it"
        )
    parts = (_about(run), _use(), _data(run), _training(run), _metrics(run), _groups(run), _limits(run), _author())
    return "\n\n".join(parts) + "\n"


def _section(title: str, *lines: str) -> str:
    return "\n".join([f"## {title}", "", *lines])


def _rows(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    cells = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]


def _about(run: RunFiles) -> str:
    start = (run.meta.get("starts") or [{}])[-1]
    model = run.meta.get("model") or {}
    facts = [
        ("experiment", run.config.get("experiment")), ("model", (run.config.get("model") or {}).get("name")),
        ("parameters", model.get("parameters")), ("multiply-accumulates", model.get("macs")),
        ("trained", start.get("time")), ("commit", start.get("commit")), ("uncommitted changes", start.get("dirty")),
        ("step", f"{run.results['selected_step']} of {run.results['step']}, by {run.results['selected_by']}"
                 if run.results.get("selected_step") is not None else run.results.get("step")),
    ]  # fmt: skip
    lines = [f"- {name}: {value}" for name, value in facts if value not in EMPTY]
    return "\n".join([f"# Model card of {run.path.name}", "", *lines, f"- licence of the weights: {BLANK} licence"])


def _use() -> str:
    blanks = (
        "for what, by whom, and in what surroundings",
        "uses that are out of scope",
        "who is affected by mistakes",
    )
    return _section("Intended use", *(f"- {BLANK} {blank}" for blank in blanks))


def _data(run: RunFiles) -> str:
    data, seen = run.config.get("data") or {}, run.meta.get("data") or {}
    if not data.get("name") and not seen:
        return _section("Data statement", "The run drew its own examples; it read no data set.")
    lines = [f"- {key}: {seen[key]}" for key in ("name", "version", "fingerprint") if seen.get(key) not in EMPTY]
    lines += [] if seen.get("name") else [f"- name: {data['name']}"]
    for split in ("train", "validation", "test"):
        n = run.results["metrics"].get(f"{split}/examples")
        count = f" ({n:g} examples evaluated)" if n is not None else ""
        lines += [f"- {split} split: `{data[split]}`{count}"] if data.get(split) else []
    classes = run.facts.get("class_names") or []
    lines += [f"- classes: {', '.join(classes)}"] if classes else []
    blanks = (
        "licence of the data", "who collected them, when and where, and who labelled them",
        "whether they show people; on what legal ground (GDPR articles 6, 9), with what consent, kept for how long",
        "groups that are missing or rare in them",
    )  # fmt: skip
    return _section("Data statement", *lines, *(f"- {BLANK} {blank}" for blank in blanks))


def _training(run: RunFiles) -> str:
    flat = configs.flat(run.config)
    rows = [
        (f"`config.{key}`", f"`{json.dumps(value)}`")
        for key, value in sorted(flat.items())
        if key.startswith(TRAINING) and value not in EMPTY
    ]
    return _section("Training", *_rows(("setting", "value"), rows), "", "All settings are in `config.json`.")


def _metrics(run: RunFiles) -> str:
    metrics = run.results.get("metrics") or {}
    names = [n for n in metrics if not n.endswith(("_low", "_high", "/examples")) and n.count("/") < 2]
    rows = [(name, _number(metrics[name]), _interval(metrics, name), _count(metrics, name)) for name in names]
    note = "Intervals are of 95 %, over examples: they say nothing of another seed or of other data."
    return _section("Metrics", *_rows(("metric", "value", "interval", "examples"), rows), "", note)


def _groups(run: RunFiles) -> str:
    """Figures of parts of the data: classes and groups of a classifier, and metrics that have a name of a part."""
    metrics, classes = run.results.get("metrics") or {}, run.facts.get("class_names") or []
    names = [n for n in metrics if n.count("/") >= 2 and not n.endswith(("_low", "_high", "/examples"))]
    rows = [(name, _number(metrics[name]), _interval(metrics, name), _count(metrics, name)) for name in names]
    gaps = []
    for evaluation in predictions.evaluations(Workdir(run.path).predictions):
        if not isinstance(evaluation, predictions.Classified):
            continue
        for k in range(evaluation.scores.shape[1]):
            of = evaluation.label == k
            n, right = int(of.sum()), int((evaluation.guess[of] == k).sum())
            name = f"{evaluation.name}: accuracy of class {classes[k] if k < len(classes) else k}"
            low, high = wilson(right, n) if n else (float("nan"),) * 2
            rows += [(name, _number(right / n), f"[{_number(low)}, {_number(high)}]", n)] if n else [(name, "", "", 0)]
        positive = (run.config.get("subgroups") or {}).get("positive")
        for entry, measured in subgroups.audits(evaluation, classes, positive).items():
            of = measured["accuracy"]
            if entry != subgroups.CLASSES:
                rows += [
                    (f"{evaluation.name}: accuracy of {entry} {group}", _number(rate.value),
                     f"[{_number(rate.low)}, {_number(rate.high)}]", rate.n)
                    for group, rate in of.rates.items()
                ]  # fmt: skip
            kind = "class" if entry == subgroups.CLASSES else entry
            gaps.append(f"- {evaluation.name}: {subgroups.said(of, kind)}")
            gaps += [
                f"- {evaluation.name}: {measure.replace('_', ' ')} of class "
                f"{classes[positive] if positive < len(classes) else positive}. "
                f"{subgroups.said(one, kind, ('Lowest', 'highest'))}"
                for measure, one in measured.items()
                if measure != "accuracy"
            ]
    body = (
        _rows(("metric", "value", "interval", "examples"), rows) if rows else ["The run measured no parts of its data."]
    )
    return _section(
        "Groups", *body, "", *gaps, f"- {BLANK} groups of people or places that matter and were not measured"
    )


def _limits(run: RunFiles) -> str:
    lines = ["- One run with one seed; how much another seed changes the metrics is not in this folder."]
    if not any(name.startswith("test/") for name in run.results.get("metrics") or {}):
        lines += ["- Not evaluated on a test split: the metrics are of the split on which the checkpoint was selected."]
    dirty = [start for start in run.meta.get("starts") or [] if start.get("dirty")]
    lines += ["- Started with uncommitted changes: the commit above is not the whole code."] if dirty else []
    lines += ["- Measured on data of the same source as the training data; nothing is known of other data."]
    return _section("Limits", *lines, f"- {BLANK} known failures")


def _author() -> str:
    blanks = (
        "author and contact",
        "risks, harms and what is done about them",
        "how one asks for deletion or correction",
    )
    return _section("Responsibility", *(f"- {BLANK} {blank}" for blank in blanks))


def _number(value: float) -> str:
    return f"{value:.4g}"


def _interval(metrics: Mapping[str, float], name: str) -> str:
    low, high = (metrics.get(f"{name}_{end}") for end in ("low", "high"))
    return "" if low is None or high is None else f"[{_number(low)}, {_number(high)}]"


def _count(metrics: Mapping[str, float], name: str) -> str:
    n = metrics.get(f"{name.partition('/')[0]}/examples")
    return "" if n is None else f"{n:g}"
