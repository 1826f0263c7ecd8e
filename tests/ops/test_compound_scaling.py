"""Compound scaling: the rule, its constants, the rounding of sizes, and the search."""

import numpy as np
import pytest

from cvdl_jax.models import registry
from cvdl_jax.ops import compound_scaling as scaling


@pytest.mark.curriculum("H53")
def test_the_constants_of_the_paper_double_the_work():
    """ER62: with gamma = 1.1, as printed in the course, the product is 1.757; the paper's 1.15 gives 1.920."""
    np.testing.assert_allclose(scaling.growth(1.2, 1.1, 1.1), 1.757, atol=5e-4)
    np.testing.assert_allclose(scaling.growth(scaling.ALPHA, scaling.BETA, scaling.GAMMA), 1.920, atol=5e-4)
    np.testing.assert_allclose(scaling.compound(2), (1.44, 1.21, 1.3225))
    assert scaling.compound(0) == (1, 1, 1)
    with pytest.raises(ValueError, match="must be at least 1"):
        scaling.compound(1, beta=0.9)


@pytest.mark.curriculum("H53")
def test_b1_and_b2_are_near_the_rule():
    """B1 is phi = 1/2, B2 phi = 1; the larger ones were rounded upwards."""
    for name, phi in (("efficientnet_b1", 0.5), ("efficientnet_b2", 1)):
        row, rule = registry.variants()[name].row, scaling.compound(phi)
        np.testing.assert_allclose(row["depth"], rule.depth, atol=0.01)
        np.testing.assert_allclose(row.get("width", 1.0), rule.width, atol=0.05)
        np.testing.assert_allclose(row["input"][0], 224 * rule.resolution, atol=3)


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [
        (32, 32),
        (3, 8),
        (35.2, 32),
        (36, 40),
        (11.9, 16),
        (12, 16),
        (16 * 1.1, 16),
        (11, 16),
        (35.9, 40),
        (64 * 0.35, 24),
    ],
)
def test_channels_are_rounded_to_multiples_and_never_below_nine_tenths(channels, rounded):
    assert scaling.round_channels(channels) == rounded
    assert scaling.round_channels(channels) >= 0.9 * channels


@pytest.mark.parametrize(
    ("layers", "depth", "rounded"), [(2, 1.0, 2), (2, 1.1, 3), (10, 1.1, 11), (4, 3.1, 13), (1, 1, 1)]
)
def test_layers_are_rounded_upwards(layers, depth, rounded):
    assert scaling.round_layers(layers, depth) == rounded


@pytest.mark.curriculum("H53")
def test_the_search_finds_the_best_of_the_grid():
    choices = scaling.candidates()
    assert scaling.Scaling(1.2, 1.1, 1.15) in choices and scaling.Scaling(1.2, 1.1, 1.1) not in choices
    assert all(min(c) >= 1 and abs(scaling.growth(*c) - 2) <= 0.1 + 1e-9 for c in choices)
    score = lambda c: -abs(c.depth - 1.2) - abs(c.width - 1.1) - abs(c.resolution - 1.15)  # noqa: E731
    assert scaling.search(score) == (1.2, 1.1, 1.15)
    with pytest.raises(ValueError, match="use a smaller step"):
        scaling.search(score, step=0.6, most=1.6)
    with pytest.raises(ValueError, match="is not a number"):
        scaling.search(lambda c: float("nan"))
