"""What a command line asks to be run: one run, or the runs of a table or sweep that are not done."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cvdl_jax.config.binding import check_name
from cvdl_jax.errors import ConfigError, UserError

_OURS = ("--launcher", "--workdir")  # with a value: the launcher's own, or put back in its place
_SWITCHES = ("--dry_run",)


class Job(NamedTuple):
    """One call of launch.py.

    Attributes:
        name: what people read.
        arguments: of launch.py, without --workdir.
        workdir: as given, relative to the working directory; None for a mode without one.
    """

    name: str
    arguments: tuple[str, ...]
    workdir: str | None

    def words(self, below: str = "") -> list[str]:
        """All arguments of launch.py.

        Args:
            below: folder that a relative workdir is put into; "" leaves it relative.
        """
        if self.workdir is None:
            return list(self.arguments)
        return [*self.arguments, "--workdir", str(Path(below, self.workdir))]


class Work(NamedTuple):
    """What is to be submitted.

    Attributes:
        name: of the run, table or sweep.
        jobs: what is not done.
        total: with what is done already or runs elsewhere.
        many: whether these are runs of a table or sweep.
        workers: how many of them at once; 0 for no limit.
        command: the command that shows the results; "" for a single run.
    """

    name: str
    jobs: list[Job]
    total: int
    many: bool = False
    workers: int = 0
    command: str = ""

    def folders(self, below: str = "") -> list[str]:
        """The folders that hold the workdirs: that of a single run itself, the one above those of a table or sweep."""
        places = [Path(below, job.workdir) for job in self.jobs if job.workdir is not None]
        return list(dict.fromkeys(str(place.parent if self.many else place) for place in places))


def collect(args: Any, argv: Sequence[str]) -> Work:
    """What a command line asks for.

    Args:
        args: parsed by launch.py.
        argv: the same, unparsed.

    Raises:
        ConfigError: for a wrong configuration, found before anything is submitted.
        UserError: if a single run is running already.
    """
    if args.status:
        raise ConfigError("--status reads the folders of the runs and needs no --launcher; leave one of them out")
    if args.mode in ("table", "sweep"):
        return _many(args, argv)
    workdir = None if args.workdir is None else str(args.workdir)
    name = Path(workdir or args.config or args.mode).name.partition(":")[0].removesuffix(".py") or args.mode
    job = Job(name, tuple(without(argv)), workdir)
    if args.mode != "train":
        return Work(name, [job], 1)
    from cvdl_jax.cli.modes.train import load_config
    from cvdl_jax.workdir.run_state import DONE, RUNNING, state_of

    run = state_of(workdir, load_config(args))
    if run.state == RUNNING:
        raise UserError(f"{workdir} is running already, at step {run.step}; wait for it, or choose another --workdir")
    return Work(name, [] if run.state == DONE else [job], 1)


def _many(args: Any, argv: Sequence[str]) -> Work:
    from cvdl_jax.cli.tables.plan import arguments
    from cvdl_jax.workdir.run_state import DONE, RUNNING, state_of

    name, planned = _plan(args)
    jobs = []
    for run in {run.workdir: run for run in planned}.values():
        if state_of(run.workdir, run.config).state not in (DONE, RUNNING):
            *words, flag, workdir = arguments(run)
            check_name(flag, ("--workdir",), "the last argument of a planned run")
            jobs.append(Job(run.name, tuple(words), workdir))
    limited = any(word.partition("=")[0] == "--workers" for word in argv)
    command = shlex.join(["python", "launch.py", *without(argv, keep=("--workdir",))])
    return Work(name, jobs, len(planned), True, args.workers if limited else 0, command)


def _plan(args: Any) -> tuple[str, list[Any]]:
    """The name of a table or sweep, and those of its runs that are asked for, their configurations resolved."""
    from cvdl_jax.cli.tables import build_all
    from cvdl_jax.cli.tables.drive import load

    spec, study, root = load(args)
    runs = study.chosen(spec.planned(study, args.overrides, root))
    if args.mode == "table":
        spec.refuse_missing(study, runs)
    build_all.check(runs, study.metric["key"], say)
    return study.name, runs


def without(argv: Sequence[str], keep: Sequence[str] = ()) -> list[str]:
    """A command line without the launcher's own flags and --workdir.

    Args:
        argv: the command line.
        keep: flags that stay.
    """
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in _OURS:
        if flag not in keep:
            flags.add_argument(flag)
    for flag in _SWITCHES:
        flags.add_argument(flag, action="store_true")
    return flags.parse_known_args(list(argv))[1]


def say(line: str) -> None:
    """Says something that is not part of what is submitted."""
    print(line, file=sys.stderr, flush=True)
