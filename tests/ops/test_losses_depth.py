"""Losses of depth: by hand, by the sum over pairs, unknown pixels without influence, factors that are forgiven."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import depth as losses

E = np.e
LOGS = jnp.asarray([[[1.0, 2.0], [0.0, 9.0]]])
DEPTHS = jnp.asarray([[[1.0, E], [E, 5.0]]])  # d = 1, 1, -1, and one that is not known
KNOWN = jnp.asarray([[[True, True], [True, False]]])


@pytest.mark.curriculum("X1")
def test_worked_numbers():
    for loss, want in ((losses.l1, (3, 3)), (losses.l2, (3, 3)), (losses.scale_invariant, (1 - 0.5 / 9, 1))):
        np.testing.assert_allclose(np.concatenate(loss(LOGS, DEPTHS, KNOWN)), want, rtol=1e-6)
    assert float(losses.scale_invariant(LOGS, DEPTHS, KNOWN, 1.0)[0][0]) == pytest.approx(1 - 1 / 9, rel=1e-6)


@pytest.mark.curriculum("X1")
def test_half_the_mean_over_all_pairs():
    rng = np.random.default_rng(0)
    logs, depths = rng.normal(size=(3, 4, 5)), rng.uniform(0.5, 9, (3, 4, 5))
    known = rng.random((3, 4, 5)) < 0.7
    got = losses.scale_invariant(*map(jnp.asarray, (logs, depths, known)), balance=1.0)[0]
    for i in range(3):
        d = (logs - np.log(depths))[i][known[i]]
        pairs = [(a - b) ** 2 for a in d for b in d]
        assert float(got[i]) == pytest.approx(np.mean(pairs) / 2, rel=1e-5)
    moved = losses.scale_invariant(*map(jnp.asarray, (logs + 3, depths, known)), balance=1.0)[0]
    np.testing.assert_allclose(moved, got, rtol=1e-4)
    half = losses.scale_invariant(*map(jnp.asarray, (logs + 3, depths, known)))[0]
    means = [((logs + 3 - np.log(depths))[i][known[i]]).mean() for i in range(3)]
    np.testing.assert_allclose(half, got + 0.5 * np.square(means), rtol=1e-4)  # with a half of it a common factor costs


@pytest.mark.curriculum("X1")
@pytest.mark.parametrize("name", ["l1", "l2", "scale_invariant"])
def test_unknown_pixels_have_no_influence(name):
    loss = getattr(losses, name)
    depths = DEPTHS.at[0, 1, 1].set(0.0)
    value, slope = jax.value_and_grad(lambda x: loss(x, depths, KNOWN)[0].sum())(LOGS)
    other = loss(LOGS.at[0, 1, 1].set(-50.0), DEPTHS.at[0, 1, 1].set(jnp.nan), KNOWN)[0].sum()
    assert float(value) == float(other) and slope[0, 1, 1] == 0 and (slope[KNOWN] != 0).all()
    nothing = loss(LOGS, depths, jnp.zeros_like(KNOWN))
    assert [float(x[0]) for x in nothing] == [0, 0]
    assert np.isnan(loss(LOGS, DEPTHS.at[0, 0, 0].set(-1.0), KNOWN)[0]).all()


def test_shapes_must_agree():
    with pytest.raises(
        ConfigError, match=r"of one shape \[b, h, w\]; got \[\[1, 2, 2\], \[1, 2, 2, 1\], \[1, 2, 2\]\]"
    ):
        losses.l1(LOGS, DEPTHS[..., None], KNOWN)
