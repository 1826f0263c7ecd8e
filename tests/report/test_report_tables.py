"""Pages of tables: every row, what was not run, what others published."""

import math
import re

import pytest
from reports_for_tests import Tree, checked, table

from cvdl_jax.report.pages import dots, scatter, table_page, table_rows


def test_page_of_a_table(tmp_path):
    table_page.write(table(), tmp_path / "t.html")
    tree = checked(tmp_path / "t.html")
    assert tree.text("h1") == "Seven <rows>" and "7 rows; 16 of 21 runs are done" in tree.text("header")
    heads = [text for _, has, text in tree.find("th", scope="col") if text != "seed"][:10]
    assert heads == [
        "row", "test accuracy (%)", "runs", "published", "difference", "against the best", "params", "MACs", "epochs",
        "time",
    ]  # fmt: skip
    cells = [has["data-value"] for _, has, _ in tree.find("td") if "data-value" in has]
    ours, published, sizes = ([float(x) if x else None for x in cells[i::9]] for i in (0, 2, 5))
    assert ours == [row["mean"] for row in table()["rows"]]
    assert sizes == [650, 650, 650, 50610, 61706, 269722, None]
    assert published == [93.2, None, None, 93.2, None, None, None]
    text = tree.text("table", id="results")
    assert "<softmax>" in text and "94.07 ± 0.50[93.07, 95.07]" in text and "recipe: 20" in text and "1 of 3" in text
    assert [text for _, _, text in tree.find("strong")] == ["98.60 ± 0.50"]  # the best: two rows print 98.60 and 98.57
    assert text.count("†") == 2  # in the cell and in what is folded beneath it, of one row of the two
    notes = tree.text("section", id="table").removeprefix(text)
    assert "† From memory" in notes and "Note: the runs were made at 2 commits." in notes
    copies = {has.get("data-copy") for _, has, _ in tree.find("button")}
    assert {"c" * 40, "python launch.py --config mlp.py --config.seed=2"} <= copies
    assert len(tree.find("svg")) == 2 and len(tree.find("circle")) == 12
    assert [len(tree.find("span", class_=name)) for name in ("mean", "seed", "published")] == [7, 16, 3]  # with the key


def test_a_table_of_which_nothing_was_run(tmp_path):
    table_page.write(table(missing=True), tmp_path / "t.html")
    tree = checked(tmp_path / "t.html")
    assert not tree.find("svg") and not tree.find("section", id="intervals")
    assert tree.text("table", id="results").count("not run") > 8
    table_page.write({}, tmp_path / "t.html")
    assert "0 rows" in checked(tmp_path / "t.html").text("header")


def test_what_failed_and_what_was_selected_is_said(tmp_path):
    results = table()
    failure = {"state": "failed", "message": "loss is <nan> at step 3"}
    results["rows"][-1]["runs"][0] |= failure
    results["selected"] = {"name": "mlp"}
    table_page.write(results, tmp_path / "t.html")
    tree = checked(tmp_path / "t.html")
    assert "loss is <nan> at step 3" in tree.text("tr", id="more-6")
    last = tree.find("tr")
    cells = next(text for _, _, text in last if text.startswith("vit"))
    assert cells.startswith("vitfailed0 of 3, 1 failed")
    assert "mlp selected" in tree.text("table", id="results")


def test_a_column_in_which_nothing_stands_is_left_out():
    rows = [{**row, "published": None, "comparison": "", "significance": ""} for row in table()["rows"]]
    text = table_page.render({**table(), "rows": rows})
    assert not {"published", "difference", "against the best"} & {t for _, _, t in Tree(text).find("th", scope="col")}


def test_a_published_value_that_is_not_comparable_has_no_place_on_the_axis():
    def diamonds(comparison: str) -> int:
        results = table()
        results["rows"][0]["comparison"] = comparison
        return len(Tree(table_page.render(results)).find("span", class_="published"))

    assert (diamonds("-0.87"), diamonds("not comparable: other data")) == (3, 2)


def test_each_fact_of_a_row_may_be_missing(tmp_path):
    whole = table()["rows"][0]
    for key in whole:
        for row in ({**whole, key: None}, {k: v for k, v in whole.items() if k != key}):
            page_text = table_page.render({**table(), "rows": [row, whole]})
            assert page_text.count('<tr class="more"') == 2, key


def test_values_that_are_not_finite_are_shown_and_not_drawn():
    rows = table()["rows"]
    rows[0] |= {"mean": math.nan, "low": math.nan, "high": math.inf, "values": [math.nan]}
    tree = Tree(table_page.render({**table(), "rows": rows}))
    assert "NaN" in tree.text("table", id="results") and len(tree.find("circle")) == 10


def test_the_axis_of_the_intervals_holds_all_of_them():
    results = table_rows.completed(table())
    tree = Tree(dots.plot(results["rows"], results["metric"]))
    styles = [has.get("style") or "" for _, has, _ in tree.find("span")]
    places = [float(x) for style in styles for x in re.findall(r"left:(-?[\d.]+)%", style)]
    assert min(places) == pytest.approx(100 * 0.06 / 1.12, abs=0.01)
    assert max(places) == pytest.approx(100 * 1.06 / 1.12, abs=0.01)


