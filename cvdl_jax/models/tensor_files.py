"""Files of named arrays, safetensors and NumPy's npz: read whole and checked. No torch, no pickle."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import DataError

SUFFIXES = (".safetensors", ".npz")
PICKLES = (".pth", ".pt", ".bin", ".ckpt")


class TensorFile(NamedTuple):
    """What a file holds.

    Attributes:
        tensors: {name: array}.
        metadata: {name: text} of a safetensors file.
        sha256: of its bytes, in hexadecimal digits.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]
    sha256: str


def is_named(source: str) -> bool:
    """Whether a source is the name of a file of tensors, of a kind that is read here or that can be converted."""
    return Path(source).suffix.lower() in (*SUFFIXES, *PICKLES)


def read(path: str | Path) -> TensorFile:
    """The arrays of a file.

    Args:
        path: ends with .safetensors or .npz.

    Raises:
        DataError: if the file is missing, damaged, holds no numbers, or is a pickle, which could run any code.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() in PICKLES:
        raise DataError(
            f"{path} is a pickle of PyTorch, which is not read here; convert it where torch is installed: "
            f"python -m benchmarks.convert_torch {path} {path.with_suffix('.safetensors')}"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: expected a file that ends with {' or '.join(SUFFIXES)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; name a file of weights") from error
    tensors, metadata = _safetensors(path, content) if path.suffix.lower() == ".safetensors" else (_npz(path), {})
    if not tensors:
        raise DataError(f"{path} holds no arrays; name a file of weights")
    return TensorFile(tensors, metadata, hashlib.sha256(content).hexdigest())


def _safetensors(path: Path, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    import jax.numpy as jnp
    import safetensors
    from safetensors.numpy import _TYPES as types  # the library has no public table

    types = {**types, "BF16": np.dtype(jnp.bfloat16)}
    try:
        parts = safetensors.deserialize(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (safetensors.SafetensorError, ValueError) as error:
        raise DataError(f"{path} is damaged or no safetensors file ({error}); copy it again") from error
    tensors = {}
    for name, part in parts:
        if part["dtype"] not in types:
            raise DataError(f"{path}: {name!r} is of type {part['dtype']}, which is not read; convert it to float32")
        tensors[name] = np.frombuffer(part["data"], types[part["dtype"]]).reshape(part["shape"])
    return tensors, header.get("__metadata__", {})


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged or no file of arrays ({error}); copy it again") from error


def to_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file.

    Args:
        tensors: {name: array}; bfloat16 becomes float32, which holds all its numbers.
        metadata: {name: text}.
    """
    from safetensors.numpy import save

    wide = {k: x.astype(np.float32) if x.dtype.name == "bfloat16" else np.asarray(x) for k, x in tensors.items()}
    return save({k: np.asarray(x, order="C") for k, x in wide.items()}, dict(metadata or {}))
