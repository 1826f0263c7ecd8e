"""Installs launch.py, configs/ and experiments/ within the package, so that they hide nothing of the user's."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithShipped(build_py):
    """Copies what lies beside the package into its folder `shipped` (`cvdl_jax/config/places.py`)."""

    def run(self) -> None:
        """Builds the package, then copies."""
        super().run()
        if self.editable_mode:  # the checkout itself is used then
            return
        shipped = Path(self.build_lib, "cvdl_jax", "shipped")
        shutil.rmtree(shipped, ignore_errors=True)  # of an earlier build
        for name in ("configs", "experiments"):
            shutil.copytree(name, shipped / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        shutil.copy("launch.py", shipped)


setup(cmdclass={"build_py": BuildWithShipped})
