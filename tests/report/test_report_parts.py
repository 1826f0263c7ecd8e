"""What pages are made of: markup, colours, numbers, predictions, facts, curves, parameters, figures."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reports_for_tests import NASTY, STEPS, Tree, classifier, decoded, rows, write_rows
from sklearn import metrics as oracle

from cvdl_jax.report.pages import (
    classes,
    curves,
    figures,
    markup,
    numbers,
    parameters,
    replica_scores,
    run_page,
    scatter,
)
from cvdl_jax.report.pages.markup import Cell, Column, Markup, el
from cvdl_jax.workdir import predictions, report_facts

REPORT = Path(run_page.__file__).parent


# HTML -----------------------------------------------------------------------------------------------------------------


def test_text_is_escaped_and_markup_is_not():
    assert el("p", 'a < b & "c"', Markup("<br>"), None, [1, "x>"]) == "<p>a &lt; b &amp; &quot;c&quot;<br>1x&gt;</p>"
    assert el("td", 3, class_="a", data_value='"&', hidden=True, title=None, open_=False) == (
        '<td class="a" data-value="&quot;&amp;" hidden>3</td>'
    )
    assert el("br") == "<br>" and el("circle", r=2) == '<circle r="2" />'
    assert markup.text("a\x00\x1b[0m\n\tb") == "a\ufffd\ufffd[0m\n\tb"


@given(st.text(max_size=30))
def test_any_text_comes_back_as_it_was(text):
    tree = Tree(el("p", text, title=text))
    shown = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "\ufffd", text)
    ((_, attributes, inside),) = tree.find("p")
    assert inside == attributes["title"] == shown


def test_data_cannot_end_its_script():
    value = {"a": ["</script><script>alert(1)</script>", "<!--", "&amp;", 1.5, "nan"]}
    tree = Tree(markup.data_script("d", value))
    ((_, _, content),) = tree.find("script")
    assert json.loads(content) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        markup.data_script("d", math.nan)


def test_cells_are_sorted_by_value():
    made = markup.table(
        [Column("a"), Column("b", True)],
        [("x", 1234), (Cell("y", "key"), Cell("–")), ("z", math.nan)],
        "c",
        id_="t",
    )
    tree = Tree(made)
    assert [has.get("data-value") for _, has, _ in tree.find("td")] == ["1234", "", ""]
    assert [(has["scope"], has.get("data-value"), text) for _, has, text in tree.find("th", scope="row")] == [
        ("row", None, "x"), ("row", "key", "y"), ("row", None, "z"),
    ]  # fmt: skip
    assert tree.text("caption") == "c" and "1,234" in made
    with pytest.raises(ValueError, match="zip"):
        markup.table([Column("a")], [(1, 2)], "c")


def contrast(first: str, second: str) -> float:
    """Contrast of two colours, "#rrggbb" each, by WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def palettes() -> list[dict[str, str]]:
    css = (REPORT / "style.css").read_text()
    found = re.findall(r"\{([^{}]*--page:[^{}]*)\}", css)
    blocks = [dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in found]
    assert len(blocks) == 3 and blocks[1] == blocks[2]  # the dark one by the system's wish and by the button
    return blocks[:2]


def test_contrast_of_black_and_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
def test_colours_can_be_told_apart(palette):
    for text, behind in [
        ("ink", "page"), ("ink", "card"), ("ink", "code"), ("quiet", "page"), ("quiet", "card"), ("quiet", "code"),
        ("link", "card"), ("link", "page"), ("bad", "card"), ("good", "good-back"), ("bad", "bad-back"),
        ("warn", "warn-back"), ("busy", "busy-back"), ("ink", "bad-back"),
    ]:  # fmt: skip
        assert contrast(palette[text], palette[behind]) >= 4.5, (text, behind)
    for i in range(curves.COLOURS):
        assert contrast(palette[f"c{i}"], palette["card"]) >= 3, i
    for heat in ("right", "wrong"):  # white on the palest of the dark cells, ink on the darkest of the pale ones
        colour, card = ([int(palette["card"][i : i + 2], 16) for i in (1, 3, 5)] for _ in range(2))
        colour = [int(x) for x in palette[f"heat-{heat}"].split()]

        def mixed(share: float, colour=colour, card=card) -> str:
            return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in zip(colour, card, strict=True))

        assert contrast("#ffffff", mixed(0.94)) >= 4.5
        assert contrast(palette["ink"], mixed(0.05 + 0.5 * 0.5**0.5)) >= 4.5


# Numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (numbers.value(0.061295), "0.0613"), (numbers.value(-3), "−3"), (numbers.value(1.25e-7), "1.25e−7"),
        (numbers.value(math.nan), "NaN"), (numbers.value(-math.inf), "−∞"), (numbers.value(None), "not run"),
        (numbers.value(1234567), "1,234,567"), (numbers.value(12764.3), "12,764"),
        (numbers.value(1e9), "1e9"), (numbers.value(True), "True"),
        (numbers.count(12345), "12,345"), (numbers.count(None), "not run"),
        (numbers.short(50610), "50.6 k"), (numbers.short(-2.5e6), "−2.5 M"),
        (numbers.proportion(0.5, 0.25, 0.75).value, 0.5), (numbers.proportion(None, None, None).shown, "–"),
        (numbers.p_value(0.25).shown, "0.25"), (numbers.p_value(None).value, None),
        (numbers.encode(1 / 3), 0.333333), (numbers.encode(-math.inf), "-inf"),
    ],
)  # fmt: skip
def test_numbers_for_people(made, expected):
    assert made == expected


# Predictions ----------------------------------------------------------------------------------------------------------


def some_predictions(n=200, c=4, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, c - 1, n)  # nothing is of the last class
    scores = rng.normal(size=(n, c)).astype(np.float32)
    return {"ids": np.arange(n).astype(str), "label": label, "scores": scores}


def test_measures_of_each_class_are_those_of_scikit_learn():
    label, scores = (some_predictions()[name] for name in ("label", "scores"))
    guess = scores.argmax(1)
    counts = oracle.confusion_matrix(label, guess, labels=range(4))
    rows = Tree(classes.measures(counts, "abcd", "test")).find("tr")[1:]
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(label, guess, labels=range(4), zero_division=0)
    assert [text for _, _, text in rows[:3]] == [
        f"{name}{100 * p:.1f} %{100 * r:.1f} %{100 * f:.1f} %{n}"
        for name, p, r, f, n in zip("abc", precision, recall, f1, counts.sum(1), strict=False)
    ]
    assert rows[3][2] == "d0.0 %undefined0.0 %0"  # predicted, and not once true


def test_a_class_that_is_nowhere_has_no_measure():
    rows = Tree(classes.measures(np.asarray([[3, 0], [0, 0]]), "ab", "test")).find("tr")
    assert [text for _, _, text in rows[1:]] == ["a100.0 %100.0 %100.0 %3", "bundefinedundefinedundefined0"]


def test_the_most_confident_mistakes_come_first():
    scores = np.log(np.asarray([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.9, 0.1], [0.8, 0.2]], np.float32))
    each = predictions.classified("test", {"label": np.asarray([1, 1, 0, 1, 1]), "scores": scores})
    rows, probabilities = report_facts.mistakes(each)
    assert rows.tolist() == [3, 2, 4, 0]  # equal ones in the order of the split
    np.testing.assert_allclose(probabilities, np.exp(scores)[rows], rtol=1e-6)
    far = predictions.classified("test", {"label": np.asarray([1]), "scores": np.asarray([[1000.0, 0.0]])})
    np.testing.assert_array_equal(report_facts.mistakes(far)[1], [[1, 0]])


def test_a_damaged_file_is_said_in_words(tmp_path):
    folder = classifier(tmp_path / "run")
    (folder / "predictions" / "test.npz").write_bytes(b"PK\x03\x04 and no more")
    text = Tree(run_page.write(folder).read_text()).text("main")
    assert "test.npz cannot be read" in text and "Classes: validation" in text


