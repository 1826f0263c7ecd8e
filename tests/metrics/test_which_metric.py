"""Which measure fits, and the study in which accuracy misleads."""

import importlib

import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import which_metric
from experiments.studies import unbalanced


def names(**arguments):
    return [advice.metric for advice in which_metric.which_metric(**arguments)]


@pytest.mark.curriculum("N34")
def test_accuracy_is_for_balanced_classes_only():
    assert names(shares=(50, 50)) == names(shares=(1,) * 10) == ["accuracy"]
    assert names(shares=(91, 9)) == ["balanced accuracy", "Matthews correlation", "F1"]
    assert names(shares=(10, 9, 1)) == ["balanced accuracy", "Matthews correlation", "macro F1"]
    assert "always the largest class has 91.0 %" in which_metric.which_metric(shares=(91, 9))[0].why
    assert which_metric.is_unbalanced((0.8, 0.2)) and not which_metric.is_unbalanced((0.79, 0.21))


@pytest.mark.curriculum("N34")
def test_costs_and_outputs_decide():
    """Spam: a lost letter costs. Cancer: a miss costs. Scores: over all thresholds."""
    assert names(costlier="false_positive")[0] == "precision" and names(costlier="false_negative")[0] == "recall"
    assert names(output="scores") == ["ROC AUC", "accuracy"]
    assert names(output="scores", shares=(98, 2))[:2] == ["average precision", "ROC AUC"]
    assert names(output="probabilities")[:2] == ["negative log-likelihood", "ECE"]
    assert names(task="segmentation") == ["mean IoU", "mean Dice"] and names(task="regression")[0] == "MAE"
    assert names(task="detection")[0] == "COCO AP" and names(task="instances") == ["COCO mask AP"]


@pytest.mark.curriculum("N34")
def test_every_named_function_exists():
    advice = [
        a for task in ("detection", "instances", "segmentation", "regression") for a in which_metric.which_metric(task)
    ]
    for shares in ((1, 1), (9, 1), (9, 1, 1)):
        for output in ("classes", "scores", "probabilities"):
            for costlier in ("neither", "false_positive", "false_negative")[: 3 if len(shares) == 2 else 1]:
                advice += which_metric.which_metric(shares=shares, output=output, costlier=costlier)
    for each in advice:
        module, name = each.where.split(".")
        assert callable(getattr(importlib.import_module(f"cvdl_jax.metrics.{module}"), name)) and each.why


def test_nonsense_is_refused_by_name():
    with pytest.raises(ConfigError, match="task='ranking' of which_metric must be one of classification, detection"):
        which_metric.which_metric("ranking")
    with pytest.raises(ConfigError, match="costlier='false_negative' is about two classes, got shares of 3"):
        which_metric.which_metric(shares=(1, 1, 1), costlier="false_negative")
    for shares in ((1,), (0, 0), (-1, 2), (np.nan, 1)):
        with pytest.raises(DataError, match="must be those of two classes or more"):
            which_metric.majority_accuracy(shares)


@pytest.mark.curriculum("N34")
def test_study_shows_what_accuracy_hides():
    study = configs.call(unbalanced.Study, configs.load("configs/studies/unbalanced.py:smoke").study, "config.study")
    metrics, (table, curves) = unbalanced.measure(study._replace(prevalences=(0.05, 0.02)), seed=0)
    assert metrics["accuracy_never"] == pytest.approx(0.98, abs=1e-3) and metrics["balanced_accuracy_never"] == 0.5
    assert metrics["undefined_never"] == 5 and "mcc_never" not in metrics  # it is undefined, so it is no number
    assert abs(metrics["accuracy_half"] - metrics["accuracy_never"]) < 0.02  # accuracy hardly tells them apart
    assert metrics["auc"] > 0.9 > 0.75 > metrics["balanced_accuracy_half"] > 0.5  # the others do
    assert metrics["auc_of_classes"] == pytest.approx(metrics["balanced_accuracy_half"])
    assert metrics["recall_prevalence"] > metrics["recall_half"]
    assert metrics["precision_prevalence"] < metrics["precision_half"]
    assert {p: round(label.mean(), 3) for p, (label, _) in curves.items()} == {0.05: 0.05, 0.02: 0.02}
    assert metrics["ap_at_0.05"] > metrics["ap"] > 0.02  # the rarer, the worse, though the AUC hardly moves
    assert abs(metrics["auc_at_0.05"] - metrics["auc"]) < 0.05
    drawn = unbalanced.draw((table, curves))
    assert "undefined: nothing is called positive" in drawn["calling_all_negative"]
    assert drawn["which_metric"].startswith("average precision")
    flat = unbalanced.measure(study._replace(prevalences=(0.05,), penalty=1000.0), seed=0)[1][1][0.05][1]
    assert np.ptp(flat) < 0.01 < np.ptp(curves[0.05][1])  # weights that cost so much are small
    with pytest.raises(ConfigError, match=r"0\.5 needs \d+ of \d+ positives"):
        unbalanced.measure(study._replace(prevalences=(0.5,)), seed=0)


@pytest.mark.curriculum("N34")
def test_the_study_fits_training_images_and_measures_test_images(monkeypatch):
    """The pixel of positives is bright in one split and dark in the other; bytes and floats are the same images."""
    label = np.arange(40) % 4 == 0
    images = {"train": label, "test": ~label}
    splits = {name: {"image": np.uint8(255 * x)[:, None, None, None], "label": label} for name, x in images.items()}
    study = unbalanced.Study(positive=1, prevalences=(0.2,), draws=1)
    monkeypatch.setattr(unbalanced.recipe, "whole_splits", lambda *_: (None, splits))
    loaded = unbalanced.load(study)
    assert unbalanced.measure(study, 0)[0]["auc"] == 0
    floats = {name: {**x, "image": np.float32(x["image"] / 255)} for name, x in splits.items()}
    monkeypatch.setattr(unbalanced.recipe, "whole_splits", lambda *_: (None, floats))
    for name, (x, y) in unbalanced.load(study).items():
        np.testing.assert_array_equal(x, loaded[name][0])
        np.testing.assert_array_equal(y, label)
