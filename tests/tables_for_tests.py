"""Folders of runs as a table finds them, without the runs; and processes of runs that are none."""

import json
import os
import signal
from collections.abc import Callable

import numpy as np

from cvdl_jax.cli.tables import plan
from cvdl_jax.config import configs
from cvdl_jax.metrics.stats.intervals import wilson

SOFTMAX = "configs/classify/softmax.py:smoke"
START = {
    "time": "2026-01-01T00:00:00Z", "argv": ["python", "launch.py"], "commit": "a" * 40, "dirty": False,
    "backend": "cpu", "devices": ["cpu"], "cpus": 2, "platform": "Linux-6.1-x86_64-with-glibc2.36",
}  # fmt: skip


def planned(root, label="softmax", seed=0, *overrides, spec=SOFTMAX):
    """One run of two steps."""
    return plan.make(label, label, spec, overrides, seed, root)


def begin(run, step=0, rows=None, **meta):
    """The folder of a run that has started and saved a step.

    Args:
        run: planned.
        step: of the checkpoint; 0 for none.
        rows: of metrics.jsonl.
        **meta: entries of meta.json that are not as usual.
    """
    folder = run.workdir
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(configs.to_plain(run.config)))
    data = {"name": "digits", "version": "1.0.0", "fingerprint": "f" * 64}
    facts = {"model": {"parameters": 650, "macs": 640}, "data": data, "starts": [START]} | meta
    (folder / "meta.json").write_text(json.dumps(facts))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or []))
    if step:
        (folder / "checkpoints" / str(step)).mkdir(parents=True, exist_ok=True)
    return folder


def finish(run, right, seconds=10.0, **meta):
    """The folder of a run that is done.

    Args:
        run: planned.
        right: which test examples it classified correctly, bool [n].
        seconds: of its last row.
        **meta: see `begin`.
    """
    right = np.asarray(right, bool)
    rows = [{"step": k, "epoch": k / 72, "time/seconds": seconds * k / 2} for k in (1, 2)]
    folder = begin(run, 2, rows, **meta)
    n, label = len(right), np.arange(len(right)) % 10
    scores = np.zeros((n, 10), np.float32)
    scores[np.arange(n), np.where(right, label, (label + 1) % 10)] = 1
    (folder / "predictions").mkdir(exist_ok=True)
    ids = np.array([f"test/{i}" for i in range(n)])
    np.savez(folder / "predictions" / "test.npz", ids=ids, label=label.astype(np.int32), scores=scores)
    low, high = wilson(int(right.sum()), n)
    accuracy = {"accuracy": float(right.mean()), "accuracy_low": low, "accuracy_high": high, "examples": float(n)}
    results = {"step": 2, "selected_step": 1, "metrics": {f"test/{key}": value for key, value in accuracy.items()}}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "DONE").write_text("2026-01-01T00:00:10Z\n")
    return folder


def fail(run, message="loss is nan"):
    """What a run leaves that failed."""
    (run.workdir / "FAILED.json").write_text(json.dumps({"error": "NonFinite", "message": message, "step": 1}))


class Processes:
    """Stands for `subprocess.Popen`: each "process" does at once what its run is told to, and ends when polled.

    Args:
        runs: planned.
        behaviour: {run's name: a function of the planned run that returns the exit code, one per attempt}. A run
            without one finishes. An attempt beyond the last is an error.
        polls: how often a process is polled before it has ended.
    """

    def __init__(self, runs, behaviour: dict[str, list[Callable]] | None = None, polls: int = 2):
        self.runs = {str(run.workdir): run for run in runs}
        self.behaviour, self.polls = behaviour or {}, polls
        self.started, self.environments, self.commands, self.alive, self.most = [], [], [], 0, 0
        self.signals: list[tuple[str, int]] = []

    def __call__(self, command, **popen):
        """As `subprocess.Popen`."""
        run = self.runs[command[command.index("--workdir") + 1]]
        return Process(self, run, command, popen)


class Process:
    """One of them."""

    def __init__(self, all_of_them: Processes, run, command, popen):
        self.all, self.run, self.polled, self.returncode = all_of_them, run, 0, None
        attempts = self.all.started.count(run.name)
        self.all.started.append(run.name)
        self.all.commands.append(command)
        self.all.environments.append(popen["env"])
        self.all.alive += 1
        self.all.most = max(self.all.most, self.all.alive)
        self.stdout = os.dup(popen["stdout"].fileno())  # a child holds the lock of its output, too
        self.does = self.all.behaviour.get(run.name, [done])[attempts]

    def poll(self):
        """As that of a process; its run happens just before it ends."""
        self.polled += 1
        if self.returncode is None and (self.polled > self.all.polls):
            self.end(self.does(self.run))
        return self.returncode

    def end(self, code):
        """Ends with that exit code."""
        self.returncode = code
        self.all.alive -= 1
        os.close(self.stdout)

    def send_signal(self, number):
        """A run saves and leaves."""
        if self.returncode is None:
            self.all.signals.append((self.run.name, number))
            self.end(130 if number == signal.SIGINT else 75)

    def wait(self):
        """As that of a process."""
        while self.poll() is None:
            pass


def done(run):
    """Finishes with 90 of 100 right."""
    finish(run, [1] * 90 + [0] * 10)
    (run.workdir / "FAILED.json").unlink(missing_ok=True)
    return 0


def crash(run):
    """A failure that the run writes down."""
    begin(run, 1)
    fail(run)
    return 1


def mistake(run):
    """What launch.py does about a user's mistake."""
    with (run.workdir / "console.log").open("a") as console:
        console.write("error: config.optim.lr=-1 must be at least 0\n")
    return 2
