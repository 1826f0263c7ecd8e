"""Metric rows: what is written is read back, and a killed run's file is continued as if nothing had happened."""

import json
import math
import struct
import subprocess
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.workdir import metric_log
from cvdl_jax.workdir.metric_log import Jsonl, TensorBoard, Writers, read, truncate, without_time


def write(path, steps, value=lambda step: step / 3):
    file = Jsonl(path)
    for step in steps:
        file.row(step, {"train/loss": value(step)})
    file.close()


def test_row_is_one_json_object_per_line(tmp_path):
    file = Jsonl(tmp_path / "m.jsonl")
    file.row(50, {"epoch": 0.5, "train/loss": 1.25})
    assert (
        tmp_path / "m.jsonl"
    ).read_text() == '{"step": 50, "epoch": 0.5, "train/loss": 1.25}\n'  # without close: flushed
    file.sync()
    file.close()
    assert read(tmp_path / "m.jsonl") == [{"step": 50, "epoch": 0.5, "train/loss": 1.25}]


@pytest.mark.parametrize("step", [50, 49, 0])
def test_step_must_increase(tmp_path, step):
    file = Jsonl(tmp_path / "m.jsonl", last_step=10)
    file.row(50, {"a": 1})
    with pytest.raises(ValueError, match=f"step {step} comes after that of step 50"):
        file.row(step, {"a": 2})
    file.close()
    assert len(read(tmp_path / "m.jsonl")) == 1


def test_last_step_of_an_earlier_start_counts(tmp_path):
    file = Jsonl(tmp_path / "m.jsonl", last_step=10)
    with pytest.raises(ValueError, match="step 10 comes after that of step 10"):
        file.row(10, {"a": 2})
    file.close()


def test_step_is_no_metric(tmp_path):
    file = Jsonl(tmp_path / "m.jsonl")
    with pytest.raises(ValueError, match='may not be called "step"'):
        file.row(1, {"step": 2})
    file.close()
    assert read(tmp_path / "m.jsonl") == []


def test_non_finite_values_are_valid_json_and_come_back(tmp_path):
    file = Jsonl(tmp_path / "m.jsonl")
    file.row(1, {"a": math.nan, "b": math.inf, "c": -math.inf})
    file.close()

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    text = (tmp_path / "m.jsonl").read_text()
    assert json.loads(text, parse_constant=refuse) == {"step": 1, "a": "nan", "b": "inf", "c": "-inf"}
    (row,) = read(tmp_path / "m.jsonl")
    assert math.isnan(row["a"]) and row["b"] == math.inf and row["c"] == -math.inf


def test_missing_file_has_no_rows(tmp_path):
    assert read(tmp_path / "m.jsonl") == []
    assert truncate(tmp_path / "m.jsonl", 5) == 0
    assert not (tmp_path / "m.jsonl").exists()


@given(st.dictionaries(st.text(min_size=1).filter(lambda k: k != "step"), st.floats() | st.integers(-(2**60), 2**60)))
def test_every_number_comes_back_exactly(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("rows") / "m.jsonl"
    file = Jsonl(path)
    file.row(7, values)
    file.close()
    (row,) = read(path)
    assert row.pop("step") == 7
    assert {k: repr(v) for k, v in row.items()} == {k: repr(v) for k, v in values.items()}  # repr: nan equals nan


@pytest.mark.parametrize(
    "tail", [b'{"step": 40, "train/lo', b'{"step": 4', b"{", b"\0\0\0\0", b'{"step": 40, "a": "n', b"\xff\n"]
)
def test_half_written_last_line_is_no_row(tmp_path, tail):
    path = tmp_path / "m.jsonl"
    write(path, [10, 20, 30])
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert [row["step"] for row in read(path)] == [10, 20, 30]
    assert truncate(path, 100) == 0
    assert path.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


@pytest.mark.parametrize(
    "line", [b"not json", b"[1, 2]", b'{"a": 1}', b'{"step": 10, "a": "one"}', b'{"step": 10, "a": []}', b""]
)
def test_damaged_line_in_the_middle_is_an_error_with_its_number(tmp_path, line):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 5}\n' + line + b'\n{"step": 20}\n')
    for action in (read, lambda p: truncate(p, 10)):
        with pytest.raises(DataError, match=r"m\.jsonl, line 2 is not a row of metrics.*--workdir"):
            action(path)
    assert path.read_bytes().endswith(b'{"step": 20}\n')


