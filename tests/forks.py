"""Processes for tests that are forked from one that has imported everything: a start without the seconds of imports.

`python forks.py` with a socket as its standard input is that one. It has no JAX backend and no threads; each fork
reads its own XLA_FLAGS, makes its own devices, runs a script as `python SCRIPT ...` does, and ends as any process does.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORTED = (
    "cvdl_jax.cli.modes.train", "cvdl_jax.analysis.figures.images", "cvdl_jax.report.pages.run_page",
    "matplotlib.figure", "scipy.optimize", "tensorflow_datasets", "experiments.classify", "orbax.checkpoint",
)  # fmt: skip
READ_AT_IMPORT = ("JAX_", "PYTHON", "MPL", "TFDS_")


class Server:
    """A process that forks others.

    Args:
        environment: of the process; what a fork has instead may differ in all that no import reads.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=theirs, stdout=subprocess.DEVNULL, env=environment, cwd=ROOT
            )

    def fork(self, request: dict, out: int, err: int) -> int:
        """The process's id."""
        socket.send_fds(self._socket, [json.dumps(request).encode()], [out, err])
        return self._answer()

    def wait(self, pid: int) -> int:
        """The exit code, as `subprocess` counts."""
        self._socket.send(json.dumps(pid).encode())
        return self._answer()

    def end(self) -> None:
        """Ends the process; nobody waits for its forks any more."""
        self._socket.close()
        self._process.wait()

    def _answer(self) -> int:
        answer = self._socket.recv(64)
        if not answer:
            raise RuntimeError(f"the process that forks others has ended with {self._process.wait()}")
        return int(answer)


class Fork:
    """A forked process, to be used as `subprocess.Popen` is: its output is text that `communicate` returns.

    Args:
        server: that forks it.
        arguments: the script and its arguments.
        environment: all its variables.
        merged: whether standard error goes where standard output goes.
    """

    def __init__(self, server: Server, arguments: list[str], environment: dict[str, str], merged: bool) -> None:
        self._server, self.args, self.returncode = server, arguments, None
        self._texts, self._readers = ["", ""], []
        ends = [os.pipe() for _ in range(1 if merged else 2)]
        request = {"arguments": arguments, "environment": environment}
        self.pid = server.fork(request, ends[0][1], ends[-1][1])
        for i, (read, write) in enumerate(ends):
            os.close(write)
            self._readers.append(threading.Thread(target=self._read, args=(i, read), daemon=True))
            self._readers[-1].start()

    def _read(self, i: int, end: int) -> None:
        with open(end, encoding="utf-8", errors="replace") as file:
            self._texts[i] = file.read()

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Waits for the end; (standard output, standard error)."""
        limit = time.monotonic() + timeout
        for reader in self._readers:
            reader.join(max(limit - time.monotonic(), 0))
            if reader.is_alive():
                self.kill()
                raise subprocess.TimeoutExpired("a forked process", timeout)
        if self.returncode is None:
            self.returncode = self._server.wait(self.pid)
        return self._texts[0], self._texts[1]

    def kill(self) -> None:
        """Ends it if it runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.returncode = self._server.wait(self.pid)


Process = Fork | subprocess.Popen
_SERVERS: dict[tuple, Server] = {}
MOST_SERVERS = 2  # at once: each holds all that it imported


@atexit.register
def end_all() -> None:
    """Ends the servers of this process."""
    while _SERVERS:
        _SERVERS.popitem()[1].end()


def start(arguments: list[str], environment: dict[str, str], merged: bool = False, server: int = 0) -> Process:
    """Starts `python *arguments` in the repository's root. At most as many run at a time as there may be servers.

    Only Linux forks a process that has imported so much (libraries of macOS do not survive it); others start one anew.

    Forks of one server share what Python draws when it starts, such as the order of sets of words: what must not depend
    on it is run by servers of two numbers, as processes that work together are.

    Args:
        arguments: the script and its arguments.
        environment: all its variables.
        merged: whether standard error goes where standard output goes.
        server: its number.
    """
    if sys.platform != "linux":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT if merged else subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *arguments], env=environment, cwd=ROOT, **pipes)
    imports = {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT)}
    key = (server, *sorted(imports.items()))
    if key not in _SERVERS:
        while len(_SERVERS) >= MOST_SERVERS:
            _SERVERS.pop(next(iter(_SERVERS))).end()
        _SERVERS[key] = Server(environment)
    return Fork(_SERVERS[key], arguments, environment, merged)


def serve(connection: socket.socket) -> dict:
    """Forks when asked to, until the other side closes; returns in each fork, with what it was asked to be."""
    while True:
        message, files, *_ = socket.recv_fds(connection, 2**20, 2)
        if not message:
            sys.exit()
        request = json.loads(message)
        if isinstance(request, int):
            _, status = os.waitpid(request, 0)
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        with warnings.catch_warnings(action="ignore"):  # of threads, which those of OpenBLAS alone are
            pid = os.fork()
        if not pid:
            for target, file in zip((1, 2), files, strict=True):
                os.dup2(file, target)
        for file in files:
            os.close(file)
        if not pid:
            return request
        connection.send(str(pid).encode())


def main() -> None:
    """Imports everything, then serves."""
    sys.path.insert(0, str(ROOT))
    for name in IMPORTED:
        importlib.import_module(name)
    from jax._src import xla_bridge

    if xla_bridge.backends_are_initialized() or threading.active_count() > 1:
        raise RuntimeError("an import started a backend of JAX or a thread, which its forks would lack")
    gc.freeze()  # what is imported is no garbage, and forks need not look for it there
    gc.set_threshold(100_000, 50, 100)  # as tests do
    with socket.socket(fileno=os.dup(0)) as connection:
        request = serve(connection)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
