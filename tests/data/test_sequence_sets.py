"""Drawn sequences: sums, copies, pen movements and motions are what the labels say, and the same on every machine."""

import zlib

import numpy as np
import pytest

from cvdl_jax.data.builders import adding, copying, handwriting, moving_digits
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import Words
from cvdl_jax.errors import ConfigError

GOLDEN = {"adding": 2285272866, "copying": 1961424630, "handwriting": 1089021075, "moving_digits": 2165637620}


def drawn(name, stream=9, index=3):
    scan = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.uint8)
    draws = {
        "adding": lambda w: adding.draw(w, 20),
        "copying": lambda w: copying.draw(w, 7, 3, 8),
        "handwriting": lambda w: handwriting.draw(w, 3, 8),
        "moving_digits": lambda w: moving_digits.draw(w, scan, moving_digits.configure()),
    }
    return draws[name](Words(stream, index))


@pytest.mark.parametrize("name", GOLDEN)
def test_examples_are_the_same_bytes_everywhere(name):
    parts = b"".join(np.ascontiguousarray(part).tobytes() for part in map(np.asarray, drawn(name)))
    assert zlib.crc32(parts) == GOLDEN[name]
    assert not np.array_equal(drawn(name)[0], drawn(name, index=4)[0])


@pytest.mark.curriculum("K11")
def test_the_target_is_the_sum_of_one_marked_number_in_each_half():
    places, numbers, targets = [], [], []
    for i in range(400):
        sequence, target = adding.draw(Words(1, i), 11)
        marked = np.flatnonzero(sequence[:, 1])
        assert marked.shape == (2,) and marked[0] < 5 <= marked[1]
        assert target == sequence[marked[0], 0] + sequence[marked[1], 0]
        places += marked.tolist()
        numbers.append(sequence[:, 0])
        targets.append(target)
    assert set(places) == set(range(11))
    assert np.mean(numbers) == pytest.approx(0.5, abs=0.02) and 0 <= np.min(numbers) and np.max(numbers) < 1
    assert np.var(targets) == pytest.approx(1 / 6, abs=0.03)  # of the sum of two uniform numbers


@pytest.mark.curriculum("K11")
def test_copies_are_asked_for_after_the_lag():
    """Two symbols of eight and a lag of 3: read a b . . ! . . , and then say a b at the last two times."""
    seen = set()
    for i in range(100):
        sequence, labels = copying.draw(Words(1, i), 3, 2, 8)
        a, b = sequence[:2].tolist()
        assert min(a, b) >= 2 and max(a, b) < 10
        assert sequence.tolist() == [a, b, 0, 0, 1, 0, 0] and labels.tolist() == [0, 0, 0, 0, 0, a, b]
        seen |= {a, b}
    assert seen == set(range(2, 10))
    assert copying.draw(Words(1, 0), 1, 2, 8)[0].tolist()[2:] == [1, 0, 0]
    assert copying.class_names(2) == ["blank", "begin", "symbol0", "symbol1"]


@pytest.mark.curriculum("K14")
def test_the_pen_follows_the_strokes_of_its_label():
    """Added up, the movements of a label run along the strokes of that symbol, and lift the pen between strokes."""
    for i in range(30):
        sequence, labels = handwriting.draw(Words(2, i), 3, 0)
        place = np.cumsum(sequence[:, :2], 0) * handwriting.UNIT
        end = int((labels > 0).sum())
        assert not labels[end:].any() and not sequence[end:].any() and (labels[:end] > 0).all()
        borders = np.flatnonzero(np.diff(labels[:end])) + 1
        for part in np.split(np.arange(end), borders):
            strokes = handwriting.GLYPHS[handwriting.SYMBOLS[labels[part[0]] - 1]].split(",")
            lifted = sequence[part, 2]
            assert lifted[0] == 1 and lifted.sum() % len(strokes) == 0  # one symbol may come twice
            if lifted.sum() == len(strokes):
                height = np.ptp(place[part, 1])
                rows = [int(p[1]) for stroke in strokes for p in stroke.split()]
                assert 48 * np.ptp(rows) <= height <= 72 * np.ptp(rows)
                starts = [stroke.split()[0] for stroke in strokes]
                down = place[part[lifted == 1], 1]
                np.testing.assert_array_equal(np.sign(np.diff(down)), np.sign(np.diff([int(p[1]) for p in starts])))


@pytest.mark.curriculum("K14")
def test_every_symbol_fits_its_times_and_movements_are_short():
    for symbol in handwriting.SYMBOLS:
        for slant, size, speed in ((-16, 48, 128), (24, 72, 96)):
            way = np.asarray(handwriting.points(symbol, Words(3, 0), slant, size, speed))
            assert len(way) <= 24
            steps = np.abs(np.diff(way[:, :2], axis=0)).max(1)[way[1:, 2] == 0]
            assert steps.max() < 2 * speed * 1.25 and steps.min() > 0
    straight = handwriting.points("L", Words(3, 0), 0, 64, 100)  # 00 down to 06, right to 46
    assert straight[0] == (0, 0, 1) and (0, 384, 0) in straight and straight[-1] == (256, 384, 0)
    slanted = handwriting.points("L", Words(3, 0), 32, 64, 100)
    assert slanted[0] == (192, 0, 1) and slanted[-1] == (256, 384, 0)  # six steps up, half a step to the right for each