def test_truncate_keeps_lines_as_they_are(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step":10,  "a":1e0}\n{"step":20}\n{"step":30}\n')
    assert truncate(path, 10) == 2
    assert path.read_bytes() == b'{"step":10,  "a":1e0}\n'
    assert truncate(path, -1) == 1
    assert path.read_bytes() == b""


def test_truncate_leaves_the_old_file_if_it_cannot_finish(tmp_path, monkeypatch):
    path = tmp_path / "m.jsonl"
    write(path, [10, 20])
    before = path.read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metric_log.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        truncate(path, 10)
    assert path.read_bytes() == before


@given(st.data())
def test_killed_and_continued_equals_uninterrupted(tmp_path_factory, data):
    """Cut the file anywhere after the rows that a checkpoint knows, go on from there: the same bytes."""
    steps = sorted(data.draw(st.sets(st.integers(1, 200), min_size=1, max_size=8)))
    special = data.draw(st.sampled_from([1.0, math.nan, -math.inf, 1e-300]))

    def value(step):
        return step / 7 * special

    folder = tmp_path_factory.mktemp("resume")
    write(folder / "whole.jsonl", steps, value)
    whole = (folder / "whole.jsonl").read_bytes()
    saved = data.draw(st.sampled_from([-1, *steps]))  # the restored step; its rows are synced before it is saved
    known = b"".join(line for line in whole.splitlines(keepends=True) if json.loads(line)["step"] <= saved)
    cut = data.draw(st.integers(len(known), len(whole)))
    path = folder / "m.jsonl"
    path.write_bytes(whole[:cut])
    truncate(path, saved)
    assert path.read_bytes() == known
    file = Jsonl(path, saved)
    for step in steps:
        if step > saved:
            file.row(step, {"train/loss": value(step)})
    file.close()
    assert path.read_bytes() == whole


def test_killed_process_loses_no_row(tmp_path):
    code = (
        "import os, sys; from cvdl_jax.workdir.metric_log import Jsonl; file = Jsonl(sys.argv[1])\n"
        "for k in range(1, 6): file.row(k, {'a': k})\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.jsonl")], check=False)
    assert done.returncode == -9
    assert [row["step"] for row in read(tmp_path / "m.jsonl")] == [1, 2, 3, 4, 5]


def test_without_time_drops_only_what_the_clock_decides():
    rows = [{"step": 1, "train/loss": 2.0, "time/seconds": 3.1, "timer": 1.0}]
    assert without_time(rows) == [{"step": 1, "train/loss": 2.0, "timer": 1.0}]


def test_writers_drop_later_rows_and_continue(tmp_path):
    write(tmp_path / "metrics.jsonl", [10, 20, 30])
    writers = Writers(tmp_path, last_step=20, tensorboard=False, process=0)
    writers.row(25, {"train/loss": np.float32(0.5), "count": np.int64(3)})
    writers.sync()
    writers.close()
    writers.close()
    assert [row["step"] for row in read(tmp_path / "metrics.jsonl")] == [10, 20, 25]
    assert read(tmp_path / "metrics.jsonl")[-1] == {"step": 25, "train/loss": 0.5, "count": 3}


@pytest.mark.parametrize("value", ["high", None, np.zeros(2), [1.0]])
def test_values_must_be_numbers(tmp_path, value):
    writers = Writers(tmp_path, tensorboard=False, process=0)
    with pytest.raises(TypeError, match="'train/loss' must be a number"):
        writers.row(1, {"train/loss": value})
    writers.close()


def test_jax_scalars_are_numbers(tmp_path):
    import jax.numpy as jnp

    writers = Writers(tmp_path, tensorboard=False)  # in one process, JAX's index is 0
    writers.row(1, {"a": jnp.float32(0.25), "b": jnp.int32(2)})
    writers.close()
    assert read(tmp_path / "metrics.jsonl") == [{"step": 1, "a": 0.25, "b": 2}]


