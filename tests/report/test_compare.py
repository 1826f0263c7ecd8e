"""`launch.py --compare` on folders of runs made by hand: what is paired, what is said, what is refused."""

import json
import re

import numpy as np
import pytest
from tables_for_tests import begin, planned

import launch
from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.metrics.stats.paired_tests import corrected_resampled_t, holm, mcnemar, paired_t, sign_flip
from cvdl_jax.report.compare import methods, results
from cvdl_jax.workdir import data_facts, predictions


def make(folder, *overrides, seed=0, split="test", accuracy=None, **arrays):
    """A run folder with these predictions.

    Args:
        folder: of the run; renamed to it.
        *overrides: "--config.key=value".
        seed: of the run.
        split: what it predicted.
        accuracy: what its results report; None: no results.
        **arrays: of the file.
    """
    run = planned(folder.parent / "planned", folder.name, seed, *overrides)
    begin(run)
    run.workdir.rename(folder)
    (folder / "predictions").mkdir()
    if arrays:
        np.savez(folder / "predictions" / f"{split}.npz", **arrays)
    if accuracy is not None:
        (folder / "results.json").write_text(json.dumps({"metrics": {f"{split}/accuracy": accuracy}}))
    return folder


def classified(right, ids=None, classes=10, seed=0):
    """Arrays of a classifier that is right where `right` says, in a shuffled order with ids."""
    right = np.asarray(right, bool)
    n, label = len(right), np.arange(len(right)) % classes
    scores = np.random.default_rng(seed).random((n, classes)).astype(np.float32)
    scores[np.arange(n), np.where(right, label, (label + 1) % classes)] = 2
    order = np.random.default_rng(seed).permutation(n)
    ids = np.array([f"test/{i}" for i in range(n)] if ids is None else ids)
    return {"ids": ids[order], "label": label[order].astype(np.int32), "scores": scores[order]}


def hits(both, first_only, second_only, neither):
    """Two vectors of hits with so many examples of each kind."""
    first = [1] * both + [1] * first_only + [0] * second_only + [0] * neither
    second = [1] * both + [0] * first_only + [1] * second_only + [0] * neither
    return np.array(first, bool), np.array(second, bool)


