"""A classifier's numbers on its page: from saved predictions alone, against scikit-learn; what is undefined says so."""

import numpy as np
import pytest
from reports_for_tests import Tree
from sklearn import metrics as oracle

from cvdl_jax.analysis.figures import curves
from cvdl_jax.analysis.figures.curves import panels
from cvdl_jax.metrics import calibration, classification
from cvdl_jax.report.pages import classes, numbers, scores, temperature
from cvdl_jax.workdir import predictions


def classified(c, n=120, seed=0):
    """Scores that say something of their labels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, c)).astype(np.float32)
    labels = np.where(rng.random(n) < 0.5, z.argmax(1), rng.integers(0, c, n))
    return predictions.classified("test", {"scores": z, "label": labels})


def confusions(each):
    """Its confusion matrix."""
    return classification.confusion_matrix(each.label, each.guess, each.scores.shape[1])


def page(each):
    """The section as a tree."""
    return Tree(classes.show(each.name, each, (), []))


@pytest.mark.curriculum("N4", "N21", "N23")
def test_numbers_of_two_classes_equal_scikit_learn():
    each = classified(2)
    y, score = each.label, each.scores[:, 1].astype(np.float64) - each.scores[:, 0]
    found = {name: value for name, value, _ in scores.measures(each, confusions(each))}
    p = calibration.softmax(each.scores)
    expected = {
        "balanced accuracy": oracle.balanced_accuracy_score(y, each.guess),
        "macro precision": oracle.precision_score(y, each.guess, average="macro"),
        "macro F1": oracle.f1_score(y, each.guess, average="macro"),
        "Matthews correlation": oracle.matthews_corrcoef(y, each.guess),
        "Cohen's kappa": oracle.cohen_kappa_score(y, each.guess),
        "ROC AUC": oracle.roc_auc_score(y, score),
        "Brier score": 2 * oracle.brier_score_loss(y, p[:, 1]),
        "log loss": oracle.log_loss(y, p),
        "ECE": calibration.expected_calibration_error(p, y),
        "MCE": calibration.maximum_calibration_error(p, y),
    }
    assert found.pop("average precision") >= oracle.average_precision_score(y, score)  # interpolated
    assert found == pytest.approx(expected)


@pytest.mark.curriculum("N5", "N16", "N21")
def test_page_of_several_classes():
    each = classified(4)
    tree = page(each)
    text = "".join(t for _, _, t in tree.find("section"))
    p = calibration.softmax(each.scores)
    area = oracle.roc_auc_score(each.label, p, multi_class="ovr", average="macro")
    assert f"ROC AUC, one vs rest{numbers.value(area)}" in text
    (_, has, _), *_ = tree.find("svg")
    assert has["aria-label"].startswith("Reliability diagram of test: ")
    full = (calibration.reliability(p, each.label).count > 0).sum()
    assert len(tree.find("rect")) == len(tree.find("circle")) == full


@pytest.mark.curriculum("N5", "N6", "N18")
def test_what_is_undefined_says_so():
    """Three examples of class 1, all called 0; nothing of classes 2 and 3."""
    each = predictions.classified("test", {"scores": np.zeros((3, 4), np.float32), "label": np.array([1, 1, 1])})
    tree = page(each)
    (body,) = [text for _, _, text in tree.find("table") if "Measures of the classes" in text]
    rows = body.partition("examples")[2]
    nothing = "undefined" * 3
    assert rows == f"00.0 %undefined0.0 %01undefined0.0 %0.0 %32{nothing}03{nothing}0"
    (whole,) = [text for _, _, text in tree.find("table") if text.startswith("Measures of test")]
    for name in ("Matthews correlation", "ROC AUC, one vs rest", "ROC AUC, one vs one"):
        assert f"{name}undefined" in whole
    assert "–" not in body + whole


@pytest.mark.curriculum("N5", "N21")
def test_the_temperature_of_validation_is_applied_to_test():
    """Scores four times as large as their labels deserve."""
    test, validation = (each._replace(scores=4 * each.scores) for each in (classified(4), classified(4, seed=1)))
    validation = validation._replace(name="validation")
    found = temperature.fitted([test, validation], 10**6)
    t = calibration.fit_temperature(validation.scores, validation.label)
    assert found.value == t and t > 4
    p = calibration.softmax(test.scores / t)
    expected = {
        "temperature": t,
        "log loss at it": oracle.log_loss(test.label, p),
        "Brier score at it": calibration.brier(p, test.label),
        "ECE at it": calibration.expected_calibration_error(p, test.label),
    }
    assert {name: value for name, value, _ in temperature.scaled_measures(test, t)} == pytest.approx(expected)
    before = {name: value for name, value, _ in scores.measures(test, confusions(test))}
    for name in ("log loss", "ECE", "Brier score"):
        assert expected[f"{name} at it"] < before[name]
    row = f"log loss at it{numbers.value(expected['log loss at it'])}"
    for each in (test, validation):
        (whole, *_) = Tree(scores.show(each, confusions(each), found)).find("table")
        assert (row in whole[2]) == (each is test)


def test_no_temperature_is_said_with_its_reason():
    z = np.eye(3, dtype=np.float32)
    right = predictions.classified("validation", {"scores": z, "label": np.arange(3)})
    found = temperature.fitted([right], 10**6)
    assert found.value is None and "every example is right" in found.why
    page = Tree(scores.show(classified(3), np.eye(3, dtype=int), found))
    assert any(text.startswith("No temperature was fitted: every example is right") for _, _, text in page.find("p"))
    assert temperature.fitted([classified(3)], 10**6) is None and temperature.fitted([right], 8) is None


def test_what_would_take_too_long_is_left_out(monkeypatch):
    each = classified(30)
    names = [name for name, _, _ in scores.measures(each, confusions(each))]
    assert "ECE" in names and not any("ROC" in name for name in names)
    monkeypatch.setattr(scores, "MOST_SCORES", 1000)
    tree = page(each)
    assert "Calibration is left out: more than 1,000 scores." in "".join(t for _, _, t in tree.find("p"))
    assert not tree.find("svg")


def test_a_page_without_any_finite_score():
    found = {"scores": np.full((2, 3), np.nan, np.float32), "label": np.array([0, 1])}
    tree = page(predictions.classified("test", found))
    assert "nothing can be measured" in "".join(t for _, _, t in tree.find("p"))


@pytest.mark.curriculum("N20", "N22")
def test_figures_show_the_curves():
    each = classified(2)
    score = each.scores[:, 1] - each.scores[:, 0]
    _, axes = panels([("", "", "")] * 3, 1.5)
    curves.roc(axes[0], each.label, score, "model")
    curves.precision_recall(axes[1], each.label, score, "model")
    curves.reliability(axes[2], calibration.softmax(each.scores), each.label, "model")
    said = [axis.get_legend().get_texts()[0].get_text() for axis in axes]
    ap = oracle.average_precision_score(each.label, score)
    assert said[0] == f"model: AUC {oracle.roc_auc_score(each.label, score):.3f}" and said[1] == f"model: AP {ap:.3f}"
    assert said[2].startswith("model: ECE 0.")
    fpr, tpr, _ = oracle.roc_curve(each.label, score, drop_intermediate=False)
    np.testing.assert_allclose(axes[0].lines[1].get_xydata(), np.stack([fpr, tpr], 1))
    x, y = axes[1].lines[0].get_xydata().T
    assert (np.diff(x) @ y[1:]) == pytest.approx(ap)  # the area under the steps that are drawn
