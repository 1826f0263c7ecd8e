"""What adversarial training changes in a step, and what robust evaluations measure."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.core.task import State
from cvdl_jax.engine import adversarial
from cvdl_jax.errors import ConfigError

W = np.random.default_rng(2).normal(size=(16, 2)).astype(np.float32)
X = jnp.asarray(np.random.default_rng(3).uniform(0.4, 0.6, size=(40, 4, 4, 1)), jnp.float32)
Y = jnp.arange(40) % 2
INFO = SimpleNamespace(spec={"image": jax.ShapeDtypeStruct(X.shape, X.dtype)}, total_steps=100)


def logits_fn(state, batch):
    return (batch["image"].reshape(len(batch["image"]), -1) - 0.5) @ (state.params * W)


def loss(logits, label):
    return -jax.nn.log_softmax(logits)[jnp.arange(len(label)), label]


def state(step=0, factor=1.0):
    return State(jnp.asarray(step), jnp.asarray(factor))


def config(**section):
    return ConfigDict({"adversary": section, "robust": section})


def attacked(step=0, factor=1.0, **section):
    replace = adversarial.training(config(**section), INFO, logits_fn, loss)
    batch = {"image": X, "label": Y, "other": jnp.ones(40)}
    new, out, sums = replace(state(step, factor), batch, jax.random.key(0))
    assert sums == {} and out["other"].sum() == 40 and new.params == factor
    return np.asarray(out["image"])


@pytest.mark.curriculum("P21")
def test_images_are_those_of_the_present_weights():
    """A linear model's worst change is known to the sign, and turns with its weights."""
    away = np.where(np.asarray(Y) == 0, 1, -1)[:, None] * np.sign(W[:, 1] - W[:, 0])[None]
    expected = np.asarray(X).reshape(40, -1) + 0.1 * away
    one = {"epsilon": 0.1, "step_size": 0.1, "steps": 1, "random_start": False}
    np.testing.assert_allclose(attacked(**one).reshape(40, -1), expected, atol=1e-6)
    turned = np.asarray(X).reshape(40, -1) - 0.1 * away
    np.testing.assert_allclose(attacked(factor=-1.0, **one).reshape(40, -1), turned, atol=1e-6)


@pytest.mark.curriculum("P21")
def test_a_share_of_the_rows_is_attacked_and_the_radius_grows():
    one = {"epsilon": 0.1, "step_size": 0.1, "steps": 1, "random_start": False}
    changed = np.abs(attacked(share=0.5, **one) - X).max((1, 2, 3))
    assert 8 < (changed > 0).sum() < 32 and np.allclose(changed[changed > 0], 0.1, atol=1e-6)
    sizes = [np.abs(attacked(step, ramp_percent=20, **one) - X).max() for step in (0, 9, 19, 60)]
    np.testing.assert_allclose(sizes, [0.1 / 20, 0.05, 0.1, 0.1], atol=1e-6)


@pytest.mark.curriculum("P21")
def test_robust_accuracy_counts_real_rows_under_attack():
    section = {"epsilon": 0.1, "step_size": 0.1, "steps": 1, "random_start": False}
    step = adversarial.evaluation(config(**section), INFO, lambda s, b, k: {"plain": 1}, logits_fn, loss)
    mask = (jnp.arange(40) < 30).astype(jnp.float32)
    sums = step(state(), {"image": X, "label": Y, "mask": mask}, jax.random.key(0))
    margin = (np.asarray(X).reshape(40, -1) - 0.5) @ (W[:, 1] - W[:, 0]) * np.where(np.asarray(Y) == 1, 1, -1)
    expected = (margin > 0.1 * np.abs(W[:, 1] - W[:, 0]).sum())[:30].sum()
    assert sums["plain"] == 1 and sums["robust_accuracy"] == (expected, 30)


def test_an_image_without_a_derivative_is_not_counted_as_robust():
    def broken(state, batch):  # the root of 0 x has no derivative, and adds nothing to a difference of scores
        root = jnp.sqrt((jnp.arange(40) >= 7) * batch["image"].sum((1, 2, 3)))
        return logits_fn(state, batch) + root[:, None]

    section = {"epsilon": 1e-4, "step_size": 1e-4, "steps": 1, "random_start": False}
    batch = {"image": X, "label": Y, "mask": jnp.ones(40)}
    counts = [
        adversarial.evaluation(config(**section), INFO, lambda s, b, k: {}, of, loss)(state(), batch, jax.random.key(0))
        for of in (logits_fn, broken)
    ]
    (whole, _), (less, _) = (c["robust_accuracy"] for c in counts)
    right = np.asarray(logits_fn(state(), {"image": X})).argmax(1) == np.asarray(Y)
    assert 2 <= right[:7].sum() == whole - less
    with pytest.raises(ConfigError, match=r"no number at 40 of 40 images, .*; attack it by square or boundary"):
        threat.check_derivative(lambda z: logits_fn(state(), {"image": z}) + jnp.sqrt(0 * z.sum()), X)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (
            {"epsilon": 8.0},
            r"config.adversary.epsilon=8.0 is more than the whole range .* 8 of 255 is 0.03137",
        ),
        ({"epsilon": 0.0}, "config.adversary.epsilon=0.0 must be positive"),
        ({"epsilon": 0.1, "norm": "l1"}, "config.adversary.norm='l1'; expected one of 'linf', 'l2'"),
        ({"epsilon": 0.1, "ramp_percent": 120}, "config.adversary.ramp_percent=120.0 must be from 0 to 100"),
        ({"ramp_percent": 20}, "config.adversary.ramp_percent=20.0 has no radius to grow to"),
        ({"epsilon": 0.1, "share": 0}, r"config.adversary.share=0.0 must be in \(0, 1\]"),
        ({"epsilon": 0.1, "scale": 0.5}, "config.adversary.scale is set by the program"),
    ],
)
def test_sections_are_checked_before_anything_is_traced(section, words):
    with pytest.raises(ConfigError, match=words):
        adversarial.training(config(**section), INFO, logits_fn, loss)


def test_nothing_is_nothing_and_features_have_no_pixels():
    step = object()
    assert adversarial.training(config(), INFO, logits_fn, loss) is None
    assert adversarial.evaluation(config(), INFO, step, logits_fn, loss) is step
    features = SimpleNamespace(spec={"features": None}, total_steps=1)
    with pytest.raises(ConfigError, match=r"config.robust changes images in 0..1, and these data have none"):
        adversarial.evaluation(config(epsilon=0.1), features, step, logits_fn, loss)
    with pytest.raises(ConfigError, match=r"config.robust.share is set by the program"):
        adversarial.evaluation(config(epsilon=0.1, share=0.5), INFO, step, logits_fn, loss)
