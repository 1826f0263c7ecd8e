"""Captchas: the same bytes everywhere, strokes as geometry has them, and symbols where their places are."""

import zlib

import numpy as np
import pytest

from cvdl_jax.data.builders import captchas
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import Words
from cvdl_jax.errors import ConfigError

GOLDEN = 3263216876


def test_images_are_the_same_bytes_everywhere():
    image, labels = captchas.draw(Words(20, 3), 5, 3, 20)
    assert image.shape == (40, 136) and zlib.crc32(image.tobytes() + bytes(labels)) == GOLDEN


def test_a_point_is_near_a_segment_by_its_distance():
    rng = np.random.default_rng(0)
    x, y = rng.integers(-50, 50, (2, 500))
    for start, end in rng.integers(-30, 30, (20, 2, 2)):
        d = (end - start).astype(float)
        t = np.clip(((x - start[0]) * d[0] + (y - start[1]) * d[1]) / max(d @ d, 1e-9), 0, 1)
        distance = np.hypot(x - start[0] - t * d[0], y - start[1] - t * d[1])
        clear = abs(distance - 12) > 1e-6
        np.testing.assert_array_equal(captchas.near(x, y, start, end, 12)[clear], (distance <= 12)[clear])


def test_symbols_differ_and_stand_in_their_places():
    """Without noise and lines the ink of each place is that of its own symbol, and no symbol is drawn like another."""
    y, x = (16 * axis + 8 for axis in np.mgrid[:40, :40])
    plain = [
        np.any([captchas.near(x - 320, y - 320, *(60 * ends), 20) for ends in captchas.strokes(s)], 0)
        for s in captchas.SYMBOLS
    ]
    differences = [(a != b).sum() for i, a in enumerate(plain) for b in plain[:i]]
    assert len(captchas.SYMBOLS) == 32 and not set("01IO") & set(captchas.SYMBOLS) and min(differences) > 10
    right = []
    for i in range(20):
        image, labels = captchas.draw(Words(22, i), 4, 0, 0)
        dark = image == image.min()
        assert len(np.unique(image)) == 2 and image.shape == (40, 112)
        for place, label in enumerate(labels):
            inked = dark[:, 24 * place : 24 * place + 40]
            shared = [max((np.roll(inked, (a, b), (0, 1)) & p).sum() for a in (-3, 0, 3) for b in (-2, 0, 2)) / p.sum()
                      for p in plain]  # fmt: skip
            right.append(np.argsort(shared)[::-1][:12].tolist().count(label))
    assert np.mean(right) > 0.8  # by chance 12 of 32


def test_the_data_set_holds_what_was_drawn():
    name = "captchas(length=3, train=6, validation=4, test=5)"
    data = load(name, train="train", validation="validation", test="test")
    assert data.num_classes == 32 and data.class_names == captchas.SYMBOLS
    for split, stream in captchas.STREAMS.items():
        batch = data.splits[split].batch(np.arange(4))
        for i in range(4):
            image, labels = captchas.draw(Words(stream, i), 3, 3, 20)
            np.testing.assert_array_equal(batch["image"][i, ..., 0], image)
            assert batch["symbols"][i].tolist() == labels
    with pytest.raises(ConfigError, match=r"captchas\(length=21\) must be between 1 and 20"):
        load("captchas(length=21)", train="train")
