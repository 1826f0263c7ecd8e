"""From run folders to results.json and its Markdown, LaTeX and CSV: worked values, honest comparisons, no invention."""

import csv
import io
import json
import re
from itertools import pairwise

import numpy as np
import pytest
from tables_for_tests import SOFTMAX, START, begin, fail, finish, planned

from cvdl_jax.cli.tables import collect, render, spec
from cvdl_jax.cli.tables.drive import write_all
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.report import table_cells, verdicts

METRIC = {
    "key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max", "scale": 100.0, "digits": 2,
}  # fmt: skip
PUBLISHED = {
    "value": 97.5, "source": "Somebody 1998, table 2", "data": "digits", "metric": "test accuracy", "protocol": "p",
    "memory": False,
}  # fmt: skip


def row(name, seeds=(0, 1, 2, 3, 4), **values):
    """A row of a table file, as `spec.load` gives it."""
    plain = {
        "name": name, "config": SOFTMAX, "overrides": (), "seeds": seeds, "data": "digits", "protocol": "p",
        "recipe": {"epochs": None, "steps": None, "memory": False}, "published": None, "published_columns": {},
    }  # fmt: skip
    return plain | values


def table(*rows, metric=METRIC, columns=()):
    return spec.Table("configs/tables/mine.py", "", (), "mine", "A & B", "Caption_1.", metric, rows, columns)


def right(k, n=100, wrong_at=()):
    """n examples with k right ones: all but the first n - k, or all but those at these places."""
    found = np.ones(n, bool)
    found[list(wrong_at) if len(wrong_at) else range(n - k)] = False
    return found


@pytest.fixture
def results(tmp_path):
    """Results of rows whose runs have these hits: {name: {seed: hits, or None for a run that was not made}}."""

    def make(hits, metric=METRIC, rows=None, **facts):
        rows = rows or [row(name, tuple(each)) for name, each in hits.items()]
        found = table(*rows, metric=metric)
        runs = spec.planned(found, [], tmp_path)
        for run in runs:
            if hits[run.row][run.seed] is not None:
                finish(run, hits[run.row][run.seed], **facts)
        return collect.collect(found, runs, [], None, "2026-01-01T00:00:00Z")

    return make


# Values --------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("X20")
def test_five_seeds(results):
    found = results({"A": {seed: right(90 + seed) for seed in range(5)}})["rows"][0]
    assert (found["n"], found["mean"]) == (5, pytest.approx(92.0))
    assert found["values"] == pytest.approx([90, 91, 92, 93, 94])
    assert found["std"] == pytest.approx(2.5**0.5)
    half = 2.7764451 * 2.5**0.5 / 5**0.5  # Student's t with 4 degrees of freedom
    assert (found["low"], found["high"]) == (pytest.approx(92 - half), pytest.approx(92 + half))
    assert found["interval"] == "Student-t over 5 seeds"
    assert (found["parameters"], found["macs"], found["steps"], found["seconds"]) == (650, 640, 2, 10.0)
    assert found["epochs"] == pytest.approx(2 / 72)
    assert (found["hardware"], found["commit"], found["dirty"]) == ("2 CPU cores, x86_64", "a" * 10, False)
    assert found["data"] == {"name": "digits", "version": "1.0.0", "fingerprint": "f" * 64}
    assert found["command"] == "python launch.py --table configs/tables/mine.py:only=a"


def test_one_seed_has_the_interval_over_its_examples(results):
    found = results({"A": {3: right(90)}})
    assert found["rows"][0]["std"] is None and found["rows"][0]["interval"] == "Wilson over 100 examples"
    low, high = wilson(90, 100)
    assert (found["rows"][0]["low"], found["rows"][0]["high"]) == (pytest.approx(100 * low), pytest.approx(100 * high))
    assert found["interval"] == "95 % interval: Wilson over 100 examples"
    run = found["rows"][0]["runs"][0]
    assert (run["seed"], run["state"], run["value"], run["selected_step"]) == (3, "done", pytest.approx(90.0), 1)
    assert run["command"].startswith(f"python launch.py --config {SOFTMAX} --config.seed=3 --workdir ")


