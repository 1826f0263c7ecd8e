"""Batches that are episodes: some classes with some examples of each, and sets whose splits share no class."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from cvdl_jax.data import episodes, order
from cvdl_jax.data.builders import disjoint_classes
from cvdl_jax.data.load import load
from cvdl_jax.data.stream import train_batches
from cvdl_jax.errors import ConfigError, DataError

LABELS = np.random.default_rng(0).permutation(np.repeat([2, 3, 5, 7, 11], [4, 5, 6, 4, 9]))


@pytest.mark.curriculum("I15")
@given(st.integers(0, 2**40), st.integers(0, 1000), st.integers(1, 5), st.integers(1, 4))
def test_a_batch_has_its_classes_and_no_example_twice(seed, k, classes, images):
    drawn = order.Episodes(LABELS, classes, images)
    positions = order.batch_positions(k, classes * images)
    epochs, rows = order.examples(seed, positions, len(LABELS), drawn)
    assert len(set(rows.tolist())) == classes * images and epochs.tolist() == (positions // len(LABELS)).tolist()
    of = LABELS[rows].reshape(classes, images)
    assert (of == of[:, :1]).all() and len(set(of[:, 0].tolist())) == classes


@given(st.integers(0, 99), st.integers(0, 40), st.integers(1, 50))
def test_any_part_of_the_stream_is_that_of_the_whole(seed, first, count):
    """So a run that goes on, a call of several steps and a process with its own rows see the same batches."""
    drawn = order.Episodes(LABELS, 3, 2)
    whole = order.examples(seed, np.arange(100), len(LABELS), drawn)
    part = order.examples(seed, np.arange(first, first + count), len(LABELS), drawn)
    np.testing.assert_array_equal(np.stack(part), np.stack(whole)[:, first : first + count])


def test_batches_differ_and_every_example_comes_about_as_often_as_others_of_its_class():
    drawn = order.Episodes(LABELS, 2, 2)
    batches = [order.examples(1, order.batch_positions(k, 4), len(LABELS), drawn)[1] for k in range(1000)]
    assert len({tuple(rows.tolist()) for rows in batches}) > 500
    assert (batches[0] != order.examples(2, order.batch_positions(0, 4), len(LABELS), drawn)[1]).any()
    counts = np.bincount(np.concatenate(batches), minlength=len(LABELS))
    for label, n in zip(*np.unique(LABELS, return_counts=True), strict=True):  # 4000 rows, 800 of each class
        np.testing.assert_allclose(counts[LABELS == label], 800 / n, atol=6 * (800 / n) ** 0.5)


def test_each_class_draws_its_own_examples():
    """Of classes of one size, not the same places of every class."""
    drawn = order.Episodes(np.repeat(np.arange(4), 30), 4, 2)
    places = np.stack([drawn.batch(0, k).reshape(4, 2) % 30 for k in range(20)])  # [batches, classes, images]
    assert (places != places[:, :1]).any((1, 2)).mean() > 0.9


def test_episodes_are_the_same_on_every_machine():
    drawn = order.Episodes(np.arange(12) % 3, 2, 2)
    assert order.examples(7, np.arange(8), 12, drawn)[1].tolist() == GOLDEN


GOLDEN = [4, 1, 6, 0, 5, 2, 9, 6]
FACES = "faces(size=16, views=4, train=24, validation=8, test=8)"
NUMBERS = {"classes": 3, "images": 2, "entry": "identity"}


def faces(**more):
    how = {"train": "train", "features": ("image", "identity"), **more}
    return load(FACES, **how)


@pytest.fixture(scope="module")
def drawn_faces():
    return faces(episodes=NUMBERS, validation="validation", test="test")


def test_resident_and_streamed_batches_are_the_same_and_of_the_named_classes(drawn_faces):
    split = drawn_faces.splits["train"]
    streamed = faces(episodes=NUMBERS, resident="never").splits["train"]
    assert split.arrays is not None and streamed.arrays is None
    for k, batch in enumerate(train_batches(streamed, 3, 2, 5, 6), start=2):
        _, rows = split.at(3, order.batch_positions(k, 6))
        np.testing.assert_array_equal(batch["image"], split.batch(rows)["image"])
        people = batch["identity"].reshape(3, 2)
        assert (people == people[:, :1]).all() and len(set(people[:, 0].tolist())) == 3
    halves = [next(iter(train_batches(streamed, 3, 2, 3, 6, i, 2)))["identity"] for i in range(2)]
    _, rows = split.at(3, order.batch_positions(2, 6))
    np.testing.assert_array_equal(np.concatenate(halves), split.arrays["identity"][rows])


@pytest.mark.curriculum("I13")
def test_nobody_is_in_two_splits_of_the_drawn_faces(drawn_faces):
    people = [set(split.arrays["identity"].tolist()) for split in drawn_faces.splits.values()]
    assert [len(one) for one in people] == [6, 2, 2] and len(set.union(*people)) == 10
    assert [drawn_faces.splits[name].groups is None for name in ("train", "validation", "test")] == [False, True, True]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"classes": 7}, "config.data.episodes: batches of 7 classes with 2 examples .* there are 6 classes"),
        ({"images": 5}, "batches of 3 classes with 5 examples .* class 0 has 4 examples; use smaller numbers"),
        ({"entry": "who"}, "config.data.episodes: 'who' is no whole number of an example; use entry=.*'identity'"),
        ({"entry": "angles"}, "'angles' is no whole number of an example"),
        ({"classes": 0}, "config.data.episodes.classes=0 must be from 1 to"),
        ({"images": None}, "config.data.episodes.images"),
        ({"ways": 3}, "config.data.episodes.ways is not an argument of EpisodeSettings"),
    ],
)
def test_impossible_episodes_are_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        faces(episodes=NUMBERS | section)


def test_examples_that_are_repeated_make_no_episodes():
    """One of them could be the support of its own query."""
    how = {"name": "digits", "train": "train", "episodes": {"classes": 3, "images": 2}}
    with pytest.raises(ConfigError, match="resample='oversample' repeats examples, and those of an episode have to"):
        load(**how, resample="oversample")
    assert load(**how, resample="undersample").splits["train"].groups is not None


def test_episodes_need_a_training_split():
    with pytest.raises(ConfigError, match=r"there is no training split; set config\.data\.train"):
        faces(train="", test="test", episodes=NUMBERS)


def test_what_an_experiment_needs_of_them():
    spec = {"image": None, "identity": None}
    data = {"name": "x", "episodes": NUMBERS}
    config = ConfigDict({"experiment": "few_shot", "batch_size": 6, "grad": "plain", "augment": "flip", "data": data})
    assert episodes.settings_of(config, spec) == (3, 2, "identity")
    for change, seen, message in (
        ({"grad": "sam(0.1) | accumulate(2)"}, spec, r"would take an episode apart; leave accumulate out"),
        ({"augment": "flip | mixup"}, spec, "config.augment: mixup makes rows of others, and those of an episode have"),
        ({"augment": "repeated_augmentation"}, spec, "repeated_augmentation makes rows of others"),
        ({"batch_size": 8}, spec, r"config.batch_size=8 must be 3 classes x 2 images .*; set config.batch_size=6"),
        ({"data": {"name": "x"}}, spec, r"config.data.episodes is missing; 'few_shot' needs several examples"),
        ({}, {"image": None}, r"'few_shot' needs 'image' and 'identity', and is given image; set config.data.features"),
    ):
        with pytest.raises(ConfigError, match=message):
            episodes.settings_of(ConfigDict({**config.to_dict(), **change}), seen)


def test_mixed_examples_have_no_class():
    assert episodes.classes_of({"who": np.zeros(4, int)}, "who").shape == (4,)
    with pytest.raises(ConfigError, match=r"config\.augment mixes images of different classes"):
        episodes.classes_of({"who": np.zeros((4, 3))}, "who")


def test_a_set_of_disjoint_classes_needs_its_source(tmp_path):
    with pytest.raises(DataError, match=r"data set 'omniglot_small' is not "):
        load("disjoint_classes", str(tmp_path), train="train")
    with pytest.raises(ConfigError, match=r"source='mnist'; expected one of 'omniglot_small', 'orl_faces'"):
        load("disjoint_classes(source='mnist')", str(tmp_path), train="train")


@pytest.mark.curriculum("I13")
@pytest.mark.parametrize("source", disjoint_classes.PARTS)
def test_a_value_is_chosen_once(source):
    parts = disjoint_classes.PARTS[source]
    assert list(parts) == ["train", "validation", "test"]
    values = list(itertools.chain.from_iterable(values for _, values in parts.values()))
    assert len(values) == len(set(values))


@pytest.mark.curriculum("I13", "I14")
@pytest.mark.parametrize(
    ("name", "sizes", "classes"),
    [
        pytest.param("disjoint_classes", (2720, 340, 1780), (136, 17, 89), marks=pytest.mark.long),
        ("disjoint_classes(source='orl_faces')", (240, 80, 80), (24, 8, 8)),
    ],
)
def test_no_class_and_no_image_is_in_two_splits(name, sizes, classes, real_data):
    """Those who choose the thresholds are neither trained on nor tested."""
    data = load(name, str(real_data), train="train", validation="validation", test="test")
    assert tuple(split.size for split in data.splits.values()) == sizes
    labels = [set(split.arrays["label"].tolist()) for split in data.splits.values()]
    assert tuple(map(len, labels)) == classes and len(set.union(*labels)) == sum(classes)
    images = [{image.tobytes() for image in split.arrays["image"]} for split in data.splits.values()]
    assert not images[0] & images[1] and not images[0] & images[2] and not images[1] & images[2]
    if "orl" not in name:
        alphabets = [{data.class_names[c].split("/")[0] for c in one} for one in labels]
        assert alphabets == [set(values) for _, values in disjoint_classes.PARTS["omniglot_small"].values()]
        assert "Greek" in alphabets[0] and not {"Greek", "Latin"} & alphabets[2]
