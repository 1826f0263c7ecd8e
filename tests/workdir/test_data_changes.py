"""A run whose data change: refused, continued on purpose, and what `meta.json` then says; locks of odd file systems."""

import errno
import fcntl
import shutil
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cvdl_jax.config import configs
from cvdl_jax.data.load import load
from cvdl_jax.errors import ConfigError, UserError
from cvdl_jax.workdir.folder import Workdir, read_json

BEGUN = '{"model": {"parameters": 1}}'


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path / "cache"))
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((64, 64, 3), i, np.uint8)).save(tmp_path / "set" / name / f"{i}.bmp")
    return tmp_path / "set"


def config_of(images, **data):
    overrides = [f"config.data.{key}={value}" for key, value in {"validation": "", "test": "", **data}.items()]
    return configs.load("configs/classify/softmax.py", [f"config.data.name=folder:{images}", *overrides])


def start(folder, images, **data):
    """What a start of a run does to its folder, without training."""
    config = config_of(images, **data)
    workdir = Workdir(folder)
    workdir.checkpoints.joinpath("3").mkdir(parents=True, exist_ok=True)
    if not workdir.meta.exists():
        workdir.meta.write_text(BEGUN)
    workdir.write_config(config)
    workdir.record_start(SimpleNamespace(data=load(**config.data.to_dict()), config=config), 1, [])
    return read_json(workdir.meta), read_json(workdir.config)["data"]


def test_changed_data_are_refused_unless_the_change_is_accepted_and_then_it_is_written_down(tmp_path, images):
    before, _ = start(tmp_path / "run", images)
    assert start(tmp_path / "run", images)[0]["data"] == before["data"] and "data_changes" not in before
    pixels = np.full((64, 64, 3), 9, np.uint8)
    pixels[32] = 200
    Image.fromarray(pixels).save(images / "cat" / "1.bmp")  # a mended image
    with pytest.raises(UserError, match=r"data have changed since .*--config.data.accept_changed=True$"):
        start(tmp_path / "run", images)
    with pytest.warns(UserWarning, match=r"from step 3 on, the data are others; .*meta\.json says so"):
        after, config = start(tmp_path / "run", images, accept_changed=True)
    (change,) = after["data_changes"]
    assert change["step"] == 3 and change["from"] == before["data"] and change["to"] == after["data"] != before["data"]
    assert "accept_changed" not in config  # the next change is asked about again
    assert start(tmp_path / "run", images)[0]["data_changes"] == [change]
    (images / "cat" / "1.bmp").unlink()
    with pytest.raises(UserError, match="data have changed since"):
        start(tmp_path / "run", images)


def test_other_classes_are_never_accepted(tmp_path, images):
    """After cat -> zebra the labels 0 and 1 would change places."""
    start(tmp_path / "run", images)
    (images / "cat").rename(images / "zebra")
    with pytest.raises(UserError, match=r"the classes of folder:set are not those that .*restore the names"):
        start(tmp_path / "run", images, accept_changed=True)
    (images / "zebra").rename(images / "cat")
    start(tmp_path / "run", images)
    for part in ("train", "val"):  # a class that only a split has which the run does not use: other labels all the same
        shutil.copytree(images, tmp_path / "parts" / part)
    start(tmp_path / "second", tmp_path / "parts")
    shutil.copytree(images / "cat", tmp_path / "parts" / "val" / "ant")
    with pytest.raises(UserError, match="the classes of folder:parts are not those"):
        start(tmp_path / "second", tmp_path / "parts")


def test_a_run_may_begin_to_leave_out_what_cannot_be_read(tmp_path, images):
    path = images / "dog" / "2.bmp"
    path.write_bytes(path.read_bytes()[:-5000])
    streamed = {"resident": "never"}
    before, config = start(tmp_path / "run", images, **streamed)
    assert "skip_bad" not in config
    with pytest.warns(UserWarning) as said:
        after, config = start(tmp_path / "run", images, **streamed, skip_bad=True)
    assert {"1 of 8" in str(w.message) for w in said} == {True, False} and config["skip_bad"] is True
    assert after["data"] == {**before["data"], "skipped": {"train": {"count": 1, "names": ["dog/2.bmp"]}}}
    assert [(c["step"], c["to"]) for c in after["data_changes"]] == [(3, after["data"])]
    with pytest.raises(ConfigError, match=r"another configuration \(data.channels: \(absent\) -> 1\)"):
        start(tmp_path / "run", images, **streamed, skip_bad=True, channels=1)


def test_a_run_of_before_goes_on_under_todays_fingerprint(tmp_path, images):
    meta, _ = start(tmp_path / "run", images)
    data, workdir = load(f"folder:{images}"), Workdir(tmp_path / "run")
    former = next(iter(data.splits.values())).source.former_fingerprint()
    import hashlib

    meta["data"]["fingerprint"] = hashlib.sha256(former.encode()).hexdigest()
    from cvdl_jax.workdir.folder import write_json

    write_json(workdir.meta, meta)
    again, _ = start(tmp_path / "run", images)
    assert again["data"]["fingerprint"] == data.fingerprint and "data_changes" not in again


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_used_with_a_word(tmp_path, monkeypatch, code):
    def flock(file, how):
        raise OSError(code, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    workdir = Workdir(tmp_path / "run")
    with pytest.warns(
        UserWarning, match=r"run is on a file system without locks \(No locks available\).*there is none"
    ):
        workdir.lock()
    workdir.unlock()


def test_a_folder_that_another_process_holds_is_refused(tmp_path):
    first, second = Workdir(tmp_path), Workdir(tmp_path)
    first.lock()
    with pytest.raises(UserError, match=r"another process \(pid \d+\) is running in"):
        second.lock()
    first.unlock()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second.lock()
    second.unlock()
