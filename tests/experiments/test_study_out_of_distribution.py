"""The study of unfamiliar examples, of a classifier of which it is known what it should find unfamiliar."""

import numpy as np
import pytest

from cvdl_jax.engine import trained
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import out_of_distribution as ood
from cvdl_jax.metrics import selective
from experiments.studies import out_of_distribution as study

OTHER = "shapes(size=32, train=2, validation=2, test=9)"


@pytest.fixture(scope="module")
def measured():
    return study.measure(study.Study(images=60, outside=(OTHER,), fitted=300))


@pytest.mark.curriculum("U12")
def test_each_number_is_of_its_own_score_and_set(measured):
    metrics, (inside, wrong, drawn) = measured
    (key,) = drawn
    assert len(wrong) == 60 and metrics["accuracy"] == pytest.approx(1 - wrong.mean()) and metrics["examples"] == 60
    for name in ("max_softmax", "max_logit", "energy", "mahalanobis"):
        assert len(drawn[key][name]) == 2 + 2 + 9  # of all splits, none of which the classifier has seen
        assert metrics[f"{key}/{name}/auroc"] == pytest.approx(ood.auroc(inside[name], drawn[key][name]))
        ends = metrics[f"{key}/{name}/auroc_low"], metrics[f"{key}/{name}/auroc_high"]
        assert ends[0] <= metrics[f"{key}/{name}/auroc"] <= ends[1]
        assert metrics[f"{key}/{name}/fpr95"] == ood.fpr_at_tpr(inside[name], drawn[key][name])
        assert metrics[f"{name}/aurc"] == selective.aurc(inside[name], wrong)
        assert metrics[f"{name}/excess_aurc"] == selective.excess_aurc(inside[name], wrong)
        assert metrics[f"{name}/coverage"] == selective.coverage_at_risk(inside[name], wrong, 0.01)
    assert metrics[f"{key}/mahalanobis/auroc"] > 0.99  # scenes are no digits
    assert len(study.draw((inside, wrong, drawn))["out_of_distribution"].axes) == 2


@pytest.mark.curriculum("U12")
def test_the_distance_is_fitted_to_training_examples(measured):
    subject = trained.classifier("")
    seen, classes = trained.examples(subject, "train", 300)
    images, _ = trained.examples(subject, "test", 60)
    flat = lambda x: x.reshape(len(x), -1)  # noqa: E731
    want = ood.mahalanobis(flat(images), ood.fit_gaussians(flat(seen), classes))
    np.testing.assert_allclose(measured[1][0]["mahalanobis"], want)


@pytest.mark.curriculum("U12")
def test_the_energy_is_of_its_temperature():
    subject = trained.classifier("")
    images, _ = trained.examples(subject, "test", 5)
    gaussians = ood.Gaussians(np.zeros((1, 64)), np.eye(64))
    numbers, logits = study.scores(study.Study(temperature=2.0), subject, gaussians, images)
    np.testing.assert_allclose(numbers["energy"], ood.energy(logits, 2.0))
    assert np.abs(numbers["energy"] - ood.energy(logits)).max() > 0.1


@pytest.mark.curriculum("U12")
def test_a_class_without_fitted_examples_is_refused(capsys):
    """As where the training examples are in the order of their classes."""
    with pytest.raises(ConfigError, match=r"config\.study\.fitted=5: the first training examples are of \d of 10"):
        study.measure(study.Study(images=60, outside=(OTHER,), fitted=5))
    assert "5 examples of 'train' are of" in capsys.readouterr().out


def test_a_split_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'validation'"):
        study.measure(study.Study(split="validatio"))
