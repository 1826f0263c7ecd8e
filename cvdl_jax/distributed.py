"""Several processes: who they are, how they find each other, and how they stop at one step."""

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from cvdl_jax.errors import ConfigError, UserError


class Peers(NamedTuple):
    """The processes of a run.

    Attributes:
        coordinator: "host:port" of process 0; "" to let JAX find everything (TPU pods, SLURM, Open MPI, Kubernetes).
        count: number of processes.
        index: of this one.
    """

    coordinator: str = ""
    count: int = 0
    index: int = -1


def peers(coordinator: str, count: int, index: int, environment: Mapping[str, str] = os.environ) -> Peers | None:
    """Who the processes are, from the flags, else from the cluster's environment.

    Args:
        coordinator: --coordinator.
        count: --num_processes; 0 if not given.
        index: --process_id; -1 if not given.
        environment: of this process.

    Returns:
        None for a run of one process.

    Raises:
        ConfigError: if only some of the flags are given, or they make no sense.
    """
    given = [bool(coordinator), count > 0, index >= 0]
    if any(given):
        if not all(given):
            raise ConfigError(
                "--coordinator=HOST:PORT, --num_processes=N and --process_id=I belong together; give all three"
            )
        if not re.fullmatch(r"[^:]+:\d+", coordinator):
            raise ConfigError(f"--coordinator={coordinator!r} must be HOST:PORT, for example 127.0.0.1:12345")
        if index >= count:
            raise ConfigError(f"--process_id={index} must be below --num_processes={count}; they count from 0")
        return Peers(coordinator, count, index)
    return Peers() if in_cluster(environment) else None


def in_cluster(environment: Mapping[str, str]) -> bool:
    """Whether the environment says that several processes were started together."""
    tasks = environment.get("SLURM_NTASKS") or environment.get("OMPI_COMM_WORLD_SIZE") or "1"
    workers = environment.get("TPU_WORKER_HOSTNAMES", "").split(",")
    kubernetes = "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment
    return (tasks.isdigit() and int(tasks) > 1) or len([w for w in workers if w]) > 1 or kubernetes


def initialise(found: Peers, timeout: int) -> None:
    """Waits for all processes, saying for whom.

    Args:
        found: from `peers`.
        timeout: seconds.

    Raises:
        UserError: if some do not come, naming them where the coordinator knows.
    """
    import jax

    explicit: dict[str, Any] = {}
    if found.coordinator:
        explicit = {"coordinator_address": found.coordinator, "num_processes": found.count, "process_id": found.index}
        print(
            f"process {found.index} of {found.count}: waiting for all at {found.coordinator}, at most {timeout} s",
            flush=True,
        )
    else:
        print(f"waiting for the other processes of this job, at most {timeout} s", flush=True)
    try:
        jax.distributed.initialize(**explicit, initialization_timeout=timeout)
    except Exception as error:
        raise UserError(_who_is_missing(found, timeout, str(error))) from error
    print(f"process {jax.process_index()} of {jax.process_count()}: all are here", flush=True)


def _who_is_missing(found: Peers, timeout: int, text: str) -> str:
    missing = sorted({int(i) for i in re.findall(r"task:(\d+)", text)} - {found.index})
    who = f"processes {missing}" if missing else "the others" if found.index == 0 else "process 0 (the coordinator)"
    return (
        f"{who} did not come to {found.coordinator or 'the coordinator'} within {timeout} s; start every process with "
        "the same --coordinator and its own --process_id, and check that the port is reachable "
        f"({text.splitlines()[0][:160]})"
    )
