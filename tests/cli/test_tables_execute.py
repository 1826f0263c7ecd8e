"""Running what is not done: order, workers, retries, other processes, signals; with processes that are none."""

import fcntl
import os
import shlex
import signal

import pytest
from tables_for_tests import Processes, begin, crash, done, fail, finish, mistake, planned

from cvdl_jax.cli.tables import execute, gpus, plan
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir.folder import Workdir
from cvdl_jax.workdir.run_state import CONSOLE, is_locked


@pytest.fixture
def run_all(monkeypatch):
    """Executes runs with stand-in processes: (exit code, processes, lines that were said)."""

    def run(runs, behaviour=None, workers=1, sleep=lambda seconds: None, **more):
        processes, said = Processes(runs, behaviour), []
        monkeypatch.setattr(execute.subprocess, "Popen", processes)
        code = execute.execute(runs, workers, said.append, "test/accuracy", sleep, **more)
        assert processes.alive == 0
        return code, processes, said

    return run


def test_runs_in_order_once_each_and_says_so(tmp_path, run_all):
    runs = [planned(tmp_path, label, seed) for label in ("a", "b") for seed in (0, 1)]
    code, processes, said = run_all([*runs, runs[0]])
    assert code == 0 and processes.most == 1
    assert processes.started == ["a, seed 0", "a, seed 1", "b, seed 0", "b, seed 1"]
    assert said[0] == f"a, seed 0: starts  ({runs[0].workdir})"
    assert said[1].startswith("[1/4] a, seed 0: done in ")
    assert said[1].endswith(": test/accuracy = 0.9 [0.8256, 0.9448]")
    code, processes, said = run_all(runs)
    assert code == 0 and processes.started == []  # never twice
    assert said[-1] == "[4/4] b, seed 1: done before: test/accuracy = 0.9 [0.8256, 0.9448]"


def test_workers_run_at_once_and_no_more(tmp_path, run_all):
    runs = [planned(tmp_path, "a", seed) for seed in range(5)]
    assert run_all(runs, workers=3)[1].most == 3
    with pytest.raises(ConfigError, match="--workers=0 must be a number of runs at once"):
        run_all(runs, workers=0)


def test_the_command_of_a_run_is_the_one_that_is_shown(tmp_path, run_all):
    run = planned(tmp_path, "a", 3, "--config.optim.lr=0.5")
    _, processes, _ = run_all([run])
    assert processes.commands[0][2:] == shlex.split(plan.command(run))[2:]
    assert shlex.split(plan.command(run)) == [
        "python", "launch.py", "--config", run.spec, "--config.optim.lr=0.5", "--config.seed=3",
        "--workdir", str(run.workdir),
    ]  # fmt: skip
    assert (run.workdir / CONSOLE).read_text().endswith(f"{plan.command(run)}\n")


