"""The results of `--compare` for people."""

from collections.abc import Mapping
from typing import Any

from cvdl_jax.metrics.stats.paired_tests import EXACT_SEEDS, format_p, least_p, pairs_needed
from cvdl_jax.report.compare.results import LOWER_IS_BETTER, NOT_SIGNIFICANT, SIGNIFICANT
from cvdl_jax.report.table_cells import grid

NAMES = {"accuracy": "accuracy", "macro_f1": "macro F1", "auc": "AUC", "mae": "MAE", "rmse": "RMSE"}
WIDTH = 8  # of the first column below a pair
PERCENT = ("accuracy", "macro_f1")
FORMS = {"exact": "p_exact", "mid-p": "p_midp", "chi-square": "p_chi2"}


def lines(results: Mapping[str, Any]) -> str:
    """Everything, to be printed."""
    data, methods = results["data"], results["methods"]
    of = " ".join(str(data[key]) for key in ("name", "version") if data.get(key))
    parts = [f"{results['split']}: {methods[0]['examples']:,} examples{' of ' + of if of else ''}", "", table(results)]
    for pair in results["pairs"]:
        parts += ["", *pair_lines(pair, results)]
    return "\n".join([*parts, "", *(f"Note: {note}" for note in [*missing(results), *results["notes"]])]).rstrip()


def missing(results: Mapping[str, Any]) -> list[str]:
    """Why some metrics have no interval."""
    return [
        f"the {NAMES[name]} of {each['name']} has no interval: {found['why']}."
        for each in results["methods"]
        for name, found in each["metrics"].items()
        if found["low"] is None
    ]


def table(results: Mapping[str, Any]) -> str:
    """A line per method: each metric with its interval."""
    methods = results["methods"]
    metrics = list(methods[0]["metrics"])
    head = ["method", "runs", *(f"{NAMES[m]}, 95 % interval" for m in metrics)]
    rows = [
        [each["name"], str(len(each["runs"])), *(cell(name, each["metrics"].get(name)) for name in metrics)]
        for each in methods
    ]
    return grid(head, rows)


def cell(name: str, found: Mapping[str, Any] | None) -> str:
    """A value with its interval, as 96.94 % [94.61, 98.28] Wilson."""
    if found is None or found["value"] is None:
        return "–"
    scale, digits, unit = shape(name)
    text = f"{scale * found['value']:.{digits}f}{unit}"
    if found["low"] is None:
        return f"{text} (no interval)"
    ends = brackets(scale * found["low"], scale * found["high"], digits)
    return f"{text} {ends} {found['interval']}"


def shape(name: str) -> tuple[float, int, str]:
    """Scale, digits and unit of a metric."""
    return (100.0, 2, " %") if name in PERCENT else (1.0, 4, "")


def brackets(low: float, high: float, digits: int) -> str:
    """[low, high] in so many digits; a zero has no sign."""
    return f"[{low:z.{digits}f}, {high:z.{digits}f}]"


def change(name: str, found: Mapping[str, Any]) -> str:
    """A difference with its interval, as +1.39 points [-0.28, 3.06] (paired bootstrap)."""
    if found["difference"] is None:
        return f"not known: {found['why']}"
    scale, digits, _ = shape(name)
    unit = " points" if name in PERCENT else ""
    ends = brackets(scale * found["low"], scale * found["high"], digits)
    return f"{scale * found['difference']:+.{digits}f}{unit} {ends} ({found['interval']})"


def p_of(p: float | None) -> str:
    """A p value, or that there is none."""
    return "p is not defined" if p is None else format_p(p)


def pair_lines(pair: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """Two methods: the differences, the tests, the verdict."""
    first, second = pair.get("runs") or [results["methods"][pair[side]]["name"] for side in ("first", "second")]
    metric = results["metric"]
    said = [f"{second} against {first}"]
    if pair["kind"] == "examples":
        said += example_lines(pair)
    else:
        said.append(f"  {NAMES[metric]:{WIDTH}}  {change(metric, pair)}")
        n = pair["n"]
        if pair["kind"] == "seeds":
            tested = f"{n} seeds" if n <= EXACT_SEEDS else f"the first {EXACT_SEEDS} of {n} seeds"
            said.append(f"  {'seeds':{WIDTH}}  sign-flip {p_of(pair['p'])} ({tested}), paired t {p_of(pair['p_t'])}")
            said.append(f"  of seed {pair['seeds'][0]} alone:")
            said += [f"  {line}" for line in example_lines(pair["first_seed"])]
        else:
            said.append(f"  {'folds':{WIDTH}}  corrected resampled t {p_of(pair['p'])} ({n} folds)")
    return [*said, f"  {verdict(pair, first, second, results)}"]


def example_lines(pair: Mapping[str, Any]) -> list[str]:
    """The tests on examples of two runs."""
    said = []
    for name, found in pair["metrics"].items():
        test = f"{found['test']} " if found["test"] != found.get("interval") else ""
        tested = f", {test}{p_of(found['p'])}" if found["difference"] is not None else ""
        said.append(f"  {NAMES[name]:{WIDTH}}  {change(name, found)}{tested}")
    if "mcnemar" in pair:
        m, (first, second) = pair["mcnemar"], pair["runs"]
        p = ", ".join(f"{format_p(m[key])} ({form})" for form, key in FORMS.items())
        only = f"right only in {first}: {m['first_only']}, only in {second}: {m['second_only']}"
        said.append(f"  {'McNemar':{WIDTH}}  {only}; {p}")
    return said


def verdict(pair: Mapping[str, Any], first: str, second: str, results: Mapping[str, Any]) -> str:
    """The result in plain words."""
    metric, several = results["metric"], len(results["pairs"])
    if pair["difference"] == 0:
        story = f"{first} and {second} have the same {NAMES[metric]}"
    else:
        better = second if (pair["difference"] > 0) != (metric in LOWER_IS_BETTER) else first
        sign = 1 if pair["difference"] > 0 else -1
        ends = sorted(sign * pair[end] for end in ("low", "high"))
        scale, digits, _ = shape(metric)
        unit = " points" if metric in PERCENT else f" of {NAMES[metric]}"
        size = f"{scale * abs(pair['difference']):.{digits}f}{unit}"
        story = f"{better} is better by {size} {brackets(scale * ends[0], scale * ends[1], digits)}"
    p = f"{pair['test']} {p_of(pair['p'])}"
    if several > 1 and pair["p_holm"] is not None:
        p += f"; after Holm's correction for {several} comparisons {format_p(pair['p_holm'])}"
    if pair["verdict"] == SIGNIFICANT:
        return f"{story}; the difference is significant at the 5 % level ({p})"
    if pair["verdict"] == NOT_SIGNIFICANT:
        return f"not significant: {story}, which may be chance ({p})"
    if pair["kind"] == "folds":
        return f"n too small: {story}, and the differences of the {pair['n']} folds have no spread"
    least = format_p(least_p(pair["n"])).replace("p = ", "").replace("p < ", "below ")
    return (
        f"n too small: {story}, but {pair['n']} seeds cannot give a p below {least}; {pairs_needed()} seeds or more "
        f"could be significant ({p})"
    )
