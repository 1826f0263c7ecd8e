"""Wrong labels: exactly so many, of the right kind, drawn for each example by itself; and the study of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import State, create_state
from cvdl_jax.data.label_noise import corrupted
from cvdl_jax.errors import ConfigError, DataError
from experiments.studies import noisy_labels

LABELS = np.random.default_rng(0).integers(0, 5, 2000)


@pytest.mark.curriculum("U13")
@pytest.mark.parametrize("share", [0.0, 0.13, 0.6, 1.0])
def test_exactly_the_share_is_wrong(share):
    for kind in ("symmetric", "asymmetric"):
        noisy = corrupted(LABELS, share, 5, kind, seed=3)
        assert noisy.wrong.sum() == round(share * 2000)
        np.testing.assert_array_equal(noisy.label != LABELS, noisy.wrong)
        assert noisy.label.dtype == np.int32


@pytest.mark.curriculum("U13")
def test_what_a_wrong_label_becomes():
    noisy = corrupted(LABELS, 0.5, 5, "asymmetric")
    np.testing.assert_array_equal(noisy.label[noisy.wrong], (LABELS[noisy.wrong] + 1) % 5)
    noisy = corrupted(LABELS, 0.5, 5)
    moves = np.bincount((noisy.label - LABELS)[noisy.wrong] % 5, minlength=5)
    assert moves[0] == 0 and (np.abs(moves[1:] / 1000 - 0.25) < 0.05).all()
    of_class = np.bincount(LABELS, noisy.wrong) / np.bincount(LABELS)
    assert (np.abs(of_class - 0.5) < 0.1).all()


@pytest.mark.curriculum("U13")
def test_draws_are_of_the_seed_and_the_example():
    one, other = corrupted(LABELS, 0.3, 5, seed=1), corrupted((LABELS + 2) % 5, 0.3, 5, seed=1)
    np.testing.assert_array_equal(one.wrong, other.wrong)  # whatever the labels are
    np.testing.assert_array_equal((one.label - LABELS) % 5, (other.label - LABELS - 2) % 5)
    assert (corrupted(LABELS, 0.3, 5, seed=2).wrong != one.wrong).any()
    more = corrupted(LABELS, 0.6, 5, seed=1)
    assert more.wrong[one.wrong].all() and (more.label[one.wrong] == one.label[one.wrong]).all()


def test_noise_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"share=1\.5 must be in 0\.\.1"):
        corrupted(LABELS, 1.5, 5)
    with pytest.raises(DataError, match=r"labels must be classes 0 \.\.\. 3"):
        corrupted(LABELS, 0.1, 4)
    with pytest.raises(ConfigError, match="kind='pairs' must be"):
        corrupted(LABELS, 0.1, 5, "pairs")


@pytest.mark.curriculum("U13")
def test_draws_of_the_study_are_of_its_seed_and_of_the_step():
    config = configs.load("configs/studies/noisy_labels.py:smoke")
    study = configs.call(noisy_labels.Study, config.study, "config.study")
    data = [noisy_labels.load(study, seed)[0] for seed in (1, 1, 2)]
    first, again, other = (np.asarray(one["train"]["noisy"]) for one in data)
    assert (first == again).all() and (first != other).any()
    state = State(jnp.int32(0), {}, {}, data[0])
    rows = [np.asarray(noisy_labels.draw(8, state, {}, jax.random.key(i))[1]["image"]) for i in (0, 1)]
    assert (rows[0] != rows[1]).any()


@pytest.mark.parametrize(("shares", "words"), [((0.0, 0.01), "0.01 of 32 images is none"), ((0.5, 0.5), "named twice")])
def test_shares_without_a_wrong_label_and_equal_ones_are_refused(shares, words):
    """Of none, there would be no share that is learned by heart; of equal ones, one would hide the other."""
    config = configs.load("configs/studies/noisy_labels.py:smoke")
    config.study.shares = shares
    with pytest.raises(ConfigError, match=words):
        noisy_labels.make(config, Info(None, (), {}, {}, 16, 2, 1.0, 0))


@pytest.mark.curriculum("U13")
def test_only_training_labels_are_wrong_and_networks_learn_by_themselves():
    config = configs.load("configs/studies/noisy_labels.py:smoke")
    config.study.update({"shares": (0.0, 0.5), "examples": 40})
    config.model = {"name": "mlp", "hidden": (6,)}
    config.optim = {"name": "sgd", "lr": 0.5, "momentum": 0.0}
    task = noisy_labels.make(config, Info(None, (), {}, {}, 16, 2, 1.0, 7))
    state = create_state(task, jax.random.key(0), {})
    train = state.extra["train"]
    assert set(state.extra["validation"]) == set(state.extra["test"]) == {"image", "true"}
    np.testing.assert_array_equal(train["wrong"].sum(0), [0, 20])
    np.testing.assert_array_equal(train["noisy"][:, 0], train["true"])
    np.testing.assert_array_equal(train["noisy"] != train["true"][:, None], train["wrong"])
    new, batch, sums = jax.jit(task.train.update)(state, {}, jax.random.key(1))
    model = noisy_labels.registry.create(
        config.model, "config.model", kinds=("backbones",), num_classes=10, dtype="float32"
    )

    def mean_loss(params, labels):
        logits = model.apply({"params": params}, batch["image"] / 255, False)[0]
        return -(jax.nn.log_softmax(logits)[jnp.arange(16), labels]).mean()

    total = 0.0
    for i in range(2):
        params = jax.tree.map(lambda x, i=i: x[i], state.params["networks"])
        value, slopes = jax.value_and_grad(mean_loss)(params, batch["noisy"][:, i])
        moved = jax.tree.map(lambda p, g: p - 0.5 * g, params, slopes)
        after = jax.tree.map(lambda x, i=i: x[i], new.params["networks"])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after, moved)
        total += value
    np.testing.assert_allclose(sums["loss"][0] / sums["loss"][1], total, rtol=1e-5)
    measured = jax.jit(task.evals["test"].step)(new, {}, jax.random.key(0))
    params = jax.tree.map(lambda x: x[1], new.params["networks"])
    guess = {k: model.apply({"params": params}, new.extra[k]["image"] / 255, False)[0].argmax(-1) for k in new.extra}
    assert measured["accuracy_0.5"][0] == pytest.approx((guess["test"] == new.extra["test"]["true"]).mean())
    wrong = np.asarray(train["wrong"][:, 1])
    for name, labels in (("noisy", train["noisy"][:, 1]), ("true", train["true"])):
        hits = np.asarray(guess["train"] == labels)
        assert measured[f"mislabelled_as_{name}_0.5"][0] == pytest.approx(hits[wrong].mean())
        assert measured[f"train_{name}_0.5"][0] == pytest.approx(hits.mean())
    assert "mislabelled_as_noisy_0" not in measured and task.evals["test"].final
