"""Strings of digits: the scans of their own split stand where `centres` says; images are the same everywhere."""

import zlib

import numpy as np
import pytest

from cvdl_jax.data.builders import digit_strings
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import Words
from cvdl_jax.errors import ConfigError, DataError

GOLDEN = 571011379
APART = "digit_strings(source='digits', digits=3, overlap=0, gap=30, noise=0, train=30, validation=20, test=20)"


def test_images_are_the_same_bytes_everywhere():
    scans = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    image, centres = digit_strings.compose(Words(12, 3), scans, digit_strings.configure(gap=20))
    assert zlib.crc32(image.tobytes() + bytes(centres.tolist())) == GOLDEN


def enlarged(split):
    """The scans of a split of digits, 20x20, without columns that hold hardly any ink, by class."""
    batch = load("digits", train=split).splits["train"].arrays
    rows = np.arange(20) * 8 // 20
    scans = {}
    for image, label in zip(np.asarray(batch["image"])[..., 0], np.asarray(batch["label"]), strict=True):
        scan = image[rows][:, rows]
        inked = np.flatnonzero((scan >= digit_strings.INK).any(0))
        scans.setdefault(int(label), set()).add(scan[:, inked.min() : inked.max() + 1].tobytes())
    return scans


@pytest.mark.curriculum("H32")
def test_strings_are_made_of_scans_of_their_own_split():
    data = load(APART, train="train", validation="validation", test="test")
    for name, split in data.splits.items():
        own, others = enlarged(name), enlarged({"train": "test"}.get(name, "train"))
        batch = split.batch(np.arange(split.size))
        image, seen, elsewhere = batch["image"][..., 0], 0, 0
        assert image.shape[1:] == (32, 132) and len(np.unique(image.sum((1, 2)))) == split.size
        for row, digits, centres in zip(image, batch["digits"], batch["centres"], strict=True):
            assert centres.min() >= 16 and centres.max() <= 132 - 16
            gaps = np.flatnonzero((row < digit_strings.INK).all(0))
            for digit, centre in zip(digits.tolist(), centres.tolist(), strict=True):
                left, right = gaps[gaps < centre].max() + 1, gaps[gaps > centre].min()
                part = row[:, left:right]
                inked = np.flatnonzero((part > 0).any(1))
                if 2 * (centre - left) not in (right - left, right - left - 1):
                    continue  # touches its neighbour
                tops = range(max(0, inked.max() - 19), inked.min() + 1)
                there = [part[top : top + 20].tobytes() for top in tops]
                seen += any(pixels in own[digit] for pixels in there)
                elsewhere += any(pixels in others[digit] for pixels in there)
        assert seen > 0.8 * batch["digits"].size and elsewhere == 0


def test_neighbours_overlap_and_stand_apart_within_their_limits():
    config = digit_strings.configure(digits=2, overlap=4, gap=10, noise=0)
    scan = np.zeros((28, 28), np.uint8)
    scan[4:24, 6:22] = 200
    distances = set()
    for i in range(200):
        image, centres = digit_strings.compose(Words(0, i), np.stack([scan, scan]), config)
        distances.add(int(centres[1] - centres[0]))
        inked = np.flatnonzero(image.any(0))
        assert (inked.min(), inked.max()) == (centres[0] - 8, centres[1] + 7)
    assert distances == set(range(12, 27))
    thin = np.where(np.arange(28) == 14, scan, 0).astype(np.uint8)
    thin[4:24, 14] = 200
    nearest = [np.diff(digit_strings.compose(Words(0, i), np.stack([thin, thin]), config)[1]) for i in range(50)]
    assert min(nearest) == digit_strings.NEAREST


def test_noise_has_its_standard_deviation():
    config = digit_strings.configure(noise=40)
    grey = digit_strings.compose(Words(0, 0), np.full((5, 28, 28), 128, np.uint8), config)[0]
    middle = grey[8:24, 60:90].astype(float)
    assert abs(middle.std() - 40) < 4 and abs(middle.mean() - 128) < 5


def test_what_cannot_be_composed_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"digit_strings\(overlap=11\) must be between 0 and 10"):
        load("digit_strings(overlap=11)", train="train")
    with pytest.raises(ConfigError, match=r"digit_strings.*source"):
        load("digit_strings(source='letters')", train="train")
    with pytest.raises(DataError, match=r"data set 'mnist' is not .*tfds build mnist"):
        load("digit_strings(train=3)", str(tmp_path), train="train")
