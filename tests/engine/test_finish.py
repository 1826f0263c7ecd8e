"""The end of a run whose selected checkpoint was damaged after it was written."""

import types

import pytest

from cvdl_jax.engine import finish
from cvdl_jax.errors import CheckpointError


def test_a_damaged_selected_step_says_what_is_left_to_do(tmp_path, monkeypatch):
    def damaged(path, abstract):
        raise CheckpointError(f"checkpoint {path} is damaged")

    monkeypatch.setattr(finish, "restore_step", damaged)
    loop = types.SimpleNamespace(
        memory={"best_step": 16},
        step=24,
        state=None,
        checkpoints=types.SimpleNamespace(folder=tmp_path / "checkpoints"),
        program=types.SimpleNamespace(abstract_tree=dict),
        workdir=types.SimpleNamespace(path=tmp_path),
    )
    with pytest.raises(CheckpointError) as error:
        finish.select(loop)
    assert f"checkpoint {tmp_path / 'checkpoints' / '16'} is damaged" in str(error.value)
    assert f"--mode eval --workdir {tmp_path} --checkpoint latest" in str(error.value)
    loop.memory["best_step"] = 24
    assert finish.select(loop) == (24, None)
