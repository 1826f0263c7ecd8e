"""Checkpoints: what is read is what was written, and damage is noticed, set aside and survived."""

import json
import logging
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvdl_jax.core.task import State
from cvdl_jax.core.trees import path_name
from cvdl_jax.engine import runs
from cvdl_jax.errors import CheckpointError
from cvdl_jax.workdir import checkpoint, checksums
from cvdl_jax.workdir.checkpoint import Checkpoints, committed_steps, read_memory, read_step, restore_step
from cvdl_jax.workdir.checksums import bad_folder


def tree(value: float) -> dict:
    value = float(value)
    params = {"dense": {"kernel": jnp.full((64, 32), value), "bias": jnp.arange(32.0) * value}}
    opt = {"model": optax.adam(1e-3).init(params)}
    extra = {"batch_stats": {}, "count": jnp.int32(value)}
    state = State(jnp.int32(value), params, opt, extra, {"hidden": jnp.full((4, 3), value)})
    return {"state": state, "sums": {"loss": (jnp.float32(value), jnp.float32(1))}}


ABSTRACT = jax.eval_shape(lambda: tree(0.0))
ABSTRACT = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0])),
    ABSTRACT,
)


@pytest.fixture
def saved(tmp_path):
    """Steps 1, 2 and 3."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for step in (1, 2, 3):
        checkpoints.save(step, tree(step), {"best_step": 1, "note": f"step {step}"}, best_step=1)
    checkpoints.close()
    return tmp_path / "checkpoints"


def assert_tree_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=path_name(path), strict=True)


def test_round_trip_of_every_leaf_and_the_memory(saved):
    step, restored, memory = Checkpoints(saved).restore_latest(ABSTRACT)
    assert step == 3 and memory == {"best_step": 1, "note": "step 3"}
    assert_tree_equal(restored, tree(3))
    assert isinstance(restored["state"], State)
    assert read_memory(saved / "2") == {"best_step": 1, "note": "step 2"}


def test_nothing_saved_yet(tmp_path):
    assert Checkpoints(tmp_path / "new").restore_latest(ABSTRACT) is None


def test_donated_arrays_are_copied_before_save_returns(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    add = jax.jit(lambda t: jax.tree.map(lambda x: x + 1, t), donate_argnums=0)
    big = {"x": jnp.zeros((512, 1024))}
    for step in range(1, 4):
        checkpoints.save(step, big, {})
        big = add(big)
    checkpoints.close()
    for step in committed_steps(tmp_path / "checkpoints"):
        assert (np.asarray(read_step(tmp_path / "checkpoints" / str(step))["x"]) == step - 1).all()


def test_latest_and_best_are_kept_across_a_restart(tmp_path):
    folder = tmp_path / "checkpoints"
    checkpoints = Checkpoints(folder, keep=2)
    for step in range(1, 5):
        checkpoints.save(step, tree(step), {"best_step": 1}, best_step=1)
    checkpoints.close()
    assert committed_steps(folder) == [1, 3, 4]
    again = Checkpoints(folder, keep=2)
    again.restore_latest(ABSTRACT)
    for step in (5, 6):
        again.save(step, tree(step), {"best_step": 1}, best_step=1)
    again.close()
    assert committed_steps(folder) == [1, 5, 6]
    assert_tree_equal(restore_step(folder / "1", ABSTRACT)[0], tree(1))


def damage_flip(folder):
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_truncate(folder):
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[:-7])


def damage_missing(folder):
    max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size).unlink()


def damage_memory(folder):
    (folder / "memory" / "metadata").write_text("{")


def damage_memory_that_still_reads(folder):
    path = folder / "memory" / "metadata"
    path.write_text(path.read_text().replace('"best_step": 1', '"best_step": 2'))


def damage_added(folder):
    (folder / "state" / "more").write_text("")


def damage_emptied_checksums(folder):
    (folder / checksums.CHECKSUMS).write_text("{}")


def damage_checksums(folder):
    (folder / checksums.CHECKSUMS).write_text("{")


OF_MEMORY = [damage_memory, damage_memory_that_still_reads, damage_checksums, damage_emptied_checksums]


@pytest.mark.parametrize(
    "damage", [damage_flip, damage_truncate, damage_missing, damage_added, *OF_MEMORY], ids=lambda d: d.__name__
)
def test_damaged_newest_is_set_aside_and_the_previous_used(saved, damage):
    damage(saved / "3")
    with pytest.warns(UserWarning, match=r"checkpoint 3 is damaged: .*set aside"):
        checkpoints = Checkpoints(saved)
        step, restored, _ = checkpoints.restore_latest(ABSTRACT)
    assert step == 2
    assert_tree_equal(restored, tree(2))
    assert (bad_folder(saved) / "3.0").is_dir()
    checkpoints.save(3, tree(3), {"best_step": 1}, best_step=1)  # the next save at that step succeeds
    checkpoints.close()
    assert_tree_equal(Checkpoints(saved).restore_latest(ABSTRACT)[1], tree(3))


@pytest.mark.parametrize("damage", OF_MEMORY, ids=lambda d: d.__name__)
def test_the_memory_is_verified_where_it_is_read_alone(saved, damage):
    """Which step is the best is read of the newest one, before any array."""
    damage(saved / "3")
    for read in (lambda: read_memory(saved / "3"), lambda: runs.checkpoint_path(saved.parent, "best")):
        with pytest.raises(CheckpointError, match=r"3 is damaged: .*choose another with --checkpoint"):
            read()
    assert read_memory(saved / "2")["best_step"] == 1
    assert runs.checkpoint_path(saved.parent, 2).name == "2"


def test_a_memory_without_checksums_is_read_if_it_can_be(saved):
    for step in ("2", "3"):
        (saved / step / checksums.CHECKSUMS).unlink()
    damage_memory(saved / "3")
    with pytest.warns(UserWarning, match="read unverified"):
        assert read_memory(saved / "2")["best_step"] == 1
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match="3 is damaged: its memory is unreadable"):
        read_memory(saved / "3")


def test_incomplete_step_is_set_aside(saved):
    (saved / "4").mkdir()
    (saved / "4" / "state").mkdir()
    with pytest.warns(UserWarning, match="never completed"):
        checkpoints = Checkpoints(saved)
        step, _, _ = checkpoints.restore_latest(ABSTRACT)
    assert step == 3
    checkpoints.save(4, tree(4), {})
    checkpoints.close()
    assert 4 in committed_steps(saved)


def test_missing_checksums_are_said(saved):
    (saved / "3" / checksums.CHECKSUMS).unlink()
    with pytest.warns(UserWarning, match="read unverified"):
        step, restored, _ = Checkpoints(saved).restore_latest(ABSTRACT)
    assert step == 3
    assert_tree_equal(restored, tree(3))


def test_all_damaged(saved):
    for step in (1, 2, 3):
        damage_flip(saved / str(step))
    with (
        warnings.catch_warnings(),
        pytest.raises(CheckpointError, match=r"none of the checkpoints .*--workdir"),
    ):
        warnings.simplefilter("ignore")
        Checkpoints(saved).restore_latest(ABSTRACT)


def test_tree_of_another_configuration_is_refused_and_stays(saved):
    other = {**ABSTRACT, "sums": {}}
    with pytest.raises(
        CheckpointError, match=r"another configuration: sums/loss/0 is float32\[\] there and absent here"
    ):
        Checkpoints(saved).restore_latest(other)
    wide = jax.tree.map(lambda x: x, ABSTRACT)
    wide["state"].params["dense"]["kernel"] = jax.ShapeDtypeStruct((64, 33), jnp.float32)
    with pytest.raises(
        CheckpointError, match=r"params/dense/kernel is float32\[64, 32\] there and float32\[64, 33\] here"
    ):
        Checkpoints(saved).restore_latest(wide)
    wide["state"].params["dense"]["kernel"] = ABSTRACT["state"].params["dense"]["kernel"]
    assert committed_steps(saved) == [1, 2, 3]


def test_refused_save_is_an_error(saved):
    with pytest.raises(CheckpointError, match="step 2 was not saved"):
        Checkpoints(saved).save(2, tree(2), {})


def test_failed_write_is_reported_and_the_previous_is_intact(saved, monkeypatch):
    def fail(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_checksums", fail)
    checkpoints = Checkpoints(saved)
    checkpoints.save(4, tree(4), {})
    with pytest.raises(
        CheckpointError, match=r"step 4 could not be written .*no space left.*step 3 is intact.*Free space"
    ):
        checkpoints.wait()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(122, "Disk quota exceeded"), r"disk quota on the disk; .*\. Free space"),
        (PermissionError(13, "Permission denied", "x"), r"permission denied; .*\. Make the folder writable"),
        (OSError(30, "Read-only file system"), r"read-only file system; .*\. Make the folder writable"),
        (ValueError("Step 4 was saved tomorrow"), r"was saved tomorrow; .*\. Run the same command again"),
    ],
)
def test_the_advice_fits_the_cause_and_nothing_half_written_stays(saved, monkeypatch, error, advice):
    def fail(*args, **kwargs):
        (saved / "4.orbax-checkpoint-tmp").mkdir()
        raise error

    checkpoints = Checkpoints(saved)
    monkeypatch.setattr(checkpoints._manager, "save", fail)
    with pytest.raises(CheckpointError, match=advice) as raised:
        checkpoints.save(4, tree(4), {})
    assert ("Free space" in str(raised.value)) == ("quota" in advice)
    assert sorted(path.name for path in saved.iterdir()) == ["1", "2", "3"]


def test_a_folder_that_has_gone_is_not_begun_anew(saved):
    checkpoints = Checkpoints(saved)
    saved.rename(saved.with_name("moved"))
    with pytest.raises(CheckpointError, match=r"the folder is gone; there is no older .*\. Put .* back where it was"):
        checkpoints.save(4, tree(4), {})
    assert not saved.exists()


@pytest.mark.parametrize(("path", "traceback", "kept"), [("orbax/a.py", 1, 0), ("orbax/a.py", 0, 1), ("b.py", 1, 1)])
def test_tracebacks_of_orbax_are_not_shown(path, traceback, kept):
    error = (ValueError, ValueError("x"), None) if traceback else None
    record = logging.LogRecord("absl", logging.ERROR, path, 1, "message", (), error)
    assert bool(logging.getLogger("absl").filter(record)) == bool(kept)


def test_checksums_cover_every_file(saved):
    listed = json.loads((saved / "3" / checksums.CHECKSUMS).read_text())
    files = {p.relative_to(saved / "3").as_posix() for p in (saved / "3").rglob("*") if p.is_file()}
    assert listed.keys() == files - {checksums.CHECKSUMS}


def test_a_write_that_outlives_the_loop_of_events_leaves_no_traceback(caplog):
    """After one write failed, Orbax closes the loop; what another one then says of it is nobody's error."""
    import logging

    futures = logging.getLogger("concurrent.futures")
    for text in ("Event loop is closed", "something else"):
        try:
            raise RuntimeError(text)
        except RuntimeError:
            futures.exception("exception calling callback")
    assert [str(record.exc_info[1]) for record in caplog.records] == ["something else"]