@pytest.mark.curriculum("K13")
def test_digits_move_as_their_label_says():
    scan = np.zeros((16, 16), np.uint8)
    scan[3, 5] = 255
    config = moving_digits.configure(size=20, step=3, noise=0, frames=4)
    seen = set()
    for i in range(60):
        clip, label = moving_digits.draw(Words(4, i), scan, config)
        rows, columns = (np.argwhere(frame[..., 0])[0] for frame in clip), None
        rows, columns = np.asarray(list(rows)).T
        name = list(moving_digits.MOTIONS)[label]
        moved = {"still": (0, 0), "left": (0, 17), "right": (0, 3), "up": (17, 0), "down": (3, 0)}[name]
        assert ((np.diff(rows) % 20 == moved[0]) & (np.diff(columns) % 20 == moved[1])).all() and clip.max() == 255
        seen.add(name)
    assert seen == set(moving_digits.MOTIONS)


@pytest.mark.curriculum("K13")
def test_a_single_frame_says_nothing_about_the_motion():
    """In every frame the digit is as often in each part of the image, for every motion."""
    scan = np.zeros((16, 16), np.uint8)
    scan[0, 0] = 255
    config = moving_digits.configure(size=16, step=2, noise=0, frames=3)
    counts = np.zeros((5, 3, 2, 2))
    for i in range(1500):
        clip, label = moving_digits.draw(Words(5, i), scan, config)
        for t, frame in enumerate(clip):
            row, column = np.argwhere(frame[..., 0])[0] // 8
            counts[label, t, row, column] += 1
    shares = counts / counts.sum((2, 3), keepdims=True)
    assert counts.sum((2, 3)).min() > 200 and abs(shares - 0.25).max() < 0.11  # 4 standard deviations of 300 draws


@pytest.mark.curriculum("K13")
def test_noise_is_of_each_frame_and_has_its_standard_deviation():
    clip, _ = moving_digits.draw(Words(6, 0), np.full((16, 16), 128, np.uint8), moving_digits.configure(size=16))
    grey = clip[..., 0].astype(float)
    assert abs(grey.std() - 20) < 2 and np.abs(np.corrcoef(grey.reshape(8, -1)) - np.eye(8)).max() < 0.25


def test_the_data_sets_hold_what_was_drawn():
    sizes = "train=5, validation=4, test=3"
    sets = {
        "adding": (f"adding(length=6, {sizes})", None, lambda w: adding.draw(w, 6), ("sequence", "target")),
        "copying": (f"copying(lag=4, {sizes})", 10, lambda w: copying.draw(w, 4, 3, 8), ("sequence", "label")),
        "handwriting": (
            f"handwriting(length=2, {sizes})", 33, lambda w: handwriting.draw(w, 2, 8), ("sequence", "label"),
        ),
    }  # fmt: skip
    modules = {"adding": adding, "copying": copying, "handwriting": handwriting}
    for name, (called, classes, draw, entries) in sets.items():
        data = load(called, train="train", validation="validation", test="test")
        assert data.num_classes == classes
        for split, stream in modules[name].STREAMS.items():
            batch = data.splits[split].batch(np.arange(3))
            for i in range(3):
                for entry, expected in zip(entries, draw(Words(stream, i)), strict=True):
                    np.testing.assert_array_equal(batch[entry][i], expected)
    streams = [stream for module in (*modules.values(), moving_digits) for stream in module.STREAMS.values()]
    assert len(set(streams)) == len(streams)


@pytest.mark.curriculum("K13")
def test_clips_are_made_of_scans_of_their_own_split():
    data = load("moving_digits(noise=0, train=8, validation=8, test=1)", train="train", validation="validation")
    assert data.class_names == tuple(moving_digits.MOTIONS)
    for name, split in data.splits.items():
        arrays = load("digits", train=name).splits["train"].arrays
        own = {np.sort(x.ravel()).tobytes(): int(y) for x, y in zip(arrays["image"], arrays["label"], strict=True)}
        batch = split.batch(np.arange(8))
        for frames, digit in zip(batch["frames"], batch["digit"], strict=True):
            values = np.sort(frames[0].ravel())[-256:]  # four of each pixel of the scan, and black
            assert own[values[::4].tobytes()] == digit


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adding(length=1)", r"adding\(length=1\) must be between 2 and 10000"),
        ("copying(symbols=1)", r"copying\(symbols=1\) must be between 2 and 1000"),
        ("handwriting(noise=65)", r"handwriting\(noise=65\) must be between 0 and 64"),
        ("moving_digits(size=15)", r"moving_digits\(size=15\) must be between 16 and 256"),
    ],
)
def test_what_cannot_be_drawn_is_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        load(name, train="train")
