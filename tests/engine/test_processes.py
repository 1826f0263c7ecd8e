"""Several processes and moving between layouts, end to end through launch.py."""

import re
import shutil
import socket
from pathlib import Path

import forks
import pytest
from runs_for_tests import CHILD, RUNS, assert_same_run, environment, rows, start

from cvdl_jax.workdir.checkpoint import committed_steps

pytestmark = pytest.mark.long
# Far longer than the second or two that a notice of preemption takes to reach the other process.
ENDLESS = ["--config.total_steps=1000000", "--config.log.every_steps=1000", "--config.eval.every_steps=500000"]


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start_two(workdir: Path, hooks=("none", "none"), heartbeat: int = 100, instead=()) -> list[tuple[int, str]]:
    """Runs two processes of one device each; the exit code and output of both."""
    address = free_address()
    replaced = {flag.split("=")[0] for flag in instead}
    run = [flag for flag in RUNS["perceptron"] if flag.split("=")[0] not in replaced]
    processes = []
    for i, hook in enumerate(hooks):
        flags = [f"--coordinator={address}", "--num_processes=2", f"--process_id={i}", f"--heartbeat={heartbeat}"]
        command = [str(CHILD), hook, *run, *instead, *flags, f"--workdir={workdir}"]
        processes.append(forks.start(command, environment(), merged=True, server=i))
    outputs = [process.communicate(timeout=400)[0] for process in processes]
    return [(process.returncode, out) for process, out in zip(processes, outputs, strict=True)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("processes") / "whole"
    for code, out in start_two(workdir):
        assert code == 0, out
    return workdir


def test_only_the_first_process_prints_and_writes(whole):
    assert (whole / "DONE").exists()
    assert [row["step"] for row in rows(whole)] == [5, 8, 10, 15, 16, 20, 24]


def test_sigterm_to_one_stops_both_at_one_step(tmp_path):
    reached = 0
    for hooks in (("none", "term@step:500"), ("term@step:1", "none")):
        both = start_two(tmp_path / "run", hooks, instead=ENDLESS)
        assert [code for code, _ in both] == [75, 75], both
        out = both[0][1]
        assert reached == 0 or f"restored step {reached}" in out
        step = int(re.search(r"saved step (\d+)", out)[1])
        assert step > reached and step in committed_steps(tmp_path / "run" / "checkpoints")
        reached = step


def test_a_lost_process_ends_the_other_and_the_rerun_gives_the_same_bits(whole, tmp_path):
    both = start_two(tmp_path / "run", ("none", "kill@step:16"), heartbeat=10)
    assert both[1][0] == -9
    assert both[0][0] not in (0, 75), both[0][1]  # aborted by JAX, or the error of a lost connection
    for code, out in start_two(tmp_path / "run"):
        assert code == 0, out
    assert_same_run(whole, tmp_path / "run")


def test_a_missing_process_is_named(tmp_path):
    flags = [f"--coordinator={free_address()}", "--num_processes=3", "--process_id=0", "--timeout=2"]
    alone = start(tmp_path / "run", "perceptron", "none", *flags)
    assert alone.returncode == 2
    assert "processes 1, 2 of 3 did not come" in alone.stderr and "--process_id" in alone.stderr


def test_a_run_saved_on_eight_devices_continues_elsewhere(tmp_path):
    eight = tmp_path / "eight"
    assert start(eight, "perceptron", "term@step:10", "--host_devices=8").returncode == 75
    finals = {}
    for name, flags in {
        "one": [],
        "fsdp4": ["--host_devices=8", "--config.parallel.fsdp=4"],
        "fsdp2": ["--host_devices=4", "--config.parallel.fsdp=2"],
        "pmap": ["--host_devices=2", "--config.parallel.mode=pmap"],
    }.items():
        shutil.copytree(eight, tmp_path / name)
        again = start(tmp_path / name, "perceptron", "none", *flags)
        assert again.returncode == 0, f"{name}: {again.stderr}"
        assert "restored step 10" in again.stdout
        finals[name] = rows(tmp_path / name)
    for name, found in finals.items():
        assert [row["step"] for row in found] == [row["step"] for row in finals["one"]]
        for row, expected in zip(found, finals["one"], strict=True):
            assert row["train/loss"] == pytest.approx(expected["train/loss"], rel=1e-3), name


def test_batch_that_the_devices_cannot_share(tmp_path):
    refused = start(tmp_path / "run", "perceptron", "none", "--host_devices=8", "--config.eval_batch_size=20")
    assert refused.returncode == 2
    assert "20 = 2 x 8 + 4" in refused.stderr and "use 16 or 24" in refused.stderr
