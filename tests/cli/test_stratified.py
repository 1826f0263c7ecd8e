"""Stratified k-fold: the folds against scikit-learn's, as runs of a sweep, and what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from sklearn.model_selection import StratifiedKFold
from test_sweeps import planned

import launch
from cvdl_jax.cli.sweeps import kfold
from cvdl_jax.config import configs
from cvdl_jax.data import load, subset
from cvdl_jax.errors import ConfigError

FOLDED = {"folds": 5, "split": "train+validation", "stratified": True}


def counts(labels, parts, classes):
    return np.stack([np.bincount(labels[rows], minlength=classes) for rows in parts])


@pytest.mark.curriculum("W5")
@given(st.lists(st.integers(6, 40), min_size=2, max_size=6), st.integers(2, 6), st.integers(0, 99))
def test_every_fold_has_each_class_as_often_as_scikit_learns(classes, k, seed):
    """Within one example for each class and fold, folds of sizes within one, as often in all as scikit-learn."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(classes)), classes))
    found = subset.assign(len(labels), k, seed, labels)
    ours = counts(labels, found, len(classes))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(labels)))
    assert np.abs(ours - np.asarray(classes) / k).max() < 1
    assert ours.sum(1).max() - ours.sum(1).min() <= 1
    splits = StratifiedKFold(k, shuffle=True, random_state=seed).split(labels, labels)
    theirs = counts(labels, [test for _, test in splits], len(classes))
    np.testing.assert_array_equal(np.sort(ours, 0), np.sort(theirs, 0))


@pytest.mark.curriculum("W4", "W5")
def test_stratified_folds_of_digits(tmp_path):
    """The development set, train and validation, is what is folded: 1,438 images; the test split stays apart."""
    runs = planned(tmp_path, grid=None, kfold={**FOLDED, "seed": 3})
    seen, shares = [], []
    for i, run in enumerate(runs):
        data = run.config.data
        assert data.split.to_dict() == {"folds": 5, "fold": i, "stratified": True, "seed": 3}
        assert (data.train, data.validation, data.test) == ("train+validation", "", "")
        assert run.config.select.metric == ""
        found = load.load(**data.to_dict()).splits
        assert found["train"].size + found["validation"].size == 1438
        assert not set(found["train"].ids) & set(found["validation"].ids)
        seen += list(found["validation"].ids)
        shares.append(np.bincount(found["validation"].arrays["label"]))
    assert len(set(seen)) == len(seen) == 1438
    assert np.ptp(shares, axis=0).max() <= 1  # contiguous folds: 22 to 36 of a digit
    assert len({run.workdir for run in runs}) == 5


def test_a_cut_of_the_configuration_is_replaced():
    config = configs.load("configs/classify/softmax.py", ["config.data.split={'fractions': (0.5, 0.5)}"])
    (first, *_) = kfold.overrides(kfold.KFold(2, test=True), config, "mine")
    assert "--config.data.split={}" in first and "--config.data.test=" not in first
    (first, *_) = kfold.overrides(kfold.KFold(2, stratified=True), config, "mine")
    assert "--config.data.split={'folds': 2, 'fold': 0, 'stratified': True, 'seed': 0}" in first
    assert "--config.data.test=" in first and "--config.data.validation=" in first


@pytest.mark.curriculum("W5")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"folds": 200}, "folds=200, stratified: class 8 of 'train+validation' of digits has 139 examples, fewer"),
        ({"blocks": 2}, "blocks=2 cuts stored order, stratified=True draws"),
        ({"stratified": False, "seed": 3}, "seed=3 is of stratified folds; add stratified=True"),
        ({"seed": -1}, "config.data.split.seed=-1 must lie in"),
    ],
)
def test_impossible_folds_are_refused(tmp_path, changes, words):
    with pytest.raises(ConfigError) as error:
        planned(tmp_path, grid=None, kfold={**FOLDED, **changes})
    assert words in str(error.value) and "kfold" in str(error.value)


@pytest.mark.curriculum("W4")
def test_mean_and_deviation_over_folds(tmp_path):
    """Five folds: (95.8 + 97.2 + 94.4 + 96.5 + 95.1) / 5 = 95.8, s = 1.1068; t(4) = 2.7764 gives +-1.374."""
    from cvdl_jax.cli.sweeps.summary import over_folds
    from cvdl_jax.workdir.run_state import DONE

    values = (95.8, 97.2, 94.4, 96.5, 95.1)
    found = over_folds(list("abcde"), [{"state": DONE, "value": v} for v in values], {"unit": "%", "scale": 100})
    np.testing.assert_allclose([found["mean"], found["std"]], [95.8, np.std(values, ddof=1)])
    half = 2.776445105 * np.std(values, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose([found["low"], found["high"]], [95.8 - half, 95.8 + half])
    assert found["interval"] == "Student-t over 5 folds"


def test_the_summary_tells_stratified_folds_apart(tmp_path):
    """Folds with one split of train+validation differ in `config.data.split` alone."""
    from test_sweeps_results import finish, plan

    from cvdl_jax.cli.sweeps import summary

    sweep, runs = plan(tmp_path, grid=None, seeds=(0, 1), kfold={**FOLDED, "folds": 3})
    for run, right in zip(runs, (150, 154, 160, 164, 170, 174), strict=True):
        finish(run, right)
    found = summary.collect(sweep, runs, (), None, "now")
    (row,) = found["rows"]
    assert (row["mean"], row["std"], row["interval"]) == (81.0, 5.0, "Student-t over 3 folds")
    assert "every fold is drawn at random (seed 0), stratified by class" in found["caption"]


@pytest.mark.long
@pytest.mark.curriculum("W4", "W5", "W6")
def test_the_models_of_the_folds_are_trained_and_combined(tmp_path):
    """Three folds, each trained on the other two; on the test images their mean probability is at least as good as the
    mean of the three, and is that of the three runs' own scores."""
    flags = ["--sweep=configs/sweeps/digits_stratified.py:folds=3", f"--workdir={tmp_path / 'folds'}"]
    assert launch.main([*flags, "--config.total_epochs=4", "--config.log.tensorboard=False"]) == 0
    assert launch.main([f"--ensemble={tmp_path / 'folds'}", f"--workdir={tmp_path / 'together'}"]) == 0
    runs = sorted({path.parent.parent for path in (tmp_path / "folds").glob("**/predictions/test.npz")})
    assert len(runs) == 3
    saved = [dict(np.load(run / "predictions" / "test.npz")) for run in runs]
    held_out = [set(np.load(run / "predictions" / "validation.npz")["ids"].tolist()) for run in runs]
    assert not held_out[0] & held_out[1] and not held_out[0] & held_out[2] and sum(map(len, held_out)) == 1438
    assert not np.allclose(saved[0]["scores"], saved[1]["scores"])
    probabilities = [np.exp(s["scores"] - special.logsumexp(s["scores"], 1, keepdims=True)) for s in saved]
    label, mean = saved[0]["label"], np.mean(probabilities, 0)
    found = json.loads((tmp_path / "together" / "results.json").read_text())
    assert found["examples"] == 359 and found["average"]["right"] == (mean.argmax(1) == label).sum()
    each = [(p.argmax(1) == label).mean() for p in probabilities]
    assert found["mean"] == pytest.approx(np.mean(each)) and found["average"]["accuracy"] >= np.mean(each) > 0.85
