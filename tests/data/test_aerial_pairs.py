"""Aerial pairs: the same bytes everywhere, and a mask of what came and went; both views joined as channels."""

import zlib

import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.data import pairs
from cvdl_jax.data.builders import aerial_pairs
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import Words
from cvdl_jax.errors import ConfigError

GOLDEN = 1501893510


def test_images_are_the_same_bytes_everywhere():
    drawn = aerial_pairs.draw(Words(30, 3), 64, 12, 4, 25)
    assert [x.shape for x in drawn] == [(64, 64, 3), (64, 64, 3), (64, 64)]
    assert zlib.crc32(b"".join(x.tobytes() for x in drawn)) == GOLDEN


@pytest.mark.curriculum("X15")
def test_the_mask_is_where_an_object_came_or_went():
    """Without other light and beyond noise the views differ there alone, and nearly everywhere there."""
    shares = []
    for i in range(30):
        before, after, changed = aerial_pairs.draw(Words(30, i), 48, 10, 3, 0)
        difference = abs(before.astype(int) - after).max(-1)
        assert difference[changed == 0].max() <= 2 * 8
        if changed.any():
            shares.append((difference[changed == 1] > 16).mean())
    assert np.mean(shares) > 0.85 and 20 < len(shares) < 30  # some pairs are without a change
    dark, bright, _ = aerial_pairs.draw(Words(30, 0), 48, 10, 0, 50)  # other light, and nothing else
    still = aerial_pairs.draw(Words(30, 0), 48, 10, 0, 50)[2]
    assert still.max() == 0 and abs(dark.astype(int) - bright).mean() > 8


def test_the_data_set_holds_what_was_drawn():
    name = "aerial_pairs(size=32, train=3, validation=2, test=2)"
    data = load(name, train="train", validation="validation", test="test", classes=("same", "changed"))
    assert data.class_names == ("same", "changed")
    batch = data.splits["test"].batch(np.arange(2))
    for i in range(2):
        drawn = aerial_pairs.draw(Words(32, i), 32, 12, 4, 25)
        for entry, x in zip(("image", "image_after", "segmentation_mask"), drawn, strict=True):
            np.testing.assert_array_equal(batch[entry][i].reshape(x.shape), x)
    with pytest.raises(ConfigError, match=r"aerial_pairs\(light=51\) must be between 0 and 50"):
        load("aerial_pairs(light=51)", train="train")


def test_views_are_joined_once_and_normalised_one_by_one():
    first, second = jnp.zeros((2, 4, 4, 3)), jnp.ones((2, 4, 4, 3))
    batch = {"image": first, pairs.AFTER: second, "segmentation_mask": jnp.zeros((2, 4, 4, 1))}
    new = pairs.joined(batch)
    assert new.keys() == {"image", "segmentation_mask"} and pairs.joined(new) is new
    mean = jnp.asarray([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3)
    both = pairs.each_view(lambda x: x - mean)(new["image"])
    np.testing.assert_array_equal(both[0, 0, 0], [-1, -2, -3, 0, -1, -2])
    with pytest.raises(ConfigError, match=r"'image_after' \[2, 2, 4, 3\]; both views must be of one shape"):
        pairs.joined({**batch, pairs.AFTER: second[:, :2]})


def test_a_network_of_two_views_needs_two():
    pairs.check(2, True)
    pairs.check(1, False)
    with pytest.raises(ConfigError, match="views=2 compares two images"):
        pairs.check(2, False)
