"""Python files that a user names and may edit between two runs: configs, tables, sweeps."""

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from cvdl_jax.errors import ConfigError


class _AsItIs(SourceFileLoader):
    """Compiles the text as it is now. Bytecode that Python keeps passes for every text of one length and one second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load(path: Path) -> ModuleType:
    """A file as a module of its own, run once.

    Args:
        path: of an existing file.

    Raises:
        ConfigError: for text that is no Python, naming the line.
    """
    name = f"file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_AsItIs(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    return module
