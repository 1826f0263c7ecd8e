"""Losses of segmentation against loops over pixels: weights, ignored pixels, what is no label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import segmentation

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(3, 4, 5, 3)).astype(np.float32) * 3
LABELS = RNG.choice([0, 1, 2, 255], size=(3, 4, 5)).astype(np.uint8)
LABELS[2] = 255
WEIGHTS = (1.0, 2.5, 0.5)


def softmax(s):
    e = np.exp(s - s.max())
    return e / e.sum()


@pytest.mark.curriculum("M4")
@pytest.mark.parametrize("weights", [(), WEIGHTS])
def test_cross_entropy_by_loops(weights):
    total, weight = np.zeros(3), np.zeros(3)
    for at in np.ndindex(LABELS.shape):
        y = int(LABELS[at])
        if y != 255:
            w = weights[y] if weights else 1
            total[at[0]] -= w * np.log(softmax(LOGITS[at])[y])
            weight[at[0]] += w
    found = jax.jit(lambda s, y: segmentation.cross_entropy(s, y, weights))(LOGITS, LABELS)
    np.testing.assert_allclose(found, (total, weight), rtol=1e-5)
    np.testing.assert_allclose(segmentation.cross_entropy(LOGITS, LABELS[..., None], weights), found, rtol=1e-6)
    half = segmentation.cross_entropy(jnp.asarray(LOGITS, jnp.bfloat16), LABELS, weights)
    assert half[0].dtype == jnp.float32


@pytest.mark.curriculum("M4")
def test_dice_by_loops():
    expected, counted = np.zeros(3), np.zeros(3)
    for i in range(3):
        for k in range(3):
            above = below = 0.0
            for at in np.ndindex(4, 5):
                if LABELS[i][at] != 255:
                    p, y = softmax(LOGITS[i][at])[k], float(LABELS[i][at] == k)
                    above, below, counted[i] = above + 2 * p * y, below + p + y, 1
            expected[i] += (1 - (above + 0.5) / (below + 0.5)) / 3 * (below > 0)
    found = jax.jit(lambda s, y: segmentation.dice(s, y, smooth=0.5))(LOGITS, LABELS)
    np.testing.assert_allclose(found, (expected, counted), rtol=1e-5)
    certain = np.where(jax.nn.one_hot(LABELS, 3) > 0, 50.0, -50.0)
    np.testing.assert_allclose(segmentation.dice(certain, LABELS)[0], 0, atol=1e-6)
    total, weight = segmentation.cross_entropy(LOGITS, LABELS, WEIGHTS)
    both, images = segmentation.cross_entropy_and_dice(LOGITS, LABELS, WEIGHTS, share=2.0, smooth=0.5)
    np.testing.assert_allclose(both[:2], total[:2] / weight[:2] + 2 * expected[:2], rtol=1e-5)
    assert both[2] == 0 and images.tolist() == [1, 1, 0]


@pytest.mark.curriculum("M4")
@pytest.mark.parametrize("loss", [segmentation.cross_entropy, segmentation.dice, segmentation.cross_entropy_and_dice])
def test_ignored_pixels_have_no_influence_and_foreign_labels_give_nan(loss):
    slope = jax.jit(jax.grad(lambda s: loss(s, LABELS)[0].sum()))(LOGITS)
    ignored = LABELS == 255
    assert (np.asarray(slope)[ignored] == 0).all() and (np.abs(slope)[~ignored].max(-1) > 0).all()
    other = np.where(ignored[..., None], 7.0, LOGITS)
    np.testing.assert_array_equal(loss(other, LABELS)[0], loss(LOGITS, LABELS)[0])
    foreign = LABELS.copy()
    foreign[1, 0, 0] = 3
    totals = np.asarray(loss(LOGITS, foreign)[0])
    assert np.isnan(totals).tolist() == [False, True, False]


def test_what_does_not_fit_is_refused():
    for arguments, said in [
        ((LOGITS, LABELS[:, :3]), "the network must return the size of the masks"),
        ((LOGITS, LABELS * 1.0), "labels must be classes, whole numbers, got float"),
        ((np.zeros((1, 2, 2, 300)), np.zeros((1, 2, 2), int)), "300 classes: the label 255 is one of them"),
    ]:
        for loss in (segmentation.cross_entropy, segmentation.dice):
            with pytest.raises(ConfigError, match=said):
                loss(*map(jnp.asarray, arguments))
    with pytest.raises(ConfigError, match=r"config.loss.weights=\(1.0,\) must be 3 numbers, one for each class"):
        segmentation.cross_entropy(LOGITS, LABELS, (1.0,))
