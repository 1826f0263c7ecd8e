"""The groups of a classifier on its page and in its model card: rates counted by hand, small groups shown."""

import json

import numpy as np
import pytest
from reports_for_tests import checked, classifier

import launch
from cvdl_jax.report import model_card
from cvdl_jax.report.pages import run_page, subgroups
from cvdl_jax.workdir import predictions

NAMES = ("cat", "dog <b>")
# Place "a": 3 of 4 right; "b <i>": 2 of 4; "c": 0 of 1. Cats: 3 of 5; dogs: 2 of 4.
LABEL = np.array([0, 0, 1, 1, 0, 0, 1, 1, 0])
GUESS = np.array([0, 0, 1, 0, 1, 0, 1, 0, 1])
PLACE = np.array(["a"] * 4 + ["b <i>"] * 4 + ["c"])


def evaluation(label=LABEL, guess=GUESS, **groups):
    scores = np.eye(2, dtype=np.float32)[guess]
    arrays = {"scores": scores, "label": label} | {f"group/{name}": of for name, of in groups.items()}
    return predictions.classified("test", arrays)


@pytest.fixture
def run(tmp_path):
    """A finished run whose test examples are in three places."""
    folder = classifier(tmp_path / "run", NAMES)
    scores = np.eye(2, dtype=np.float32)[GUESS]
    np.savez(folder / "predictions" / "test.npz", label=LABEL, scores=scores, **{"group/place": PLACE})
    config = json.loads((folder / "config.json").read_text())
    config["subgroups"] = {"entries": ["place"], "positive": 1}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.curriculum("X16")
def test_every_group_is_on_the_page_with_its_interval(run):
    tree = checked(run_page.write(run))
    text = tree.text("section", id="subgroups-test")
    assert "Worst class: dog <b>, 50.00 % [15.00, 85.00] of 4; best: cat, 60.00 % [23.07, 88.24] of 5." in text
    assert "Worst place: c, 0.00 % [0.00, 79.35] of 1; best: a, 75.00 % [30.06, 95.44] of 4." in text
    assert "chi-squared test of equal rates: p = " in text and "a place, with its interval" in text
    assert "3 of 3 groups have fewer than 30 examples" in text and "2 of 2 groups" in text
    rows = [text for _, _, text in tree.find("tr") if text.startswith(("c f", "b <i> f", "a f"))]
    assert [row[0] for row in rows] == ["c", "b", "a"]  # the worst first
    assert rows[1] == "b <i> fewer than 30450.00 % [15.00, 85.00]"
    assert "Positive: class dog <b>." in text and "config.subgroups.entries" not in text
    assert tree.find("a", href="#subgroups-test") and tree.find("a", href="#subgroups-validation")


@pytest.mark.curriculum("X16")
def test_the_gaps_of_a_positive_class_are_in_a_table(run):
    """Called dogs: 1 of 4, 2 of 4, 1 of 1; of dogs 1 of 2 and 1 of 2; of cats 0 of 2, 1 of 2, 1 of 1."""
    tree = checked(run_page.write(run))
    rows = {text.split("called")[0].split("right")[0]: text for _, _, text in tree.find("tr") if "called" in text}
    assert list(rows) == ["demographic parity", "equal opportunity", "false positives"]
    assert "a 25.00 % [4.56, 69.94] of 4c 100.00 % [20.65, 100.00] of 175.0 [" in rows["demographic parity"]
    assert "50.00 % [9.45, 90.55] of 2" in rows["equal opportunity"] and "0.0 [" in rows["equal opportunity"]
    assert "c 100.00 % [20.65, 100.00] of 1100.0 [" in rows["false positives"]


def test_classes_are_groups_without_anything_said():
    section = subgroups.show(evaluation(), ("cat", "dog"))
    assert "Worst class: dog, 50.00 %" in section and "config.subgroups.entries of a new run" in section
    assert "place" not in section and "demographic" not in section
    assert set(subgroups.audits(evaluation(), ("alike", "alike"))[subgroups.CLASSES]["accuracy"].rates) == {
        "alike (0)", "alike (1)",
    }  # fmt: skip
    assert "Worst class: 1," in subgroups.show(evaluation(), ())


def test_where_there_is_nothing_to_compare_it_is_said_or_left_out():
    ones = np.ones(9, int)
    assert subgroups.show(evaluation(ones), NAMES) is None
    alone = subgroups.show(evaluation(ones, place=np.repeat("a", 9)), NAMES)
    assert "All examples have one place; there is nothing to compare." in alone and "Worst" not in alone
    assert subgroups.show(evaluation(np.full(9, -1)), NAMES) is None


def test_many_groups_are_listed_from_the_worst():
    """Of 500 groups of two the worst 200 are listed and 40 drawn; the sentence counts all."""
    n = 500
    label, groups = np.zeros(2 * n, int), np.repeat(np.char.zfill(np.arange(n).astype(str), 3), 2)
    guess = np.tile([0, 1], n)
    guess[-2:] = 1  # the last group has none
    section = subgroups.show(evaluation(label, guess, number=groups), NAMES)
    assert "Worst number: 499, 0.00 %" in section and "500 of 500 groups have fewer than 30" in section
    assert "The 300 groups with the highest accuracy are not listed." in section
    assert section.count(f"<small>fewer than {subgroups.FEW}</small>") == 200 and section.count('class="mean"') == 41


@pytest.mark.curriculum("X17")
def test_the_card_has_the_same_groups_and_gaps(run):
    card = model_card.text(run).partition("## Groups\n")[2].partition("\n## ")[0]
    assert "| test: accuracy of place c | 0 | [0, 0.7935] | 1 |" in card
    assert "| test: accuracy of place a | 0.75 | [0.3006, 0.9544] | 4 |" in card
    assert "- test: Worst place: c, 0.00 % [0.00, 79.35] of 1; best: a, 75.00 %" in card
    assert "- test: Worst class: dog <b>, 50.00 %" in card and "- validation: Worst class:" in card
    assert "- test: demographic parity of class dog <b>. Lowest place: a, 25.00 %" in card
    assert "place" not in card.split("- test:")[1]  # of the classes


@pytest.mark.long
def test_a_run_keeps_the_groups_that_its_configuration_names(tmp_path):
    """The class is an entry too: its groups are the classes, so that both tables say the same."""
    flags = ["--config=configs/classify/softmax.py:smoke", "--config.subgroups.entries=('label',)"]
    flags += ["--config.log.tensorboard=False", f"--workdir={tmp_path / 'run'}"]
    assert launch.main(flags) == 0
    arrays = predictions.read(tmp_path / "run" / "predictions" / "test.npz")
    assert arrays["group/label"].tolist() == [str(k) for k in arrays["label"]]
    text = checked(tmp_path / "run" / "report.html").text("section", id="subgroups-test")
    worst = text.partition("Worst class: ")[2].partition(" of ")[0]
    assert worst and f"Worst label: {worst}" in text
