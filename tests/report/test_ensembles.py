"""Ensembles: mean probability and majority vote by hand and against a loop, and what members must have in common."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reports_for_tests import checked
from statsmodels.stats.contingency_tables import mcnemar

import launch
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.report import ensembles
from cvdl_jax.workdir import data_facts

P = np.array(
    [
        [[0.6, 0.4, 0.0], [0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [0.4, 0.6, 0.0]],
        [[0.6, 0.4, 0.0], [0.1, 0.7, 0.2], [0.2, 0.8, 0.0], [0.3, 0.0, 0.7]],
        [[0.0, 1.0, 0.0], [0.1, 0.1, 0.8], [0.3, 0.7, 0.0], [0.8, 0.1, 0.1]],
    ]
)  # three members, four examples, three classes


@pytest.mark.curriculum("W7")
def test_mean_probability_and_majority_vote_by_hand():
    """They disagree: two of three members name class 0 first, the mean of 0.4, 0.4 and 1.0 is class 1's."""
    np.testing.assert_allclose(
        ensembles.average(P), [[0.4, 0.6, 0], [0.7 / 3, 1.1 / 3, 0.4], [1.4 / 3, 1.6 / 3, 0], [0.5, 0.7 / 3, 0.8 / 3]]
    )
    assert ensembles.average(P).argmax(-1).tolist() == [1, 2, 1, 0]
    # one vote each for 0, 1, 2 in the second: the largest mean, 0.4, wins; in the last 1, 2, 0: 0.5 is class 0's
    assert ensembles.vote(P).tolist() == [0, 2, 1, 0]


@pytest.mark.curriculum("W7")
def test_a_tie_of_votes_goes_to_the_larger_mean():
    p = np.array([[[0.9, 0.1]], [[0.8, 0.2]], [[0.4, 0.6]], [[0.45, 0.55]]])
    assert ensembles.vote(p).tolist() == [0]
    assert ensembles.vote(1 - p).tolist() == [1]
    assert ensembles.vote(np.full((2, 1, 3), 1 / 3)).tolist() == [0]  # nothing speaks for any: the first


@pytest.mark.curriculum("W7")
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(2, 4)),
                  elements=st.sampled_from([0.1, 0.2, 0.5, 1.0])))  # fmt: skip
def test_votes_are_a_loops(raw):
    p = raw / raw.sum(-1, keepdims=True)
    for e, chosen in enumerate(ensembles.vote(p)):
        votes = [int(np.argmax(p[m, e])) for m in range(len(p))]
        most = max(votes.count(c) for c in range(p.shape[-1]))
        tied = [c for c in range(p.shape[-1]) if votes.count(c) == most]
        assert chosen == max(tied, key=lambda c: (np.mean([p[m, e, c] for m in range(len(p))]), -c))


# Members from run folders ---------------------------------------------------------------------------------------------


def member(folder, scores, label=(0, 1, 2, 0), ids=None, **config):
    (folder / "predictions").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    ids = np.asarray([f"test/{i}" for i in range(len(label))] if ids is None else ids)
    np.savez(folder / "predictions" / "test.npz", ids=ids, label=np.asarray(label), scores=np.asarray(scores))
    return str(folder)


def knows(folder, names, fingerprint="a" * 64):
    """Lets a run keep what it knows of its data."""
    data_facts.write(folder, {"data": {"class_names": names, "splits": {"test": {"fingerprint": fingerprint}}}})


def combined(tmp_path, *members, flags=()):
    assert launch.main(["--ensemble", *members, f"--workdir={tmp_path / 'out'}", *flags]) == 0
    return json.loads((tmp_path / "out" / "results.json").read_text())


