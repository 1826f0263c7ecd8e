"""Rates of confusion matrices: the worked tables, what is undefined, scikit-learn on random cases."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as oracle

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import classification, confusion
from cvdl_jax.metrics.confusion import Counts

TUMOURS = Counts(tp=1, fp=1, fn=8, tn=90)  # OR17
WORKED = {
    "accuracy": 0.91, "prevalence": 0.09, "precision": 0.5, "recall": 0.111111, "specificity": 0.989011,
    "fpr": 0.010989, "fnr": 0.888889, "fdr": 0.5, "for": 0.081633, "npv": 0.918367, "lr_plus": 10.111111,
    "lr_minus": 0.898765, "dor": 11.25, "f1": 0.181818, "f2": 0.131579, "f0.5": 0.294118, "mcc": 0.204665,
    "balanced_accuracy": 0.550061, "jaccard": 0.1,
}  # fmt: skip
SMALL = st.integers(0, 6)
TABLES = st.tuples(SMALL, SMALL, SMALL, SMALL).filter(sum).map(lambda t: Counts(*t))


def each_mark(name, row):
    return pytest.param(name, marks=pytest.mark.curriculum(row))


NAMES = {
    "accuracy": "N2", "prevalence": "N13", "precision": "N5", "recall": "N6", "specificity": "N7", "fpr": "N8",
    "fnr": "N9", "fdr": "N10", "for": "N11", "npv": "N12", "lr_plus": "N14", "lr_minus": "N14", "dor": "N15",
    "f1": "N16", "f2": "N17", "f0.5": "N17", "mcc": "N18", "balanced_accuracy": "N4", "jaccard": "N19",
}  # fmt: skip


@pytest.mark.parametrize("name", [each_mark(name, row) for name, row in NAMES.items()])
def test_each_rate_of_the_worked_table(name):
    """91 % accuracy while eight of nine tumours are missed."""
    found = confusion.ENTRIES[name].rate(TUMOURS)
    assert found == pytest.approx(WORKED[name], abs=5e-7)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int64", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_rates_do_not_depend_on_the_dtype_of_the_counts(name, dtype):
    """Sums of uint8 counts beyond 255 began anew at 0: an accuracy of 2.853."""
    large = Counts(tp=127, fp=119, fn=101, tn=90)
    narrow = Counts(*(np.array([x, x], dtype) for x in large))
    rate = confusion.ENTRIES[name].rate
    np.testing.assert_allclose(rate(narrow), [rate(large)] * 2, rtol=1e-12)
    assert rate(narrow).dtype == np.float64


@pytest.mark.curriculum("N35")
def test_one_call_gives_them_all():
    report = confusion.report(1, 1, 8, 90)
    assert report.values.keys() == WORKED.keys() == NAMES.keys() and report.undefined == ()
    assert report.values == pytest.approx(WORKED, abs=5e-7)
    labels, said = np.repeat([1, 0, 1, 0], [1, 1, 8, 90]), np.repeat([1, 1, 0, 0], [1, 1, 8, 90])
    assert confusion.report_of(labels, said) == report
    lines = report.text().splitlines()
    assert lines[0] == "TP 1  FP 1  FN 8  TN 90" and len(lines) == 20
    assert "diagnostic odds ratio            11.250000" in lines


@pytest.mark.curriculum("N6", "N17")
def test_the_common_slips_are_not_made():
    """OR18: (1 + beta)^2 in place of 1 + beta^2 would double F1; TP / (TP + FP) is precision, not recall."""
    assert confusion.f_beta(TUMOURS, 1) == pytest.approx(2 * 0.5 * (1 / 9) / (0.5 + 1 / 9))
    assert confusion.f_beta(TUMOURS, 1) != pytest.approx(0.363636, abs=1e-3)
    assert confusion.recall(TUMOURS) != pytest.approx(0.5, abs=1e-3)


FIGURE = [  # OR19: (counts), accuracy, recall, precision, F1, MCC; NaN where undefined
    ((0, 0, 1, 4), 0.8, 0, math.nan, 0, math.nan),
    ((4, 1, 0, 0), 0.8, 1, 0.8, 0.888889, math.nan),
    ((4, 1, 1, 4), 0.8, 0.8, 0.8, 0.8, 0.6),
    ((8, 2, 2, 0), 0.666667, 0.8, 0.8, 0.8, -0.2),
    ((8, 0, 2, 2), 0.833333, 0.8, 1, 0.888889, 0.632456),
    ((4, 1, 5, 0), 0.4, 0.444444, 0.8, 0.571429, -0.333333),
    ((4, 1, 0, 5), 0.9, 1, 0.8, 0.888889, 0.816497),
]


@pytest.mark.curriculum("N18", "N5", "N16")
@pytest.mark.parametrize("row", FIGURE, ids=lambda row: "-".join(map(str, row[0])))
def test_rows_of_the_figure(row):
    c = Counts(*row[0])
    found = [
        f(c) for f in (confusion.accuracy, confusion.recall, confusion.precision, confusion.f1, confusion.matthews)
    ]
    np.testing.assert_allclose(found, row[1:], atol=5e-7)


@pytest.mark.curriculum("N18")
def test_matthews_is_undefined_without_a_positive_prediction():
    """ER4: an accuracy of 0.8 cannot have a correlation of -1; 0 / 0 stays NaN unless asked otherwise."""
    assert (
        math.isnan(confusion.matthews(Counts(0, 0, 1, 4)))
        and confusion.matthews(Counts(0, 0, 1, 4), undefined=0.0) == 0
    )
    assert confusion.matthews(Counts(0, 1, 1, 0)) == -1 and confusion.matthews(Counts(3, 0, 0, 2)) == 1
    large = Counts(10**12, 10**11, 10**11, 10**12)  # products of these overflow 64-bit integers
    assert confusion.matthews(large) == pytest.approx(confusion.matthews(Counts(10, 1, 1, 10)))


@pytest.mark.curriculum("N35", "N14")
def test_what_is_undefined_is_named_and_never_zero():
    report = confusion.report(0, 0, 1, 4)
    assert report.undefined == ("precision", "fdr", "lr_plus", "dor", "mcc")
    assert "precision, PPV                   undefined: nothing is called positive" in report.text().splitlines()
    report = confusion.report(3, 0, 0, 2)
    assert report.values["lr_plus"] == report.values["dor"] == math.inf and report.values["lr_minus"] == 0
    assert report.undefined == () and "infinite" in report.text()
    assert set(confusion.report(0, 0, 0, 5).undefined) == {
        "precision", "recall", "fnr", "fdr", "lr_plus", "lr_minus", "dor", "f1", "f2", "f0.5", "mcc",
        "balanced_accuracy", "jaccard",
    }  # fmt: skip
    assert confusion.negative_likelihood_ratio(Counts(1, 1, 1, 0)) == math.inf


@pytest.mark.curriculum("N8", "N9", "N10")
@given(TABLES)
def test_complements_and_identities(c):
    report = confusion.report(*c)
    assert set(report.undefined) == {name for name, x in report.values.items() if math.isnan(x)}
    pairs = [("fpr", "specificity"), ("fnr", "recall"), ("fdr", "precision"), ("for", "npv")]
    for one, other in pairs:
        np.testing.assert_allclose(report.values[one], 1 - report.values[other], atol=1e-12)
    f1, iou = report.values["f1"], report.values["jaccard"]
    np.testing.assert_allclose(f1, 2 * iou / (1 + iou), atol=1e-12)  # both NaN together
    for name, why in ((n, confusion.ENTRIES[n].undefined) for n in report.undefined):
        assert why, name


@pytest.mark.curriculum("N11", "N12", "N15")
@given(TABLES)
def test_odds_and_negative_predictions(c):
    found = confusion.diagnostic_odds_ratio(c)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_ratios = np.float64(confusion.positive_likelihood_ratio(c)) / confusion.negative_likelihood_ratio(c)
    if not math.isnan(by_ratios):
        assert found == pytest.approx(float(by_ratios))
    turned = Counts(c.tn, c.fn, c.fp, c.tp)  # the other class is the positive one
    np.testing.assert_array_equal(confusion.negative_predictive_value(c), confusion.precision(turned))
    np.testing.assert_array_equal(confusion.false_omission_rate(c), confusion.false_discovery_rate(turned))
    np.testing.assert_array_equal(confusion.specificity(c), confusion.recall(turned))


@pytest.mark.curriculum("N4", "N7", "N13")
@given(TABLES)
def test_rates_equal_scikit_learn(c):
    y, p = np.repeat([1, 0, 1, 0], c), np.repeat([1, 1, 0, 0], c)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = {
            confusion.precision: oracle.precision_score(y, p, zero_division=np.nan),
            confusion.recall: oracle.recall_score(y, p, zero_division=np.nan),
            confusion.specificity: oracle.recall_score(y, p, pos_label=0, zero_division=np.nan),
            confusion.f1: oracle.f1_score(y, p, zero_division=np.nan),
            confusion.jaccard: oracle.jaccard_score(y, p, zero_division=0),
            confusion.matthews: oracle.matthews_corrcoef(y, p),
            confusion.balanced_accuracy: oracle.balanced_accuracy_score(y, p),
        }
        theirs[lambda c: confusion.f_beta(c, 2)] = oracle.fbeta_score(y, p, beta=2, zero_division=np.nan)
    assert confusion.accuracy(c) == np.mean(y == p) and confusion.prevalence(c) == np.mean(y)
    for ours, expected in theirs.items():
        found = ours(c)
        if not math.isnan(found):  # theirs leaves the absent class out of the mean, or says 0
            np.testing.assert_allclose(found, expected, atol=1e-12)
        else:
            below = (c.tp + c.fp) * (c.tp + c.fn) * (c.tn + c.fp) * (c.tn + c.fn)
            assert below == 0


@pytest.mark.curriculum("N35", "N6")
def test_counts_come_from_labels_and_from_scores():
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    assert confusion.counts_at(labels, scores, 0.4) == (1, 1, 1, 1)
    assert confusion.counts_at(labels, scores, np.inf) == (0, 0, 2, 2)
    assert confusion.counts_at(labels, scores, 0.0) == (2, 2, 0, 0)
    assert confusion.counts([2, 1, 2, 0], [2, 2, 1, 0], positive=2) == (1, 1, 1, 1)


@pytest.mark.curriculum("N35")
def test_nonsense_is_refused_by_name():
    for wrong, said in [
        (lambda: confusion.report(-1, 1, 1, 1), "tp=-1 must be a count"),
        (lambda: confusion.report(0, 0, 0, 0), "at least one example"),
        (lambda: confusion.report(1, np.nan, 1, 1), "fp=nan is not finite"),
        (lambda: confusion.counts([], []), r"labels has shape \[0\]"),
        (lambda: confusion.counts([0, 1], [0.2, 0.9]), "predictions are float64; expected whole numbers"),
        (lambda: confusion.counts([0, 1], [0]), "differ in length"),
        (lambda: confusion.counts_at([0, 1], [0.2, np.inf], 0.5), r"scores\[1\]=inf is not finite"),
        (lambda: confusion.counts_at([0, 2], [0.2, 0.1], 0.5), r"labels\[1\]=2 is not one of the 2 classes"),
        (lambda: classification.accuracy(np.zeros((2, 3))), "must be square counts"),
        (lambda: classification.accuracy([[1, 0], [0, np.nan]]), r"confusions\[1, 1\]=nan is not finite"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=said):
            wrong()
    with pytest.raises(ConfigError, match="beta=-1 of f_beta"):
        confusion.f_beta(TUMOURS, -1)


CONFUSIONS = hnp.arrays(np.int64, (4, 4), elements=st.integers(0, 4)).filter(lambda m: m.sum() > 0)


@pytest.mark.curriculum("N1", "N5", "N19")
@given(CONFUSIONS)
def test_averages_over_classes_equal_scikit_learn(m):
    y, p = (np.repeat(np.indices(m.shape)[i].ravel(), m.ravel()) for i in (0, 1))
    for rate, score in (
        (confusion.precision, oracle.precision_score),
        (confusion.recall, oracle.recall_score),
        (confusion.f1, oracle.f1_score),
    ):
        found = classification.averages(m, rate)
        each, *means = (
            score(y, p, labels=range(4), average=a, zero_division=np.nan) for a in (None, "macro", "micro", "weighted")
        )
        np.testing.assert_allclose(found.per_class, each, atol=1e-12)
        assert found.undefined == tuple(np.flatnonzero(np.isnan(each)))
        np.testing.assert_allclose((found.macro, found.micro), means[:2], atol=1e-12)
        if set(found.undefined) <= set(np.flatnonzero(m.sum(1) == 0)):
            np.testing.assert_allclose(found.weighted, means[2], atol=1e-12)
    known = m.sum(0) + m.sum(1) > 0
    iou = classification.averages(m, confusion.jaccard)
    np.testing.assert_allclose(iou.per_class[known], oracle.jaccard_score(y, p, average=None), atol=1e-12)
    np.testing.assert_allclose(iou.macro, oracle.jaccard_score(y, p, average="macro"), atol=1e-12)


@pytest.mark.curriculum("N4", "N18")
@given(CONFUSIONS)
def test_numbers_of_a_whole_matrix_equal_scikit_learn(m):
    y, p = (np.repeat(np.indices(m.shape)[i].ravel(), m.ravel()) for i in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        balanced, kappa = oracle.balanced_accuracy_score(y, p), oracle.cohen_kappa_score(y, p)
        matthews = oracle.matthews_corrcoef(y, p)
    np.testing.assert_allclose(classification.balanced_accuracy(m), balanced, atol=1e-12)
    np.testing.assert_allclose(classification.kappa(m), kappa, atol=1e-12)
    assert classification.accuracy(m) == pytest.approx(oracle.accuracy_score(y, p))
    one_class = 1 in (len(set(y)), len(set(p)))
    assert math.isnan(classification.matthews(m)) == one_class
    np.testing.assert_allclose(classification.matthews(m, undefined=0.0), matthews, atol=1e-12)


@pytest.mark.curriculum("N18", "N19")
@given(TABLES)
def test_two_classes_are_a_binary_problem(c):
    m = [[c.tn, c.fp], [c.fn, c.tp]]
    np.testing.assert_allclose(classification.matthews(m), confusion.matthews(c), atol=1e-12)
    for rate in (confusion.recall, confusion.jaccard, confusion.f1):
        np.testing.assert_array_equal(classification.averages(m, rate).per_class[1], rate(c))
    np.testing.assert_allclose(classification.averages(m, confusion.f1).micro, confusion.accuracy(c), atol=1e-12)
