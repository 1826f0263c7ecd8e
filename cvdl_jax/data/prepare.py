"""Data sets of ours: TFDS builders that make their examples from what is installed, without network or TensorFlow.

A builder is a file of `builders/` named as its data set, with one `GeneratorBasedBuilder` whose class name is the
data set's in CamelCase. It yields encoded image bytes (arrays would pull TensorFlow in).
"""

import contextlib
import importlib
import io
import os
import shutil
import tempfile
from pathlib import Path

from cvdl_jax.configs import cache_folder
from cvdl_jax.data.tfds_source import INFO
from cvdl_jax.errors import DataError

_BUILDERS = Path(__file__).parent / "builders"


def ours() -> list[str]:
    """The data sets that `builders/` makes."""
    return sorted(p.stem for p in _BUILDERS.glob("*.py") if not p.stem.startswith("_"))


def prepare(name: str, folder: Path) -> Path:
    """Prepares a data set on first use.

    Written beside its place and moved there whole, so that two processes at once or a kill leave no half data set.

    Args:
        name: of a file in `builders/`, with or without `:version`.
        folder: the data folder; where it cannot be written, the user's cache folder is used.

    Returns:
        The version's folder.

    Raises:
        DataError: if the version is not the one that the builder makes, or no folder can be written.
    """
    import tensorflow_datasets as tfds

    base, _, version = name.partition(":")
    module = importlib.import_module(f"cvdl_jax.data.builders.{base}")
    (cls,) = (
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, tfds.core.GeneratorBasedBuilder) and c.__module__ == module.__name__
    )
    if version and version != str(cls.VERSION):
        raise DataError(f"{base} is made in version {cls.VERSION}, not {version}; write {base}:{cls.VERSION} or {base}")
    fallback = cache_folder() / "datasets"
    for root in (folder, fallback):
        if (root / base / str(cls.VERSION) / INFO).is_file():
            return root / base / str(cls.VERSION)
    errors = []
    for root in (folder, fallback):
        try:
            return _write(cls, base, root)
        except OSError as error:
            errors.append(f"{root}: {error.strerror or error}")
    raise DataError(
        f"{base} cannot be prepared ({'; '.join(errors)}); set config.data.data_dir, TFDS_DATA_DIR or CVDL_CACHE to a "
        "folder that can be written"
    )


def _write(cls: type, base: str, root: Path) -> Path:
    import tensorflow_datasets as tfds

    final = root / base / str(cls.VERSION)
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{base}-") as scratch:
        tfds.display_progress_bar(False)  # a second's work; TFDS would print a dozen lines
        with contextlib.redirect_stdout(io.StringIO()):
            cls(data_dir=scratch, file_format="array_record").download_and_prepare()
        tfds.display_progress_bar(True)
        try:
            os.rename(Path(scratch, base, str(cls.VERSION)), final)
        except OSError:
            if not (final / INFO).is_file():  # else another process was first, with the same examples
                if not final.is_dir():
                    raise
                shutil.rmtree(final)  # without its INFO it is no data set
                os.rename(Path(scratch, base, str(cls.VERSION)), final)
    return final
