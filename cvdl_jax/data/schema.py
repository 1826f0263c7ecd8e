"""The entries of an example: a description of each one, translated from the features of TFDS.

Examples are flat: an entry of a nested feature has a name with slashes, `objects/bbox`.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvdl_jax.errors import DataError

NUMERIC = ("image", "mask", "label", "box", "tensor")


@dataclass(frozen=True)
class Feature:
    """One entry of an example.

    Attributes:
        kind: image (uint8 [h, w, c]), mask (uint8 [h, w, c], one class or object per value), label (int32), box
            (float32 [..., 4]), tensor (any other numbers) or text (bytes, kept on the host).
        shape: in one example; None for a size that varies.
        dtype: as delivered; integers are int32.
        num_classes: of a label.
        class_names: of a label, one per class, or () if unknown.
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
    if isinstance(feature, tfds.features.Image) and dtype == np.uint8:
        is_mask = isinstance(feature, tfds.features.LabeledImage) or name.split("/")[-1].endswith("mask")
        return Feature("mask" if is_mask else "image", shape, "uint8")
    if isinstance(feature, tfds.features.BBoxFeature):
        return Feature("box", shape, "float32")
    return Feature("tensor", shape, _delivered(dtype).name)


def _delivered(dtype: np.dtype) -> np.dtype:
    """The dtype on the device: integers as int32, floats as float32; uint8 and bool stay."""
    if dtype == np.uint8 or dtype == np.bool_:
        return dtype
    return np.dtype(np.int32 if dtype.kind in "iu" else np.float32)


def decode_image(data: bytes, channels: int | None) -> np.ndarray:
    """Decodes a PNG, JPEG or any other image with Pillow, the same decoder on every machine.

    Args:
        data: the encoded file.
        channels: 1 (grey or palette index), 3 (RGB), 4 (RGBA) or None for what the file has.

    Returns:
        uint8 [h, w, channels].
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return to_array(image, channels)


def to_array(image: Any, channels: int | None) -> np.ndarray:
    """A Pillow image as uint8 [h, w, channels]; 16-bit and float images are refused by a ValueError."""
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
        raise ValueError(f"pixels of mode {image.mode} are not 8-bit")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels, "L" if image.mode in ("1", "L", "LA") else "RGB")
    if image.mode != mode and not (mode == "L" and image.mode == "P"):
        image = image.convert(mode)
    array = np.asarray(image, np.uint8)
    return array[..., None] if array.ndim == 2 else array  # [h, w, c]


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
