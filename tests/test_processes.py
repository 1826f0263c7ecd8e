"""Several processes and moving between layouts, end to end through launch.py."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs_for_tests import CHILD, ROOT, RUNS, assert_same_run, environment, leaves, rows, start

pytestmark = pytest.mark.long
# a notice of preemption takes about a second to reach the other process
LONG = ["--config.total_steps=3000", "--config.log.every_steps=500", "--config.eval.every_steps=1000"]


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start_two(workdir: Path, hooks=("none", "none"), heartbeat: int = 100) -> list[tuple[int, str]]:
    """Runs two processes of one device each; the exit code and output of both."""
    address = free_address()
    run = [flag for flag in RUNS["perceptron"] if flag.split("=")[0] not in [long.split("=")[0] for long in LONG]]
    processes = []
    for i, hook in enumerate(hooks):
        flags = [f"--coordinator={address}", "--num_processes=2", f"--process_id={i}", f"--heartbeat={heartbeat}"]
        command = [sys.executable, str(CHILD), hook, *run, *LONG, *flags, f"--workdir={workdir}"]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, env=environment(), cwd=ROOT, **pipe))
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
    assert [row["step"] for row in rows(whole)] == list(range(500, 3001, 500))


def test_sigterm_to_one_stops_both_at_one_step(whole, tmp_path):
    both = start_two(tmp_path / "run", ("none", "term@step:500"))
    assert [code for code, _ in both] == [75, 75], both
    saved = re.search(r"saved step (\d+)", both[0][1])
    assert saved, both[0][1]
    for code, out in start_two(tmp_path / "run"):
        assert code == 0, out
    assert rows(tmp_path / "run") == rows(whole)
    last = max(leaves(whole))
    for name, x in leaves(whole)[last].items():
        np.testing.assert_array_equal(x, leaves(tmp_path / "run")[last][name], err_msg=name)


def test_a_lost_process_ends_the_other_and_the_rerun_gives_the_same_bits(whole, tmp_path):
    both = start_two(tmp_path / "run", ("none", "kill@step:1300"), heartbeat=10)
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
