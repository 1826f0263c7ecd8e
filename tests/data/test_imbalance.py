"""Classes that are not equally frequent: weights of the loss, re-sampling of the training split."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from cvdl_jax.config import configs
from cvdl_jax.data import class_weights, resample
from cvdl_jax.data.load import load
from cvdl_jax.engine import build
from cvdl_jax.errors import ConfigError

SMOKE = "configs/classify/softmax.py:smoke"


@pytest.mark.curriculum("W18")
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_balanced_weights_are_scikit_learns(labels):
    labels = np.array([*labels, 0, 1, 2, 3])
    weights = class_weights.balanced(labels, 4)
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(4), y=labels))
    assert weights[labels].mean() == pytest.approx(1)


@pytest.mark.curriculum("W18")
def test_weights_of_examples():
    weights = (1.0, 3.0)
    np.testing.assert_allclose(class_weights.of_examples(weights, jnp.array([0, 1, 1]), 2), [1, 3, 3])
    np.testing.assert_allclose(class_weights.of_examples(weights, jnp.array([[0.5, 0.5], [0, 1]]), 2), [2, 3])
    np.testing.assert_allclose(class_weights.of_examples((), jnp.array([5, 7]), 10), [1, 1])
    for wrong in ((1.0,), (1.0, 0.0), (1.0, float("inf"))):
        with pytest.raises(ConfigError, match="must be 2 positive numbers"):
            class_weights.of_examples(wrong, jnp.array([0]), 2)


@pytest.mark.curriculum("W18")
def test_the_training_loss_is_the_weighted_mean():
    """One step of a linear model from zero weights: its loss is log 10 whatever the weights, its gradient is not."""
    import jax

    from cvdl_jax.core.task import create_state, step_function

    rng = np.random.default_rng(0)
    batch = {"image": jnp.asarray(rng.uniform(size=(4, 8, 8, 1)), jnp.float32), "label": jnp.array([0, 1, 1, 2])}

    def kernel(flags, batch):
        built = build.build(configs.load(SMOKE, ["--config.optim.name=sgd", "--config.optim.lr=1.0", *flags]))
        state = create_state(built.task, jax.random.key(0), batch)
        state = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))
        state, sums = jax.jit(step_function(built.task, 0))(state, batch)
        total, weight = sums["loss"]
        assert total / weight == pytest.approx(np.log(10), rel=1e-6)
        return jax.tree.leaves(state.params)[-1]

    weights = (1.0, 2.0, 5.0, *(1.0,) * 7)
    weighted = kernel([f"--config.class_weights={weights}"], batch)
    rows = np.repeat(np.arange(4), [1, 2, 2, 5])  # the same as repeating examples
    repeated = kernel([], {name: x[rows] for name, x in batch.items()})
    np.testing.assert_allclose(weighted, repeated, atol=1e-6)
    assert np.abs(weighted - kernel([], batch)).max() > 1e-3


@pytest.mark.curriculum("W18")
def test_balanced_is_fitted_on_the_training_split():
    config = configs.load(SMOKE, ["--config.class_weights=balanced", "--config.data.train=train[:40]"])
    data = build.load_data(config)
    labels = data.splits["train"].arrays["label"]
    weights = build.fitted(config, data).class_weights
    np.testing.assert_allclose(weights, 40 / (10 * np.bincount(labels, minlength=10)))
    config.data.train = "train[:8]"
    with pytest.raises(ConfigError, match=r"class \d has no training examples"):
        build.fitted(config, build.load_data(config))
    with pytest.raises(ConfigError, match="class_weights"):
        build.build(configs.load(SMOKE, ["--config.class_weights=balancd"]))


@pytest.mark.curriculum("W18")
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 100))
def test_resampled_classes_are_equally_frequent(labels, seed):
    labels = np.array(labels)
    counts = np.unique(labels, return_counts=True)[1]
    more, less = (resample.places(kind, labels, seed) for kind in resample.KINDS)
    assert set(np.unique(labels[more], return_counts=True)[1]) == {counts.max()}
    assert set(np.unique(labels[less], return_counts=True)[1]) == {counts.min()}
    assert len(np.unique(less)) == len(less)  # nothing repeats
    assert len(np.unique(more)) == len(labels)  # nothing is lost
    for label in np.unique(labels):
        times = np.unique(more[labels[more] == label], return_counts=True)[1]
        assert times.max() - times.min() <= 1


@pytest.mark.curriculum("W18")
def test_a_run_can_resample_its_training_split():
    settings = {"train": "train[:100]", "validation": "validation"}
    plain, more = load("digits", **settings), load("digits", resample="oversample", **settings)
    counts = np.bincount(plain.splits["train"].arrays["label"])
    assert more.splits["train"].size == 10 * counts.max() and len(set(counts)) > 1
    assert (np.bincount(more.splits["train"].arrays["label"]) == counts.max()).all()
    assert more.splits["validation"].size == plain.splits["validation"].size
    assert more.fingerprint != plain.fingerprint
    assert set(more.splits["train"].ids) == set(plain.splits["train"].ids)
    with pytest.raises(ConfigError, match="did you mean 'oversample'"):
        load("digits", resample="oversampled", **settings)
    with pytest.raises(ConfigError, match="needs a training split"):
        load("digits", train="", validation="validation", resample="oversample")
