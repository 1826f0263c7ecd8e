"""Our own data sets: TFDS builders that make their examples offline from installed packages, without TensorFlow.

A builder is a file of `builders/` named as its data set, with one `GeneratorBasedBuilder` whose class name is the
data set's in CamelCase. It yields encoded image bytes (arrays would pull TensorFlow in). If the file has a function
`configure`, with annotated arguments, that returns a builder config, the data set's name may carry these arguments:
`shapes(size=96, objects=8)`. A builder config with an attribute `folder` is told the data folder, for a set that is
made of another one.
"""

import contextlib
import importlib
import io
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cvdl_jax.config import places
from cvdl_jax.config.configs import bind_calls, cache_folder
from cvdl_jax.data import opened
from cvdl_jax.data.tfds_source import INFO
from cvdl_jax.errors import DataError

_BUILDERS = Path(__file__).parent / "builders"


def ours() -> list[str]:
    """The data sets that `builders/` makes, and the user's folder that adds to it."""
    return sorted(_files())


def _files() -> dict[str, Path]:
    """{data set: the file that makes it}.

    Raises:
        ConfigError: for a file of the user's that has the name of one of ours.
    """
    folders = [folder for folder in (_BUILDERS, places.extension("cvdl_jax.data.builders")) if folder is not None]
    files: dict[str, Path] = {}
    for path in (path for folder in folders for path in folder.glob("*.py") if not path.stem.startswith("_")):
        if path.stem in files:
            places.refuse_ours(path.stem, path, str(files[path.stem]))
        files[path.stem] = path
    return files


def prepare(name: str, folder: Path) -> Path:
    """Prepares a data set on first use.

    It is written beside its place and moved there whole, so that neither a kill nor a second process leaves half of it.

    Args:
        name: of a file in `builders/`, with or without `(arguments)` and `:version`.
        folder: the data folder, where it may be prepared already; else it is written into the user's cache folder,
            since the data folder may be shared with others.

    Returns:
        The version's folder.

    Raises:
        DataError: if the version is not the one that the builder makes, or the cache folder cannot be written.
        ConfigError: for arguments that the builder does not take.
    """
    import tensorflow_datasets as tfds

    base, arguments, version = _parse(name)
    path = _files()[base]
    with tfds.core.registered.skip_registration():  # the path is the name; TFDS would refuse one that it knows
        if path.parent == _BUILDERS:
            module = importlib.import_module(f"cvdl_jax.data.builders.{base}")
        else:
            module = places.load_once(path.resolve())
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    builders = [c for c in own if issubclass(c, tfds.core.GeneratorBasedBuilder)]
    if len(builders) != 1:
        raise DataError(f"{path} must define one tfds.core.GeneratorBasedBuilder, and defines {len(builders)}")
    cls = builders[0]
    if version and version != str(cls.VERSION):
        raise DataError(f"{base} is made in version {cls.VERSION}, not {version}; write {base}:{cls.VERSION} or {base}")
    config = _configure(module, base, arguments)
    if hasattr(config, "folder"):
        config.folder = folder
    place = Path(base, config.name if config else "", str(cls.VERSION))
    own = cache_folder() / "datasets"
    for root in (folder, own):
        if (root / place / INFO).is_file():
            return root / place
    try:
        return _write(cls, config, place, own)
    except OSError as error:
        raise DataError(
            f"{base} cannot be prepared ({own}: {error.strerror or error}); set CVDL_CACHE to a folder that can be "
            "written"
        ) from error


def _parse(name: str) -> tuple[str, str, str]:
    """The parts of "shapes(size=96):1.0.0": "shapes", "(size=96)" and "1.0.0"."""
    parts = re.fullmatch(r"(\w+)\s*(\(.*\))?(?::([^()]*))?", name.strip())
    if not parts:
        raise DataError(f"config.data.name={name!r} cannot be read; write NAME, NAME:VERSION or NAME(key=value)")
    return parts[1], parts[2] or "", parts[3] or ""


def _configure(module: Any, base: str, arguments: str) -> Any:
    """The builder config for these arguments; None for a builder without arguments."""
    if not hasattr(module, "configure"):
        if arguments:
            raise DataError(f"config.data.name: {base} takes no arguments, got {base}{arguments}; write {base}")
        return None
    ((function, values),) = bind_calls(f"{base}{arguments}", {base: module.configure}, "config.data.name")
    return function(**values)


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Hides TFDS's remark that a builder config is not one of a fixed list."""
    logger = logging.getLogger("absl")

    def keep(record: logging.LogRecord) -> bool:
        return "Using custom data configuration" not in record.getMessage()

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


@contextlib.contextmanager
def _in_sorted_order() -> Iterator[None]:
    """Makes TFDS serialise the entries of an example in sorted order, where its own differs between processes.

    Otherwise the fingerprint of a data set would depend on the process that prepared it.
    """
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    original = ExampleSerializer.serialize_example

    def serialize_example(self: ExampleSerializer, example: Any) -> bytes:
        return self.get_tf_example(example).SerializeToString(deterministic=True)

    ExampleSerializer.serialize_example = serialize_example
    try:
        yield
    finally:
        ExampleSerializer.serialize_example = original


def _write(cls: type, config: Any, place: Path, root: Path) -> Path:
    import tensorflow_datasets as tfds

    final = root / place
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{place.parts[0]}-") as scratch:
        tfds.display_progress_bar(False)  # it takes seconds, and TFDS would print a dozen lines
        more = {"config": config} if config else {}
        # What a set is made of is noted by nobody: a run that finds the set prepared would not have noted it either.
        quiet = contextlib.redirect_stdout(io.StringIO())
        with quiet, _without_remarks(), _in_sorted_order(), opened.noting():
            cls(data_dir=scratch, file_format="array_record", **more).download_and_prepare()
        tfds.display_progress_bar(True)
        try:
            os.rename(Path(scratch, place), final)
        except OSError:
            if not (final / INFO).is_file():  # else another process was first, with the same examples
                if not final.is_dir():
                    raise
                shutil.rmtree(final)  # an incomplete data set, without its INFO
                os.rename(Path(scratch, place), final)
    return final
