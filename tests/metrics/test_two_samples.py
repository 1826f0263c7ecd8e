"""Two-sample tests by hand and against SciPy and our own discrepancy; and the report of two sets of images."""

import numpy as np
import pytest
from scipy import stats

from cvdl_jax.analysis import data_differences
from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats import two_samples
from cvdl_jax.ops.distribution_shift import mean_discrepancy

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("U6")
def test_one_number_by_hand_and_by_scipy():
    """1, 2 against 2, 3: of four pairs three rise and one is equal."""
    test = two_samples.kolmogorov_smirnov([1, 2], [2, 3])
    assert test.statistic == 0.5 and test.delta == 0.75
    first, second = RNG.normal(size=40), RNG.normal(0.7, 1.5, size=60)
    test, want = two_samples.kolmogorov_smirnov(first, second), stats.ks_2samp(first, second)
    assert (test.statistic, test.p) == pytest.approx((want.statistic, want.pvalue))
    assert test.delta == pytest.approx(np.sign(second[:, None] - first[None]).mean())


@pytest.mark.curriculum("U6")
def test_the_discrepancy_is_ours_and_its_p_value_is_honest():
    first, second = RNG.normal(size=(15, 3)), RNG.normal(0.4, 1, size=(20, 3))
    test = two_samples.discrepancy(first, second, permutations=99, scale=1.3)
    want = mean_discrepancy(first.astype(np.float32), second.astype(np.float32), 1.3)
    assert test.value == pytest.approx(float(want), abs=1e-5) and test.scale == 1.3
    both = np.concatenate([first, second])
    distances = np.linalg.norm(both[:, None] - both[None], axis=-1)[np.triu_indices(35, 1)]
    assert two_samples.discrepancy(first, second, 1).scale == pytest.approx(np.median(distances))
    p = [two_samples.discrepancy(*RNG.normal(size=(2, 12, 2)), permutations=49, seed=i).p for i in range(60)]
    assert min(p) >= 0.02 and 0.3 < np.mean(p) < 0.7  # uniform where nothing differs
    assert two_samples.discrepancy(first, first + 3, permutations=99).p == 0.01


@pytest.mark.curriculum("U6")
def test_a_classifier_tells_what_differs_and_only_that():
    first = RNG.normal(size=(61, 2))
    told = two_samples.told_apart(first, RNG.normal(size=(80, 2)) + [3, 0])
    assert told.n == 60 and told.accuracy > 0.85
    assert told.p == pytest.approx(stats.binomtest(told.right, 60, 0.5, alternative="greater").pvalue)
    same = [two_samples.told_apart(*RNG.normal(size=(2, 40, 2)), seed=i).accuracy for i in range(20)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.06)


@pytest.mark.curriculum("U6")
def test_measures_of_an_image_by_hand():
    ramp = np.tile(np.linspace(0, 1, 5)[None, :, None], (3, 1, 1))
    numbers = {name: x[0] for name, x in data_differences.measures([ramp]).items()}
    assert numbers["height"] == 3 and numbers["width"] == 5 and numbers["brightness"] == pytest.approx(0.5)
    assert numbers["contrast"] == pytest.approx(np.sqrt(0.125)) and numbers["slope"] == pytest.approx(1)
    assert "warmth" not in numbers
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    numbers = {name: x[0] for name, x in data_differences.measures([red]).items()}
    assert (numbers["warmth"], numbers["green"], numbers["saturation"]) == (1, -0.5, 1)
    assert numbers["brightness"] == pytest.approx(0.299) and numbers["fineness"] == 0


@pytest.mark.curriculum("U6")
def test_a_report_names_what_differs():
    images = RNG.uniform(0.2, 0.6, (80, 6, 6, 3))
    darker = images[40:] * [1.0, 1.0, 0.7]
    report = data_differences.report(list(images[:40]), list(darker))
    rows = report["measures"]
    assert rows["warmth"]["corrected"] < 1e-6 and rows["warmth"]["delta"] > 0.9
    assert rows["height"]["corrected"] == 1 and rows["height"]["delta"] == 0
    assert all(row["corrected"] >= row["p"] for row in rows.values())
    assert report["classifier"]["accuracy"] > 0.9 and report["discrepancy"]["p"] == 1 / 500
    text = data_differences.lines(report)
    assert text[0].startswith(("  warmth", "  saturation", "  green")) and "told apart with accuracy" in text[-1]
    same = data_differences.report(list(images[:40]), list(images[40:]))
    assert min(row["corrected"] for row in same["measures"].values()) > 0.01
    flat = [np.zeros((2, 2, 1))] * 5
    assert data_differences.report(flat, flat)["classifier"] is None


def test_what_is_no_sample_is_refused():
    with pytest.raises(DataError, match=r"a sample is finite numbers"):
        two_samples.kolmogorov_smirnov([np.nan], [1])
    with pytest.raises(DataError, match=r"one number of each example is compared, got \[\[9, 2\], \[9, 2\]\]"):
        two_samples.kolmogorov_smirnov(np.zeros((9, 2)), np.eye(9)[:, :2])
    with pytest.raises(DataError, match="most rows are equal"):
        two_samples.discrepancy(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(DataError, match="four rows of each"):
        two_samples.told_apart(np.zeros((3, 2)), np.zeros((9, 2)))
