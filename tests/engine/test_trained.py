"""A classifier and examples for studies: those of a run are what its evaluation saw; looks at its test are counted."""

import numpy as np
import pytest
from test_test_set_ledger import FLAGS

import launch
from cvdl_jax.data import load
from cvdl_jax.engine import trained
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.workdir import test_set_ledger

OTHER = "shapes(size=32, train=2, validation=2, test=5)"


@pytest.fixture(scope="module")
def linear():
    return trained.classifier("")


@pytest.mark.curriculum("U12")
def test_the_linear_classifier_is_least_squares_on_training_digits(linear):
    data = load.load("digits", train="train", test="test")
    x, test = (data.splits[name].arrays["image"].reshape(-1, 64) / 255 for name in ("train", "test"))
    truth = np.eye(10)[data.splits["train"].arrays["label"]]
    ones = np.ones((len(x), 1))
    w = np.linalg.lstsq(
        np.concatenate([np.concatenate([x, ones], 1), 0.1 * np.eye(65)]), np.concatenate([truth, np.zeros((65, 10))]),
        rcond=None,
    )[0]  # fmt: skip
    images, label = trained.examples(linear, "test")
    np.testing.assert_allclose(linear.logits_fn(images), 10 * (test @ w[:-1] + w[-1]), atol=2e-3)
    assert len(label) == 359 and (np.asarray(linear.logits_fn(images)).argmax(1) == label).mean() > 0.9
    few, few_labels = trained.examples(linear, "test", 7)
    np.testing.assert_array_equal(few, images[:7])
    np.testing.assert_array_equal(few_labels, label[:7])
    np.testing.assert_array_equal(linear.features(few, "pre_logits"), few.reshape(7, 64))


def test_images_of_another_set_become_those_of_the_classifier(linear):
    images = trained.outside(linear, OTHER, "test")
    assert images.shape == (5, 8, 8, 1) and images.dtype == np.float32 and 0 <= images.min() < images.max() <= 1
    assert len(trained.outside(linear, OTHER, "test", 3)) == 3
    with pytest.raises(DataError, match="blobs has no images"):
        trained.outside(linear, "blobs")


def test_what_does_not_exist_is_refused(linear):
    with pytest.raises(ConfigError, match=r"config\.study\.split='tests' is not a split of this run; did you mean"):
        trained.examples(linear, "tests")
    with pytest.raises(ConfigError, match="one layer, 'pre_logits'"):
        linear.features(np.zeros((1, 8, 8, 1)), "stages.0")


@pytest.mark.long
@pytest.mark.curriculum("U12")
def test_a_run_gives_what_it_predicted_and_its_test_is_looked_at_once(tmp_path):
    run = tmp_path / "run"
    assert launch.main([*FLAGS, f"--workdir={run}"]) == 0
    subject = trained.classifier(str(run))
    images, label = trained.examples(subject, "test")
    with np.load(run / "predictions" / "test.npz") as kept:
        np.testing.assert_allclose(subject.logits_fn(images), kept["scores"], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(label, kept["label"])
    accuracy = (np.asarray(subject.logits_fn(images)).argmax(1) == label).mean()
    trained.record(subject, "test", accuracy)
    assert len(test_set_ledger.looks(run)) == 1  # the end of the run saw the same
    assert subject.look("validation") is None
    features = subject.features(images[:3], "pre_logits")
    assert features.shape == (3, 64)
    with pytest.raises(ConfigError, match="pre_logits"):
        subject.features(images[:3], "pre_logit")
