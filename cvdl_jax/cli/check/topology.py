"""TPU topologies that one need not have: their devices exist for the compiler alone, through the package libtpu."""

import importlib.util
import os
import re
from collections.abc import MutableMapping
from importlib import metadata
from typing import Any

from cvdl_jax.errors import ConfigError, UserError, nearest

GENERATIONS = ("v2", "v3", "v4", "v5e", "v5p", "v6e", "tpu7x")
EXAMPLES = "v5e:4x4, v6e:16x16 or v5p:2x2x2"  # tpu7x, v4, v5p: 3 axes; the others: 2
# libtpu is made for TPU virtual machines: elsewhere it would ask Google's metadata server who it is and complain, and
# it lets one process at a time load it (by /tmp/libtpu_lockfile). Compiling touches no chip, so none of this applies.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_LOG_DIR": "disabled",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets what libtpu and JAX read when they are loaded; JAX itself runs on the CPU, whatever is here.

    Raises:
        UserError: if libtpu is not installed, with the command that installs it.
    """
    if not environment.get("TPU_LIBRARY_PATH") and importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "--topology needs the package libtpu, which compiles for TPUs on machines without one (600 MB); type: "
            f'pip install "{requirement()}"'
        )
    for name, value in ENVIRONMENT.items():
        environment.setdefault(name, value)
    environment["JAX_PLATFORMS"] = "cpu"


def requirement() -> str:
    """The libtpu that the installed JAX was made with, as pip wants it."""
    try:
        lines = metadata.requires("jax") or []
    except metadata.PackageNotFoundError:
        lines = []
    return next((line.partition(";")[0].strip() for line in lines if line.startswith("libtpu")), "libtpu")


def names(text: str) -> list[str]:
    """The topologies of `--topology v5e:2x2,v5e:4x4`; none for "".

    Raises:
        ConfigError: for an empty name, or one that is given twice.
    """
    topologies = [part.strip() for part in text.split(",")] if text else []
    if len(set(topologies)) < len(topologies) or not all(topologies):
        raise ConfigError(f"--topology={text!r}: write different topologies separated by commas, such as {EXAMPLES}")
    return topologies


def devices(name: str) -> list[Any]:
    """The devices of a topology, in the order that JAX would list them there.

    Args:
        name: "v5e:4x4": a generation and how many chips there are along each axis.

    Raises:
        ConfigError: for a name that libtpu does not know, with its reason and examples.
        UserError: if libtpu cannot be loaded.
    """
    import jax
    from jax.experimental import topologies

    generation = name.partition(":")[0]
    # A chip of v4 is one device, as JAX shows it on such a machine; libtpu would list its two cores.
    more = {"chip_config_name": "megacore"} if generation == "v4" else {}
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **more).devices)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0].partition(": ")[2] or str(error)
        raise ConfigError(f"--topology={name!r}: {_hint(name)} (libtpu: {reason})") from error
    except RuntimeError as error:
        raise UserError(f'libtpu cannot be loaded ({error}); type: pip install "{requirement()}"') from error


def _hint(name: str) -> str:
    generation, _, shape = name.partition(":")
    if re.fullmatch(r"v\w+-\d+", name):
        return f"that is an accelerator type; write its topology, for example {EXAMPLES}"
    if generation not in GENERATIONS:
        return f"{generation!r} is no TPU generation; {nearest(generation, GENERATIONS)} For example {EXAMPLES}"
    if not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        return f"write GENERATION:CHIPSxCHIPS, for example {EXAMPLES}"
    return f"{generation} is not built as {shape}; for example {EXAMPLES}"