# Facts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_small_images_are_kept_pixel_by_pixel(channels):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, channels), np.uint8)
    shown = report_facts.shown({"image": image})
    assert shown["size"] == [9, 7]
    np.testing.assert_array_equal(decoded(shown["image"]), image[..., 0] if channels == 1 else image)


def test_large_images_are_scaled_down_and_keep_their_form():
    shown = report_facts.shown({"image": np.zeros((400, 200, 3), np.uint8)})
    assert decoded(shown["image"]).shape == (96, 48, 3) and shown["size"] == [400, 200]


def test_what_is_no_image_is_shown_as_numbers_or_not_at_all():
    assert report_facts.shown({"features": np.asarray([0.123456, -2.0])}) == {"features": [0.1235, -2.0]}
    assert report_facts.shown({"features": np.zeros(9)}) == report_facts.shown({}) == {}
    assert report_facts.shown({"image": np.zeros((4, 4, 2), np.uint8)}) == {}
    assert report_facts.shown({"image": np.zeros((4, 4, 3), np.float32)}) == {}


def test_facts_of_a_run(tmp_path):
    folder = classifier(tmp_path / "run", n=100)
    found = json.loads((folder / "figures" / "report.json").read_text())
    assert found["class_names"] == list(NASTY)
    assert found["parameters"] == [
        {"name": "dense/bias", "shape": [3], "dtype": "float32", "count": 3},
        {"name": "dense/kernel", "shape": [2, 3], "dtype": "float32", "count": 6},
    ]
    assert found["others"]["opt"] == {"arrays": 1, "values": 9} and found["others"]["rows"]["values"] == 0
    worst = found["mistakes"]["test"]
    with np.load(folder / "predictions" / "test.npz") as saved:
        ids, label, scores = saved["ids"].tolist(), saved["label"], saved["scores"]
    assert len(worst) == report_facts.MISTAKES
    for each in worst:
        i = ids.index(each["id"])
        p = np.exp(scores[i]) / np.exp(scores[i]).sum()
        assert each["label"] == label[i] != each["guess"] == scores[i].argmax()
        assert each["confidence"] == pytest.approx(p.max()) and each["right"] == pytest.approx(p[label[i]])
    assert [e["confidence"] for e in worst] == sorted((e["confidence"] for e in worst), reverse=True)


# Curves ---------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("O26")
def test_metrics_with_one_last_name_share_a_plot(tmp_path):
    write_rows(tmp_path, rows(bad=True))
    from cvdl_jax.workdir.metric_log import read

    plots, still = curves.families(curves.all_series(read(tmp_path / "metrics.jsonl")), "validation/accuracy")
    assert [[s.name for s in family] for family in plots] == [
        ["train/loss", "validation/loss"], ["validation/accuracy"], ["time/images_per_second"],
    ]  # fmt: skip
    assert [s.name for s in still] == ["train/learning_rate"]
    accuracy = plots[1][0]
    assert len(accuracy.points) == len(accuracy.low) == len(accuracy.high) == STEPS // 2
    data = curves.plot_data(plots)
    assert data[0]["title"] == "loss" and data[1]["title"] == "validation/accuracy"
    assert data[0]["series"][0]["y"][:4] == [0.3, 0.15, 0.1, "nan"] and data[0]["series"][1]["y"][2] == "inf"
    assert data[0]["series"][1]["colour"] == data[1]["series"][0]["colour"] == 1  # validation, wherever it is
    assert data[1]["series"][0]["low"][0] == pytest.approx(100 * (1 - 1 / 20 - 0.05))  # an accuracy is in percent
    assert [plot["unit"] for plot in data] == ["", "%", "images/s"]