def test_a_row_says_the_verdict_and_the_reasons_stand_beneath_it():
    results = table()
    row = results["rows"][0]
    row["comparison"], row["significance"] = "not comparable: data theirs, ours", "n too small: 3 common seeds"
    results["rows"][1]["significance"] = "p = 0.01 (sign-flip, 6 seeds)"
    page = table_page.render(results)
    for short in ("not comparable", "n too small", "p = 0.01"):
        assert f">{short}</span>" in page
    for reason in ("data theirs, ours", "3 common seeds", "(sign-flip, 6 seeds)"):
        assert page.count(reason) >= 2  # as a hint over the cell, and beneath the row


# Sweeps -----------------------------------------------------------------------------------------------------------


def halved():
    """Results of a halved sweep of four trials: two go on, one of them to the end."""
    rates = {"a": 1e-4, "b": 1e-3, "c": 1e-2, "d": 0.0}
    trials = [{"name": "a", "scores": [80.0]}, {"name": "b", "scores": [85.0, 90.0, 91.0]},
              {"name": "c", "scores": [86.0, 88.0]}, {"name": "d", "scores": [50.0]}]  # fmt: skip
    varied = {"optim.weight_decay": rates, "model.norm": dict(zip("abcd", ("none", "", "x", "x"), strict=True)),
              "same": dict.fromkeys("abcd", 3)}  # fmt: skip
    last = {**table()["rows"][4], "name": "b", "mean": 91.0}
    return {
        **table(),
        "rows": [last],
        "varied": varied,
        "trials": trials,
        "rungs": ["1 epochs", "3 epochs", "9 epochs"],
    }


def test_every_trial_of_a_halving_is_shown():
    tree = Tree(table_page.render(halved()))
    lines = [has for _, has, _ in tree.find("path", class_="trial")]
    assert [has["d"].count("L") for has in lines] == [2, 2, 3, 4]  # the worst first; they end where they were given up
    assert [has["class"] for has in lines] == ["trial"] * 3 + ["trial best"]
    (label,) = (has["aria-label"] for _, has, _ in tree.find("svg") if "Parallel" in has["aria-label"])
    assert label.startswith(
        "Parallel coordinates of 4 trials: optim.weight_decay, model.norm, test accuracy (%) after 1"
    )
    assert "same" not in label
    (rows,) = (text for _, has, text in tree.find("div", role="region") if has["aria-label"].startswith("Every trial"))
    assert all(text in rows for text in ("0.0001", "after 9 epochs", "85", "90", "91", "86", "88", "50"))
    captions = [text for _, _, text in tree.find("figcaption")]
    assert captions == [f"test accuracy (%) after 1 epochs over {key}" for key in ("optim.weight_decay", "model.norm")]


def test_a_rate_is_drawn_by_decades_and_zero_beside_them():
    axis, places = scatter.axis_of("optim.weight_decay", [1e-4, 1e-3, 0.0, 1e-2])
    assert axis.log and places == [1e-4, 1e-3, 1e-5, 1e-2] and axis.zero == 1e-5
    assert [text for _, text in scatter.ticks_of(-5.3, -1.7, axis)] == ["0", "0.0001", "0.001", "0.01"]
    assert scatter.axis_of("optim.lr", [0.0005, 0.002])[0] == scatter.Axis()  # a rate, however narrow its range
    assert scatter.axis_of("model.layers", [2, 3])[0] == scatter.Axis(log=False)
    assert scatter.axis_of("model.hidden", [8, 512])[0].log  # no rate, but wide
    assert not scatter.axis_of("optim.lr", [0.0, 0.0])[0].log and not scatter.axis_of("optim.lr", [-1.0, 1.0])[0].log
    assert scatter.axis_of("x", [True, False]) == (scatter.Axis(log=False, words=("False", "True")), [1.0, 0.0])


def test_what_is_the_same_for_all_is_not_plotted():
    results = table()
    same = [{**row, "parameters": 650, "macs": 640} for row in results["rows"]]
    titles = [text for _, _, text in Tree(table_page.render({**results, "rows": same})).find("h2")]
    assert "Sizes" not in titles and "All trials" not in titles
    assert "Sizes" in [text for _, _, text in Tree(table_page.render(results)).find("h2")]


def test_a_row_of_too_few_seeds_says_so_and_a_difference_has_a_minus():
    results = table()
    why = "too few seeds for an interval within the range of the metric"
    row = {**results["rows"][0], "low": None, "high": None, "interval": why, "comparison": "-0.12 points",
           "published": {"value": 94.0, "source": "A", "memory": False}}  # fmt: skip
    tree = Tree(table_page.render({**results, "rows": [row]}))
    cells = [text for _, _, text in tree.find("td")]
    assert "94.07 ± 0.50too few seeds" in cells and "−0.12" in "".join(cells)
