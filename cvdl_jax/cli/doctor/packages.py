"""Python and the installed packages, against what pyproject.toml asks for and requirements.txt was tested with."""

import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from cvdl_jax.cli.doctor.items import NOTE, OK, PROBLEM, Item

ROOT = Path(__file__).resolve().parents[3]
PIP = f"{sys.executable} -m pip install"


def python(version: tuple[int, ...] = sys.version_info[:3], root: Path = ROOT) -> Iterator[Item]:
    """Whether the Python interpreter is one that the code runs on."""
    from packaging.specifiers import SpecifierSet  # a check that lacks it is a problem of its own, and ends nothing

    needed, number = project(root).get("requires-python", ">=3.11"), ".".join(map(str, version))
    text = f"{number} at {sys.executable}"
    if SpecifierSet(needed).contains(number):
        yield Item(OK, text)
    else:
        least = needed.removeprefix(">=")
        fix = f"install Python {least} or later, then: make PYTHON=/path/to/python{least} test"
        yield Item(PROBLEM, f"{text}; needed: {needed}", fix)


def project(root: Path = ROOT) -> dict[str, Any]:
    """The section `project` of pyproject.toml; from the installed package's metadata where there is no checkout."""
    file = root / "pyproject.toml"
    if file.is_file():
        return tomllib.loads(file.read_text())["project"]
    lines = [line for line in metadata.requires("cvdl_jax") or [] if "extra ==" not in line]
    return {"dependencies": lines, "requires-python": metadata.metadata("cvdl_jax")["Requires-Python"]}


def installed(name: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def required(root: Path = ROOT, version_of: Callable[[str], str | None] = installed) -> Iterator[Item]:
    """Whether every dependency is installed, in a version of the range that the code needs."""
    from packaging.requirements import Requirement

    wrong, fine = [], []
    for line in project(root)["dependencies"]:
        needed, requirement = Requirement(line), line.partition(";")[0].strip()
        if needed.marker is not None and not needed.marker.evaluate():
            continue
        name, version = needed.name, version_of(needed.name)
        if version is None:
            wrong.append((f"{name} is not installed", requirement))
        elif not needed.specifier.contains(version, prereleases=True):
            wrong.append((f"{name} {version} is too old or too new, needed: {needed.specifier}", requirement))
        else:
            fine.append(f"{name} {version}")
    for text, requirement in wrong:
        yield Item(PROBLEM, text, f'{PIP} "{requirement}"')
    if fine:
        yield Item(OK, ", ".join(fine))


def pinned(root: Path = ROOT, version_of: Callable[[str], str | None] = installed) -> Iterator[Item]:
    """Whether the versions are those that the tests ran with."""
    file = root / "requirements.txt"
    if not file.is_file():
        return
    other = []
    for line in file.read_text().splitlines():
        name, _, version = line.partition("#")[0].partition(";")[0].strip().partition("==")
        if version and version_of(name) not in (version, None):
            other.append(f"{name} {version_of(name)} (tested: {version})")
    if other:
        yield Item(NOTE, f"other versions than the tests ran with: {', '.join(other)}", f"{PIP} -r {file}")
    else:
        yield Item(OK, f"the versions of {file.name}, with which the tests ran")


def optional(version_of: Callable[[str], str | None] = installed, root: Path = ROOT) -> Iterator[Item]:
    """Packages of the extras: what they are for, and how to get them."""
    from packaging.requirements import Requirement

    from cvdl_jax.cli.check.topology import requirement

    wanted = {"wandb": ("config.log.wandb", "wandb>=0.19"), "libtpu": ("--topology", requirement())}
    for name, (purpose, package) in wanted.items():
        version, fix = version_of(name), f'{PIP} "{package}"'
        if version is None:
            yield Item(OK, f"{name} is not installed; only {purpose} needs it ({fix})")
        elif name == "libtpu" and not Requirement(package).specifier.contains(version):
            yield Item(NOTE, f"libtpu {version} is not the one that this jax was made with", fix)
        else:
            yield Item(OK, f"{name} {version}, for {purpose}")
