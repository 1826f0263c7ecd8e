"""The entries of an example: a description of each one, translated from the features of TFDS.

Examples are flat: an entry of a nested feature has a name with slashes, `objects/bbox`.

Masks. `segmentation_mask` uint8 [h, w, 1] has a class for every pixel, 255 to ignore. `instance_mask` uint8 [h, w, 1]
has the number of an object for every pixel, 0 for none: one image for all objects, since no pixel has two. With
`config.data.max_boxes` a pixel with the value k belongs to row k - 1 of `objects/bbox`, `objects/label` ...
(`data/instances.py`). `depth` int32 [h, w, 1] is how far every pixel is, in whole units of the data set (such as
millimetres), 0 where that is not known; it moves with the image as masks do.

A box is half-open, [first row, first column, last row + 1, last column + 1] over height and width, so that its sides
times those of the image are numbers of pixels.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvdl_jax.errors import ConfigError, DataError

DEPTH = "depth"  # the entry of depth maps
NUMERIC = ("image", "mask", "label", "classes", "box", "tokens", "tensor")


@dataclass(frozen=True)
class Feature:
    """One entry of an example.

    Attributes:
        kind: image (uint8 [h, w, c]; 16-bit grey is scaled to it), mask (uint8 [h, w, c], one class or object per
            value), label (int32), classes (float32 [num_classes], 1 for every class that is there), box
            (float32 [..., 4]), tensor (any other numbers), text (bytes, kept on the host) or tokens (int32, the ids of
            texts).
        shape: in one example; None for a size that varies.
        dtype: as delivered; integers are int32.
        num_classes: of a label or classes; of tokens, the size of the vocabulary.
        class_names: of them, one per class, or () if unknown; of tokens, the pieces.
    """

    kind: str
    shape: tuple[int | None, ...]
    dtype: str
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()

    @property
    def fixed(self) -> bool:
        """Whether every example has the same shape."""
        return None not in self.shape


def from_tfds(features: Any) -> dict[str, Feature]:
    """Translates a `tfds.features.FeaturesDict`.

    Args:
        features: the `info.features` of a builder.

    Returns:
        {flat name: Feature}, sorted by name.
    """
    import tensorflow_datasets as tfds

    def walk(name: str, feature: Any, lead: tuple[None, ...]) -> dict[str, Feature]:
        if isinstance(feature, tfds.features.FeaturesDict):
            flat = {}
            for key, sub in feature.items():
                flat |= walk(f"{name}/{key}" if name else key, sub, lead)
            return flat
        if isinstance(feature, tfds.features.Sequence):
            length = getattr(feature, "_length", None)
            return walk(name, feature.feature, (*lead, length))
        return {name: _leaf(name, feature, lead)}

    return dict(sorted(walk("", features, ()).items()))  # the order in which TFDS reads its JSON varies


def _leaf(name: str, feature: Any, lead: tuple) -> Feature:
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.ClassLabel):
        names = tuple(feature.names) if feature.num_classes else ()
        return Feature("label", lead, "int32", feature.num_classes, names)
    if isinstance(feature, tfds.features.Text):
        return Feature("text", lead, "bytes")
    info = feature.get_tensor_info()
    if isinstance(info, dict) or np.dtype(info.np_dtype).kind not in "biuf":
        return Feature("text", lead, "bytes")
    shape = (*lead, *info.shape)
    dtype = np.dtype(info.np_dtype)
    last = name.split("/")[-1]
    if isinstance(feature, tfds.features.Image) and dtype == np.uint8:
        is_mask = isinstance(feature, tfds.features.LabeledImage) or last.endswith("mask")
        return Feature("mask" if is_mask else "image", shape, "uint8")
    if isinstance(feature, tfds.features.Image) and dtype == np.uint16 and last.startswith("image"):
        return Feature("image", shape, "uint8")  # scaled when decoded; 16-bit depth maps and the like stay as they are
    if isinstance(feature, tfds.features.BBoxFeature):
        return Feature("box", shape, "float32")
    return Feature("tensor", shape, _delivered(dtype).name)


def beyond(name: str) -> int:
    """The value of a map of whole numbers where there is no image: 255, to ignore, or 0 of instances and of depth."""
    return 0 if "instance" in name.split("/")[-1] or name == DEPTH else 255


def _delivered(dtype: np.dtype) -> np.dtype:
    """The dtype on the device: integers as int32, floats as float32; uint8 and bool stay."""
    if dtype == np.uint8 or dtype == np.bool_:
        return dtype
    return np.dtype(np.int32 if dtype.kind in "iu" else np.float32)


def decode_image(data: bytes, channels: int | None, upright: bool = True, mask: bool = False) -> np.ndarray:
    """Decodes a PNG, JPEG or any other image with Pillow, the same decoder on every machine.

    Args:
        data: the encoded file.
        channels: see `to_array`, as the next two.
        upright: see `to_array`.
        mask: see `to_array`.

    Returns:
        uint8 [h, w, channels].
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return to_array(image, channels, upright, mask)


