"""The studies of probes and corruptions, of a linear classifier: each number is of its own images."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cvdl_jax.engine import trained
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import corruptions as generators
from cvdl_jax.ops.images import probes
from experiments.studies import corruptions, robustness


@pytest.fixture(scope="module")
def subject():
    return trained.classifier("")


def accuracy(subject, images, label):
    return (np.asarray(subject.logits_fn(images)).argmax(1) == label).mean()


@pytest.mark.curriculum("U10")
def test_accuracy_against_level_and_its_interval(subject):
    asked = robustness.Study(images=80, kinds=("rotation", "occlusion"))
    metrics, (clean, curves, shown) = robustness.measure(asked, 4)
    images, label = trained.examples(subject, "test", 80)
    assert metrics["accuracy"] == accuracy(subject, images, label)
    for kind, level in (("rotation", 40), ("occlusion", 0.3)):
        changed = probes.probe(images, kind, level, 4)
        value = metrics[f"{kind}_{level:g}/accuracy"]
        assert value == accuracy(subject, changed, label)
        assert metrics[f"{kind}_{level:g}/accuracy_low"] < value < metrics[f"{kind}_{level:g}/accuracy_high"]
        guess = np.asarray(subject.logits_fn(changed)).argmax(1)
        own = np.asarray(subject.logits_fn(images)).argmax(1)
        assert metrics[f"{kind}_{level:g}/consistency"] == (guess == own).mean()
    levels = probes.KINDS["rotation"][1]
    mean = np.mean([metrics[f"rotation_{level:g}/accuracy"] for level in levels])
    assert metrics["rotation/mean_accuracy"] == pytest.approx(mean)
    hit = np.asarray(subject.logits_fn(images)).argmax(1) == label
    recalls = [hit[label == c].mean() for c in range(10)]
    assert (metrics["worst_class"], metrics["best_class"]) == (min(recalls), max(recalls))
    assert metrics["rotation_80/accuracy"] < metrics["accuracy"] - 0.3
    figures = robustness.draw((clean, curves, shown))
    assert [axis.get_title() for axis in figures["robustness"].axes] == ["rotation", "occlusion"]


@pytest.mark.curriculum("U10")
def test_errors_of_corruptions_relative_to_the_first_classifier(subject, monkeypatch):
    """Another classifier that answers at random makes more errors than the linear one."""
    other = subject._replace(logits_fn=lambda x: np.random.default_rng(0).normal(size=(len(x), 10)))
    monkeypatch.setattr(corruptions.trained, "classifier", lambda workdir: other if workdir else subject)
    asked = corruptions.Study(("", "runs/random"), images=60, kinds=("contrast", "gaussian_noise"), severities=(1, 5))
    metrics, (_, rates, shown) = corruptions.measure(asked, 2)
    images, label = trained.examples(subject, "test", 60)
    errors = [1 - accuracy(subject, generators.corrupt(images, "contrast", s, 2), label) for s in (1, 5)]
    np.testing.assert_allclose(rates["linear"][1][0], errors)
    assert metrics["linear/contrast"] == pytest.approx(np.mean(errors))
    want = (rates["random"][1].sum(1) / rates["linear"][1].sum(1)).mean()
    assert metrics["random/mce"] == pytest.approx(want) and metrics["random/mce"] > 2 and "linear/mce" not in metrics
    (own, errors), (base, reference) = rates["random"], rates["linear"]
    want = ((errors - own).sum(1) / (reference - base).sum(1)).mean()
    assert metrics["random/relative_mce"] == pytest.approx(want) and metrics["random/clean_error"] == own > base
    assert metrics["linear/mean_error_low"] < metrics["linear/mean_error"] < metrics["linear/mean_error_high"]
    assert len(shown) == 3 and set(corruptions.draw((asked, rates, shown))) == {"corruptions", "corrupted"}


def test_runs_of_other_images_are_refused(subject, monkeypatch):
    splits = {**subject.data.splits, "test": subject.data.splits["validation"]}
    other = subject._replace(data=replace(subject.data, splits=splits))
    monkeypatch.setattr(corruptions.trained, "classifier", lambda workdir: other if workdir else subject)
    asked = corruptions.Study(("", "runs/other"), images=60, kinds=("contrast",), severities=(5,))
    with pytest.raises(ConfigError, match="other and linear have other images in their split 'test'"):
        corruptions.measure(asked, 2)


def test_runs_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="must be folders of different names"):
        corruptions.measure(corruptions.Study(("a/run", "b/run")), 0)


def test_scores_that_are_no_numbers_are_errors(monkeypatch):
    monkeypatch.setattr(corruptions.trained, "record", lambda *of: None)
    subject = SimpleNamespace(logits_fn=lambda x: np.full((len(x), 10), np.nan))
    asked = corruptions.Study(kinds=("contrast",), severities=(1,))
    clean, wrong, _ = corruptions.wrong_of(asked, subject, np.full((4, 8, 8, 3), 0.5, np.float32), np.zeros(4, int), 0)
    assert clean.all() and wrong.all()  # the first class is no answer
