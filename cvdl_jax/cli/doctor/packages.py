"""Python and the installed packages, against what pyproject.toml asks for and requirements.txt was tested with."""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from cvdl_jax.cli.doctor.items import NOTE, OK, PROBLEM, Item

ROOT = Path(__file__).resolve().parents[3]
PIP = f"{sys.executable} -m pip install"
Version = tuple[int, ...]


def python(version: Version = sys.version_info[:3], root: Path = ROOT) -> Iterator[Item]:
    """The interpreter."""
    needed = project(root).get("requires-python", ">=3.11")
    text = f"{'.'.join(map(str, version))} at {sys.executable}"
    if satisfies(".".join(map(str, version)), needed):
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
    """Every dependency: there, and in the range that the code needs."""
    wrong, fine = [], []
    for line in project(root)["dependencies"]:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        if "platform_system" in marker and not sys.platform.startswith("linux"):
            continue
        name, wanted = split(requirement)
        found = version_of(name)
        if found is None:
            wrong.append((f"{name} is not installed", requirement))
        elif not satisfies(found, wanted):
            wrong.append((f"{name} {found} is too old or too new, needed: {wanted}", requirement))
        else:
            fine.append(f"{name} {found}")
    for text, requirement in wrong:
        yield Item(PROBLEM, text, f'{PIP} "{requirement}"')
    if fine:
        yield Item(OK, ", ".join(fine))
    if version_of("jax") and version_of("jaxlib") and _release(version_of("jax")) != _release(version_of("jaxlib")):
        text = f"jax {version_of('jax')} and jaxlib {version_of('jaxlib')} belong to different releases"
        yield Item(PROBLEM, text, f'{PIP} "jaxlib=={version_of("jax")}"')


def pinned(root: Path = ROOT, version_of: Callable[[str], str | None] = installed) -> Iterator[Item]:
    """Whether the versions are those that the tests ran with."""
    file = root / "requirements.txt"
    if not file.is_file():
        return
    lines = [re.split("[;#]", line)[0].strip() for line in file.read_text().splitlines()]
    pins = [line for line in lines if "==" in line]
    other = []
    for pin in pins:
        name, _, version = pin.partition("==")
        if version_of(name) not in (version, None):
            other.append(f"{name} {version_of(name)} (tested: {version})")
    if other:
        yield Item(NOTE, f"other versions than the tests ran with: {', '.join(other)}", f"{PIP} -r {file}")
    else:
        yield Item(OK, f"the versions of {file.name}, with which the tests ran")


def optional(version_of: Callable[[str], str | None] = installed, root: Path = ROOT) -> Iterator[Item]:
    """Packages of the extras: what they are for, and how to get them."""
    from cvdl_jax.cli.check.topology import requirement

    wanted = {"wandb": ("config.log.wandb", '"wandb>=0.19"'), "libtpu": ("--topology", f'"{requirement()}"')}
    for name, (purpose, package) in wanted.items():
        found = version_of(name)
        if found is None:
            yield Item(OK, f"{name} is not installed; only {purpose} needs it ({PIP} {package})")
        elif name == "libtpu" and not satisfies(found, package.strip('"').removeprefix("libtpu")):
            yield Item(NOTE, f"libtpu {found} is not the one that this jax was made with", f"{PIP} {package}")
        else:
            yield Item(OK, f"{name} {found}, for {purpose}")


def split(requirement: str) -> tuple[str, str]:
    """("flax", ">=0.12") of "flax>=0.12"."""
    found = re.match(r"([\w.\-]+)(?:\[[^\]]*\])?\s*(.*)", requirement)
    return found[1], found[2].strip("() ")


def satisfies(version: str, wanted: str) -> bool:
    """Whether a version is in a range such as ">=0.12,<1", "==0.17.5" or "==0.0.42.*"."""
    for part in filter(None, (p.strip() for p in wanted.split(","))):
        sign, bound = re.match(r"(>=|<=|==|!=|~=|>|<)\s*(.*)", part).groups()
        a, b = _release(version), _release(bound)
        if bound.endswith(".*") or sign == "~=":
            same = a[: len(b) - (sign == "~=")] == b[: len(b) - (sign == "~=")]
            if (sign != "!=") != same or (sign == "~=" and a < b):
                return False
            continue
        n = max(len(a), len(b))
        a, b = a + (0,) * (n - len(a)), b + (0,) * (n - len(b))
        if not {">=": a >= b, "<=": a <= b, "==": a == b, "!=": a != b, ">": a > b, "<": a < b}[sign]:
            return False
    return True


def _release(version: str) -> Version:
    """(0, 10, 2) of "0.10.2", "0.10.2.dev3" and "0.10.*"."""
    return tuple(int(n) for n in re.match(r"\d+(\.\d+)*", version)[0].split("."))