def compare(capsys, tmp_path, *arguments):
    """(what is printed, what is written) by `--compare`."""
    out = tmp_path / "comparison.json"
    capsys.readouterr()
    code = launch.main(["--compare", *map(str, arguments), f"--out={out}"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out, json.loads(out.read_text())


def refused(capsys, *arguments):
    capsys.readouterr()
    assert launch.main(["--compare", *map(str, arguments)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "Traceback" not in message
    return message


# Two runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("N32", "N33")
def test_two_runs_with_a_significant_difference(capsys, tmp_path):
    first, second = hits(300, 5, 25, 30)
    a = make(tmp_path / "a", "--config.optim.lr=0.1", accuracy=305 / 360, **classified(first))
    b = make(tmp_path / "b", accuracy=325 / 360, **classified(second, seed=1))  # saved in another order
    text, found = compare(capsys, tmp_path, a, b)
    (pair,) = found["pairs"]
    p = mcnemar(first, second).p
    assert pair["mcnemar"] | {"p_midp": 0, "p_chi2": 0} == {
        "first_only": 5, "second_only": 25, "n": 360, "p_exact": p, "p_midp": 0, "p_chi2": 0,
    }  # fmt: skip
    assert pair["verdict"] == "significant" and pair["p"] == pair["p_holm"] == p
    assert pair["difference"] == pytest.approx(20 / 360) and pair["metrics"]["accuracy"]["p"] == pytest.approx(
        p, abs=2e-3
    )
    error = np.sqrt(30 - 20**2 / 360) / 360  # of a paired difference of proportions
    assert (pair["low"], pair["high"]) == pytest.approx((20 / 360 - 1.96 * error, 20 / 360 + 1.96 * error), abs=3e-3)
    accuracy = found["methods"][0]["metrics"]["accuracy"]
    assert (accuracy["low"], accuracy["high"]) == wilson(305, 360)
    low, high = (100 * each for each in wilson(325, 360))
    assert f"90.28 % [{low:.2f}, {high:.2f}] Wilson" in text
    assert "test: 360 examples of digits 1.0.0" in text and f"{b} against {a}" in text
    said = rf"{b} is better by 5.56 points \[[\d.]+, [\d.]+\]; the difference is significant at the 5 % level \(McNemar"
    assert re.search(said + r" p < 0.001\)", text)
    assert f"right only in {a}: 5, only in {b}: 25" in text
    assert "whether the methods differ takes several seeds" in text


@pytest.mark.curriculum("N33")
def test_two_runs_without_one_and_two_that_are_equal(capsys, tmp_path):
    first, second = hits(80, 6, 9, 5)
    a = make(tmp_path / "a", "--config.optim.lr=0.1", **classified(first))
    b = make(tmp_path / "b", **classified(second))
    text, found = compare(capsys, tmp_path, b, a)
    assert found["pairs"][0]["verdict"] == "not significant"
    assert re.search(rf"not significant: {b} is better by 3.00 points \[-[\d.]+, [\d.]+\], which may be chance", text)
    c = make(tmp_path / "c", "--config.optim.lr=0.3", **classified(first))
    text, found = compare(capsys, tmp_path, a, c)
    assert f"not significant: {a} and {c} have the same accuracy, which may be chance (McNemar p = 1)" in text
    assert found["pairs"][0]["metrics"]["macro_f1"]["p"] == 1.0


@pytest.mark.curriculum("N33")
def test_three_runs_are_corrected_for_their_comparisons(capsys, tmp_path):
    random = np.random.default_rng(0)
    runs = [
        make(tmp_path / name, f"--config.optim.lr={i + 1}", **classified(random.random(200) < p, seed=i))
        for i, (name, p) in enumerate({"a": 0.8, "b": 0.88, "c": 0.9}.items())
    ]
    text, found = compare(capsys, tmp_path, *runs)
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [(0, 1), (0, 2), (1, 2)]
    assert [pair["p_holm"] for pair in found["pairs"]] == holm([pair["p"] for pair in found["pairs"]])
    assert text.count("after Holm's correction for 3 comparisons") == 3


@pytest.mark.curriculum("N33")
def test_two_classes_have_areas(capsys, tmp_path):
    random = np.random.default_rng(1)
    label = np.arange(120) % 2
    margins = [shift * (label - 0.5) + random.normal(size=120) for shift in (1.0, 3.0)]
    ids = np.array([f"test/{i}" for i in range(120)])
    two = np.stack([-margins[0] / 2, margins[0] / 2], 1)
    a = make(tmp_path / "a", "--config.optim.lr=0.1", ids=ids, label=label, scores=two)
    b = make(tmp_path / "b", ids=ids, label=label, score=margins[1])  # one score, as a linear unit saves it
    text, found = compare(capsys, tmp_path, a, b)
    from cvdl_jax.metrics.stats.auc import delong, delong_test

    area = delong(label, margins[0], scale="logit")
    auc, test = found["methods"][0]["metrics"]["auc"], found["pairs"][0]["metrics"]["auc"]
    assert (auc["value"], auc["low"], auc["high"]) == pytest.approx((area.auc, area.low, area.high), rel=1e-6)
    expected = delong_test(label, *margins)
    assert (test["difference"], test["low"], test["p"]) == pytest.approx(
        (expected.difference, expected.low, expected.p), rel=1e-5
    )
    assert re.search(r"AUC       \+[\d.]+ \[[\d.]+, [\d.]+\] \(DeLong\), p < 0.001", text)
    c = make(tmp_path / "c", "--config.optim.lr=0.3", ids=ids, label=label, score=label - 0.5)
    text, _ = compare(capsys, tmp_path, a, c)
    assert "1.0000 (no interval)" in text and "100.00 % (no interval)" in text  # AUC and macro F1
    assert f"Note: the AUC of {c} has no interval: the classes are separated completely." in text
    assert f"Note: the macro F1 of {c} has no interval: every resample has the same value." in text
    assert "100.00 % [96.90, 100.00] Wilson" in text


def test_an_area_that_is_not_known_is_said_to_be_none(capsys, tmp_path):
    arrays = {"ids": np.arange(8).astype(str), "label": np.arange(8) % 2, "score": np.arange(8.0)}
    a = make(tmp_path / "a", "--config.optim.lr=0.1", **arrays)
    b = make(tmp_path / "b", **{**arrays, "score": np.append(np.arange(7.0), np.nan)})
    text, found = compare(capsys, tmp_path, a, b)
    assert found["methods"][1]["metrics"]["auc"]["value"] is None and found["pairs"][0]["metrics"]["auc"]["p"] is None
    assert "AUC       not known: 1 of 8 scores are not finite" in text
    assert f"Note: the AUC of {b} has no interval: 1 of 8 scores are not finite." in text


@pytest.mark.curriculum("N33")
def test_numbers_are_compared_by_their_errors(capsys, tmp_path):
    random = np.random.default_rng(2)
    target = random.normal(size=(90, 1))
    guesses = [target + s * random.normal(size=(90, 1)) for s in (1.0, 0.4)]
    runs = [
        make(tmp_path / name, f"--config.optim.lr={i + 1}", target=target, prediction=guess)  # no ids: in their order
        for i, (name, guess) in enumerate(zip("ab", guesses, strict=True))
    ]
    text, found = compare(capsys, tmp_path, *runs)
    mae = [np.abs(guess - target).mean() for guess in guesses]
    rmse = [np.sqrt(((guess - target) ** 2).mean()) for guess in guesses]
    assert [each["metrics"]["mae"]["value"] for each in found["methods"]] == pytest.approx(mae)
    assert [each["metrics"]["rmse"]["value"] for each in found["methods"]] == pytest.approx(rmse)
    assert found["pairs"][0]["difference"] == pytest.approx(mae[1] - mae[0])
    assert f"{runs[1]} is better by {mae[0] - mae[1]:.4f} of MAE" in text and "(permutation p < 0.001)" in text


@pytest.mark.curriculum("N33")
def test_scores_that_are_not_finite_are_wrong(capsys, tmp_path):
    arrays = classified(np.ones(20, bool))
    broken = {**arrays, "scores": arrays["scores"].copy()}
    broken["scores"][:4, 3] = np.nan
    a = make(tmp_path / "a", "--config.optim.lr=0.1", **arrays)
    b = make(tmp_path / "b", **broken, accuracy=0.8)
    _, found = compare(capsys, tmp_path, a, b)
    assert [each["metrics"]["accuracy"]["value"] for each in found["methods"]] == [1.0, 0.8]


# Several runs -------------------------------------------------------------------------------------------------------


def seeds(tmp_path, name, accuracies, lr):
    """Runs NAME_seed0 ... with so many of 100 right."""
    for seed, right in enumerate(accuracies):
        arrays = classified(np.arange(100) < right, seed=seed)
        make(tmp_path / f"{name}_seed{seed}", f"--config.optim.lr={lr}", seed=seed, **arrays)


@pytest.mark.curriculum("N33")
def test_runs_of_several_seeds_are_paired_by_seed(capsys, tmp_path):
    one, other = [80, 82, 81, 83, 80, 79], [84, 85, 86, 84, 83, 84]
    seeds(tmp_path, "a", one, 0.1)
    seeds(tmp_path, "b", other, 0.2)
    differences = (np.array(other) - np.array(one)) / 100
    folders = sorted(tmp_path.glob("?_seed*"))  # as a shell writes out two patterns
    text, found = compare(capsys, tmp_path, *folders)
    (pair,) = found["pairs"]
    assert [each["name"] for each in found["methods"]] == [f"{tmp_path}/{name}_seed*" for name in "ab"]
    assert pair["kind"] == "seeds" and pair["seeds"] == list(range(6)) and pair["verdict"] == "significant"
    assert pair["p"] == sign_flip(differences) == 2**-5 and pair["p_t"] == pytest.approx(paired_t(differences).p)
    assert (pair["difference"], pair["low"]) == pytest.approx((differences.mean(), paired_t(differences).low))
    assert "significant at the 5 % level (sign-flip p = 0.0312)" in text and "of seed 0 alone:" in text
    again, same = compare(capsys, tmp_path, f"{tmp_path}/a_seed*", f"{tmp_path}/b_seed*")  # in quotes
    assert same["pairs"] == found["pairs"] and "over 6 seeds" in again


@pytest.mark.curriculum("N33")
def test_few_seeds_are_too_few_however_they_agree(capsys, tmp_path):
    seeds(tmp_path, "a", [80, 82, 81], 0.1)
    seeds(tmp_path, "b", [90, 93, 92], 0.2)
    text, found = compare(capsys, tmp_path, f"{tmp_path}/a_*", f"{tmp_path}/b_*")
    assert found["pairs"][0]["verdict"] == "n too small"
    assert "n too small: " in text and "3 seeds cannot give a p below 0.25; 6 seeds or more could" in text


def test_runs_without_a_partner_are_named(capsys, tmp_path):
    seeds(tmp_path, "a", [80, 82, 81], 0.1)
    make(tmp_path / "b", "--config.optim.lr=0.2", seed=1, **classified(np.arange(100) < 90, seed=1))
    text, found = compare(capsys, tmp_path, f"{tmp_path}/a_*", tmp_path / "b")
    (pair,) = found["pairs"]
    assert pair["kind"] == "examples" and pair["runs"] == [f"{tmp_path}/a_seed1", f"{tmp_path}/b"]
    said = f"{tmp_path}/a_* and {tmp_path}/b are compared by seed 1 alone; without a partner: seeds 0, 2 of "
    assert f"Note: {said}{tmp_path}/a_*." in text
    seeds(tmp_path, "c", [90, 91], 0.3)
    text, found = compare(capsys, tmp_path, f"{tmp_path}/a_*", f"{tmp_path}/c_*")
    assert found["pairs"][0]["seeds"] == [0, 1]
    assert "are compared by seeds 0, 1 alone; without a partner: seed 2 of " in text


def test_a_folder_of_runs_is_a_method_for_each_configuration(capsys, tmp_path):
    root = tmp_path / "table"
    root.mkdir()
    seeds(root, "a", [80, 82], 0.1)
    seeds(root, "b", [81, 80], 0.2)
    seeds(tmp_path, "c", [70], 0.3)
    found = methods.methods([str(root), str(tmp_path / "c_seed0")])
    assert [(each.name, len(each.runs)) for each in found] == [
        (f"{root}/a_seed*", 2), (f"{root}/b_seed*", 2), (f"{tmp_path}/c_seed0", 1),
    ]  # fmt: skip
    text, written = compare(capsys, tmp_path, root, tmp_path / "c_seed0")
    assert [pair["kind"] for pair in written["pairs"]] == ["seeds", "examples", "examples"]
    assert f"{tmp_path}/c_seed0 against {root}/a_seed0" in text  # the one seed that both have


def test_two_seeds_of_one_configuration_are_compared_as_two_runs(tmp_path):
    seeds(tmp_path, "a", [80, 82], 0.1)
    found = methods.methods([f"{tmp_path}/a_seed0", f"{tmp_path}/a_seed1"])
    assert [len(each.runs) for each in found] == [1, 1]


def folds(tmp_path, name, accuracies, lr, test=""):
    """A folder of a cross-validation: runs on disjoint twentieths."""
    root = tmp_path / name
    root.mkdir()
    k = len(accuracies)
    for i, right in enumerate(accuracies):
        ids = [f"train/{j}" for j in range(20 * i, 20 * i + 20)]
        where = [
            f"--config.optim.lr={lr}", f"--config.data.validation=train[{20 * i}:{20 * i + 20}]",
            f"--config.data.train=train[{20 * ((i + 1) % k)}:{20 * ((i + 1) % k) + 20}]", "--config.data.test=",
            "--config.select.metric=",
        ]  # fmt: skip
        make(root / f"fold{i}", *where, split="validation", **classified(np.arange(20) < right, ids))
    return root


@pytest.mark.curriculum("N33")
def test_folds_are_paired_by_fold_with_the_corrected_test(capsys, tmp_path):
    one, other = [15, 16, 14, 15, 16], [18, 17, 18, 17, 19]
    a, b = folds(tmp_path, "a", one, 0.1), folds(tmp_path, "b", other, 0.2)
    text, found = compare(capsys, tmp_path, a, b, "--split=validation")
    (pair,) = found["pairs"]
    expected = corrected_resampled_t((np.array(other) - np.array(one)) / 20, 1 / 4)
    assert pair["kind"] == "folds" and (pair["p"], pair["low"]) == pytest.approx((expected.p, expected.low))
    assert "validation: 100 examples" in text and "Student-t over 5 folds" in text
    assert "corrected resampled t p =" in text and "(5 folds)" in text and "Folds share training examples" in text
    seeds(tmp_path, "c", [70], 0.3)
    (tmp_path / "c_seed0/predictions/test.npz").rename(tmp_path / "c_seed0/predictions/validation.npz")
    assert "is a cross-validation and" in refused(capsys, a, tmp_path / "c_seed0", "--split=validation")


def test_stratified_folds_differ_in_config_data_split_and_share_a_test_set(capsys, tmp_path):
    for name, lr, right in (("a", 0.1, 70), ("b", 0.2, 75)):
        (tmp_path / name).mkdir()
        for i in range(3):
            cut = f"--config.data.split={{'folds': 3, 'fold': {i}, 'stratified': True, 'seed': 0}}"
            where = [f"--config.optim.lr={lr}", "--config.data.validation=", cut, "--config.select.metric="]
            make(tmp_path / name / str(i), *where, **classified(np.arange(100) < right + i))
    arguments = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [(each.name, each.folds) for each in methods.methods(arguments)] == [(each, True) for each in arguments]
    message = refused(capsys, *arguments)
    assert "share no examples; compare what each was validated on: --split validation" in message


# Refused ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "a", **classified(np.arange(50) < 40))


def edit(folder, file, **changes):
    """Changes entries of a run's JSON file, "data.fingerprint" as data__fingerprint."""
    path = folder / file
    value = json.loads(path.read_text())
    for key, new in changes.items():
        *above, last = key.split("__")
        inner = value
        for name in above:
            inner = inner[name]
        inner[last] = new
    path.write_text(json.dumps(value))


def test_other_examples_are_refused_by_name(capsys, tmp_path, run):
    ids = [f"test/{i}" for i in range(49)] + ["test/77"]
    b = make(tmp_path / "b", "--config.optim.lr=0.1", **classified(np.arange(50) < 40, ids))
    message = refused(capsys, run, b)
    assert f"--compare {run} {b}: 50 and 50 test examples, 1 only in {run}, such as 'test/49'; 1 only in {b}" in message
    assert "a paired comparison needs the same examples: the same config.data.test" in message


def test_other_labels_are_refused_by_name(capsys, tmp_path, run):
    arrays = classified(np.arange(50) < 40)
    arrays["label"][arrays["ids"] == "test/7"] = 9
    b = make(tmp_path / "b", "--config.optim.lr=0.1", **arrays)
    assert "1 of 50 labels differ, such as that of 'test/7': 7 and 9" in refused(capsys, run, b)


def test_other_data_are_refused(capsys, tmp_path, run):
    b = make(tmp_path / "b", "--config.optim.lr=0.1", **classified(np.arange(50) < 40))
    edit(b, "meta.json", data__name="mnist", data__version="3.0.1")
    assert f"--compare {run} {b}: the data differ, digits 1.0.0 and mnist 3.0.1" in refused(capsys, run, b)
    edit(b, "meta.json", data__name="digits", data__version="1.0.0", data__fingerprint="e" * 64)
    assert "the data were changed between them (fingerprints ffffffff and eeeeeeee)" in refused(capsys, run, b)
    edit(b, "config.json", data__train="train[:50%]")  # then a fingerprint may differ, as it is one of all splits
    text, _ = compare(capsys, tmp_path, run, b)
    assert "Note: The runs train on different splits; the ids and labels of the examples compared are the same." in text


def knows(folder, names, fingerprint="a" * 64):
    """Lets a run keep what it knows of its data."""
    data_facts.write(folder, {"data": {"class_names": names, "splits": {"test": {"fingerprint": fingerprint}}}})


def test_classes_in_another_order_are_matched_by_name(capsys, tmp_path):
    """The second run counts its classes backwards: the same answers, and no example tells the two apart."""
    arrays = classified(np.arange(50) < 40)
    a = make(tmp_path / "a", **arrays)
    turned = {**arrays, "label": 9 - arrays["label"], "scores": arrays["scores"][:, ::-1]}
    b = make(tmp_path / "b", "--config.optim.lr=0.1", **turned)
    assert "labels differ" in refused(capsys, a, b)
    knows(a, list("abcdefghij"))
    knows(b, list("jihgfedcba"))
    _, found = compare(capsys, tmp_path, a, b)
    (pair,) = found["pairs"]
    assert pair["difference"] == 0 and pair["mcnemar"]["first_only"] == pair["mcnemar"]["second_only"] == 0
    knows(b, list("jihgfedcbx"))
    assert "know different classes, 'a' is one of a single run" in refused(capsys, a, b)


def test_a_split_that_was_changed_is_refused_though_the_runs_train_on_different_splits(capsys, tmp_path, run):
    b = make(tmp_path / "b", "--config.optim.lr=0.1", **classified(np.arange(50) < 40))
    edit(b, "meta.json", data__fingerprint="e" * 64)
    edit(b, "config.json", data__train="train[:50%]")
    knows(run, list("abcdefghij"))
    knows(b, list("abcdefghij"))
    text, _ = compare(capsys, tmp_path, run, b)
    assert "The runs train on different splits" in text
    edit(b, "meta.json", data__name="folder:renamed")
    compare(capsys, tmp_path, run, b)  # the same files under another name
    knows(b, list("abcdefghij"), "c" * 64)
    assert "the data differ, digits 1.0.0 and folder:renamed" in refused(capsys, run, b)
    edit(b, "meta.json", data__name="digits")
    assert "the data were changed between them (fingerprints aaaaaaaa and cccccccc)" in refused(capsys, run, b)


def test_the_one_score_of_two_classes_turns_with_their_order():
    arrays = {"label": np.array([0, 1, -1]), "score": np.array([-2.0, 3.0, 1.0]), "ids": np.array(["x", "y", "z"])}
    same = predictions.reordered(arrays, ("no", "yes"), ("no", "yes"))
    assert same["score"].tolist() == [-2, 3, 1] and same["label"].tolist() == [0, 1, -1]
    turned = predictions.reordered(arrays, ("no", "yes"), ("yes", "no"))
    assert turned["score"].tolist() == [2, -3, -1] and turned["label"].tolist() == [1, 0, -1]
    assert turned["ids"] is arrays["ids"]


def test_runs_that_cannot_be_read_are_refused_by_name(capsys, tmp_path, run):
    b = make(tmp_path / "b", "--config.optim.lr=0.1")
    assert f"--compare {b} holds no predictions" in refused(capsys, run, b)
    np.savez(
        b / "predictions" / "test.npz", boxes=np.zeros((3, 4, 4)), scores=np.zeros((3, 4)), classes=np.zeros((3, 4))
    )
    message = refused(capsys, run, b)
    assert "test.npz holds boxes, classes, scores" in message and "average precision of a detector" in message
    (b / "predictions" / "test.npz").write_bytes(b"nothing")
    assert "test.npz cannot be read" in refused(capsys, run, b)
    np.savez(b / "predictions" / "test.npz", **classified(np.arange(50) < 40))
    (b / "results.json").write_text(json.dumps({"metrics": {"test/accuracy": 0.9}}))
    assert "give an accuracy of 0.800000, its results.json says 0.900000" in refused(capsys, run, b)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["RUN"], ["is one method", "--compare RUN runs/other"]),
        (["RUN", "RUN"], ["names the run RUN twice"]),
        (["RUN", "RUN/../b"], ["does not exist", "RUN"]),
        (["RUN", "RUN/x*"], ["'RUN/x*' matches no run folder"]),
        (["RUN", "RUN/predictions"], ["is no run and holds none"]),
        (
            ["RUN", "RUN", "--workdir=w"],
            ["--workdir=w has no effect in --compare"],
        ),
        (
            ["RUN", "RUN", "--config.optim.lr=1"],
            ["--config.optim.lr=1 has no effect in --compare"],
        ),
        (["RUN", "RUN", "--table=x"], ["--table runs by itself", "leave out --compare"]),
        (["RUN", "RUN", "--mode=eval"], ["--compare runs by itself", "leave out --mode"]),
    ],
    ids=lambda x: " ".join(x),
)
def test_arguments_are_refused_by_name(capsys, run, arguments, words):
    message = refused(capsys, *(each.replace("RUN", str(run)) for each in arguments))
    assert all(word.replace("RUN", str(run)) in message for word in words), message


def test_a_split_that_is_not_there_and_a_mode_without_runs(capsys, tmp_path, run):
    b = make(tmp_path / "b", "--config.optim.lr=0.1", **classified(np.arange(50) < 40))
    assert "--split='tset' is not among the predictions" in refused(capsys, run, b, "--split=tset")
    assert launch.main(["--mode=compare"]) == 2
    assert "type: python launch.py --compare runs/a runs/b" in capsys.readouterr().err
    assert launch.main(["--compare", str(run), str(b), "--out=/nowhere/x.json"]) == 2
    assert "--out /nowhere/x.json cannot be written" in capsys.readouterr().err


def test_seeds_without_a_common_one_and_copies_are_refused(capsys, tmp_path):
    seeds(tmp_path, "a", [80, 82, 83, 84], 0.1)
    for seed in (7, 8):
        make(tmp_path / f"b_seed{seed}", "--config.optim.lr=0.2", seed=seed, **classified(np.arange(100) < 80))
    message = refused(capsys, f"{tmp_path}/a_*", f"{tmp_path}/b_*")
    assert "have no seed in common (0, 1, 2, 3 and 7, 8)" in message
    make(tmp_path / "b_seed8_copy", "--config.optim.lr=0.2", seed=8, **classified(np.arange(100) < 80))
    assert "holds two runs with the same configuration and seed" in refused(
        capsys, f"{tmp_path}/a_*", f"{tmp_path}/b_*"
    )


def test_seeds_read_from_two_data_folders_are_one_method(tmp_path):
    for seed in (0, 1):
        make(tmp_path / f"a_seed{seed}", f"--config.data.data_dir=/disk{seed}", seed=seed)
        make(tmp_path / f"b_seed{seed}", "--config.optim.lr=0.2", seed=seed)
    found = methods.methods([f"{tmp_path}/a_*", f"{tmp_path}/b_*"])
    assert [len(method.runs) for method in found] == [2, 2]


def test_folds_that_overlap_are_refused(tmp_path):
    a = folds(tmp_path, "a", [15, 16, 14], 0.1)
    b = folds(tmp_path, "b", [15, 17, 14], 0.2)
    for root in (a, b):
        np.savez(
            root / "fold1/predictions/validation.npz", **classified(np.ones(20), [f"train/{j}" for j in range(20)])
        )
    with pytest.raises(DataError, match="must be two or more that share no examples"):
        results.compare(methods.methods([str(a), str(b)]), "validation")