def test_replicas_are_one_curve_with_a_band_and_a_row_with_spread_and_interval():
    seeds = [0.1, 0.3, 0.2]
    row = {"step": 5, "validation/accuracy": 0.2} | {f"validation/accuracy_seed{i}": x for i, x in enumerate(seeds)}
    (series,) = curves.all_series([row])
    assert (series.name, series.points) == ("validation/accuracy", [(5, 0.2)])
    assert (series.low, series.high) == ([(5, 0.1)], [(5, 0.3)])
    only = {key: x for key, x in row.items() if key != "validation/accuracy"}  # without a mean they stay
    assert [s.name for s in curves.all_series([only])] == [f"validation/accuracy_seed{i}" for i in range(3)]

    metrics = {key: x for key, x in row.items() if key != "step"}
    tree = Tree(replica_scores.results({**metrics, "validation/examples": 9.0}, [0, 1, 2]))
    cells = [text for kind in ("th", "td") for _, has, text in tree.find(kind) if has.get("scope") != "col"]
    assert cells == ["validation accuracy", "20.00 %", "10.00 %", "too few seeds for an interval within the range of "
                     "the metric", "10.00 %", "30.00 %", "20.00 %"]  # fmt: skip
    high = {"a/accuracy": 0.51} | {f"a/accuracy_seed{i}": x for i, x in enumerate((0.5, 0.52, 0.51))}
    assert "[48.52, 53.48] 95 % interval" in replica_scores.card(replica_scores.spread("a/accuracy", high, [0, 1, 2]))


def test_low_and_high_without_their_metric_are_metrics():
    found = curves.all_series([{"step": 1, "a/loss_low": 1.0}, {"step": 2, "a/loss_low": 2.0}])
    assert [s.name for s in found] == ["a/loss_low"]


def test_a_metric_that_starts_late_or_pauses_keeps_its_steps():
    found = curves.all_series([{"step": 5, "a": 1.0}, {"step": 7, "b": 2.0}, {"step": 9, "a": 3.0}])
    assert [(s.name, s.points) for s in found] == [("a", [(5, 1.0), (9, 3.0)]), ("b", [(7, 2.0)])]


@given(st.lists(st.floats(allow_nan=True, width=32), min_size=1, max_size=300), st.integers(2, 60))
def test_thinning_keeps_ends_extremes_and_what_is_not_finite(values, most):
    points = list(enumerate(values))
    kept = curves.thin(points, most)
    assert kept == sorted(set(kept)) and kept[0] == 0 and kept[-1] == len(values) - 1 and len(kept) <= most + 2
    if len(values) <= most:
        assert kept == list(range(len(values)))
    shown, finite = [values[i] for i in kept], [v for v in values if math.isfinite(v)]
    if finite:
        assert min(finite) == min((v for v in shown if math.isfinite(v)), default=None) or len(finite) < len(values)
    assert any(not math.isfinite(v) for v in shown) == (len(finite) < len(values))
    if len(finite) == len(values):
        assert max(shown) == max(values) and min(shown) == min(values)


def test_the_numbers_are_there_without_a_script():
    shown, data = curves.show([{"step": 1, "train/loss": 2.0}, {"step": 3, "train/loss": 0.5}], None)
    tree = Tree(shown)
    assert data is not None and "JavaScript" in tree.text("noscript")
    ((_, _, cells),) = [row for row in tree.find("tr") if "train/loss" in row[2]]
    assert [float(has["data-value"]) for _, has, _ in tree.find("td")] == [2, 2, 0.5, 0.5, 3, 2, 1] and cells


def test_one_row_is_said_in_words_and_no_row_too():
    shown, data = curves.show([{"step": 18, "train/loss": 1.5, "validation/loss": math.nan}], None)
    assert data is None and "In one row only: train/loss = 1.5, validation/loss = NaN." in Tree(shown).text("section")
    assert curves.show([], None)[1] is None


# Parameters, figures, scatter -----------------------------------------------------------------------------------------


