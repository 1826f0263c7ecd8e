"""The command `cvdl` of an installed package: launch.py, wherever it was installed to."""

import runpy
import sys

from cvdl_jax.config.places import ROOT


def main() -> None:
    """Runs launch.py with the arguments of this process, as `python launch.py` does."""
    sys.path.insert(0, str(ROOT))
    runpy.run_path(str(ROOT / "launch.py"), run_name="__main__")
