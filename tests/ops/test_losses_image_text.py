"""The contrast of images and texts: worked by hand, against a loop, and what identical captions are."""

import jax
import numpy as np
import pytest

from cvdl_jax.ops.losses import image_text


@pytest.mark.curriculum("J24")
def test_worked_pairs():
    """Similarities [[2, 0], [1, 3]] of images (rows) to texts: both directions have their own softmax."""
    s = np.asarray([[2.0, 0.0], [1.0, 3.0]], np.float32)
    losses, hits = image_text.contrast(s, s.T, image_text.own_pairs(np.arange(2), 2))
    image0, image1 = np.log1p(np.exp(-2)), np.log1p(np.exp(-2))  # of rows: 2 before 0, 3 before 1
    text0, text1 = np.log1p(np.exp(-1)), np.log1p(np.exp(-3))  # of columns: 2 before 1, 3 before 0
    np.testing.assert_allclose(losses, [(image0 + text0) / 2, (image1 + text1) / 2], rtol=1e-6)
    assert hits["image_to_text"].tolist() == [1, 1] and hits["text_to_image"].tolist() == [1, 1]
    worse = np.asarray([[2.0, 3.0], [1.0, 2.5]], np.float32)
    hits = image_text.contrast(worse, worse.T, image_text.own_pairs(np.arange(2), 2))[1]
    assert hits["image_to_text"].tolist() == [0, 1] and hits["text_to_image"].tolist() == [1, 0]


@pytest.mark.curriculum("J24")
def test_rows_of_a_part_of_the_batch_equal_a_loop_over_pairs():
    """Rows 2 and 3 of a batch of five, as a device that holds these two has them."""
    rng = np.random.default_rng(0)
    s, tokens = rng.normal(size=(5, 5)).astype(np.float32), np.asarray([[1, 4], [1, 5], [1, 4], [1, 6], [1, 4]])
    for targets, right in (
        (image_text.own_pairs(np.asarray([2, 3]), 5), lambda i, j: i == j),
        (image_text.identical_pairs(tokens[2:4], tokens), lambda i, j: (tokens[i] == tokens[j]).all()),
    ):
        losses, _ = image_text.contrast(s[2:4], s.T[2:4], targets)
        for row, i in enumerate((2, 3)):
            of_row = [j for j in range(5) if right(i, j)]
            to_text = np.mean([np.log(np.exp(s[i]).sum()) - s[i, j] for j in of_row])
            to_image = np.mean([np.log(np.exp(s[:, i]).sum()) - s[j, i] for j in of_row])
            np.testing.assert_allclose(losses[row], (to_text + to_image) / 2, rtol=1e-5)


def test_identical_captions_share_the_target_evenly():
    tokens = np.asarray([[1, 4, 2], [1, 5, 2], [1, 4, 2]])
    np.testing.assert_array_equal(image_text.identical_pairs(tokens, tokens), [[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    different = np.asarray([[1, 4, 2], [1, 5, 2]])
    np.testing.assert_array_equal(image_text.identical_pairs(different, different), np.eye(2))


def test_equal_similarities_give_the_logarithm_of_the_number_of_pairs():
    """And the gradient pulls own pairs, and pushes others apart."""
    s = np.zeros((8, 8), np.float32)
    targets = image_text.own_pairs(np.arange(8), 8)
    losses, slope = jax.value_and_grad(lambda s: image_text.contrast(s, s.T, targets)[0].sum())(s)
    np.testing.assert_allclose(losses, 8 * np.log(8), rtol=1e-6)
    np.testing.assert_allclose(slope, (1 / 8 - np.eye(8)), atol=1e-6)