def test_what_was_not_run_is_none_and_says_so(results, tmp_path):
    found = results({"A": {0: right(90), 1: right(92), 2: None}, "B": {0: None}})
    first, second = found["rows"]
    assert (first["n"], first["seeds"], first["mean"]) == (2, [0, 1, 2], pytest.approx(91))
    for key in ("mean", "std", "low", "high", "parameters", "macs", "epochs", "steps", "seconds", "hardware", "data"):
        assert second[key] is None
    assert [run["state"] for run in second["runs"]] == ["not run"]
    assert table_cells.runs(first) == "2 of 3" and table_cells.value(second, METRIC) == "not run"
    assert json.loads(json.dumps(found)) == found  # plain JSON, nothing lost


def test_failed_and_partial_runs_are_counted(results, tmp_path):
    rows = [row("A", (0, 1, 2)), row("B", (0,))]
    runs = spec.planned(table(*rows), [], tmp_path)
    fail_at, partial, alone = runs[1], runs[2], runs[3]
    for run in (fail_at, partial, alone):
        begin(run, 1)
    fail(fail_at)
    fail(alone, "broken | pipe\nand more")
    found = results({"A": {0: right(90), 1: None, 2: None}, "B": {0: None}}, rows=rows)
    assert table_cells.runs(found["rows"][0]) == "1 of 3, 1 failed, 1 partial"
    assert table_cells.value(found["rows"][1], METRIC) == "failed"
    text = render.markdown(found)
    assert "| B | 0 | failed: NonFinite: broken \\| pipe and more |" in text  # one cell of one line
    assert "| A | 2 | partial, step 1 of 2 |" in text


def test_other_metrics(results, tmp_path):
    metric = {"key": "test/loss", "label": "loss", "unit": "", "better": "min", "scale": 1.0, "digits": 3}
    runs = spec.planned(table(row("A", (0,)), row("B", (0,))), [], tmp_path)
    for run, loss in zip(runs, (0.5, 0.25), strict=True):
        results_file = finish(run, right(90)) / "results.json"
        known = json.loads(results_file.read_text())
        known["metrics"]["test/loss"] = loss
        results_file.write_text(json.dumps(known))
    found = collect.collect(table(row("A", (0,)), row("B", (0,)), metric=metric), runs, [], None, "")
    assert [each["mean"] for each in found["rows"]] == [0.5, 0.25] and found["rows"][0]["low"] is None
    assert table_cells.best(found) == {1} and table_cells.value(found["rows"][0], metric) == "0.500"
    assert found["rows"][0]["significance"] == (
        "n too small: one common seed, and test/loss is no accuracy, so that examples cannot be paired"
    )
    with pytest.raises(ConfigError, match=r"'test/los' is not in .*results\.json; did you mean 'test/loss'"):
        collect.collect(table(row("A", (0,)), metric=metric | {"key": "test/los"}), runs[:1], [], None, "")


def test_values_that_are_not_finite_are_shown_and_never_best(results, tmp_path):
    run = spec.planned(table(row("A", (0,))), [], tmp_path)[0]
    finish(run, right(90))
    path = run.workdir / "results.json"
    path.write_text(path.read_text().replace("0.9,", "NaN,"))
    found = results({"A": {0: None}, "B": {0: right(50)}})
    assert table_cells.value(found["rows"][0], METRIC) == "nan" and table_cells.best(found) == {1}


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ({"backend": "cpu", "cpus": 8, "platform": "macOS-15-arm64-arm-64bit"}, "8 CPU cores, arm64"),
        ({"backend": "gpu", "devices": ["NVIDIA H100"] * 2}, "2 x NVIDIA H100"),
        ({"backend": "tpu", "devices": ["TPU v5 lite"] * 16}, "16 x TPU v5 lite"),
    ],
)
def test_hardware(start, text):
    assert collect.hardware(start) == text