def test_a_run_is_alone_even_in_a_job_of_many_tasks(tmp_path, run_all, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert "SLURM_NTASKS" not in run_all([planned(tmp_path)])[1].environments[0]


def test_a_crash_is_tried_once_more(tmp_path, run_all):
    runs = [planned(tmp_path, "a"), planned(tmp_path, "b")]
    code, processes, said = run_all(runs, {"a, seed 0": [crash, done]})
    assert code == 0 and processes.started == ["a, seed 0", "b, seed 0", "a, seed 0"]
    assert "failed after 0 s (exit code 1): NonFinite: loss is nan; see " in said[1]
    assert said[1].endswith(f"{runs[0].workdir / CONSOLE}; it is tried once more")
    assert "a, seed 0: starts, again after a failure" in said[-2]


def test_a_second_crash_is_reported_after_all_others(tmp_path, run_all):
    runs = [planned(tmp_path, label) for label in ("a", "b")]
    code, processes, said = run_all(runs, {"a, seed 0": [crash, crash]})
    assert code == 1 and processes.started == ["a, seed 0", "b, seed 0", "a, seed 0"]
    assert said[-1].startswith("[2/2] a, seed 0: failed after ") and "once more" not in said[-1]
    assert run_all(runs, {"a, seed 0": [done]})[0] == 0  # the next call tries again


def test_a_mistake_of_the_user_is_not_tried_again(tmp_path, run_all):
    code, processes, said = run_all([planned(tmp_path)], {"softmax, seed 0": [mistake]})
    assert code == 1 and len(processes.started) == 1
    assert "(exit code 2): config.optim.lr=-1 must be at least 0; see" in said[-1]


@pytest.mark.parametrize(("returned", "words"), [(0, "(exit code 0): it said nothing"), (-9, "(ended by SIGKILL)")])
def test_an_end_without_a_result_is_a_failure(tmp_path, run_all, returned, words):
    code, _, said = run_all([planned(tmp_path)], {"softmax, seed 0": [lambda run: returned] * 2})
    assert code == 1 and words in said[-1]


def test_partial_runs_continue(tmp_path, run_all):
    run = planned(tmp_path)
    begin(run, step=1)
    assert run_all([run])[2][0].startswith("softmax, seed 0: starts, continues at step 1 of 2  (")


def test_a_preempted_run_is_left_for_the_next_call(tmp_path, run_all):
    runs = [planned(tmp_path, label) for label in ("a", "b")]
    code, processes, said = run_all(runs, {"a, seed 0": [lambda run: 75]})
    assert code == 75 and processes.started == ["a, seed 0", "b, seed 0"]
    assert "stopped after 0 s at step 0; the same command continues it" in said[1]


# Others --------------------------------------------------------------------------------------------------------------


def test_a_run_of_another_process_is_waited_for_and_not_started(tmp_path, run_all):
    runs = [planned(tmp_path, label) for label in ("a", "b")]
    begin(runs[0], step=1)
    other = Workdir(runs[0].workdir)
    other.lock()

    def sleep(seconds):
        if (runs[1].workdir / "DONE").exists() and not (runs[0].workdir / "DONE").exists():
            done(runs[0])
            other.unlock()

    code, processes, said = run_all(runs, sleep=sleep)
    assert code == 0 and processes.started == ["b, seed 0"]
    assert said[0] == "a, seed 0: another process is running it; waiting for it to end"
    assert said[-1].startswith("[2/2] a, seed 0: done before")


def test_a_run_is_claimed_before_its_process_has_a_lock_of_its_own(tmp_path, run_all):
    run, seen = planned(tmp_path), []

    def look(planned_run):
        seen.append((is_locked(run.workdir), execute.claim(run.workdir)))
        return done(planned_run)

    assert run_all([run], {run.name: [look]})[0] == 0
    assert seen == [(True, None)] and not is_locked(run.workdir)


def test_a_run_that_finds_its_folder_taken_is_not_failed(tmp_path, run_all):
    """Somebody typed the run's command a moment earlier: the message is the one of `Workdir.lock`."""
    run = planned(tmp_path)
    other = Workdir(run.workdir)

    def refused(planned_run):
        other.lock()
        try:
            Workdir(run.workdir).lock()
        except Exception as error:
            with (run.workdir / CONSOLE).open("a") as console:
                console.write(f"error: {error}\n")
        return 2

    def sleep(seconds):
        other.unlock()

    code, processes, said = run_all([run], {run.name: [refused, done]}, sleep=sleep)
    assert code == 0 and len(processes.started) == 2 and not any("failed" in line for line in said)


# Signals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "passed", "code"),
    [(signal.SIGTERM, signal.SIGTERM, 75), (signal.SIGINT, signal.SIGINT, 130), (signal.SIGHUP, signal.SIGTERM, 75)],
)
def test_signals_are_passed_on_once_and_nothing_new_starts(tmp_path, run_all, number, passed, code):
    runs = [planned(tmp_path, "a", seed) for seed in range(3)]

    def strike(seconds):
        if not struck:
            struck.append(number)
            os.kill(os.getpid(), number)

    struck, before = [], signal.getsignal(number)
    returned, processes, said = run_all(runs, workers=2, sleep=strike)
    assert returned == code and processes.started == ["a, seed 0", "a, seed 1"]
    assert processes.signals == [("a, seed 0", passed), ("a, seed 1", passed)]
    assert sum("the same command continues it" in line for line in said) == 2
    assert signal.getsignal(number) == before


def test_nohup_is_respected(tmp_path, run_all):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_all([planned(tmp_path)], sleep=lambda s: os.kill(os.getpid(), signal.SIGHUP))[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_of_ours_leaves_no_run_behind(tmp_path, run_all, monkeypatch):
    def broken(seconds):
        raise BrokenPipeError

    processes = Processes([planned(tmp_path)], polls=10**9)
    monkeypatch.setattr(execute.subprocess, "Popen", processes)
    with pytest.raises(BrokenPipeError):
        execute.execute([planned(tmp_path)], 1, print, sleep=broken)
    assert processes.alive == 0 and processes.signals == [("softmax, seed 0", signal.SIGTERM)]


# What a run is given -------------------------------------------------------------------------------------------------


def test_claims_exclude_each_other(tmp_path):
    first = execute.claim(tmp_path / "run")
    assert execute.claim(tmp_path / "run") is None
    first.close()
    second = execute.claim(tmp_path / "run")
    fcntl.flock(second, fcntl.LOCK_UN)
    second.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written to: Not a directory; choose another --workdir"):
        execute.claim(tmp_path / "file" / "run")


def test_failed_and_finished_states_are_as_the_helpers_write_them(tmp_path):
    run = planned(tmp_path)
    begin(run, 1)
    fail(run, "boom")
    assert execute.state_of(run.workdir, run.config).message == "NonFinite: boom"
    finish(run, [1, 0])
    assert execute.state_of(run.workdir, run.config).state == "done"


@pytest.mark.parametrize(
    ("workers", "environment", "found", "expected"),
    [
        (1, {}, ["A", "B"], [{}]),
        (2, {}, [], [{}, {}]),
        (2, {"JAX_PLATFORMS": "cpu"}, ["A", "B"], [{}, {}]),
        (2, {}, ["A", "B"], [{"CUDA_VISIBLE_DEVICES": "A"}, {"CUDA_VISIBLE_DEVICES": "B"}]),
        (2, {"CUDA_VISIBLE_DEVICES": "3, 5"}, ["A"], [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]),
        (2, {"CUDA_VISIBLE_DEVICES": ""}, ["A"], [{}, {}]),
        (3, {}, ["A", "B"], [{"CUDA_VISIBLE_DEVICES": x, "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.45"} for x in "ABA"]),
        (2, {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.3"}, ["A"], [{"CUDA_VISIBLE_DEVICES": "A"}] * 2),
    ],
)
def test_workers_share_gpus(workers, environment, found, expected):
    assert gpus.environments(workers, environment, found) == expected
