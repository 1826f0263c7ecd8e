"""Studies of adversarial training on points: at small sizes, what must be so at any."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.models import point_gan
from cvdl_jax.ops.losses import adversarial
from experiments.studies import mode_coverage, vanishing_gradient


@pytest.fixture(scope="module")
def gradients():
    return vanishing_gradient.compare(0, steps=(0, 300), width=32, batch=64, lr=2e-3)


@pytest.mark.curriculum("R7")
def test_a_perfect_discriminator_leaves_no_gradient_to_the_minimax_cost(gradients):
    metrics, _ = gradients
    assert metrics["accuracy"] == 1 and metrics["d_of_fake"] < 1e-3
    assert metrics["minimax/ratio"] < 1e-2
    assert metrics["non_saturating/ratio"] > 0.3


@pytest.mark.curriculum("R7")
def test_the_gradients_differ_by_the_odds_of_the_discriminator():
    """d ln(1 - D) = -D ds and -d ln D = -(1 - D) ds: with one score for all samples their ratio is D / (1 - D)."""
    g = point_gan.create(jax.random.key(0), 8).generator
    d = [(jnp.zeros((2, 1)).at[0].set(1e-3), jnp.full(1, -3.0))]  # almost one score for all
    norms = [
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(jax.grad(point_gan.generator_loss, 1)(cost, g, d, k, 16))])
        for cost, k in ((adversarial.minimax(), jax.random.key(1)), (adversarial.non_saturating(), jax.random.key(1)))
    ]
    ratio = np.linalg.norm(norms[0]) / np.linalg.norm(norms[1])
    assert ratio == pytest.approx(np.exp(-3), rel=0.05)


@pytest.mark.curriculum("R9", "R8")
def test_a_fixed_discriminator_stays_and_is_exploited():
    """The generator's score rises far where nothing answers, with no mode covered by it; against a trained one not."""
    cases = {"fixed": {"name": "non_saturating", "fixed": True}, "joint": {"name": "non_saturating"}}
    small = {"modes": 4, "width": 16, "steps": 200, "batch": 32, "parts": 2, "lr": 3e-3}
    metrics, (centres, _, shown) = mode_coverage.compare(0, cases, **small)
    assert metrics["data/modes"] == len(centres) == 4 and metrics["data/high_quality"] > 0.98
    assert {name.partition("/")[0] for name in metrics} == {"data", *cases}
    np.testing.assert_array_equal(shown["fixed"][0], shown["joint"][0])
    risen = {name: metrics[f"{name}/score"] - metrics[f"{name}/first_score"] for name in cases}
    assert risen["fixed"] > 2 and risen["joint"] < risen["fixed"] / 2 and metrics["fixed/modes"] <= 2


def test_a_player_without_updates_stays_as_it_is():
    players, draw = point_gan.create(jax.random.key(0), 8), lambda key, n: jax.random.normal(key, (n, 2))
    for updates, changed in (((1, 0), (True, False)), ((0, 2), (False, True))):
        loss = adversarial.wasserstein(penalty=0.0, clip=0.01)
        new = point_gan.trained(players, loss, draw, jax.random.key(1), 3, 8, 1e-3, updates)
        answers = [bool((a[0][0] != b[0][0]).any()) for a, b in zip(new, players, strict=True)]
        assert tuple(answers) == changed
    assert max(np.abs(p).max() for p in jax.tree.leaves(new.discriminator)) <= np.float32(0.01)
