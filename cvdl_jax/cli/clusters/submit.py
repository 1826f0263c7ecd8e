"""`--launcher NAME[:KEY=VALUE,...]`: submits a run, a table or a sweep to a cluster, or prints what would be submitted.

`--dry_run` prints to standard output exactly what is submitted, so that it can be read, kept, or given to `sbatch`
(slurm), `kubectl apply -f -` (gke) or `bash` (tpu_vm); everything said about it goes to standard error.
"""

import importlib
from typing import Any

from cvdl_jax.cli.clusters import jobs, site
from cvdl_jax.cli.clusters.jobs import say
from cvdl_jax.config.binding import check_name
from cvdl_jax.engine.signals import INTERRUPTED
from cvdl_jax.errors import ConfigError


def run(args: Any, argv: list[str]) -> int:
    """Submits what the rest of the command line asks for.

    Args:
        args: parsed by launch.py.
        argv: the same, unparsed.

    Returns:
        0 when it was submitted, printed, or everything is done already; 130 after Ctrl-C.

    Raises:
        UserError: for anything wrong in the command, the site's file or the configuration, before anything is
            submitted; for a tool that is missing or fails.
    """
    name, _, arg = args.launcher.partition(":")
    check_name(name, site.LAUNCHERS, f"--launcher={name!r} does not exist")
    if args.coordinator or args.num_processes or args.process_id >= 0:
        raise ConfigError("the launcher tells the processes who they are; leave out --coordinator, --num_processes ...")
    launcher = importlib.import_module(f"cvdl_jax.cli.clusters.{name}")
    options = site.load(name, launcher.Options, launcher.REQUIRED, arg)
    work = jobs.collect(args, argv)
    if not work.jobs:
        say(f"{work.name}: nothing to submit, all is done or running ({work.total} of {work.total})")
        return 0
    steps = launcher.steps(work, options)
    if work.many:
        say(f"{work.name}: {len(work.jobs)} of {work.total} runs are not done")
    for line in launcher.remarks(work, options):
        say(line)
    if args.dry_run:
        for step in steps:
            print(step.printed(), flush=True)
        return 0
    launcher.prepare(work, options)
    try:
        outputs = [step.run() for step in steps]
    except KeyboardInterrupt:
        say(f"interrupted; what was submitted goes on, and {steps[-1].words[0]} can end it")
        return INTERRUPTED
    for line in launcher.submitted(work, options, outputs):
        print(line, flush=True)
    if work.command:
        print(f"when they are done: {work.command}", flush=True)
    return 0
