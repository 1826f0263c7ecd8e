"""`--mode doctor`: is everything here that a run needs? What is not is printed with the command that mends it."""

from pathlib import Path
from typing import Any

from cvdl_jax.cli.doctor import data, devices, machine, packages
from cvdl_jax.cli.doctor.items import Check, examine

FLAGS = ("workdir",)  # that it reads


def run(args: Any) -> int:
    """Examines everything; 1 if there is a problem."""
    return examine(checks(Path(args.workdir or "runs")), lambda text: print(text, flush=True))


def checks(runs: Path) -> list[tuple[str, Check]]:
    """What is examined, in this order.

    Args:
        runs: the folder that runs are written to.
    """
    root = packages.ROOT
    places = {"runs": runs.absolute(), "data": data.folder()}
    return [
        ("python", packages.python),
        ("packages", packages.required),
        ("versions", packages.pinned),
        ("devices", devices.devices),
        ("data", data.data_sets),
        ("data of configs", lambda: data.wanted(root)),
        ("cache", machine.caches),
        ("disk", lambda: machine.disk(places)),
        ("memory", machine.memory),
        ("threads", machine.threads),
        ("git", lambda: machine.git(root)),
        ("optional", packages.optional),
        ("optional", machine.programs),
    ]
