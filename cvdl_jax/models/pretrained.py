"""Weights by the names of other libraries, both ways: torchvision's and timm's files into our models, and ours out.

A family that other libraries have says how they call its parameters: `torch_names(variant)` in its file returns
{our path: (their name, transform)}, {} for a variant that they do not have. A path is "stem/kernel" or
"stem_norm/mean", or begins with its collection, "params/stem/kernel". Where their files have several names for one
parameter, `renamed(name)` of the family makes them that of the map. Everything else is the same for all families and
stands here. The transforms, from PyTorch's layout to ours:

    conv        [out, in, h, w] to [h, w, in, out], and 1-D and 3-D likewise
    dense       [out, in] to [in, out]
    pixel       [out, in, 1, 1], a convolution of one pixel, to the dense kernel [in, out]
    dense 7x7   [out, c 7 7] to [7 7 c, out]: torch flattens a map with its channels first
    factors     [c, 1, 1] to [c]
    ""          as it is

A file may also have our own names, "params/stem/kernel" and "batch_stats/stem_norm/mean", or, of a Vision Transformer,
those of vit_jax and big_vision (`big_vision.py`), or of a CLIP, those of Hugging Face (`clip_names.py`).
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.models import big_vision, clip_names, registry
from cvdl_jax.ops.positions import resample_positions

COLLECTIONS = ("params", "batch_stats")
STATISTICS = ("mean", "var")  # last part of the paths that lie in batch_stats
IGNORED = re.compile(r"(^|\.)num_batches_tracked$")  # how often PyTorch's batch normalisation ran; ours needs no count
PREPROCESSING = "preprocessing"  # entry of a file's metadata: JSON of the pixels that the weights expect

NameMap = Mapping[str, tuple[str, str]]


class Imported(NamedTuple):
    """Arrays by our names, and what a file holds besides.

    Attributes:
        arrays: {"params/stem/kernel", "batch_stats/stem_norm/mean" ...: array}.
        unknown: their names that the model has no place for.
    """

    arrays: dict[str, np.ndarray]
    unknown: tuple[str, ...]


def to_ours(array: np.ndarray, transform: str) -> np.ndarray:
    """An array of PyTorch's layout in ours.

    Args:
        array: as the transform takes it, or with axes of length 1 more or less, which libraries differ in.
        transform: see the module.

    Raises:
        DataError: for an array that the transform does not fit.
    """
    kind, _, size = transform.partition(" ")
    if kind in ("dense", "pixel") and array.ndim > 2 and set(array.shape[2:]) == {1}:
        array = array.reshape(array.shape[:2])
    if (kind == "conv" and array.ndim < 3) or (kind in ("dense", "pixel") and array.ndim != 2):
        raise DataError(f"an array of shape {list(array.shape)} is no {transform} kernel")
    if kind == "conv":
        return np.moveaxis(array, (0, 1), (-1, -2))
    if size:
        h, w = map(int, size.split("x"))
        if array.shape[1] % (h * w):
            raise DataError(f"{array.shape[1]} inputs of a dense layer are no map of {size} pixels")
        return array.reshape(len(array), -1, h, w).transpose(2, 3, 1, 0).reshape(-1, len(array))
    if kind == "factors":
        return array.reshape(-1)
    return array.T if kind in ("dense", "pixel") else array


def to_theirs(array: np.ndarray, transform: str) -> np.ndarray:
    """The inverse of `to_ours`."""
    kind, _, size = transform.partition(" ")
    if kind == "conv":
        return np.moveaxis(array, (-1, -2), (0, 1))
    if size:
        h, w = map(int, size.split("x"))
        return array.reshape(h, w, -1, array.shape[1]).transpose(3, 2, 0, 1).reshape(array.shape[1], -1)
    if kind == "factors":
        return array[:, None, None]
    if kind == "pixel":
        return array.T[:, :, None, None]
    return array.T if kind == "dense" else array


def collected(path: str) -> str:
    """A path of a name map with its collection: "stem_norm/mean" lies in batch_stats."""
    if path.partition("/")[0] in COLLECTIONS:
        return path
    return f"{'batch_stats' if path.rpartition('/')[2] in STATISTICS else 'params'}/{path}"


def names_of(section: Mapping[str, Any], path: str = "config.model") -> NameMap:
    """How other libraries call the parameters of a model.

    Args:
        section: as `config.model`.
        path: of the section, for messages.

    Raises:
        ConfigError: for a family that no other library has.
    """
    variant = registry.variants()[section["name"]]
    family = variant.family()
    names = family.torch_names(variant.name) if hasattr(family, "torch_names") else {}
    if not names:
        known = sorted({v.file.stem for v in registry.variants().values() if hasattr(v.family(), "torch_names")})
        raise ConfigError(
            f"{path}.name={variant.name!r}: weights by other libraries' names are known of {', '.join(known)}; "
            "name a run of ours, or a file that we wrote"
        )
    return {collected(our): their for our, their in names.items()}


def imported(tensors: Mapping[str, np.ndarray], section: Mapping[str, Any], path: str = "config.model") -> Imported:
    """The arrays of a file by our names.

    Args:
        tensors: {their name: array}, or by our own names, or by big_vision's.
        section: as `config.model`, which says what is to be filled.
        path: of the section, for messages.

    Raises:
        ConfigError: see `names_of` and `big_vision.by_our_names`.
        DataError: if an array cannot be of our layout.
    """
    if big_vision.named_so(tensors):
        return Imported(*big_vision.by_our_names(tensors, section, path))
    if all(name.partition("/")[0] in COLLECTIONS for name in tensors):
        return Imported(dict(tensors), ())
    if clip_names.named_so(tensors):
        tensors = clip_names.by_openai_names(tensors)
    theirs = {their: (our, transform) for our, (their, transform) in names_of(section, path).items()}
    rename = getattr(registry.variants()[section["name"]].family(), "renamed", lambda name: name)
    arrays, unknown = {}, []
    for name, array in tensors.items():
        if IGNORED.search(name):
            continue
        if rename(name) not in theirs:
            unknown.append(name)
            continue
        our, transform = theirs[rename(name)]
        try:
            arrays[our] = to_ours(array, transform)
        except DataError as error:
            raise DataError(f"{name!r}: {error}") from error
    return Imported(arrays, tuple(unknown))


def exported(arrays: Mapping[str, np.ndarray], section: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A model's arrays by the names of the other library, so that its `load_state_dict` takes them.

    Args:
        arrays: {"params/stem/kernel", "batch_stats/stem_norm/mean": array}, all of the model.
        section: as `config.model`.

    Raises:
        ConfigError: see `names_of`.
        DataError: naming a parameter that the other library has no place for.
    """
    names = names_of(section)
    missing = sorted(arrays.keys() - names.keys())
    if missing:
        raise DataError(
            f"{section['name']} with these settings has {len(missing)} arrays without a place there, {missing[0]!r} "
            "first; export a model with the settings of its variant"
        )
    out = {names[our][0]: to_theirs(np.asarray(array), names[our][1]) for our, array in arrays.items()}
    for name in [name for name in out if name.endswith(".running_var")]:
        out[f"{name.removesuffix('running_var')}num_batches_tracked"] = np.asarray(0, np.int64)
    return out


