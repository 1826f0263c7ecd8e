"""The one command: train, evaluate, predict, check, describe, compare; run a table or a sweep; submit to a cluster.

    python launch.py --config configs/classify/lenet5.py --workdir runs/digits_lenet5
    python launch.py --config configs/classify/resnet20.py:data=cifar10,smoke --config.optim.lr=0.05 --workdir runs/try
    python launch.py --mode eval --workdir runs/digits_lenet5 --split test
    python launch.py --mode eval --workdir runs/mnist_lenet5 --external digits
    python launch.py --ensemble runs/digits_lenet5 runs/digits_resnet20
    python launch.py --mode predict --workdir runs/digits_lenet5 --input photos/ --out preds.csv
    python launch.py --mode attack --workdir runs/digits_lenet5 --method "pgd(eps=0.1) | deepfool(eps=1.0)"
    python launch.py --mode check --config configs/classify/vit_tiny.py:data=cifar10 --topology v5e:4x4
    python launch.py --compare runs/digits_lenet5 runs/digits_mlp
    python launch.py --table configs/tables/digits_classifiers.py --workers 2

This is the only file with flags; it imports no JAX until a mode starts. Exit codes: 0 done, 2 configuration or data
error, 75 preempted and saved (run the same command again), 130 interrupted and saved, others a crash.
"""

import argparse
import ast
import errno
import importlib
import os
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from cvdl_jax.config import paths, places
from cvdl_jax.config.defaults import DEFAULTS
from cvdl_jax.engine import distributed, signals, xla_flags
from cvdl_jax.errors import ConfigError, UserError, nearest

# Of errors of the operating system that a user can mend.
ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space, then run the same command again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable, or name another folder"),
}
MODES = places.PACKAGE / "cli" / "modes"
PATHS = ("workdir", "input", "out", "ensemble", "compare")  # flags that name files and folders
CONTINUE = ("train", "table", "sweep")  # the same command again goes on
PROCESSES = ("coordinator", "num_processes", "process_id", "timeout", "heartbeat")  # how several of them meet
# These need no --workdir, and never wait for other processes.
ALONE = ("augment", "check", "compare", "describe", "doctor", "ensemble", "sweep", "table")


def parser() -> argparse.ArgumentParser:
    """The flags; everything else is in the config."""
    flags = argparse.ArgumentParser(
        prog=places.command(),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Any key of the config is a flag: --config.KEY=VALUE, for example --config.optim.lr=0.1",
        allow_abbrev=False,
    )
    flags.add_argument(
        "--config", metavar="FILE[:ARGS]", help="a config file and its arguments, as in file.py:depth=56,smoke"
    )
    flags.add_argument("--workdir", metavar="DIR", help="folder of the run; started again in it, a run continues")
    flags.add_argument("--mode", default="train", metavar="MODE", help=f"one of {', '.join(modes())} (default: train)")
    flags.add_argument("--table", metavar="FILE[:ARGS]", help="run what a table still needs, then write the table")
    flags.add_argument("--sweep", metavar="FILE[:ARGS]", help="run a grid, random or k-fold sweep and write its table")
    flags.add_argument(
        "--ensemble", nargs="+", metavar="DIR", help="runs, or a folder of runs, that classify --split (test) together"
    )
    flags.add_argument(
        "--replicas", type=int, default=0, metavar="N", help="train: N seeds at once, a run folder each in --workdir"
    )
    flags.add_argument(
        "--compare", nargs="+", metavar="RUN", help="runs, or folders of runs, pair by pair: is one of them better?"
    )
    flags.add_argument("--workers", type=int, default=1, metavar="N", help="table, sweep: runs at once (default: 1)")
    flags.add_argument("--status", action="store_true", help="table, sweep: print the state of every run and stop")
    flags.add_argument("--launcher", metavar="NAME", help="submit instead of running here: slurm, tpu_vm or gke")
    flags.add_argument("--dry_run", action="store_true", help="launcher: print what would be submitted, submit nothing")
    flags.add_argument(
        "--topology", default="", metavar="T[,T...]", help="check: compile for TPU pods one need not have, as v5e:4x4"
    )
    flags.add_argument(
        "--split", default="", help="eval: which evaluation (default: all); attack, compare: which (default: test)"
    )
    flags.add_argument("--external", default="", metavar="SET", help="eval: another data set (--split: of it) instead")
    flags.add_argument("--again", action="store_true", help="attack, eval, ensemble: look at a test set once more")
    flags.add_argument("--checkpoint", default="best", help="attack, eval, predict, explain, export: best, latest, N")
    flags.add_argument("--weights", default="auto", help="attack, eval, predict, explain, export: ema, raw or auto")
    flags.add_argument("--input", nargs="+", metavar="PATH", help="predict, explain: folders of images, or images")
    flags.add_argument(
        "--method", default="", metavar="M", help="explain: gradcam,ig(steps=9); attack: pgd(eps=0.3)|apgd"
    )
    flags.add_argument("--limit", type=int, default=0, metavar="N", help="attack: the first N examples (default: all)")
    flags.add_argument("--out", metavar="PATH", help="predict .csv, explain a folder, augment .png, others .json")
    flags.add_argument("--steps", type=int, default=10, help="profile: how many steps to trace (default: 10)")
    flags.add_argument(
        "--coordinator", default="", metavar="HOST:PORT", help="several processes: address of process 0, or auto"
    )
    flags.add_argument("--num_processes", type=int, default=0, metavar="N", help="several processes: how many")
    flags.add_argument("--process_id", type=int, default=-1, metavar="I", help="several processes: which one, from 0")
    flags.add_argument(
        "--timeout", type=int, default=300, metavar="S", help="several processes: seconds to wait for all"
    )
    flags.add_argument(
        "--heartbeat", type=int, default=100, metavar="S", help="several processes: seconds until one is lost"
    )
    flags.add_argument("--host_devices", type=int, default=0, metavar="N", help="split the CPU into N virtual devices")
    return flags