def test_what_makes_rows_less_comparable_is_said(results):
    clean = results({"A": {0: right(90)}, "B": {0: right(91)}})
    assert clean["warnings"] == []
    other = START | {"commit": "b" * 40, "dirty": True, "cpus": 64}
    said = results({"C": {0: right(90)}, "D": {0: right(91)}}, starts=[START, other])["warnings"]
    assert said == [
        f"the runs were made at 2 commits: {'a' * 10}, {'b' * 10}",
        "made with uncommitted changes: C, D",
        "seconds were measured on different hardware: 2 CPU cores, x86_64; 64 CPU cores, x86_64",
        "continued after a stop, so that their seconds are the sum over their starts: C, D",
    ]


def test_runs_of_one_row_on_different_data(results, tmp_path):
    data = {"name": "digits", "version": "2.0.0", "fingerprint": None}
    finish(planned(tmp_path, "A", 0), right(90), data=data)
    found = results({"A": {0: None, 1: right(90)}})
    assert "runs of one row have different data: A" in found["warnings"]


# Against the published ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("published", "text"),
    [
        ({}, "-0.50"),
        ({"value": 96.0}, "+1.00"),
        ({"data": "MNIST"}, "not comparable: data theirs 'MNIST', ours 'digits'"),
        (
            {"metric": "test error", "protocol": "trained on everything"},
            "not comparable: metric theirs 'test error', ours 'test accuracy'; "
            "protocol theirs 'trained on everything', ours 'p'",
        ),
    ],
)
def test_a_difference_is_printed_only_between_like_and_like(results, published, text):
    rows = [row("A", (0,), published=PUBLISHED | published)]
    found = results({"A": {0: right(97)}}, rows=rows)["rows"][0]
    assert found["comparison"] == text


def test_no_difference_without_a_measurement_or_a_publication(results):
    rows = [row("A", (0,), published=PUBLISHED), row("B", (0,))]
    found = results({"A": {0: None}, "B": {0: right(90)}}, rows=rows)
    assert [each["comparison"] for each in found["rows"]] == ["", ""]
    assert "97.50 (Somebody 1998, table 2)" in render.markdown(found)  # quoted all the same, in its own column


# Against the best -----------------------------------------------------------------------------------------------------


def test_one_seed_is_tested_on_its_examples(results):
    """Ten wrong against two others wrong: b = 10, c = 2, p = 2 (1 + 12 + 66) / 4096."""
    best, worse = right(0, wrong_at=[0, 1]), right(0, wrong_at=range(50, 60))
    found = results({"A": {0: best}, "B": {0: worse}, "C": {0: right(0, wrong_at=[0, 1, 2])}})["rows"]
    assert (found[0]["significance"], found[0]["p"]) == ("best", None)
    assert found[1]["p"] == pytest.approx(2 * 79 / 4096) and found[1]["verdict"] == verdicts.WORSE
    assert found[1]["significance"] == "p = 0.0386 (McNemar, seed 0: 10 against 2 examples)"
    assert found[2]["significance"] == "not significant: p = 1 (McNemar, seed 0: 1 against 0 examples)"
    assert [table_cells.mark(each) for each in found] == ["", "", "≈"]


def test_examples_are_paired_by_id(results, tmp_path):
    hits = right(0, wrong_at=[0, 1])
    found = {"A": {0: hits}, "B": {0: None}}
    run = planned(tmp_path, "B", 0)
    folder = finish(run, right(0, wrong_at=[0, 1, 2]))
    path = folder / "predictions" / "test.npz"
    with np.load(path) as saved:
        turned = {key: value[::-1] for key, value in saved.items()}
    np.savez(path, **turned)
    assert "(McNemar, seed 0: 1 against 0 examples)" in results(found)["rows"][1]["significance"]
    np.savez(path, **turned | {"ids": np.array([f"other/{i}" for i in range(100)])})
    assert "the two runs were tested on different examples" in results(found)["rows"][1]["significance"]
    np.savez(path, **turned | {"label": (turned["label"] + 1) % 10})
    assert "gives an accuracy of 0.0" in results(found)["rows"][1]["significance"]
    others = {"label": (turned["label"] + 1) % 10, "scores": np.roll(turned["scores"], 1, axis=1)}
    np.savez(path, **turned | others)  # as accurate, but on examples of other classes
    assert "the two runs were tested on different examples" in results(found)["rows"][1]["significance"]
    path.unlink()
    assert "test.npz does not exist" in results(found)["rows"][1]["significance"]