@pytest.mark.curriculum("W6", "W7")
def test_runs_are_combined_and_compared(tmp_path, capsys):
    """The scores are logarithms of P; the third member's examples come in another order."""
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(P), -40)
    label = (1, 2, 1, 2)
    order = [2, 0, 3, 1]
    folds = tmp_path / "folds"
    member(folds / "a", logs[0], label)
    member(folds / "b", logs[1], label)
    member(folds / "c", logs[2][order], np.asarray(label)[order], [f"test/{i}" for i in order])
    found = combined(tmp_path, str(folds))
    assert [each["workdir"] for each in found["members"]] == [str(folds / name) for name in "abc"]
    assert (found["average"]["right"], found["vote"]["right"], found["examples"]) == (3, 2, 4)
    assert (found["average"]["low"], found["average"]["high"]) == wilson(3, 4)
    guesses, mean = P.argmax(-1), ensembles.average(P)
    assert [each["right"] for each in found["members"]] == [int((g == label).sum()) for g in guesses]
    assert found["mean"] == pytest.approx(np.mean([each["accuracy"] for each in found["members"]]))
    differ = [(guesses[i] != guesses[j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found["disagreement"] == pytest.approx(np.mean(differ))
    assert found["average"]["loss"] == pytest.approx(-np.log(mean[range(4), label]).mean(), rel=1e-6)
    hit = mean.argmax(-1) == label
    table = [[sum(hit & (guesses[0] == label)), sum(hit & (guesses[0] != label))],
             [sum(~hit & (guesses[0] == label)), sum(~hit & (guesses[0] != label))]]  # fmt: skip
    assert found["members"][0]["p"] == pytest.approx(mcnemar(table, exact=True).pvalue)
    with np.load(tmp_path / "out" / "predictions" / "test.npz") as file:
        np.testing.assert_allclose(np.exp(file["scores"]), mean, atol=1e-6)
        assert file["vote"].tolist() == [0, 2, 1, 0] and file["label"].tolist() == list(label)
    assert "mean probability of 3 | 75.00 %" in capsys.readouterr().out
    assert "| majority vote of 3 | 50.00 %" in (tmp_path / "out" / "results.md").read_text()
    tree = checked(tmp_path / "out" / "report.html")
    shown = tree.text("table", id="members-table")
    for row in (
        f"mean probability of 375.00 % [{100 * found['average']['low']:.2f}, {100 * found['average']['high']:.2f}]3",
        "majority vote of 350.00 % ",
        str(folds / "b"),
    ):
        assert row in shown
    assert "3 of 4 examples are right, 1 wrong" in tree.text("section", id="classes-test")


def test_the_mean_of_probabilities_is_never_worse_in_likelihood_than_its_members():
    """Jensen: -log of a mean is at most the mean of -log."""
    rng = np.random.default_rng(0)
    scores, label = rng.normal(size=(4, 50, 5)), rng.integers(0, 5, 50)
    members = [ensembles.Member(str(i), np.arange(50).astype(str), label, s) for i, s in enumerate(scores)]
    found, _ = ensembles.combine(members)
    assert found["average"]["loss"] <= np.mean([each["loss"] for each in found["members"]])


@pytest.mark.curriculum("W6")
@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"ids": ["test/0", "test/1", "test/2", "test/9"]}, "different examples (4 and 4, for example test/3)"),
        ({"label": (0, 1, 2, 1)}, "have different labels for test/3"),
        ({"scores": np.zeros((4, 2)), "label": (0, 1, 1, 0)}, "tell 3 and 2 classes; expected the same"),
        ({"scores": np.full((4, 3), np.nan)}, "4 examples have scores that are not finite, or no label"),
        ({"scores": np.zeros(4)}, "has no scores [n, c] and labels [n]; an ensemble needs classifiers"),
    ],
)
def test_members_that_do_not_belong_together_are_refused(tmp_path, capsys, second, words):
    first = member(tmp_path / "a", np.eye(3)[[0, 1, 2, 0]])
    other = member(tmp_path / "b", **{"scores": np.eye(3)[[0, 1, 2, 0]], **second})
    assert launch.main(["--ensemble", first, other]) == 2
    assert words in capsys.readouterr().err