def modes() -> list[str]:
    """Names of the modes: the files of cvdl_jax/cli/modes that have a function `run`."""
    names = sorted(path.stem for path in MODES.glob("*.py") if "\ndef run(" in path.read_text(encoding="utf-8"))
    return ["eval" if name == "evaluate" else name for name in names]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Flags, with `overrides` = the `--config.key=value` ones.

    Raises:
        ConfigError: for a flag that does not exist, or one that the mode needs.
    """
    flags = parser()
    args, rest = flags.parse_known_args(argv)
    args.overrides = [arg for arg in rest if arg.startswith("--config.")]
    given = _given(flags, argv)
    known = [option for action in flags._actions for option in action.option_strings]
    for before, arg in zip(["", *rest], rest, strict=False):
        if before in args.overrides and "=" not in before and not arg.startswith("-"):
            raise ConfigError(f"{before!r} and its value need an equals sign: {before}={arg}")
        if arg not in args.overrides:
            raise ConfigError(f"there is no flag {arg.partition('=')[0]!r}; {_meant(arg, known)}")
    for flag in PATHS:
        value = getattr(args, flag)
        if value is not None:
            typed = [paths.local(path, f"--{flag}") for path in ([value] if isinstance(value, str) else value)]
            setattr(args, flag, str(typed[0]) if isinstance(value, str) else [str(path) for path in typed])
    args.mode = _mode(args)
    _refuse_unread(args, given)
    if args.workdir is None and args.mode not in ALONE:
        raise ConfigError(
            f"--workdir is missing; for example --workdir runs/{Path((args.config or 'try').partition(':')[0]).stem}"
        )
    return args


def _mode(args: argparse.Namespace) -> str:
    """The mode of the flags: `--table`, `--sweep`, `--ensemble` and `--compare` are modes of their own."""
    chosen = [name for name in ("table", "sweep", "ensemble", "compare") if getattr(args, name) is not None]
    if len(chosen) > 1 or (chosen and args.mode not in ("train", *chosen)):
        raise ConfigError(f"--{chosen[0]} runs by itself; leave out {f'--{chosen[1]}' if chosen[1:] else '--mode'}")
    mode = chosen[0] if chosen else args.mode
    if mode not in modes():
        raise ConfigError(f"--mode={mode!r} does not exist; {nearest(mode, modes())}")
    if mode in ("table", "sweep") and not chosen:
        raise ConfigError(f"--mode {mode} needs its file; type: {places.command()} --{mode} configs/{mode}s/NAME.py")
    if mode in ("ensemble", "compare") and not chosen:
        raise ConfigError(f"--mode {mode} needs its runs; type: {places.command()} --{mode} runs/a runs/b")
    return mode


def _meant(arg: str, known: Sequence[str]) -> str:
    """What to type instead of a flag that does not exist: a key of the config needs its first word."""
    key = arg.lstrip("-")
    if key.partition("=")[0].partition(".")[0] in DEFAULTS:
        return f"keys of the config begin with --config, as in --config.{key if '=' in key else f'{key}=VALUE'}"
    return nearest(arg.partition("=")[0], known)


def _given(flags: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """The names of the flags that were typed, in their order; of one typed twice the last one counts, with a word."""
    names = {option: action.dest for action in flags._actions for option in action.option_strings}
    typed = [names[word] for word in (arg.partition("=")[0] for arg in argv) if word in names]
    for name in dict.fromkeys(typed):
        if typed.count(name) > 1 and name == "config":
            raise ConfigError("--config is given twice; a run has one config file, and --config.KEY=VALUE changes it")
        if typed.count(name) > 1:
            warnings.warn(f"--{name} is given twice, and the last one counts", stacklevel=2)
    return list(dict.fromkeys(typed))


def flags_of(mode: str) -> tuple[str, ...]:
    """The flags that a mode reads: the FLAGS of its file, what launch.py does for all modes, and how processes meet."""
    source = (MODES / f"{'evaluate' if mode == 'eval' else mode}.py").read_text(encoding="utf-8")
    own = ast.literal_eval(re.search(r"^FLAGS = (\(.*?\))", source, re.MULTILINE | re.DOTALL)[1])
    return ("mode", "host_devices", *own, *(() if mode in ALONE else PROCESSES))


def _refuse_unread(args: argparse.Namespace, given: Sequence[str]) -> None:
    """Refuses a flag that the mode would not read."""
    read = (*flags_of(args.mode), *(("dry_run",) if args.launcher else ()))
    if "dry_run" in given and not args.launcher:
        raise ConfigError("--dry_run prints what a launcher would submit; name one, as in --launcher=slurm")
    unread = [name for name in given if name not in read]
    unread += ["overrides"] if args.overrides and "overrides" not in read else []
    if not unread:
        return
    value = getattr(args, unread[0])
    value = " ".join(value) if isinstance(value, list) else value
    typed = args.overrides[0] if unread[0] == "overrides" else f"--{unread[0]}" + ("" if value is True else f"={value}")
    what = f"--{args.mode}" if args.mode in read else f"--mode {args.mode}"
    own = ", ".join(
        "--config.KEY=VALUE" if name == "overrides" else f"--{name}" for name in read[2:] if name not in PROCESSES
    )
    raise ConfigError(f"{typed} has no effect in {what}, which reads {own}; leave it out")


def main(argv: Sequence[str]) -> int:
    """Runs one mode, answering signals from the first line on.

    Args:
        argv: the command line without the program.

    Returns:
        The exit code.
    """
    early = signals.Signals()
    early.install()
    try:
        try:
            return run(argv, early)
        finally:
            print(end="", flush=True)  # what cannot be written is noticed here, and not when Python ends
    except BrokenPipeError:  # as in `--mode describe | head`
        signals.discard(sys.stdout)
        return signals.CLOSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return signals.INTERRUPTED
    finally:
        early.restore()


def run(argv: Sequence[str], early: signals.Signals) -> int:
    """Runs one mode.

    Args:
        argv: the command line without the program.
        early: handlers that end the process; kept by modes that the same command continues.

    Returns:
        The exit code.
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # for users, without a line of source
    try:
        args = parse(argv)
        if args.mode not in CONTINUE or args.launcher:
            early.restore()
        if args.launcher:
            return importlib.import_module("cvdl_jax.cli.clusters.submit").run(args, list(argv))
        xla_flags.prepare(args.host_devices)
        alone = args.mode in ALONE
        peers = None if alone else distributed.peers(args.coordinator, args.num_processes, args.process_id)
        if peers is not None:
            early.restore()  # JAX has a handler of its own, by which the processes stop together
            distributed.initialise(peers, args.timeout, args.heartbeat)
        mode = importlib.import_module(f"cvdl_jax.cli.modes.{'evaluate' if args.mode == 'eval' else args.mode}")
        return mode.run(args)
    except UserError as error:
        print(f"error: {error}".replace("python launch.py", places.command()), file=sys.stderr, flush=True)
        return error.exit_code
    except (OSError, RuntimeError, AssertionError) as error:
        sentence = _of_the_machine(error, args.workdir)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr, flush=True)
        return 2


def _of_the_machine(error: Exception, workdir: str | None) -> str | None:
    """What to do about an error that the user's machine makes, whatever runs; None for another one."""
    if isinstance(error, OSError):
        advice = ADVICE.get(error.errno)
        return f"{error.strerror}: {error.filename or workdir}; {advice}" if advice else None
    if "home directory" in str(error):
        return "HOME is not set, and this user has no home folder; set HOME, or CVDL_CACHE and TFDS_DATA_DIR"
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    if raised_in.endswith("xla_bridge.py") and os.environ.get("JAX_PLATFORMS"):  # where JAX looks for devices
        return (
            f"JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}: JAX finds no such device here; unset JAX_PLATFORMS, or "
            "install the plugin, such as jax[cuda12]"
        )
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