# Shapes that differ ---------------------------------------------------------------------------------------------------


def fitted(name: str, array: np.ndarray, shape: Sequence[int]) -> np.ndarray | None:
    """An array for a place of another shape, where there is a known way; else None.

    The first convolution of RGB images serves other numbers of channels, so that a grey image repeated c times gives
    the same outputs: its kernel is summed over the channels for one, halved for each of two, and for c the colours take
    turns, each divided by how often it occurs (for multiples of 3 that is 3 / c, as timm has it).
    Position embeddings [1, n, d] of a square grid are interpolated (bicubic) to another one; extra tokens stay.

    Args:
        name: our path with its collection.
        array: kernel [h, w, c, features], or embeddings [1, n, d].
        shape: of the place.
    """
    if array.ndim == 4 == len(shape) and array.shape[2] == 3 and array.shape[:2] == shape[:2]:
        if array.shape[3] == shape[3] and name.endswith("kernel"):
            return other_channels(array, shape[2])
    if "position" in name and array.ndim == 3 == len(shape) and array.shape[::2] == tuple(shape)[::2]:
        return other_grid(array, shape[1])
    return None


def other_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel [h, w, 3, k] of RGB images for c channels, [h, w, c, k]; see `fitted`."""
    if channels < 3:
        return np.repeat(kernel.sum(2, keepdims=True) / channels, channels, 2)
    colours = np.arange(channels) % 3
    return kernel[:, :, colours] / np.bincount(colours)[colours, None].astype(kernel.dtype)


def other_grid(embedding: np.ndarray, n: int) -> np.ndarray | None:
    """Position embeddings [1, m, d] for n tokens: up to two tokens before the square grid stay, the grid is resampled.

    None where the numbers are no square grids behind the same tokens.
    """
    for prefix in (0, 1, 2):
        old, new = (round(max(k - prefix, 0) ** 0.5) for k in (embedding.shape[1], n))
        if old > 0 < new and old**2 + prefix == embedding.shape[1] and new**2 + prefix == n:
            resampled = resample_positions(jnp.asarray(embedding), (old, old), (new, new), prefix)
            return np.asarray(resampled).astype(embedding.dtype)
    return None


# Pixels that weights expect -----------------------------------------------------------------------------------------


def preprocessing(normalise: Mapping[str, Any], image_size: Sequence[int]) -> dict[str, str]:
    """The metadata that say what pixels a model expects.

    Args:
        normalise: mean and std, or per_image, or empty.
        image_size: (h, w).
    """
    numbers = {key: list(map(float, normalise[key])) for key in ("mean", "std") if normalise.get(key)}
    own = {"per_image": True} if normalise.get("per_image") else {}
    return {PREPROCESSING: json.dumps({**numbers, **own, "image_size": list(map(int, image_size))})}


def check_preprocessing(metadata: Mapping[str, str], normalise: Mapping[str, Any], source: str) -> None:
    """Refuses a configuration whose pixels are not those that the weights were trained on.

    Args:
        metadata: of the file.
        normalise: of the configuration, its numbers fitted.
        source: the file, for the message.

    Raises:
        ConfigError: saying what to set. Another image size is no contradiction.
    """
    try:
        wanted = json.loads(metadata.get(PREPROCESSING, "{}"))
    except ValueError:
        return
    have, want = (bool(section.get("per_image", False)) for section in (normalise, wanted))
    if PREPROCESSING in metadata and have != want:
        raise ConfigError(
            f"config.normalise.per_image={have}, and the weights of {source} expect {want}; set "
            f"--config.normalise.per_image={want}, or choose other weights"
        )
    for key in ("mean", "std"):
        have, want = tuple(normalise.get(key, ())), tuple(wanted.get(key, ()))
        if PREPROCESSING in metadata and (len(have) != len(want) or not np.allclose(have, want, atol=1e-4)):
            raise ConfigError(
                f"config.normalise.{key}={have}, and the weights of {source} expect {want or 'none'}; set "
                f"--config.normalise.{key}={','.join(map(str, want)) or '()'}, or choose other weights"
            )
