"""Where files lie: those of this package, and those that a user keeps in the current folder. Nothing here imports JAX.

`ROOT` holds our `configs/` and `experiments/` and `launch.py`: the checkout, or a folder within the installed package.
In the current folder `experiments/mine.py` is the experiment "mine", and `extensions/` is laid out as this package:
what lies in `extensions/models/backbones/mynet.py` or `extensions/optim/update_rules.py` is found as if it lay in
`cvdl_jax/models/backbones/` or stood in `cvdl_jax/optim/update_rules.py`. A name that is ours already is refused.
"""

import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from cvdl_jax.errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = (PACKAGE / "shipped").is_dir()  # setup.py puts it there
ROOT = PACKAGE / "shipped" if INSTALLED else PACKAGE.parent
BESIDE = ("configs", "experiments")  # packages beside launch.py
_LOADED: dict[Path, dict[str, ModuleType]] = {}  # what BESIDE means to the files of a folder


def command() -> str:
    """What a user types to start: `python launch.py` in a checkout, `cvdl` with an installed package."""
    return "cvdl" if INSTALLED else "python launch.py"


def argv() -> list[str]:
    """The command line of this process, as it would be typed again."""
    return ["cvdl", *sys.argv[1:]] if INSTALLED else ["python", *sys.argv]


def folder(name: str) -> Path | None:
    """The user's folder of a name in the current folder; None if there is none, or it is ours."""
    path = _here(name)
    return path if path is not None and path.is_dir() and path.resolve() != ROOT / name else None


def extension(module: str, suffix: str = "") -> Path | None:
    """The user's file or folder that adds to one of ours.

    Args:
        module: of ours, such as "cvdl_jax.optim.update_rules".
        suffix: ".py" for a file, "" for a folder.

    Returns:
        extensions/optim/update_rules.py in the current folder; None if there is none.
    """
    path = _here("extensions", *module.split(".")[1:])
    path = path and path.with_name(path.name + suffix)
    return path if path is not None and path.exists() else None


def _here(*parts: str) -> Path | None:
    """A path in the current folder; None where that folder was removed meanwhile."""
    try:
        return Path.cwd().joinpath(*parts)
    except FileNotFoundError:
        return None


def added_to(module: str) -> ModuleType | None:
    """The user's module that adds to one of ours, loaded once; None if there is none."""
    path = extension(module, ".py")
    return None if path is None else load_once(path.resolve())


def refuse_ours(name: str, path: Path, ours: str) -> None:
    """Refuses a name of the user's that is one of ours.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"{path} has {name!r}, which is the name of one of ours ({ours}); rename yours")


# Loading --------------------------------------------------------------------------------------------------------------


class _AsItIs(SourceFileLoader):
    """Compiles the text as it is now. Bytecode that Python keeps passes for every text of one length and one second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_module(path: Path) -> ModuleType:
    """A file as a module of its own, run once.

    Args:
        path: of an existing file.

    Raises:
        ConfigError: for text that is no Python, naming the line, and for a module that this package does not have.
    """
    name = f"file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_AsItIs(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    try:
        with packages_of(path):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "cvdl_jax":
            raise
        raise ConfigError(
            f"{path}: {error.msg}; the package is made of rooms, which docs/design.md lists: for example "
            "from cvdl_jax.config import configs"
        ) from error
    return module


@functools.cache
def load_once(path: Path) -> ModuleType:
    """A file as a module that later calls get again, so that its functions and classes are the same ones."""
    return load_module(path)


def import_ours(name: str) -> ModuleType:
    """A module of ours beside launch.py, such as "experiments.gan", whatever else is called so."""
    with packages_of(ROOT / f"{name.replace('.', '/')}.py"):
        return importlib.import_module(name)


@contextlib.contextmanager
def packages_of(path: Path) -> Iterator[None]:
    """Within it `import configs` and `import experiments` mean what a file expects: its own folders, then ours.

    Other packages of these names, such as those of the project in which ours is installed, stay what they are.
    """
    home = _home(path)
    inside = BESIDE[0] in _LOADED.get(home, {}) and sys.modules.get(BESIDE[0]) is _LOADED[home][BESIDE[0]]
    if inside or (home == ROOT and all(map(_is_ours, BESIDE))):
        yield
        return
    outside = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in BESIDE}
    for name in outside:
        del sys.modules[name]
    if home not in _LOADED:
        _LOADED[home] = {}
        for name in BESIDE:
            _LOADED[home][name] = package = ModuleType(name)
            package.__path__ = [str(root / name) for root in dict.fromkeys((home, ROOT)) if (root / name).is_dir()]
    sys.modules.update(_LOADED[home])
    try:
        yield
    finally:
        _LOADED[home] = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in BESIDE}
        for name in _LOADED[home]:
            del sys.modules[name]
        sys.modules.update(outside)


def _home(path: Path) -> Path:
    """The folder whose `configs/`, `experiments/` or `extensions/` holds a file; ROOT for any other file."""
    holding = (parent.parent for parent in path.resolve().parents if parent.name in (*BESIDE, "extensions"))
    return next(holding, ROOT)


def _is_ours(name: str) -> bool:
    """Whether Python itself finds our package of this name."""
    if name in sys.modules and sys.modules[name].__spec__ is None:
        return False
    spec = importlib.util.find_spec(name)
    return spec is not None and ROOT / name in (Path(p).resolve() for p in spec.submodule_search_locations or ())
