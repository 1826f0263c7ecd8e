"""A run of launch.py that something happens to: `python child.py HOOK N -- flags`.

Hooks strike at exact places of the program, never after a time: "kill@step 7" ends the process with SIGKILL after the
call that reaches step 7; "term@eval 2" sends SIGTERM inside the second evaluation batch; "pipe@..." closes the output.
"""

import os
import signal
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT, "hup": signal.SIGHUP}


def strike(name: str) -> None:
    """Sends this process the signal; "pipe" takes away who reads its output."""
    if name != "pipe":
        os.kill(os.getpid(), SIGNALS[name])
        return
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)


def counted(function, n: int, action, before: bool):
    """The function, with the action before or after its n-th call."""
    calls = 0

    def wrapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        if before and calls == n:
            action()
        result = function(*args, **kwargs)
        if not before and calls == n:
            action()
        return result

    return wrapped


def install(signal_name: str, place: str, n: int) -> None:
    """Patches the program at a place."""
    from cvdl_jax.engine import program, train
    from cvdl_jax.workdir import checkpoint

    opened = []
    original_init = checkpoint.Checkpoints.__init__

    def init(self, *args, **kwargs):
        original_init(self, *args, **kwargs)
        opened.append(self)

    checkpoint.Checkpoints.__init__ = init

    def action():
        if place in ("step", "eval"):  # earlier saves are complete, so that the step to continue from is known
            for each in opened:
                each.wait()
        strike(signal_name)

    if place == "step":  # after the call that makes the number of steps at least n
        original = train.Loop._advance

        def advance(loop):
            original(loop)
            if loop.step >= n and not getattr(loop, "struck", False):
                loop.struck = True
                action()

        train.Loop._advance = advance
    elif place == "eval":
        program.Program.evaluate = counted(program.Program.evaluate, n, action, before=False)
    elif place == "save":  # Orbax has the arrays and is writing them
        manager = checkpoint.ocp.CheckpointManager
        manager.save = counted(manager.save, n, action, before=False)
    elif place == "build":  # nothing is made yet
        train.kept.build_on = counted(train.kept.build_on, n, action, before=True)
    elif place == "commit":  # committed, the checksums not yet written
        checkpoint.write_checksums = counted(checkpoint.write_checksums, n, action, before=True)
    elif place == "compile":  # inside the n-th compilation, which then never ends
        hang = threading.Event()
        jobs = program.Program.jobs

        def slow_jobs(self):
            made = jobs(self)
            name = list(made)[n - 1]

            def job():
                action()
                hang.wait()

            return {**made, name: job}

        program.Program.jobs = slow_jobs
    else:
        raise ValueError(place)


def main() -> int:
    """Runs launch.py's main with the hook installed."""
    import quick_compile

    import launch

    quick_compile.prepare()
    hook, flags = sys.argv[1], sys.argv[2:]
    if hook == "files":  # no file may grow beyond 64 KiB: a full disk
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(flags.pop(0)), resource.RLIM_INFINITY))
    elif hook != "none":
        what, n = hook.rsplit(":", 1)
        install(*what.split("@"), int(n))
    return launch.main(flags)


if __name__ == "__main__":
    sys.exit(main())