@pytest.mark.parametrize("n", [2, 4])
def test_a_few_seeds_are_too_few(results, n):
    found = results({"A": {s: right(95) for s in range(n)}, "B": {s: right(60) for s in range(n)}})["rows"][1]
    assert found["significance"].startswith(f"n too small: {n} common seeds; p < 0.001 (McNemar, seed 0: 35 against 0")
    assert (found["p"], found["verdict"], table_cells.mark(found)) == (None, verdicts.FEW, "?")


def test_five_seeds_are_tested_as_pairs(results):
    better = {seed: right(80 + seed) for seed in range(5)}
    mixed = {seed: right(80 + seed + (1 if seed == 0 else -1)) for seed in range(5)}
    worse = {seed: right(70 + seed) for seed in range(5)}
    found = results({"A": better, "B": mixed, "C": worse})["rows"]
    assert found[1]["p"] == 12 / 32  # four of five agree
    assert found[1]["significance"].startswith("not significant: p = 0.375 (sign-flip, 5 seeds); ")
    assert found[2]["significance"].startswith(
        "n too small: all 5 seeds agree, but 5 cannot give less than p = 0.0625 (sign-flip, 5 seeds); 6 could; p = 0."
    )
    assert (found[2]["p"], found[2]["verdict"]) == (2 / 32, verdicts.FEW)  # too few to say, which is not "equal"


def test_six_seeds_that_agree_are_significant(results):
    found = results({"A": {s: right(80 + s) for s in range(6)}, "B": {s: right(79 + s) for s in range(6)}})["rows"][1]
    assert found["p"] == 1 / 32 and found["significance"].startswith("p = 0.0312 (sign-flip, 6 seeds); ")
    assert found["verdict"] == verdicts.WORSE and table_cells.mark(found) == ""


def test_only_common_seeds_are_paired(results):
    found = results({"A": {0: right(95), 1: right(96), 2: right(97)}, "B": {2: right(90)}, "C": {7: right(90)}})["rows"]
    assert "McNemar, seed 2" in found[1]["significance"]
    assert found[2]["significance"] == "n too small: no seed in common with the best row"


def test_equal_rows_are_both_best_in_print(results):
    found = results({"A": {0: right(95)}, "B": {0: right(95)}, "C": {0: right(94)}})
    assert table_cells.best(found) == {0, 1}
    assert render.markdown(found).count("**95.00**") == 2


# Renderings -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def whole(results):
    rows = [
        row("50 % of $x_1$", published=PUBLISHED | {"memory": True, "protocol": "q"}),
        row("B [dist]", recipe={"epochs": 20, "steps": None, "memory": True}),
        row("C", (0,)),
    ]
    hits = {
        rows[0]["name"]: {s: right(90 + s) for s in range(5)},
        "B [dist]": {s: right(89 + s) for s in range(5)},
        "C": {0: None},
    }
    return results(hits, rows=rows)


def test_markdown(whole):
    text = render.markdown(whole)
    assert "| 50 % of $x_1$ | **92.00 ± 1.58** | [90.04, 93.96] | 5 | best | 97.50† (Somebody 1998, table 2) |" in text
    assert "not comparable: protocol theirs 'q', ours 'p'" in text
    assert "| B [dist] | 91.00 ± 1.58 ? | [89.04, 92.96] | 5 | n too small: all 5 seeds agree" in text
    assert "| epochs (recipe) | steps | seconds |" in text and "| 0.03 (20†) |" in text
    assert "| C | not run | not run | 0 of 1 |" in text
    assert "- † From memory, not looked up." in text and "- ? There are too few runs" in text and "≈" not in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):  # every table is rectangular
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_columns_without_content_are_left_out(results):
    text = render.markdown(results({"A": {0: right(90)}}))
    assert "published" not in text and "difference" not in text and "| epochs | steps |" in text


