"""Tables end to end, with real runs: written, interrupted, continued, by two processes at once."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from runs_for_tests import ROOT, environment

import launch
from cvdl_jax.cli.tables import plan

pytestmark = pytest.mark.long
QUICK = ["config.log.tensorboard=False"]
ENDLESS = ["config.total_steps=100000000", "config.log.every_steps=1000", "config.eval.every_steps=50000000"]
SMOKE = "configs/classify/softmax.py:smoke"


def table_file(folder, *rows):
    """A table of these rows: (name, config, overrides)."""
    table = {
        "title": "Two", "metric": {"key": "test/accuracy", "label": "test accuracy", "unit": "%"}, "data": "digits",
        "protocol": "p", "rows": [dict(zip(("name", "config", "overrides"), row, strict=True)) for row in rows],
    }  # fmt: skip
    path = folder / "two.py"
    path.write_text(f"def get_table(arg=None):\n    return {table!r}\n")
    return str(path)


# A shell that runs these tests in the background makes its children deaf to Ctrl-C; this one hears it.
LAUNCH = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["launch.py", *sys.argv[1:]]
runpy.run_path("launch.py", run_name="__main__")
"""


def start(file, root, *more):
    """Starts `--table` as a process."""
    command = [sys.executable, "-c", LAUNCH, "--table", file, "--workdir", str(root), *more]
    return subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path, words: str) -> None:
    """Returns when a file, which need not exist yet, has a line with these words."""
    command = ["timeout", "300", "tail", "-n", "+1", "-F", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tail:
        for line in tail.stdout:
            if words in line:
                break
        else:
            raise AssertionError(f"{path} never said {words!r}")
        tail.terminate()


def test_a_table_is_run_once_and_written(tmp_path, capsys):
    wrong = [*QUICK, "config.data.name=folder:nowhere"]
    file = table_file(tmp_path, ("A", SMOKE, QUICK), ("B", "configs/classify/svm.py:smoke", QUICK), ("C", SMOKE, wrong))
    root = tmp_path / "root"
    flags = [f"--table={file}", f"--workdir={root}", "--workers=3"]
    assert launch.main(flags) == 1  # C cannot run; the others can
    out = capsys.readouterr().out
    assert "[3/3]" in out and "the image folder nowhere does not exist" in out
    results = json.loads((root / "results.json").read_text())
    assert [row["n"] for row in results["rows"]] == [1, 1, 0]
    for row in results["rows"][:2]:
        assert (row["parameters"], row["steps"], row["interval"]) == (650, 2, "Wilson over 359 examples")
        assert 0 <= row["low"] <= row["mean"] <= row["high"] <= 100 and row["seconds"] > 0
        assert row["data"]["name"] == "digits" and (row["significance"] == "best" or "McNemar" in row["significance"])
        assert (Path(row["runs"][0]["workdir"]) / "results.json").exists()
    assert "| C | failed | failed | 0 of 1, 1 failed |" in (root / "results.md").read_text()
    assert launch.main([*flags, "--status"]) == 0
    status = capsys.readouterr().out
    assert "3 runs: 1 failed, 2 done" in status
    assert launch.main([f"--table={file}:only=a+b", f"--workdir={root}"]) == 0
    out = capsys.readouterr().out
    assert "starts" not in out and out.count("done before") == 2


def test_an_interrupted_table_saves_its_runs_and_continues(tmp_path):
    file, root = table_file(tmp_path, ("A", SMOKE, ENDLESS)), tmp_path / "root"
    run = plan.make("A", "A", SMOKE, [f"--{each}" for each in ENDLESS], 0, root)
    process = start(file, root)
    wait_for(run.workdir / "console.log", "step 1,000/")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 130, out
    assert "the same command continues it" in out and "| A | not run |" in (root / "results.md").read_text()
    console = (run.workdir / "console.log").read_text()
    saved = int(console.split("saved step ")[1].split()[0])
    assert console.count("Ctrl-C: saved step") == 1 and saved >= 1000
    process = start(file, root)
    wait_for(run.workdir / "console.log", f"restored step {saved} ")
    wait_for(run.workdir / "console.log", f"step {(saved // 1000 + 1) * 1000:,}/")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 75 and f"continues at step {saved} of 100000000" in out


def test_two_processes_share_a_table(tmp_path):
    rows = [(name, SMOKE, [*QUICK, f"config.optim.lr=0.{i}"]) for i, name in enumerate("ABC", 1)]
    file, root = table_file(tmp_path, *rows), tmp_path / "root"
    both = [start(file, root, f"--workers={n}") for n in (1, 2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    consoles = [path.read_text() for path in root.glob("*/console.log")]
    assert len(consoles) == 3 and all(text.count("python launch.py --config") == 1 for text in consoles)
    assert json.loads((root / "results.json").read_text())["rows"][2]["n"] == 1
