"""Adversarial examples, drawn: the image, what was made of it, and the difference."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.images import class_name, titled_tiles


def changed(examples: Mapping[str, Sequence[tuple]], class_names: Sequence[str] = ()) -> Any:
    """`triples` of what each attack changed; None where none of them fooled anything.

    Args:
        examples: {attack: rows of `robustness.Outcome.shown`}; attacks without any are left out.
        class_names: one per class, or () for numbers.
    """
    some = {name: rows for name, rows in examples.items() if rows}
    parts = [[np.stack([row[i] for row in rows]) for rows in some.values()] for i in range(4)]
    return triples(*parts, list(some), class_names) if some else None


def triples(
    clean: Any, changed: Any, labels: Any, guesses: Any, names: Sequence[str], class_names: Sequence[str] = ()
) -> Any:
    """Three rows for each attack: images with their classes, the changed ones with theirs, and the differences.

    A difference is drawn about grey, each stretched to its own largest change, which its title says.

    Args:
        clean: for each attack float [k, h, w, c] in 0..1, k of its own.
        changed: likewise.
        labels: for each attack int [k].
        guesses: for each attack int [k], the predicted classes of the changed images.
        names: of the attacks.
        class_names: one per class, or () for numbers.

    Returns:
        A matplotlib Figure.
    """
    columns = max(map(len, clean))
    tiles, titles = [], []
    for name, x, z, label, guess in zip(names, clean, changed, labels, guesses, strict=True):
        x, z = np.asarray(x), np.asarray(z)
        change = z - x
        largest = np.abs(change).reshape(len(x), -1).max(1)
        grey = 0.5 + change / (2 * np.maximum(largest, 1e-12).reshape(-1, 1, 1, 1))
        rows = (
            (x, [(class_name(int(y), class_names), "black") for y in label]),
            (z, [(class_name(int(g), class_names), "tab:red") for g in guess]),
            (grey, [(f"at most {size:.3g}", "black") for size in largest]),
        )
        for pictures, said in rows:
            blank = np.ones((columns - len(x), *x.shape[1:]))
            tiles.append(np.concatenate([pictures, blank]))
            titles += [*said, *[("", "black")] * (columns - len(x))]
        titles[-3 * columns] = (f"{name}\n{titles[-3 * columns][0]}", "black")
    return titled_tiles(np.concatenate(tiles), titles, columns, 1.2)
