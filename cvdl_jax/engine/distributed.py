"""Several processes: who they are, how they find each other, and how they stop at one step."""

import os
import re
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from cvdl_jax.errors import ConfigError, UserError

RETRY_SECONDS = 0.2


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
        coordinator: --coordinator; "auto" lets JAX find everything, as it can on TPU VMs.
        count: --num_processes; 0 if not given.
        index: --process_id; -1 if not given.
        environment: of this process.

    Returns:
        None for a run of one process.

    Raises:
        ConfigError: if only some of the flags are given, or they make no sense.
    """
    if coordinator == "auto":
        if count or index >= 0:
            raise ConfigError(
                "--coordinator=auto finds the processes itself; leave --num_processes and --process_id out"
            )
        return Peers()
    given = [bool(coordinator), count > 0, index >= 0]
    if any(given):
        if not all(given):
            raise ConfigError(
                "--coordinator=HOST:PORT, --num_processes=N and --process_id=I belong together; give all three"
            )
        if not re.fullmatch(r"[^:]+:\d+", coordinator):
            raise ConfigError(f"--coordinator={coordinator!r} must be HOST:PORT, such as 127.0.0.1:12345, or auto")
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


def initialise(group: Peers, timeout: int, heartbeat: int) -> None:
    """Waits for all processes, saying for whom.

    Args:
        group: from `peers`.
        timeout: seconds to wait for all.
        heartbeat: seconds without a sign of life after which a process counts as lost; JAX then aborts the others.

    Raises:
        UserError: if some do not come, naming them.
    """
    import jax

    explicit: dict[str, Any] = {}
    if group.coordinator:
        explicit = {"coordinator_address": group.coordinator, "num_processes": group.count, "process_id": group.index}
        print(
            f"process {group.index} of {group.count}: waiting for all at {group.coordinator}, at most {timeout} s",
            flush=True,
        )
    else:
        print(f"waiting for the other processes of this job, at most {timeout} s", flush=True)
    if group.coordinator:
        roll_call(group, timeout)  # JAX itself aborts the process when somebody is missing, and does not say who
    jax.distributed.initialize(**explicit, initialization_timeout=timeout, heartbeat_timeout_seconds=heartbeat)
    print(f"process {jax.process_index()} of {jax.process_count()}: all are here", flush=True)


def roll_call(group: Peers, timeout: float) -> None:
    """Returns when all processes have reached the coordinator's port.

    Args:
        group: given by flags, with its coordinator.
        timeout: seconds.

    Raises:
        UserError: naming the processes that did not come, or the coordinator that cannot be reached.
    """
    host, port = group.coordinator.rsplit(":", 1)
    deadline = time.monotonic() + timeout
    if group.index > 0:
        _report(group, (host, int(port)), deadline, timeout)
    elif group.count > 1:
        _collect(group, int(port), deadline, timeout)


def _collect(group: Peers, port: int, deadline: float, timeout: float) -> None:
    """Process 0: waits until everybody has said its index, then lets all go."""
    here: dict[int, socket.socket] = {}
    try:
        server = socket.create_server(("", port), backlog=group.count)
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen on port {port} ({error.strerror}); choose another --coordinator"
        ) from error
    with server:
        while len(here) < group.count - 1:
            server.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                peer, _ = server.accept()
                index = int(peer.recv(16) or b"-1")
            except TimeoutError as error:
                missing = sorted(set(range(1, group.count)) - here.keys())
                who = f"process{'es' if len(missing) > 1 else ''} {', '.join(map(str, missing))} of {group.count}"
                raise UserError(
                    f"{who} did not come to {group.coordinator} within {timeout:g} s; start every process with the "
                    "same --coordinator and its own --process_id"
                ) from error
            if index in here or not 0 < index < group.count:
                raise UserError(f"--process_id={index} came twice or is not below --num_processes={group.count}")
            here[index] = peer
    for peer in here.values():
        with peer:
            peer.sendall(b"go")


def _report(group: Peers, address: tuple[str, int], deadline: float, timeout: float) -> None:
    """Another process: says its index to process 0 and waits until all are there."""
    while True:
        try:
            with socket.create_connection(address, timeout=max(deadline - time.monotonic(), 0.001)) as peer:
                peer.sendall(str(group.index).encode())
                if peer.recv(2) == b"go":
                    return
                raise UserError(f"process 0 at {group.coordinator} gave up waiting for the others; see what it says")
        except OSError as error:
            if time.monotonic() > deadline - RETRY_SECONDS:
                raise UserError(
                    f"process {group.index} cannot reach process 0 at {group.coordinator} after {timeout:g} s "
                    f"({error}); start process 0 there, and check that the port is open"
                ) from error
            time.sleep(RETRY_SECONDS)