def test_the_page_shows_the_images_of_mistakes_that_members_kept(tmp_path):
    pixel = "iVBORw0KGgo="
    scores = np.eye(3)[[1, 1, 2, 2]]  # wrong on 0 and 3
    members = [member(tmp_path / name, scores) for name in "ab"]
    for folder, index in zip(members, (0, 1), strict=True):
        kept = [{"id": f"test/{index}", "label": 0, "guess": 1, "image": f"{pixel}{index}", "size": [8, 8]}]
        (Path(folder) / "figures").mkdir()
        facts = {"class_names": [], "mistakes": {"test": kept}}
        (Path(folder) / "figures" / "report.json").write_text(json.dumps(facts))
    combined(tmp_path, *members)
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"base64,{pixel}0" in page and f"base64,{pixel}1" not in page  # of test/1 the ensemble is right
    assert "test/3" in page


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--ensemble", "{a}"], "--ensemble needs at least two runs, got 1"),
        (["--ensemble", "{a}", "{a}/"], "is named twice; every member has one vote"),
        (["--ensemble", "{a}", "{a}/predictions"], "holds no run (no config.json in it or below)"),
        (
            ["--ensemble", "{a}", "{a}", "--config=x.py"],
            "--config=x.py has no effect in --ensemble",
        ),
        (["--ensemble", "{a}", "{a}", "--sweep=x.py"], "leave out --ensemble"),
        (["--mode=ensemble"], "type: python launch.py --ensemble runs/a runs/b"),
    ],
)
def test_mistakes_of_the_command_are_refused(tmp_path, capsys, flags, words):
    first = member(tmp_path / "a", np.eye(3)[[0, 1, 2, 0]])
    assert launch.main([flag.format(a=first) for flag in flags]) == 2
    assert words in capsys.readouterr().err


def test_the_default_folder_belongs_to_its_members(tmp_path):
    from cvdl_jax.cli.modes.ensemble import name

    a, b, c = (tmp_path / each for each in "abc")
    assert name([a, b], "test", []) == name([a, b], "test", []) != name([a, c], "test", [])
    assert (
        name([a, b], "test", []) != name([a, b], "validation", []) and name([a, b], "test", [])[:12] == "a_and_1_more"
    )


# Classes by name ------------------------------------------------------------------------------------------------------


def test_members_with_classes_in_another_order_are_matched_by_name(tmp_path):
    """The second run counts eel, cat, dog; its columns and labels are brought into the order of the first."""
    logs = np.log(np.maximum(P, 1e-9))
    first, second = member(tmp_path / "a", logs[0], (1, 2, 1, 2)), member(tmp_path / "b", logs[1], (1, 2, 1, 2))
    expected = combined(tmp_path, first, second)
    order = [2, 0, 1]  # eel, cat, dog
    turned = member(tmp_path / "c", logs[1][:, order], [order.index(label) for label in (1, 2, 1, 2)])
    knows(tmp_path / "a", ["cat", "dog", "eel"])
    knows(tmp_path / "c", ["eel", "cat", "dog"])
    found = combined(tmp_path, first, turned)
    assert [found[key] for key in ("average", "vote", "mean")] == [expected[key] for key in ("average", "vote", "mean")]
    with np.load(tmp_path / "out" / "predictions" / "test.npz") as file:
        assert file["label"].tolist() == [1, 2, 1, 2]
    assert "dog" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("names", "fingerprint", "words"),
    [
        (["cat", "dog", "zebra"], "a" * 64, "know different classes: 'zebra' is one of {b} alone"),
        (
            ["cat", "dog", "eel"],
            "b" * 64,
            "evaluated on data that have changed in between (fingerprints aaaaaaaa and bbb",
        ),
    ],
)
def test_members_of_other_classes_or_changed_data_are_refused(tmp_path, capsys, names, fingerprint, words):
    first, second = member(tmp_path / "a", P[0]), member(tmp_path / "b", P[1])
    knows(tmp_path / "a", ["cat", "dog", "eel"])
    knows(tmp_path / "b", names, fingerprint)
    assert launch.main(["--ensemble", first, second, f"--workdir={tmp_path / 'out'}"]) == 2
    assert words.format(b=second) in capsys.readouterr().err


@pytest.mark.curriculum("H57")
def test_networks_are_combined_by_the_mean_of_softmax_not_of_logits_nor_by_votes():
    """One example of three classes on which the three ways name three classes."""
    probabilities = np.array([[[0.50, 0.49, 0.01]], [[0.50, 0.49, 0.01]], [[0.0001, 0.0009, 0.999]]])
    scores = np.log(probabilities) + np.array([3.0, -1.0, 0.5])[:, None, None]  # softmax does not see a constant
    members = [ensembles.Member(f"run{i}", np.array(["a"]), np.array([2]), s) for i, s in enumerate(scores)]
    results, arrays = ensembles.combine(members)
    assert scores.mean(0).argmax() == 1 and arrays["vote"].tolist() == [0]
    assert arrays["scores"].argmax(-1).tolist() == [2] and results["average"]["right"] == 1
    np.testing.assert_allclose(np.exp(arrays["scores"]), probabilities.mean(0), rtol=1e-5)
