"""`--mode doctor`: what it says of broken things, and the command that it names for each."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import launch
from cvdl_jax.cli.doctor import data, devices, machine, packages
from cvdl_jax.cli.doctor.items import NOTE, OK, PROBLEM, Item, examine

ROOT = Path(__file__).resolve().parents[2]


def states(items):
    return [item.state for item in items]


# The report -------------------------------------------------------------------------------------------------------


def test_problems_and_fixes_are_printed_and_counted():
    said = []
    checks = [
        ("a", lambda: [Item(OK, "fine"), Item(NOTE, "odd", "do this")]),
        ("b", lambda: [Item(PROBLEM, "broken", "type that")]),
    ]
    assert examine(checks, said.append) == 1
    assert said == [
        "ok      a: fine",
        "note    a: odd",
        "          if wanted: do this",
        "PROBLEM b: broken",
        "          fix: type that",
        "1 problem to mend",
    ]
    assert examine(checks[:1], said.append) == 0 and said[-1] == "everything is in order"


def test_a_check_that_breaks_is_a_problem_and_ends_nothing():
    def broken():
        yield Item(OK, "so far")
        raise RuntimeError("no more\nand a second line")

    said = []
    assert examine([("x", broken), ("y", lambda: [Item(OK, "still here")])], said.append) == 1
    assert said[:3] == [
        "ok      x: so far",
        "PROBLEM x: cannot be examined: RuntimeError: no more",
        "ok      y: still here",
    ]


# Packages ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nrequires-python = ">=3.11"\n'
        'dependencies = ["flax>=0.12", "jax>=0.10", "array_record>=0.8; platform_system == \'Linux\'"]\n'
    )
    (tmp_path / "requirements.txt").write_text("# tested\nflax==0.12.8\njax==0.10.2  # with\n\nuvloop==1.0; x\n")
    return tmp_path


def test_missing_and_old_packages(project):
    found = {"flax": "0.11.2", "array_record": "0.9", "jax": None}
    items = list(packages.required(project, found.get))
    assert states(items) == [PROBLEM, PROBLEM, OK]
    assert items[0].text == "flax 0.11.2 is too old or too new, needed: >=0.12"
    assert items[0].fix == f'{sys.executable} -m pip install "flax>=0.12"'
    assert items[1] == Item(PROBLEM, "jax is not installed", f'{sys.executable} -m pip install "jax>=0.10"')
    assert items[2].text == "array_record 0.9"


def test_markers_and_releases_before_the_final_one(project):
    found = {"flax": "0.13.0rc1", "jax": "0.10.2.dev3"}
    (project / "pyproject.toml").write_text(
        '[project]\ndependencies = ["flax>=0.12", "jax>=0.10.3", "pywin32>=1; sys_platform == \'no such\'"]\n'
    )
    assert [item.text for item in packages.required(project, found.get)] == [
        "jax 0.10.2.dev3 is too old or too new, needed: >=0.10.3",
        "flax 0.13.0rc1",
    ]


def test_other_versions_than_tested_are_a_note(project):
    found = {"flax": "0.12.9", "jax": "0.10.2"}
    (item,) = packages.pinned(project, found.get)
    assert item.state == NOTE and "flax 0.12.9 (tested: 0.12.8)" in item.text and "jax" not in item.text
    assert item.fix == f"{packages.PIP} -r {project / 'requirements.txt'}"
    assert states(packages.pinned(project, {"flax": "0.12.8"}.get)) == [OK]


def test_python(project):
    assert states(packages.python((3, 11, 4), project)) == [OK]
    (item,) = packages.python((3, 10, 9), project)
    assert item.state == PROBLEM and "needed: >=3.11" in item.text and "make PYTHON=" in item.fix


def test_this_installation_is_what_pyproject_asks_for():
    assert set(states(packages.required())) == {OK}


def test_optional_packages(monkeypatch):
    monkeypatch.setattr("cvdl_jax.cli.check.topology.requirement", lambda: "libtpu==0.0.42.*")
    items = list(packages.optional({}.get))
    assert states(items) == [OK, OK] and 'pip install "libtpu==0.0.42.*"' in items[1].text
    assert states(packages.optional({"libtpu": "0.0.42.1", "wandb": "0.20"}.get)) == [OK, OK]
    assert states(packages.optional({"libtpu": "0.0.51"}.get)) == [OK, NOTE]


# Devices ----------------------------------------------------------------------------------------------------------


INFORMATION = "jax:    0.10.2\ndevice info: cpu-1\nJAX_PLATFORMS=cpu"


def seen(backend="cpu", gpu=False, tpu=False, environment=None, versions=None, information=INFORMATION):
    versions = {"jax": "0.10.2", "jaxlib": "0.10.2"} | (versions or {})
    answer = {"backend": backend, "memory": 2**34, "wrong": "", "information": information}
    return list(devices.devices(lambda: answer, lambda: gpu, lambda: tpu, environment or {}, versions.get))


def test_what_jax_says_of_itself_is_shown():
    (item,) = seen()
    assert item.state == OK and item.text.splitlines() == [
        "JAX uses the cpu, 16.00 GiB on each device, and says of itself",
        "          jax:    0.10.2", "          device info: cpu-1", "          JAX_PLATFORMS=cpu",
    ]  # fmt: skip
    assert states(seen("gpu", gpu=True)) == [OK]


@pytest.mark.parametrize(("cuda", "extra"), [("13.0", "cuda13"), ("12.4", "cuda12"), ("", "cuda13")])
def test_a_gpu_that_is_not_used(cuda, extra):
    smi = f"{INFORMATION}\n\n$ nvidia-smi\n| Driver Version: 575.57   CUDA Version: {cuda}  |" if cuda else INFORMATION
    problem = seen(gpu=not cuda, information=smi)[1]
    assert problem.state == PROBLEM and "an NVIDIA GPU is here" in problem.text
    assert problem.fix == f'{sys.executable} -m pip install "jax[{extra}]==0.10.2"'


def test_what_keeps_jax_from_starting_is_named():
    environment = {"JAX_PLATFORMS": "tpu", "XLA_FLAGS": devices.CONVOLUTIONS}  # the second is what launch.py sets
    (item,) = devices.devices(lambda: {"error": "no tpu"}, lambda: False, lambda: False, environment, {}.get)
    assert item.text == "JAX cannot start: no tpu; JAX_PLATFORMS=tpu is set" and item.fix.startswith("unset JAX_PLATFO")


def test_a_device_that_computes_wrongly():
    answer = {"backend": "gpu", "memory": 0, "wrong": "a product of ones sums to 3", "information": INFORMATION}
    shown, problem = devices.devices(lambda: answer, lambda: True, lambda: False, {}, {}.get)
    assert shown.state == PROBLEM and "computes wrongly: a product of ones sums to 3" in shown.text
    assert "replace the device" in shown.fix and problem.state == OK


def test_a_device_that_a_variable_hides():
    problem = seen(gpu=True, environment={"JAX_PLATFORMS": "cpu"})[1]
    assert problem.fix == "unset JAX_PLATFORMS"


def test_a_tpu_that_is_not_used():
    problem = seen(tpu=True)[1]
    assert (problem.state, problem.fix) == (PROBLEM, f'{sys.executable} -m pip install "jax[tpu]==0.10.2"')


def test_jax_that_does_not_start():
    said = {"error": "exit code -11: it said nothing"}
    (problem,) = devices.devices(lambda: said, environment={}, version_of={"jax": "0.10.2"}.get)
    assert "exit code -11" in problem.text
    assert problem.fix == f'{sys.executable} -m pip install --force-reinstall "jax==0.10.2"'


def test_libtpu_without_a_tpu_is_a_note():
    assert states(seen(versions={"libtpu": "0.0.42.1"})) == [OK, NOTE]
    assert states(seen(versions={"libtpu": "0.0.42.1"}, environment={"JAX_PLATFORMS": "cpu"})) == [OK]


def test_probe_says_why_a_process_fails(monkeypatch):
    done = SimpleNamespace(returncode=1, stdout="", stderr="Traceback\nImportError: no jaxlib\n")
    monkeypatch.setattr(devices.subprocess, "run", lambda *a, **k: done)
    assert devices.probe() == {"error": "exit code 1: ImportError: no jaxlib"}

    def hang(*_, **__):
        raise subprocess.TimeoutExpired("python", 120)

    monkeypatch.setattr(devices.subprocess, "run", hang)
    assert devices.probe() == {"error": "no answer within 120 s"}


# Data -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(tmp_path):
    """A folder with a whole set of two shards, and one whose second shard is missing."""
    for name, shards in (("whole", 2), ("half", 1)):
        place = tmp_path / name / "1.0.0"
        place.mkdir(parents=True)
        split = {
            "name": "train",
            "shardLengths": ["30", "12"],
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        facts = {"name": name, "fileFormat": "array_record", "splits": [split]}
        (place / data.INFO).write_text(json.dumps(facts))
        for i in range(shards):
            (place / f"{name}-train.array_record-0000{i}-of-00002").write_bytes(bytes(1000))
    return tmp_path


def test_data_sets_and_missing_files(prepared):
    items = list(data.data_sets({"TFDS_DATA_DIR": str(prepared)}))
    assert states(items) == [OK, PROBLEM, OK]
    assert items[0].text.endswith("2 sets prepared")
    assert items[1].text == "half/1.0.0: half-train.array_record-00001-of-00002 missing"
    assert "tfds build half --data_dir" in items[1].fix and f"rm -r {prepared / 'half/1.0.0'}" in items[1].fix
    assert items[2].text.startswith("whole/1.0.0: train 42 examples, array_record, 2.")


def test_damaged_descriptions(prepared):
    (prepared / "whole/1.0.0" / data.INFO).write_text("{")
    assert states(data.data_sets({"TFDS_DATA_DIR": str(prepared)})) == [OK, PROBLEM, PROBLEM]


def test_a_data_folder_that_does_not_exist(tmp_path):
    (problem,) = data.data_sets({"TFDS_DATA_DIR": str(tmp_path / "no")})
    assert problem.state == PROBLEM and f"mkdir -p {tmp_path / 'no'}" in problem.fix
    (fine,) = (
        data.data_sets({"HOME": "/nowhere"})
        if not Path("~/tensorflow_datasets").expanduser().is_dir()
        else [Item(OK, "")]
    )
    assert fine.state == OK


def test_sets_that_configs_ask_for(prepared):
    names = [item.text for item in data.wanted(ROOT, {"TFDS_DATA_DIR": str(prepared)})]
    assert any("'mnist'" in text for text in names) and any("'cifar10'" in text for text in names)
    assert not any("'digits'" in text or "'xor'" in text for text in names)
    (prepared / "mnist" / "3.0.1").mkdir(parents=True)
    (prepared / "mnist" / "3.0.1" / data.INFO).write_text("{}")
    assert not any("'mnist'" in item.text for item in data.wanted(ROOT, {"TFDS_DATA_DIR": str(prepared)}))


# The machine ------------------------------------------------------------------------------------------------------


def test_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "arrays").mkdir(parents=True)
    (tmp_path / "cache" / "arrays" / "x.npy").write_bytes(bytes(3 * 2**20))
    first = next(machine.caches())
    assert first.state == OK and "arrays 3.00 MiB" in first.text
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path / "file" / "cache"))
    (problem,) = machine.caches()
    assert problem.state == PROBLEM and problem.fix == "export CVDL_CACHE=/a/folder/with/room"


def test_disk(tmp_path, monkeypatch):
    assert states(machine.disk({"runs": tmp_path / "not" / "yet"})) == [OK]
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**30))
    (problem,) = machine.disk({"runs": tmp_path})
    assert problem.state == PROBLEM and "1.00 GiB free for runs" in problem.text and "du -xh" in problem.fix


def test_memory(tmp_path):
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal:       16777216 kB\nMemFree:   1 kB\nMemAvailable:    8388608 kB\n")
    assert list(machine.memory(meminfo, limit)) == [Item(OK, "8.00 GiB free of 16.00 GiB")]
    limit.write_text(str(2**29))
    (problem,) = machine.memory(meminfo, limit)
    assert problem.state == PROBLEM and "this container may use 512.00 MiB" in problem.text
    assert states(machine.memory(tmp_path / "none")) == [OK]


def test_threads_and_variables():
    assert states(machine.threads({})) == [OK]
    flags = "--xla_force_host_platform_device_count=8"
    items = list(machine.threads({"XLA_FLAGS": flags}))
    assert items[1].state == PROBLEM and items[1].fix == "export NPROC=64, or use --host_devices=8"
    assert PROBLEM not in states(machine.threads({"XLA_FLAGS": flags, "NPROC": "64"}))
    assert list(machine.threads({"JAX_DISABLE_JIT": "1"}))[1].fix == "unset JAX_DISABLE_JIT"
    assert states(machine.threads({"JAX_DISABLE_JIT": "0", "JAX_ENABLE_X64": "1"})) == [OK]
    (cores,) = machine.threads({"OMP_NUM_THREADS": "3"})
    assert cores.text.endswith("OMP_NUM_THREADS=3")


def test_git(tmp_path):
    def git(*command):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *command], check=True, capture_output=True)

    assert "is no git checkout" in next(machine.git(tmp_path)).text
    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    assert states(machine.git(tmp_path)) == [OK]
    (tmp_path / "a").write_text("2")
    (note,) = machine.git(tmp_path)
    assert note.state == NOTE and "1 files changed" in note.text


# The command ------------------------------------------------------------------------------------------------------


def test_the_exit_code_follows_the_problems(capsys, monkeypatch):
    from cvdl_jax.cli.modes import doctor

    monkeypatch.setattr(doctor, "checks", lambda runs: [("a", lambda: [Item(OK, "x")])])
    assert launch.main(["--mode=doctor"]) == 0
    monkeypatch.setattr(doctor, "checks", lambda runs: [("a", lambda: [Item(PROBLEM, "x", "y")])])
    assert launch.main(["--mode=doctor"]) == 1
    assert "PROBLEM a: x" in capsys.readouterr().out


def run_doctor(environment):
    command = [sys.executable, "launch.py", "--mode=doctor"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.long
def test_doctor_here(clean_environment):
    done = run_doctor({k: v for k, v in clean_environment.items() if k != "JAX_PLATFORMS"})
    lines = done.stdout.splitlines()
    assert any(line.startswith("          jaxlib: ") for line in lines) and "device info" in done.stdout
    subjects = {line[8:].partition(":")[0] for line in lines if not line.startswith(" ")}
    assert {"python", "packages", "devices", "data", "cache", "disk", "memory", "threads", "git"} <= subjects
    assert done.returncode == ("PROBLEM" in done.stdout) and "cannot be examined" not in done.stdout, done.stdout


@pytest.mark.long
def test_doctor_with_everything_broken(clean_environment, tmp_path):
    """A jax that cannot be imported, no ml_collections, a data folder that is not there, a cache that is a file."""
    for name in ("jax", "ml_collections", "numpy"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text(f"raise ImportError('{name} is broken')")
    (tmp_path / "file").write_text("")
    broken = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "broken"), str(ROOT)]),
        "TFDS_DATA_DIR": str(tmp_path / "nowhere"),
        "CVDL_CACHE": str(tmp_path / "file" / "cache"),
    }
    done = run_doctor({**clean_environment, **broken})
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert "PROBLEM devices: JAX cannot start: exit code 1: ImportError: jax is broken" in done.stdout
    assert f"PROBLEM data: TFDS_DATA_DIR={tmp_path / 'nowhere'} does not exist" in done.stdout
    assert "problems to mend" in done.stdout and "ok      git" in done.stdout.replace("note    git", "ok      git")
