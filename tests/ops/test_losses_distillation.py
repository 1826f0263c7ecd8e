"""Losses of a student with a teacher: worked numbers, limits, and who gets a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from cvdl_jax.ops.losses import distillation
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

RNG = np.random.default_rng(0)
Z, V = (jnp.asarray(RNG.normal(size=(5, 4)) * 2, jnp.float32) for _ in range(2))


@pytest.mark.curriculum("I8")
def test_two_classes_by_hand():
    """Teacher (3/4, 1/4), student (1/4, 3/4): KL = log(3) / 2; at T = 2 the odds are 3^(1/2) to 1."""
    v, z = jnp.asarray([[np.log(3.0), 0.0]]), jnp.asarray([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(distillation.soft_targets(z, v), [np.log(3) / 2], rtol=1e-6)
    p = np.sqrt(3) / (1 + np.sqrt(3))  # 0.634
    np.testing.assert_allclose(
        distillation.soft_targets(z, v, 2.0), [4 * (2 * p - 1) * np.log(3) / 2], rtol=1e-5
    )  # 0.5887
    np.testing.assert_allclose(distillation.hard_targets(z, v), [-np.log(1 / 4)], rtol=1e-6)
    assert distillation.hard_targets(z, jnp.asarray([[1.0, 1.0]])) == pytest.approx(np.log(4), rel=1e-6)  # the first


@pytest.mark.curriculum("I8")
@pytest.mark.parametrize("t", [0.5, 1.0, 4.0])
def test_soft_targets_are_a_loop_over_classes_from_the_teacher_to_the_student(t):
    expected = []
    for z, v in zip(np.asarray(Z, np.float64), np.asarray(V, np.float64), strict=True):
        p, log_q = softmax(v / t), log_softmax(z / t)
        expected.append(t * t * sum(p[j] * (np.log(p[j]) - log_q[j]) for j in range(4)))
    np.testing.assert_allclose(distillation.soft_targets(Z, V, t), expected, rtol=1e-4)
    assert np.abs(distillation.soft_targets(V, Z, t) - np.asarray(expected)).max() > 0.1  # not symmetric


@pytest.mark.curriculum("I8")
def test_at_temperature_one_it_is_the_cross_entropy_less_the_teachers_entropy():
    p = jax.nn.softmax(V)
    entropy = -(p * jnp.log(p)).sum(-1)
    np.testing.assert_allclose(distillation.soft_targets(Z, V), softmax_cross_entropy(Z, p) - entropy, rtol=1e-4)
    slopes = [jax.grad(lambda z, f=f: f(z).sum())(Z) for f in (
        lambda z: distillation.soft_targets(z, V), lambda z: softmax_cross_entropy(z, p)
    )]  # fmt: skip
    np.testing.assert_allclose(*slopes, atol=1e-6)


@pytest.mark.curriculum("I8")
def test_a_student_that_equals_its_teacher_has_nothing_to_learn():
    for t in (0.5, 1.0, 20.0):
        value, slope = jax.value_and_grad(lambda z, t=t: distillation.soft_targets(z, V, t).sum())(V)
        assert abs(float(value)) < 1e-6 * t**2 and np.abs(slope).max() < 1e-6 * t
        assert float(distillation.soft_targets(V + 3.0, V, t).max()) < 1e-4 * t**2  # a constant changes nothing
        assert float(distillation.soft_targets(Z, V, t).min()) > 0


@pytest.mark.curriculum("I8")
def test_gradients_keep_their_size_while_the_temperature_grows():
    z, v = (x - x.mean(-1, keepdims=True) for x in (Z, V))
    for t in (1.0, 3.0):
        slope = jax.grad(lambda z, t=t: distillation.soft_targets(z, v, t).sum())(z)
        np.testing.assert_allclose(slope, t * (jax.nn.softmax(z / t) - jax.nn.softmax(v / t)), atol=1e-5)
    slope = jax.grad(lambda z: distillation.soft_targets(z, v, 200.0).sum())(z)
    np.testing.assert_allclose(slope, (z - v) / 4, atol=0.02)  # equation 4 of Hinton et al., times T^2


@pytest.mark.curriculum("I8")
def test_the_teacher_gets_no_gradient_and_hard_targets_follow_its_decision():
    assert np.abs(jax.grad(lambda v: distillation.soft_targets(Z, v, 2.0).sum())(V)).max() == 0
    decided = np.asarray(V).argmax(-1)
    assert (decided != np.asarray(Z).argmax(-1)).any()
    expected = -log_softmax(np.asarray(Z, np.float64), -1)[np.arange(5), decided]
    np.testing.assert_allclose(distillation.hard_targets(Z, V), expected, rtol=1e-5)
    np.testing.assert_allclose(distillation.hard_targets(Z, 10 * V), expected, rtol=1e-5)  # its certainty is lost
    with pytest.raises(ValueError, match="logits"):
        distillation.soft_targets(Z, V[:, :3])
