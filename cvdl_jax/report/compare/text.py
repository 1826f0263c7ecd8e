"""The results of `--compare` for people."""

from collections.abc import Mapping
from typing import Any

from cvdl_jax.core import formatting
from cvdl_jax.metrics.stats.paired_tests import EXACT_SEEDS, format_p, least_p, pairs_needed
from cvdl_jax.report.compare.results import LOWER_IS_BETTER, SIGNIFICANT
from cvdl_jax.report.verdicts import SAME

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
        f"the {NAMES[name]} of {method['name']} has no interval: {interval['why']}."
        for method in results["methods"]
        for name, interval in method["metrics"].items()
        if interval["low"] is None
    ]


def table(results: Mapping[str, Any]) -> str:
    """A line per method: each metric with its interval."""
    methods = results["methods"]
    metrics = list(methods[0]["metrics"])
    head = ["method", "runs", *(f"{NAMES[m]}, 95 % interval" for m in metrics)]
    rows = [
        [method["name"], str(len(method["runs"])), *(cell(name, method["metrics"].get(name)) for name in metrics)]
        for method in methods
    ]
    return "\n".join(formatting.columns(rows, head=head))


def cell(name: str, measured: Mapping[str, Any] | None) -> str:
    """A value with its interval, as 96.94 % [94.61, 98.28] Wilson."""
    if measured is None or measured["value"] is None:
        return formatting.NO_VALUE
    percent = name in PERCENT
    text = formatting.score(measured["value"], percent)
    if measured["low"] is None:
        return f"{text} (no interval)"
    return f"{text} {formatting.interval(measured['low'], measured['high'], percent)} {measured['interval']}"


def points(name: str, difference: float, sign: str = "") -> str:
    """A difference of a metric, in points of percent where it is a share; sign "+" shows that of a gain, too."""
    return f"{100 * difference:{sign}.2f} points" if name in PERCENT else f"{difference:{sign}.4f}"


def change(name: str, changed: Mapping[str, Any]) -> str:
    """A difference with its interval, as +1.39 points [-0.28, 3.06] (paired bootstrap)."""
    if changed["difference"] is None:
        return f"not known: {changed['why']}"
    ends = formatting.interval(changed["low"], changed["high"], name in PERCENT)
    return f"{points(name, changed['difference'], '+')} {ends} ({changed['interval']})"


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
    for name, changed in pair["metrics"].items():
        test = f"{changed['test']} " if changed["test"] != changed.get("interval") else ""
        tested = f", {test}{p_of(changed['p'])}" if changed["difference"] is not None else ""
        said.append(f"  {NAMES[name]:{WIDTH}}  {change(name, changed)}{tested}")
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
        size = points(metric, abs(pair["difference"])) + ("" if metric in PERCENT else f" of {NAMES[metric]}")
        story = f"{better} is better by {size} {formatting.interval(*ends, metric in PERCENT)}"
    p = f"{pair['test']} {p_of(pair['p'])}"
    if several > 1 and pair["p_holm"] is not None:
        p += f"; after Holm's correction for {several} comparisons {format_p(pair['p_holm'])}"
    if pair["verdict"] == SIGNIFICANT:
        return f"{story}; the difference is significant at the 5 % level ({p})"
    if pair["verdict"] == SAME:
        return f"not significant: {story}, which may be chance ({p})"
    if pair["kind"] == "folds":
        return f"n too small: {story}, and the differences of the {pair['n']} folds have no spread"
    least = format_p(least_p(pair["n"])).replace("p = ", "").replace("p < ", "below ")
    return (
        f"n too small: {story}, but {pair['n']} seeds cannot give a p below {least}; {pairs_needed()} seeds or more "
        f"could be significant ({p})"
    )
