"""Views of images, pretext tasks and the numbers of examples: each row draws for itself."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.data import load, pretext
from cvdl_jax.data.views import VIEWS, views
from cvdl_jax.errors import ConfigError

IMAGES = np.random.default_rng(0).uniform(size=(4, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def two():
    transform = views("translate(fraction=0.5) | brightness(amount=0.5)", 2)
    return jax.jit(lambda image, key: transform.update(None, {"image": image, "label": 7}, key)[1])


@pytest.mark.curriculum("I17")
def test_views_of_a_row_differ_and_do_not_depend_on_its_neighbours(two):
    batch = two(jnp.asarray(IMAGES), jax.random.key(0))
    first, second = batch[VIEWS]
    np.testing.assert_array_equal(batch["image"], IMAGES)
    assert batch["label"] == 7
    for row in range(4):
        assert not np.allclose(first[row], second[row]) and not np.allclose(first[row], IMAGES[row])
    others = two(jnp.asarray(np.concatenate([IMAGES[:1], IMAGES[:3][::-1]])), jax.random.key(0))[VIEWS]
    for one, other in zip((first, second), others, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    same = two(jnp.asarray(np.repeat(IMAGES[:1], 4, 0)), jax.random.key(0))[VIEWS]
    assert not np.allclose(same[0][0], same[0][1])  # rows draw for themselves
    again = two(jnp.asarray(IMAGES), jax.random.key(1))[VIEWS]
    assert not np.allclose(again[0], first)


def test_further_views_come_behind():
    batch = {"image": jnp.asarray(IMAGES)}
    for count in (2, 3):
        _, batch, _ = views("flip(probability=1.0)", count).update(None, batch, jax.random.key(0))
    assert len(batch[VIEWS]) == 5
    np.testing.assert_array_equal(batch[VIEWS][4], IMAGES[:, :, ::-1])


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("", "config.views is empty, and all views of an image would be equal"),
        ("flip | mixup(alpha=0.2)", "config.views: mixup mixes rows or changes labels"),
        ("smooth_labels", "config.views: smooth_labels mixes rows or changes labels"),
        ("flop", "config.views: there is no operation 'flop'"),
    ],
)
def test_policies_that_make_no_views_are_refused(policy, message):
    with pytest.raises(ConfigError, match=message):
        views(policy)


@pytest.mark.curriculum("I21")
def test_rotations_are_those_of_numpy():
    task = pretext.chosen({"name": "rotation"})
    images = np.arange(4 * 9 * 2, dtype=np.float32).reshape(4, 3, 3, 2)
    shown = task.shown(jnp.asarray(images), jnp.asarray([0, 1, 2, 3]))
    for k in range(4):
        np.testing.assert_array_equal(shown[k], np.rot90(images[k], k))


@pytest.mark.curriculum("I21")
def test_tiles_come_to_the_places_that_the_permutation_names():
    task = pretext.jigsaw(2, 24)
    orders = pretext.far_permutations(4, 24)
    images = np.random.default_rng(0).uniform(size=(24, 4, 6, 1)).astype(np.float32)
    shown = np.asarray(task.shown(jnp.asarray(images), jnp.arange(24)))

    def tile(image, place):
        return image[2 * (place // 2) :][:2, 3 * (place % 2) :][:, :3]

    for label, place in itertools.product(range(24), range(4)):
        np.testing.assert_array_equal(tile(shown[label], place), tile(images[label], orders[label][place]))


def test_permutations_are_distinct_and_far():
    everything = pretext.far_permutations(4, 24)
    assert sorted(map(tuple, everything.tolist())) == sorted(itertools.permutations(range(4)))
    few = pretext.far_permutations(9, 5)
    assert few[0].tolist() == list(range(9))
    distances = (few[:, None] != few[None]).sum(-1)
    assert (distances[0, 1:] == 9).all() and distances[np.triu_indices(5, 1)].min() >= 8


@pytest.mark.curriculum("I21")
def test_labels_are_drawn_row_by_row_and_say_what_is_shown():
    task = pretext.rotation()
    batch = {"image": jnp.asarray(np.repeat(IMAGES, 8, 0)), "label": jnp.zeros(32)}
    _, new, sums = pretext.draw(task, None, batch, jax.random.key(3))
    labels = np.asarray(new[pretext.PRETEXT])
    assert sums == {} and set(labels) == {0, 1, 2, 3}
    for row, label in enumerate(labels):
        np.testing.assert_array_equal(new["image"][row], np.rot90(batch["image"][row], label))
    part = pretext.draw(task, None, {"image": batch["image"][:5]}, jax.random.key(3))[1]
    np.testing.assert_array_equal(part[pretext.PRETEXT], labels[:5])


@pytest.mark.parametrize(
    ("section", "shape", "message"),
    [
        ({"name": "rotations"}, None, "config.pretext.name='rotations' is not known; did you mean 'rotation'"),
        ({"name": "jigsaw", "grid": 4}, None, "config.pretext.grid=4 must be 2 or 3"),
        ({"name": "jigsaw", "permutations": 25}, None, "permutations=25 must be from 2 to 24, with 2x2 tiles"),
        ({"name": "rotation"}, (1, 4, 6, 1), "quarter turns need square images, not 4x6"),
        ({"name": "jigsaw"}, (1, 4, 7, 1), "2x2 tiles do not divide images of 4x7"),
    ],
)
def test_mistakes_in_a_pretext_task_are_named(section, shape, message):
    with pytest.raises(ConfigError, match=message):
        pretext.chosen(section).shown(jnp.zeros(shape), jnp.zeros(1, int))


@pytest.mark.curriculum("I18")
def test_numbered_examples_know_their_places():
    """Of a part of a set, resident or not, the place in the part: the whole is cached for every way to cut it."""
    parts = {"name": "digits", "train": "train", "split": {"fractions": (0.5, 0.5)}, "numbered": True}
    for resident in ("always", "never"):
        data = load.load(**parts, resident=resident)
        for split in data.splits.values():
            rows = np.asarray([0, 3, split.size - 1])
            batch = split.batch(rows)
            np.testing.assert_array_equal(batch["index"], rows)
            assert batch["index"].dtype == np.int32 and split.spec["index"].shape == ()
    plain = load.load(name="digits", train="train")
    assert "index" not in plain.splits["train"].spec