def test_a_tree_of_parameters_has_the_sum_of_each_module():
    def leaf(name, *shape):
        return {"name": name, "shape": list(shape), "dtype": "float32", "count": math.prod(shape)}

    leaves = [leaf("block10/conv/kernel", 3, 3), leaf("block2/conv/kernel", 2), leaf("block2/scale"), leaf("bias", 4)]
    tree = Tree(parameters.tree(leaves))
    names = [text for _, _, text in tree.find("span", class_="name")]
    counts = [int(text) for _, _, text in tree.find("span", class_="count")]
    shares = [text for _, _, text in tree.find("span", class_="share")]
    assert list(zip(names, counts, shares, strict=True)) == [
        ("bias 4 float32", 4, "25.0 %"),
        ("block2", 3, "18.8 %"), ("conv", 2, "12.5 %"), ("kernel 2 float32", 2, "12.5 %"),
        ("scale scalar float32", 1, "6.2 %"),
        ("block10", 9, "56.2 %"), ("conv", 9, "56.2 %"), ("kernel 3×3 float32", 9, "56.2 %"),
    ]  # fmt: skip
    shown = Tree(parameters.show({"parameters": leaves}, {"parameters": 16, "macs": 1234}))
    assert "16 values in 4 arrays; 1,234 multiply-accumulates for one example." in shown.text("section")
    assert parameters.show({}, None) is None


def test_texts_and_figures_are_shown_and_large_ones_scaled_down(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 800, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "big.png")
    Image.fromarray(noise[:8, :8]).save(tmp_path / "samples.png")
    (tmp_path / "samples_hot.txt").write_text("<i>to be\x00 or not</i>")
    (tmp_path / "long.txt").write_text("x" * 30_000)
    tree = Tree(figures.show(tmp_path))
    assert [has["alt"] for _, has, _ in tree.find("img")] == ["big", "samples"]
    sources = [has["src"].partition("base64,")[2] for _, has, _ in tree.find("img")]
    assert decoded(sources[0]).shape == (450, 400, 3) and decoded(sources[1]).shape == (8, 8, 3)
    assert "scaled down from 800×900 to 400×450; whole in figures/big.png" in tree.text("section")
    assert [text for _, _, text in tree.find("pre")] == ["x" * figures.MOST_TEXT, "<i>to be\ufffd or not</i>"]
    assert "10,000 more are in figures/long.txt" in tree.text("section")
    assert [text for _, _, text in tree.find("summary")] == ["samples, as an image"]
    assert figures.show(tmp_path / "none") is None


def test_ticks():
    assert scatter.linear_ticks(93.1, 98.1) == [94, 95, 96, 97, 98]
    assert scatter.linear_ticks(-0.001, 0.0011) == [-0.001, -0.0005, 0, 0.0005, 0.001]
    assert scatter.log_ticks(2.5, 5.6) == [1e3, 1e4, 1e5]
    assert scatter.log_ticks(2.7, 2.9) and all(2.6 < math.log10(t) < 3 for t in scatter.log_ticks(2.72, 2.78))


def name_boxes(svg: str) -> list[tuple[float, float, float, float]]:
    found = []
    for _, has, text in Tree(svg).find("text", class_="name"):
        width, x = scatter.CHARACTER * len(text), float(has["x"])
        left = {"start": x, "middle": x - width / 2, "end": x - width}[has["text-anchor"]]
        found.append((left, float(has["y"]) - 11, left + width, float(has["y"]) + 4))
    return found


def test_names_of_points_do_not_cover_each_other_or_leave_the_plot():
    rng = np.random.default_rng(1)
    points = [scatter.Point(f"a model {i}", 10 ** rng.uniform(4, 4.5), 97 + rng.uniform(0, 1)) for i in range(9)]
    boxes = name_boxes(scatter.plot(points, "parameters", "accuracy"))
    assert len(boxes) == 9
    for i, a in enumerate(boxes):
        assert a[0] >= scatter.LEFT and a[2] <= scatter.WIDTH and a[1] >= 0
        for b in boxes[:i]:
            assert min(a[2], b[2]) - max(a[0], b[0]) <= 0.2 or min(a[3], b[3]) - max(a[1], b[1]) <= 0.2


def test_a_single_point_has_axes_too():
    tree = Tree(scatter.plot([scatter.Point("one", 650, 94.0)], "parameters", "accuracy"))
    assert len(tree.find("circle")) == 1 and len(tree.find("text")) >= 4
