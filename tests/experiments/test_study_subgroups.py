"""The study of groups: each image is in its own group, by brightness and by an entry of the data set."""

import numpy as np
import pytest

from cvdl_jax.engine import trained
from cvdl_jax.errors import ConfigError
from experiments.studies import subgroups as study


@pytest.mark.curriculum("X16")
def test_groups_by_brightness_and_by_an_entry():
    metrics, gaps = study.measure(study.Study(images=90, positive=8), 0)
    subject = trained.classifier("")
    images, label = trained.examples(subject, "test", 90)
    hits = np.asarray(subject.logits_fn(images)).argmax(1) == label
    ranks = images.mean((1, 2, 3)).argsort().argsort()
    for i, name in enumerate(study.BRIGHTNESS):
        own = (ranks >= 30 * i) & (ranks < 30 * (i + 1))
        rate = gaps["accuracy"].rates[name]
        assert rate.n == 30 and metrics[f"{name}/accuracy"] == pytest.approx(hits[own].mean())
    assert metrics["worst_group"] == min(metrics[f"{name}/accuracy"] for name in study.BRIGHTNESS)
    assert "demographic_parity_gap" in metrics and "subgroups" in study.draw(gaps)
    first = study.measure(study.Study(images=90, positive=0), 0)[1]["demographic_parity"].rates  # a class as any other
    named = np.asarray(subject.logits_fn(images)).argmax(1) == 0
    assert sum(rate.hits for rate in first.values()) == named.sum() > 0
    by_class = study.groups_of(study.Study(group="label"), subject, images)
    names = subject.data.class_names
    np.testing.assert_array_equal(by_class, [str(names[c]) if names else str(c) for c in label])


def test_a_group_that_is_none_is_refused():
    subject = trained.classifier("")
    with pytest.raises(ConfigError, match=r"study\.group: 'labl' is no entry of .* digits; did you mean 'label'"):
        study.groups_of(study.Study(group="labl"), subject, np.zeros((3, 8, 8, 1)))
    with pytest.raises(ConfigError, match=r"config\.study\.positive=10 is not one of 10 classes"):
        study.measure(study.Study(images=20, positive=10), 0)
