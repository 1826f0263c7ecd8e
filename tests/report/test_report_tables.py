"""Pages of tables: every row, what was not run, what others published."""

import math
import re

import pytest
from reports_for_tests import Tree, checked, table

from cvdl_jax.report.pages import dots, table_page, table_rows


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
