"""Few-shot episodes: what they hold, and the accuracy of the nearest prototype."""

import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import few_shot


def test_an_episode_has_its_classes_and_no_image_twice():
    labels = np.random.default_rng(0).permutation(np.repeat([3, 5, 8, 9], 7))
    drawn = list(few_shot.episodes(labels, 3, 2, 4, 40))
    classes = set()
    for support, queries in drawn:
        assert support.shape == (3, 2) and queries.shape == (3, 4)
        rows = np.concatenate([support, queries], 1)
        assert len(set(rows.reshape(-1).tolist())) == 18
        assert (labels[rows] == labels[rows[:, :1]]).all() and len(set(labels[rows[:, 0]].tolist())) == 3
        classes.add(tuple(labels[rows[:, 0]].tolist()))
    assert len(classes) > 10
    again = list(few_shot.episodes(labels, 3, 2, 4, 40))
    assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(drawn, again, strict=True))
    used = np.bincount(np.concatenate([np.concatenate(parts, 1).reshape(-1) for parts in drawn]), minlength=28)
    assert used.min() > 10  # all images are drawn, about as often
    with pytest.raises(ConfigError, match=r"5 classes with 2 \+ 4 images cannot be drawn from 4 classes"):
        next(few_shot.episodes(labels, 5, 2, 4, 1))
    with pytest.raises(ConfigError, match="one has 7 images"):
        next(few_shot.episodes(labels, 3, 4, 4, 1))


def test_accuracy_by_hand():
    """Prototypes 1 and 6 on a line: queries of class 0 at 0 and 4 (nearer to 6), of class 1 at 7 and 3.5, as near."""
    x = np.asarray([0, 2, 6, 0, 4, 7, 3.5])[:, None]
    support, queries = np.asarray([[0, 1], [2, 2]]), np.asarray([[3, 4], [5, 6]])
    assert few_shot.accuracy(x, support, queries) == 0.5


def test_measured_is_the_mean_with_its_interval():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 10)
    x = np.eye(6)[labels] + rng.normal(size=(60, 6)) * 0.5
    values = [few_shot.accuracy(x, *parts) for parts in few_shot.episodes(labels, 5, 1, 5, 30)]
    metrics = few_shot.measured(x, labels, 5, 1, 5, 30)
    assert metrics["5way_1shot_accuracy"] == pytest.approx(np.mean(values), abs=1e-3)
    half = 2.0452 * np.std(values, ddof=1) / 30**0.5  # Student's quantile for 29 degrees of freedom
    assert metrics["5way_1shot_accuracy_high"] - metrics["5way_1shot_accuracy"] == pytest.approx(half, rel=0.02)
    assert few_shot.measured(np.eye(6)[labels], labels, 5, 5, 5, 5)["5way_5shot_accuracy"] == 1
    assert 0.1 < few_shot.measured(rng.normal(size=(60, 4)), labels, 5, 1, 5, 100)["5way_1shot_accuracy"] < 0.3
