"""Label images as pictures and as masks: colours of classes to and from their numbers, one mask for each class.

A palette is uint8 [c, 3], the colour of every class; labels to ignore, 255, are shown in a colour of their own.
"""

from typing import Any

import numpy as np

from cvdl_jax.errors import DataError

IGNORE = 255
CAMVID = np.array(
    [(128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0), (192, 128, 128),
     (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)], np.uint8,
)  # fmt: skip


def voc(n: int) -> np.ndarray:
    """The colours of PASCAL VOC for n labels up to 256: the bits of a label, spread over red, green and blue.

    Returns:
        uint8 [n, 3]; label 0 is black, 1 dark red, 255 almost white.
    """
    labels = np.arange(n)[:, None]
    colours = np.zeros((n, 3), int)
    for i in range(8):
        colours |= ((labels >> 3 * i + np.arange(3)[None]) & 1) << (7 - i)
    return colours.astype(np.uint8)


def colours_of(labels: Any, palette: Any, ignored: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """A label image as a picture.

    Args:
        labels: int [...].
        palette: uint8 [c, 3].
        ignored: colour of pixels with the label 255.

    Returns:
        uint8 [..., 3].

    Raises:
        DataError: for a label without a colour.
    """
    labels, palette = np.asarray(labels), np.asarray(palette, np.uint8)
    bad = labels[((labels < 0) | (labels >= len(palette))) & (labels != IGNORE)]
    if bad.size:
        raise DataError(f"label {bad.flat[0]} has no colour in a palette of {len(palette)}, and is not {IGNORE}")
    table = np.concatenate([palette, np.broadcast_to(np.uint8(ignored), (max(IGNORE + 1 - len(palette), 0), 3))])
    return table[labels]


def labels_of(picture: Any, palette: Any, ignored: tuple[int, int, int] | None = (0, 0, 0)) -> np.ndarray:
    """The label image that a picture shows, the inverse of `colours_of`; where colours are equal, the first class.

    Args:
        picture: uint8 [..., 3].
        palette: uint8 [c, 3].
        ignored: colour of pixels that become 255, unless it is that of a class; None for none.

    Returns:
        int32 [...].

    Raises:
        DataError: for a colour that is none of a class, naming it and its place: a JPEG, or a picture that was scaled
            with interpolation, has such.
    """
    picture, palette = np.asarray(picture), np.asarray(palette, np.uint8)
    if picture.shape[-1:] != (3,) or picture.dtype != np.uint8:
        raise DataError(f"a picture must be uint8 [..., 3], got {picture.dtype} {list(picture.shape)}")

    def number(colours: np.ndarray) -> np.ndarray:
        return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])

    colours = np.concatenate([palette, [ignored]]) if ignored is not None else palette
    known, first = np.unique(number(colours), return_index=True)
    wanted = number(picture)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    bad = np.argwhere(known[place] != wanted)
    if len(bad):
        at = tuple(bad[0].tolist())
        raise DataError(f"the colour {tuple(picture[at].tolist())} at {at} is not in the palette of {len(palette)} "
                        "classes; store masks without loss, and scale them by the nearest pixel")  # fmt: skip
    label = first[place]
    return np.where(label == len(palette), IGNORE, label).astype(np.int32)


def masks_of(labels: Any, num_classes: int) -> np.ndarray:
    """One mask for each class; a pixel that is ignored is in none.

    Args:
        labels: int [...], 0..num_classes - 1 or 255.
        num_classes: c.

    Returns:
        uint8 [..., c] of 0 and 1: the one-hot label of every pixel, and in [..., k] the mask of class k.

    Raises:
        DataError: for another label.
    """
    labels = np.asarray(labels)
    bad = labels[((labels < 0) | (labels >= num_classes)) & (labels != IGNORE)]
    if bad.size:
        raise DataError(f"label {bad.flat[0]} is none of {num_classes} classes, and not {IGNORE}")
    return (labels[..., None] == np.arange(num_classes)).astype(np.uint8)


def labels_of_masks(masks: Any) -> np.ndarray:
    """The label image of masks that do not overlap, the inverse of `masks_of`; 255 where no mask is.

    Args:
        masks: 0, 1 or bool [..., c].

    Returns:
        int32 [...].

    Raises:
        DataError: for other values, or a pixel of two classes.
    """
    masks = np.asarray(masks)
    if not np.isin(masks, (0, 1)).all():
        raise DataError("masks hold other values than 0 and 1; take argmax(-1) of scores")
    several = np.argwhere(masks.astype(np.int64).sum(-1) > 1)
    if len(several):
        raise DataError(f"the pixel at {tuple(several[0].tolist())} is in the masks of several classes")
    return np.where(masks.any(-1), masks.argmax(-1), IGNORE).astype(np.int32)