LOSS = {
    "key": "test/loss", "label": "loss_1", "unit": "", "better": "min", "scale": 1.0, "digits": 3, "optional": False,
    "interval": "Student-t",
}  # fmt: skip
TOP5 = METRIC | {"key": "test/top5", "label": "top-5", "digits": 1, "optional": True}


@pytest.fixture
def beside(tmp_path):
    """Results with further metrics: of A two seeds, of B one, which has no top-5 accuracy, of C none."""

    def make(columns=(LOSS, TOP5), **more):
        of = {("A", 0): {"loss": 0.25, "top5": 0.98}, ("A", 1): {"loss": 0.75, "top5": 0.99}}
        of["B", 0] = {"loss": 0.375, "loss_low": 0.25, "loss_high": 0.5} | more
        theirs = PUBLISHED | {"metric": "loss_1", "value": 0.125, "source": "Somebody", "memory": True}
        rows = [row("A", (0, 1)), row("B", (0,), published_columns={"test/loss": theirs}), row("C", (0,))]
        planned_table = table(*rows, columns=columns)
        runs = spec.planned(planned_table, [], tmp_path)
        for run in runs[:-1]:
            path = finish(run, right(90)) / "results.json"
            facts = json.loads(path.read_text())
            facts["metrics"] |= {f"test/{key}": value for key, value in of[run.row, run.seed].items()}
            path.write_text(json.dumps(facts))
        return collect.collect(planned_table, runs, [], None, "2026-01-01T00:00:00Z")

    return make


def test_further_metrics_stand_beside_the_first(beside):
    """Two seeds have Student's interval, 0.5 -+ 12.7062 s / sqrt(2); one seed that of its run; the best is marked."""
    results = beside()
    (a_loss, a_top), (b_loss, b_top), (c_loss, _) = (row["columns"] for row in results["rows"])
    half = 12.7062047 * 0.125**0.5 / 2**0.5
    assert (a_loss["mean"], a_loss["low"], a_loss["high"]) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert (a_loss["interval"], b_loss["interval"]) == ("Student-t over 2 seeds", "Student-t over 100 examples")
    assert (a_top["mean"], a_top["n"], b_top["mean"], b_top["n"], c_loss["n"]) == (pytest.approx(98.5), 2, None, 0, 0)
    assert b_loss["comparison"] == "+0.250" and b_loss["published"]["value"] == 0.125
    text = render.markdown(results)
    assert "| method | test accuracy (%) | 95 % interval | loss_1 | top-5 (%) | runs |" in text
    a, b, c = (next(line for line in text.splitlines() if line.startswith(f"| {name} |")) for name in "ABC")
    assert "| 0.500 ± 0.354 [-2.677, 3.677] | **98.5 ± 0.7 " in a
    assert "| **0.375 [0.250, 0.500]** | – |" in b and "| 0.125† (Somebody); difference +0.250 |" in b
    assert "| not run | not run | not run | not run |" in c
    assert "- Brackets behind a further metric" in text and "- † From memory" in text
    lines = list(csv.DictReader(io.StringIO(render.comma_separated(results))))
    assert [line["test/loss"] for line in lines] == ["0.25", "0.75", "0.375", ""]
    assert [line["test/loss_high"] for line in lines] == ["", "", "0.5", ""] and lines[2]["test/top5"] == ""
    assert json.loads(json.dumps(results)) == results
    console = render.console(results)
    assert "loss_1" in console and "0.375 [0.250, 0.500]" in console


