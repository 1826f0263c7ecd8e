"""SLURM: one batch job for a run, a job array for the runs of a table or sweep.

The script is given to `sbatch` on its standard input. SLURM signals it before the time limit, the run saves and leaves
with 75, and the job is queued again. `cvdl_jax/engine/distributed.py` finds the processes of a run of several by
SLURM_NTASKS; JAX then gives each process the GPU with its number on the node, so there is one process per GPU.
"""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from cvdl_jax.cli.clusters.jobs import Work
from cvdl_jax.cli.clusters.shell import SUPERVISE, exports
from cvdl_jax.cli.clusters.step import Step
from cvdl_jax.cli.tables.plan import launcher
from cvdl_jax.errors import ConfigError

REQUIRED: dict[str, str] = {}


class Options(NamedTuple):
    """What a job asks for; empty or 0 leaves it to the cluster.

    Attributes:
        time: limit of one start, as SLURM writes it (04:00:00, 1-00:00:00); a run continues in the next start.
        tasks_per_node: processes of one run on a node; 0 for one, or for one per GPU where there are several nodes.
        gpus_per_node: a number, or a type and a number, as in "a100:4".
        signal_seconds: how long before the limit the run is told to save.
        max_requeues: after so many requeues a job that was stopped is left alone.
        array_limit: most tasks of one array (MaxArraySize of the cluster).
        array_at_once: most tasks at a time; --workers goes before it.
        python: the interpreter on the nodes; by default the one that submits.
        setup: shell lines before the run, such as "module load cuda".
        extra: further options of sbatch, such as "--exclusive".
        logs: folder of the jobs' output.
        env: environment variables; those of the submitting shell go along anyway.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: str = ""
    nodes: int = 1
    tasks_per_node: int = 0
    gpus_per_node: int | str = ""
    cpus_per_task: int = 0
    mem: str = ""
    signal_seconds: int = 120
    max_requeues: int = 100
    array_limit: int = 1000
    array_at_once: int = 0
    python: str = ""
    setup: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    logs: str = "runs/slurm"
    env: dict = {}


def steps(work: Work, options: Options) -> list[Step]:
    """A single call of `sbatch`, which reads the batch script from its standard input."""
    return [Step(("sbatch", "--parsable"), script(work, options))]


def prepare(work: Work, options: Options) -> None:
    """Makes the folder of the output: SLURM starts no job that cannot write there, and does not say why."""
    Path(options.logs).mkdir(parents=True, exist_ok=True)


def remarks(work: Work, options: Options) -> list[str]:
    """What people should know before it is submitted."""
    left = len(work.jobs) - options.array_limit
    if work.many and left > 0:
        return [
            f"the array holds the first {options.array_limit} runs (array_limit); type the same command again for the "
            f"other {left} when they are done"
        ]
    return []


def submitted(work: Work, options: Options, outputs: list[str]) -> list[str]:
    """What to say after it was submitted: the number of the job, where its output is, how to stop it."""
    job = outputs[-1].partition(";")[0]
    what = f"job {job}" + (f", an array of {min(len(work.jobs), options.array_limit)} runs" if work.many else "")
    return [f"submitted {what}; squeue -j {job} shows it, scancel {job} ends it; output: {options.logs}/"]


def script(work: Work, options: Options) -> str:
    """The batch script.

    Raises:
        ConfigError: for a value that SLURM could not read, or processes that do not match the GPUs.
    """
    tasks = processes(options)
    jobs = work.jobs[: options.array_limit]
    python = shlex.quote(options.python or sys.executable)
    srun = f"{_srun(options)} " if tasks * options.nodes > 1 else ""
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in _header(work, jobs, options, tasks)), ""]
    lines += [*options.setup, *exports(options.env), f"cd {shlex.quote(os.getcwd())} || exit 2", ""]
    if work.many:
        lines += ["case $SLURM_ARRAY_TASK_ID in"]
        lines += [f"  {i}) set -- {shlex.join(job.words())} ;;" for i, job in enumerate(jobs)]
        lines += ['  *) echo "this array has no run $SLURM_ARRAY_TASK_ID" >&2; exit 2 ;;', "esac", ""]
    else:
        lines += [f"set -- {shlex.join(jobs[0].words())}", ""]
    return "\n".join(
        [*lines, SUPERVISE, "", f'run {srun}{python} {shlex.quote(launcher())} "$@"', *_requeue(options), ""]
    )


def processes(options: Options) -> int:
    """Number of processes of one run on each node.

    Raises:
        ConfigError: if several processes do not match the GPUs of a node, of which JAX gives them one each.
    """
    number = re.search(r"(\d+)$", str(options.gpus_per_node))
    gpus = int(number[1]) if number else 0
    tasks = options.tasks_per_node or (max(gpus, 1) if options.nodes > 1 else 1)
    if options.nodes < 1 or tasks < 1:
        raise ConfigError(f"slurm: nodes={options.nodes} and tasks_per_node={tasks} must be at least 1")
    if gpus and tasks * options.nodes > 1 and tasks != gpus:
        raise ConfigError(
            f"slurm: tasks_per_node={tasks} with gpus_per_node={options.gpus_per_node}: JAX gives each of several "
            f"processes one GPU; write tasks_per_node = {gpus}, or leave it out"
        )
    return tasks


def _header(work: Work, jobs: list, options: Options, tasks: int) -> list[str]:
    """The options of sbatch."""
    at_once = work.workers or options.array_at_once
    values = {
        "job-name": re.sub(r"[^\w.+-]+", "_", work.name),
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
        "time": options.time,
        "nodes": options.nodes,
        "ntasks-per-node": tasks,
        "gpus-per-node": options.gpus_per_node,
        "cpus-per-task": options.cpus_per_task,
        "mem": options.mem,
        "array": f"0-{len(jobs) - 1}" + (f"%{at_once}" if at_once else "") if work.many else "",
        "signal": f"B:TERM@{options.signal_seconds}",
        "open-mode": "append",
        "output": f"{options.logs}/%x-{'%A_%a' if work.many else '%j'}.out",
    }
    for key, value in values.items():
        if not re.fullmatch(r"[\w.,:;@%/+=&|()*\[\]~-]*", str(value)):
            raise ConfigError(f"slurm: {key.replace('-', '_')}={value!r} may hold no space, quote or '#'")
    for option in options.extra:
        if not option.startswith("-") or "\n" in option:
            raise ConfigError(f'slurm: extra={option!r} must be one option of sbatch, such as "--exclusive"')
    return [*(f"--{key}={value}" for key, value in values.items() if value), "--requeue", *options.extra]


def _srun(options: Options) -> str:
    """Starts every process of a run. A lost one makes JAX end the others, so that srun need not; 75 stays 75."""
    cpus = f" --cpus-per-task={options.cpus_per_task}" if options.cpus_per_task else ""
    return f"srun --kill-on-bad-exit=0 --wait=0{cpus}"


def _requeue(options: Options) -> list[str]:
    """Queues a job again that saved and left with 75, unless somebody cancelled it."""
    return [
        'if [ "$code" -eq 143 ] && [ -n "$stopping" ]; then code=75; fi  # told to stop before Python could answer',
        'if [ "$code" -eq 75 ]; then',
        "  job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
        '  case $(scontrol show job "$SLURM_JOB_ID") in',
        '    *JobState=CANCELLED*) echo "cancelled: saved, and not queued again" ;;',
        "    *)",
        f'      if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {options.max_requeues} ]; then',
        '        scontrol requeue "${job:-$SLURM_JOB_ID}"',
        "      else",
        f'        echo "stopped after {options.max_requeues} requeues (max_requeues): saved, and not queued again"',
        "      fi ;;",
        "  esac",
        "fi",
        'exit "$code"',
    ]
