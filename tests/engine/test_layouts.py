"""Every layout over devices computes the same: one device, eight, pmap, FSDP, several processes; in float64, over the
whole State after 12 steps with dropout and batch norm on, and in one case every augmentation."""

import os
import socket
from pathlib import Path

import forks
import numpy as np
import pytest
from quick_compile import FAST
from runs_for_tests import virtual_devices

pytestmark = pytest.mark.long
CHILD = Path(__file__).parents[1].joinpath("layouts_child.py")
# Cases that share their processes, whose start takes as long as many a case.
GROUPS = (
    "perceptron,accumulate,sam",
    "residual,language",
    "pgd,gan,qlearn,policy",
    "told,variational,diffusion",
    "images,pairs",
    "edits,transferred",
    "detector,embedding",
    "segmenter,distilled,tasks",
    "adapted,aligned,depth",
    "two_stage",
    "queries,contrast",
    "bert,translation",
    "views,teacher,memory",
    "bootstrap,centred,masked",
)
TOLERANCE = 1e-9
# XLA's older emitters, which compile faster, give this case gradients of the first layers that are off by 2 % where a
# batch is split by jit (jaxlib 0.10.2, some processors; the losses agree, and so does everything with the usual ones).
NEW_EMITTERS = ("two_stage",)
# A bias of keys moves all scores of a query alike, so that its gradient is 0 but for rounding, which depends on layout.
NOTHING = "['key']['bias']"


def child(out: Path, cases: str, *layouts: str, devices: int, script: Path = CHILD, **more: str) -> forks.Process:
    environment = {**os.environ, **virtual_devices(devices), **more}
    if cases in NEW_EMITTERS:
        environment["XLA_FLAGS"] = environment["XLA_FLAGS"].replace(FAST[1], "")
    server = int(more.get("CVDL_TEST_PROCESS", 0))
    return forks.start([str(script), str(out), cases, *layouts], environment, merged=True, server=server)


def ended(*processes: forks.Process) -> list[str]:
    """What each printed; none is left behind that does not end."""
    try:
        return [process.communicate(timeout=800)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


def check(process: forks.Process, out: str) -> None:
    assert process.returncode == 0, out
    assert "rematerialization" not in out, out


def assert_same_state(one: Path, other: Path) -> None:
    """Every leaf agrees relative to its largest value; the state has no leaf that only one of them has."""
    with np.load(one) as a, np.load(other) as b:
        assert a.files == b.files
        for name in a.files:
            if name.startswith("['state']"):
                x, y = a[name], b[name]
                assert x.dtype == y.dtype and x.shape == y.shape
                if NOTHING in name:
                    assert max(np.abs(x).max(), np.abs(y).max()) < 1e-10, f"{other.stem}: {name}"
                    continue
                if x.size:
                    scale = max(float(np.abs(x).max()), 1e-30)
                    assert float(np.abs(x - y).max()) <= TOLERANCE * scale, f"{other.stem}: {name}"


@pytest.mark.parametrize("cases", GROUPS)
def test_layouts_and_processes_agree(cases, tmp_path):
    layouts = ("one", "jit", "pmap", "fsdp4")
    process = child(tmp_path, cases, *layouts, devices=8)
    check(process, *ended(process))
    for case in cases.split(","):
        for layout, share in (("jit", 1.0), ("pmap", 1.0), ("fsdp4", 0.25)):
            assert_same_state(tmp_path / f"{case}_one.npz", tmp_path / f"{case}_{layout}.npz")
            with np.load(tmp_path / f"{case}_{layout}.npz") as file:
                assert file["traces"].tolist() == [1, 1]
                assert not file["cache"]  # of which programs for several CPU devices come back broken
                assert share <= file["share"] <= 1.1 * share  # of parameters and optimizer state, on each device
    for process, out in two(tmp_path, cases):
        check(process, out)
    for case in cases.split(","):
        assert_same_state(tmp_path / f"{case}_one.npz", tmp_path / f"{case}_processes2.npz")


def two(out: Path, cases: str) -> list[tuple[forks.Process, str]]:
    """Two processes of four devices each, ended, with what they printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    more = {"CVDL_TEST_COORDINATOR": address, "CVDL_TEST_PROCESSES": "2"}
    both = [child(out, cases, "jit", devices=4, CVDL_TEST_PROCESS=str(i), **more) for i in range(2)]
    return list(zip(both, ended(*both), strict=True))
