"""Pretext tasks: labels that are made from the image itself, and that it takes some sight to tell.

The public functions are the tasks that `config.pretext` names. Each returns a `Pretext`, whose transform replaces the
images of a batch and adds their labels as the entry "pretext", drawn for each row.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Range, Size, call, check_name, check_section
from cvdl_jax.core.parallel import row_random
from cvdl_jax.errors import ConfigError

PRETEXT = "pretext"
Grid = Annotated[int, Range("2 or 3", lambda n: n in (2, 3))]


class Pretext(NamedTuple):
    """A pretext task.

    Attributes:
        classes: number of labels.
        shown: `(images [b, h, w, c], labels int [b]) -> [b, h, w, c]`.
        drawn: whether labels are drawn; else they are the entry "label".
    """

    classes: int
    shown: Callable[[jax.Array, jax.Array], jax.Array]
    drawn: bool = True


def chosen(section: Mapping[str, Any], num_classes: int | None = None) -> Pretext:
    """The task that `config.pretext` names, with its arguments.

    Args:
        section: of the config.
        num_classes: of the data's own labels; None where there are none.

    Raises:
        ConfigError: for an unknown name, or wrong arguments.
    """
    path, known = "config.pretext", {"rotation": rotation, "jigsaw": jigsaw, "labels": partial(labels, num_classes)}
    check_section(section, path)
    check_name(section.get("name", ""), known, f"{path}.name={section.get('name', '')!r} is not known")
    rest = {key: value for key, value in section.items() if key != "name"}
    return call(known[section["name"]], rest, path)


def quarter_turns(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Images turned counter-clockwise by so many quarters.

    Args:
        images: [b, n, n, c].
        turns: int [b], 0 to 3.
    """
    turned = jnp.stack([jnp.rot90(images, k, (1, 2)) for k in range(4)], 1)  # [b, 4, n, n, c]
    return _taken(turned, turns)


def rotation() -> Pretext:
    """How many quarter turns, counter-clockwise as `np.rot90` counts them, an image has been given: 0, 1, 2 or 3.

    Reference: Gidaris et al. 2018, "Unsupervised Representation Learning by Predicting Image Rotations", section 3.1,
        where a batch holds all four of each image; here one of them is drawn.
    """

    def shown(images: jax.Array, labels: jax.Array) -> jax.Array:
        h, w = images.shape[1:3]
        if h != w:
            raise ConfigError(f"rotations by quarter turns need square images, not {h}x{w}; set config.data.image_size")
        return quarter_turns(images, labels)

    return Pretext(4, shown)


def jigsaw(grid: Grid = 2, permutations: Size = 24) -> Pretext:
    """By which of some permutations the tiles of an image have been exchanged.

    Args:
        grid: tiles in a row and in a column.
        permutations: how many of the (grid^2)! are used, those of `far_permutations`.

    Raises:
        ConfigError: for fewer than two permutations, or more than there are.

    Reference: Noroozi and Favaro 2016, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles"
        (3x3, 1,000 permutations, a network for each tile and gaps between tiles). Here one network sees the image put
        together, and the tiles have no gaps, so that edges may give the answer away.
    """
    most = math.factorial(grid * grid)
    if not 2 <= permutations <= most:
        raise ConfigError(
            f"config.pretext.permutations={permutations} must be from 2 to {most}, with {grid}x{grid} tiles"
        )
    orders = jnp.asarray(far_permutations(grid * grid, permutations))

    def shown(images: jax.Array, labels: jax.Array) -> jax.Array:
        b, h, w, c = images.shape
        if h % grid or w % grid:
            raise ConfigError(f"{grid}x{grid} tiles do not divide images of {h}x{w}; set config.data.image_size")
        tiles = images.reshape(b, grid, h // grid, grid, w // grid, c).transpose(0, 1, 3, 2, 4, 5)
        tiles = tiles.reshape(b, grid * grid, h // grid, w // grid, c)
        tiles = jnp.take_along_axis(tiles, orders[labels][:, :, None, None, None], 1)
        tiles = tiles.reshape(b, grid, grid, h // grid, w // grid, c).transpose(0, 1, 3, 2, 4, 5)
        return tiles.reshape(b, h, w, c)

    return Pretext(permutations, shown)


def labels(num_classes: int | None) -> Pretext:
    """No pretext but the control: the data's own labels, of images as they are.

    Args:
        num_classes: how many there are.

    Raises:
        ConfigError: for data without.
    """
    if not num_classes:
        raise ConfigError("config.pretext.name='labels' needs data with class labels; name another task or set")
    return Pretext(num_classes, lambda images, _: images, False)


def far_permutations(n: int, count: int) -> np.ndarray:
    """Permutations far from each other: each next one has the largest sum of Hamming distances to those before.

    Args:
        n: of 0 ... n - 1.
        count: how many; the first is the identity, and of equally far ones the first in lexicographic order comes.

    Returns:
        int32 [count, n]; tile `row[p]` comes to place p.

    Reference: Noroozi and Favaro 2016, algorithm 1.
    """
    every = np.asarray(list(itertools.permutations(range(n))), np.int32)
    chosen, far = [0], np.zeros(len(every), np.int64)
    while len(chosen) < count:
        far += (every != every[chosen[-1]]).sum(1)
        far[chosen] = -1
        chosen.append(int(far.argmax()))
    return every[chosen]


def draw(task: Pretext, state: Any, batch: dict, key: jax.Array) -> tuple[Any, dict, dict]:
    """The transform: draws a label for each row, and shows its image accordingly."""
    if not task.drawn:
        return state, {**batch, PRETEXT: batch["label"]}, {}
    pick = partial(jax.random.randint, minval=0, maxval=task.classes)
    labels = row_random(pick, key, (len(batch["image"]),))
    return state, {**batch, "image": task.shown(batch["image"], labels), PRETEXT: labels}, {}


def _taken(several: jax.Array, which: jax.Array) -> jax.Array:
    return jnp.take_along_axis(several, which[:, None, None, None, None], 1)[:, 0]