def test_further_metrics_in_latex_and_on_the_page(beside, tmp_path):
    results = beside()
    text = render.latex(results)
    assert r"\textbf{0.375 {[}0.250, 0.500{]}}" in text and "0.125\\dag{} &" in text and "B, loss\\_1: Somebody" in text
    rows = text[text.index(r"\midrule") : text.index(r"\bottomrule")].strip().splitlines()[1:]
    columns = len(re.search(r"{tabular}{(\w+)}", text)[1])
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in rows} == {columns} and balanced(text)
    files = write_all(results, tmp_path)
    page = files[4].read_text()
    heads = re.findall(r"<th[^>]*><button[^>]*>([^<]*)</button></th>", page)
    assert heads[:6] == ["row", "test accuracy (%)", "loss_1", "top-5 (%)", "runs", "published: loss_1"]
    cells = page[page.index(">B</span>") :]
    assert cells.index(">90.00") < cells.index('<strong class="nowrap">0.375') < cells.index(">0.125")
    assert "published, loss_1" in page and "; +0.250" in page


def test_an_optional_metric_that_no_run_has_is_left_out_and_another_is_missed(beside):
    top1 = TOP5 | {"key": "test/top1", "label": "top-1"}
    results = beside((LOSS, top1))
    results["rows"].pop()  # the one that is not run might have had it
    assert "top-1" not in render.markdown(results) and "loss_1" in render.markdown(results)
    with pytest.raises(ConfigError, match=r"metric key 'test/top1' is not in .*; did you mean 'test/top5'"):
        beside((LOSS, top1 | {"optional": False}))


def test_a_table_of_analyses_says_nothing_of_training(beside, tmp_path):
    results = beside()
    assert all(
        word in render.markdown(results) for word in ("| parameters | MACs | epochs | steps | seconds |", "MACs are")
    )
    for part in results["rows"][:2]:
        part |= {"parameters": 0, "steps": 0}
    text = render.markdown(results)
    assert "parameters" not in text.partition("## ")[0] and "MACs" not in text and "| against the best |" in text
    assert "seconds" not in render.console(results) and "Student-t over 100" not in render.console(results)
    page = write_all(results, tmp_path)[4].read_text()
    assert "against the best</button>" in page and "params</button>" not in page


def test_no_row_is_the_best_where_none_can_be(beside):
    assert "| 0.375 [0.250, 0.500] |" in render.markdown(beside((LOSS | {"better": "none"},)))


def test_latex(whole):
    text = render.latex(whole)
    body = text[text.index(r"\begin{table*}") :]
    assert (
        r"50 \% of \$x\_1\$ & \textbf{92.00 $\pm$ 1.58} & {[}90.04, 93.96{]} & 5 & 97.50\dag{} & not comparable &"
        in body
    )
    assert r"B {[}dist{]} & 91.00 $\pm$ 1.58\,? &" in body
    assert r"\caption{A \& B. Caption\_1.}" in body and r"\label{tab:mine}" in body
    rows = body[body.index(r"\midrule") : body.index(r"\bottomrule")].strip().splitlines()[1:]
    head = next(line for line in body.splitlines() if line.strip().startswith("method"))
    counts = {len(re.findall(r"(?<!\\)&", line)) for line in (head, *rows)}
    assert len(rows) == 3 and counts == {len(re.search(r"{tabular}{(\w+)}", body)[1]) - 1}
    assert all(line.endswith(r" \\") for line in (head, *rows))
    assert balanced(body) and body.isascii()
    assert r"50 \% of \$x\_1\$: Somebody 1998, table 2. not comparable: protocol theirs 'q', ours 'p'." in body
    before = text[: text.index(r"\begin{table*}")].splitlines()
    assert all(line.startswith("%") for line in before) and any("--table" in line for line in before)