def decode_whole(data: bytes) -> np.ndarray:
    """Decodes a 16-bit PNG whose numbers are no brightness, such as depths, with Pillow: int32 [h, w, 1]."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).astype(np.int32)[..., None]


def to_array(image: Any, channels: int | None, upright: bool = True, mask: bool = False) -> np.ndarray:
    """A Pillow image as uint8 [h, w, channels]: turned as its EXIF orientation says, 16-bit grey scaled by 255 / 65535.

    Args:
        image: opened.
        channels: 1 (grey or palette index), 3 (RGB), 4 (RGBA) or None for what the file has.
        upright: apply the EXIF orientation; not where boxes or masks belong to the pixels as they are stored.
        mask: values are classes, which are not scaled.

    Raises:
        ValueError: for pixels whose range is not known, as those of float images.
    """
    from PIL import Image

    image.load()
    grey16 = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    turn = orientation(image) if upright else 1
    if grey16 and not mask:
        image = Image.fromarray(((np.asarray(image).astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))
    image = _turned(image, turn)
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
        raise ValueError(f"pixels of mode {image.mode} have no known range; save them as 8-bit, or as 16-bit grey")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels, "L" if image.mode in ("1", "L", "LA") else "RGB")
    if image.mode != mode and not (mode == "L" and image.mode == "P"):
        image = image.convert(mode)
    array = np.asarray(image, np.uint8)
    return array[..., None] if array.ndim == 2 else array  # [h, w, c]


def orientation(image: Any) -> int:
    """The EXIF orientation of an opened image, 1 ... 8; 1 where the file says nothing, or nothing legible."""
    from PIL import ExifTags, Image

    try:  # the base class's method: that of a PNG reads the whole image where it has no EXIF
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata of an image that may be whole; Pillow raises many kinds
        return 1


def _turned(image: Any, to: int) -> Any:
    """The image as its orientation says. `ImageOps.exif_transpose` also writes EXIF again, which may fail."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }  # fmt: skip
    return image.transpose(turns[to]) if to in turns else image


def allow_pixels(most: int) -> None:
    """Raises Pillow's limit of the size of an image, which is the whole process's; it is never lowered.

    Args:
        most: pixels of the largest image; 0 changes nothing.

    Raises:
        ConfigError: for a negative number.
    """
    from PIL import Image

    if most < 0:
        raise ConfigError(f"config.data.max_pixels={most} must be 0 (Pillow's limit) or more")
    if most and Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, most)


def why(error: Exception) -> str:
    """What is wrong with an image that cannot be decoded, and the setting that would mend it, if there is one."""
    text = f"{type(error).__name__}: {error}"
    if type(error).__name__ == "DecompressionBombError":
        return f"{text}; if it is meant to be that large, set config.data.max_pixels to the number of its pixels"
    return text


def as_array(name: str, value: Any, feature: Feature) -> np.ndarray:
    """One numeric entry as an array of the delivered dtype.

    Args:
        name: of the entry, for the error.
        value: a number, an array, or a (nested) list of them, as TFDS returns sequences.
        feature: its description.

    Returns:
        The array; integers too large for int32 stay as they are, so that an entry that nobody asks for does no harm
        (COCO numbers its crowds beyond 9e11); `check_fits` refuses them where it is kept.

    Raises:
        DataError: for rows of different lengths.
    """
    array = np.asarray(value) if not isinstance(value, list) or value else np.zeros((0, *feature.shape[1:]))
    if array.dtype == object:
        raise DataError(f"feature {name!r} has rows of different lengths; leave it out with data.features")
    return array.astype(feature.dtype) if _fits(array, feature) else array


def check_fits(name: str, array: np.ndarray, feature: Feature) -> None:
    """Refuses integers of an entry that is kept and that int32 cannot hold. Raises DataError."""
    if not _fits(array, feature):
        wrong = array[(array < -(2**31)) | (array >= 2**31)].flat[0]
        raise DataError(
            f"feature {name!r} holds {wrong}, which does not fit into int32; leave it out with data.features"
        )


def _fits(array: np.ndarray, feature: Feature) -> bool:
    wide = feature.dtype == "int32" and array.dtype.itemsize > 4 and array.size
    return not wide or bool(array.min() >= -(2**31) and array.max() < 2**31)