def test_other_processes_touch_nothing(tmp_path):
    write(tmp_path / "metrics.jsonl", [10, 20])
    before = (tmp_path / "metrics.jsonl").read_bytes()
    writers = Writers(tmp_path, last_step=10, process=1)
    writers.row(1, {"a": 1})
    writers.sync()
    writers.close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def events(folder):
    """The (step, {tag: value}, session status) of every event, read from the record format itself."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):  # length, its checksum, the event, its checksum
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length
            found.append((event.step, {v.tag: v.simple_value for v in event.summary.value}, event.session_log.status))
    return found


def test_tensorboard_has_the_values_and_purges_on_resume(tmp_path):
    for last_step, steps in ((-1, (1, 2, 3)), (2, (3, 4))):
        writers = Writers(tmp_path, last_step=last_step, process=0)
        for step in steps:
            writers.row(step, {"train/loss": step * 0.5})
        writers.sync()
        writers.close()
    assert len(list((tmp_path / "tb").iterdir())) == 2  # the second start did not overwrite the first one's file
    found = events(tmp_path / "tb")
    scalars = [(step, values["train/loss"]) for step, values, _ in found if values]
    assert sorted(scalars) == [(1, 0.5), (2, 1.0), (3, 1.5), (3, 1.5), (4, 2.0)]
    start = 1  # SessionLog.START: a reader drops the earlier events from this step on
    assert sorted(step for step, _, status in found if status == start) == [0, 3]


def test_tensorboard_has_hyper_parameters_final_metrics_and_images(tmp_path):
    from PIL import Image
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    Image.new("RGB", (5, 3), (255, 0, 0)).save(tmp_path / "samples.png")
    board = TensorBoard(tmp_path / "tb")
    config = {"optim": {"lr": 0.1, "name": "sgd"}, "loss": {}, "model": {"hidden": [3, 4]}, "remat": False}
    board.summary(7, config, {"test/accuracy": 0.75})
    board.image("samples", tmp_path / "samples.png", 7)
    board.close()
    (path,) = (tmp_path / "tb").iterdir()
    content, at, values = path.read_bytes(), 0, {}
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        values |= {value.tag: (event.step, value) for value in event.summary.value}
        at += 16 + length
    start = HParamsPluginData.FromString(values["_hparams_/session_start_info"][1].metadata.plugin_data.content)
    hparams = start.session_start_info.hparams
    assert (hparams["optim.lr"].number_value, hparams["optim.name"].string_value) == (0.1, "sgd")
    assert hparams["model.hidden"].string_value == "[3, 4]" and hparams.keys() & {"loss", "remat"} == {"remat"}
    step, accuracy = values["final/test/accuracy"]
    assert (step, accuracy.simple_value) == (7, 0.75)
    step, image = values["samples"]
    assert step == 7 and (image.image.height, image.image.width) == (3, 5)
    # Nothing of the run so far is hidden: no event asks a reader to drop earlier ones.
    assert [status for _, _, status in events(tmp_path / "tb") if status] == []


def test_libraries_are_imported_at_the_first_row():
    code = (
        "import sys, tempfile\n"
        "from cvdl_jax.engine import progress as console\n"
        "from cvdl_jax.workdir.metric_log import Writers\n"
        "w = Writers(tempfile.mkdtemp(), process=0); console.Progress(1, process=0).begin()\n"
        "loaded = [m for m in ('tensorboardX', 'rich', 'wandb', 'jax', 'tensorflow') if m in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_wandb_names_the_fix(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(metric_log.importlib.util, "find_spec", lambda name: None)
    for process in (0, 1):  # every process stops, none is left waiting for the others
        with pytest.raises(
            ConfigError, match=r"config\.log\.wandb='digits' needs the package wandb.*pip install wandb"
        ):
            Writers(tmp_path, wandb="digits", process=process)
    assert list(tmp_path.iterdir()) == []


def test_wandb_gets_rows_and_keeps_its_id(tmp_path, monkeypatch):
    calls = []

    def init(**options):
        calls.append(options)
        return types.SimpleNamespace(
            log=lambda values, step: calls.append((step, values)), finish=lambda: calls.append("finish")
        )

    fake = types.ModuleType("wandb")
    fake.init = init
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(metric_log.importlib.util, "find_spec", lambda name: fake)
    for step in (1, 2):
        writers = Writers(
            tmp_path, config={"seed": 0}, last_step=step - 1, tensorboard=False, wandb="digits", process=0
        )
        assert len(calls) == 3 * (step - 1)  # not before the first row
        writers.row(step, {"train/loss": 0.5})
        writers.close()
    first, row, finish, second = calls[:4]
    assert (first["project"], first["config"], first["resume"]) == ("digits", {"seed": 0}, "allow")
    assert row == (1, {"train/loss": 0.5}) and finish == "finish"
    assert second["id"] == first["id"] != ""