def balanced(text):
    """Whether braces close in order and dollars come in pairs, escaped ones apart."""
    depth = [0]
    plain = re.sub(r"\\[{}$\\]", "", text)
    for character in plain:
        depth.append(depth[-1] + {"{": 1, "}": -1}.get(character, 0))
    return min(depth) >= 0 and depth[-1] == 0 and plain.count("$") % 2 == 0


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b & 5 % #1 {x} $y$", r"a\_b \& 5 \% \#1 \{x\} \$y\$"),
        ("--workdir ---x", r"-{}-workdir -{}-{}-x"),
        ("[-1.50, 2] a-1 1e-3", r"{[}$-$1.50, 2{]} a-1 1e-3"),
        ("~^\\<>|", r"\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}\textgreater{}\textbar{}"),
    ],
)
def test_latex_escapes(text, latex):
    assert render.escape(text) == latex


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("β₂ = 10⁻³ → ε", r"$\beta$$_{2}$ = 10$^{-}$$^{3}$ $\to$ $\epsilon$"),
        ("Ω Α ο ς λ", r"$\Omega$ $A$ $o$ $\varsigma$ $\lambda$"),
        ("Łukasz, café, ﬁt", "Łukasz, café, fit"),
        ("“a” − 4 µm ≤ 5°", r"``a'' $-$ 4 $\mu$m $\le$ 5$^\circ$"),
        ("日😀", "{[}U+65E5{]}{[}U+1F600{]}"),
    ],
)
def test_unicode_survives_pdflatex(text, latex):
    assert render.escape(text) == latex
    assert all(ord(character) < 0x180 for character in latex)


def test_csv_has_a_plain_line_for_each_run(whole):
    lines = list(csv.DictReader(io.StringIO(render.comma_separated(whole))))
    runs = [(row, run) for row in whole["rows"] for run in row["runs"]]
    assert [(line["method"], line["seed"], line["state"]) for line in lines] == [
        (row["name"], str(run["seed"]), run["state"]) for row, run in runs
    ]
    for line, (_, run) in zip(lines, runs, strict=True):
        assert line["value"] == ("" if run["value"] is None else str(run["value"]))
        assert line["folder"] == run["workdir"] and line["metric"] == "test/accuracy" and line["unit"] == "%"
        assert not any(text.startswith(("[", "{")) for text in line.values())  # no lists, no sections


def test_csv_has_a_column_for_each_hyper_parameter(whole):
    values = {row["name"]: 0.1 * i for i, row in enumerate(whole["rows"])}
    lines = list(csv.DictReader(io.StringIO(render.comma_separated({**whole, "varied": {"optim.lr": values}}))))
    assert [float(line["optim.lr"]) for line in lines] == [values[line["method"]] for line in lines]


def test_console(whole):
    text = render.console(whole)
    assert "*  50 % of $x_1$  92.00 ± 1.58" in text and "?  B [dist]       91.00 ± 1.58" in text
    table_lines = text.splitlines()[2:7]
    starts = [[m.start() for m in re.finditer(r"\S+(?: \S+)*", line)][:2] for line in table_lines[1:2]]
    assert starts and all(len(line) <= 120 for line in table_lines)


@pytest.mark.curriculum("X20")
def test_every_file_is_written(whole, tmp_path):
    files = write_all(whole, tmp_path / "new")
    assert [path.name for path in files] == [f"results.{ending}" for ending in ("json", "md", "tex", "csv", "html")]
    assert all(path.stat().st_size > 500 for path in files)
    assert json.loads(files[0].read_text()) == whole
    assert not list((tmp_path / "new").glob("*.tmp"))
    assert all(a.parent == b.parent for a, b in pairwise(files))


@pytest.mark.curriculum("H55")
def test_rows_of_different_cost_are_drawn_and_the_figure_of_others_goes(whole, tmp_path):
    """Names are not read as formulas; a row that was not run has no point."""
    larger = [row | {"parameters": 650 * (i + 1)} for i, row in enumerate(whole["rows"])]
    files = write_all({**whole, "rows": larger}, tmp_path)[-2:]
    assert [path.name for path in files] == ["costs.png", "costs.svg"]
    assert files[0].read_bytes().startswith(b"\x89PNG") and not list(tmp_path.glob("*.tmp"))
    text = files[1].read_text()
    assert "<!-- 50 % of $x_1$ -->" in text and "<!-- B [dist] -->" in text and "<!-- C -->" not in text
    assert "<!-- parameters -->" in text and "<!-- test accuracy (%) -->" in text and "multiply" not in text
    write_all(whole, tmp_path)  # all of one size
    assert not list(tmp_path.glob("costs.*"))
