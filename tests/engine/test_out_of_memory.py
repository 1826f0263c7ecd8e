"""Out of memory: five lines that say what was needed, what there is, what is large and what to change."""

import json
import math
import re
import resource

import jax
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval
from cvdl_jax.engine import out_of_memory
from cvdl_jax.errors import UserError


def test_a_model_that_does_not_fit_is_explained_in_five_lines(tmp_path, capsys):
    """4 TB of weights: the allocator is refused at once, nothing is touched, whatever the kernel overcommits."""
    flags = ["--config=configs/classify/mlp.py:smoke", "--config.model.hidden=(1000000,1000000)"]
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**40 if hard < 0 else min(2**40, hard), hard))
    try:
        assert launch.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    error = capsys.readouterr().err
    lines = error.removeprefix("error: ").splitlines()
    assert len(lines) == 5, error
    assert lines[0] == "out of memory (RESOURCE_EXHAUSTED)"
    assert re.fullmatch(r"  needed: .*[\d.]+ TiB", lines[1])
    assert re.fullmatch(r"  available: [\d.]+ [GMT]iB of [\d.]+ [GMT]iB (of this machine|on the device)", lines[2])
    assert lines[3].startswith("  largest buffers: ") and "dense1/kernel 3.64 TiB" in lines[3]
    for knob in ("config.batch_size (now 16)", "config.remat=True", "config.grad='accumulate(4)'"):
        assert knob in lines[4]
    assert "Out of memory" in json.loads((tmp_path / "run" / "FAILED.json").read_text())["message"]


@pytest.mark.parametrize(
    ("message", "needed"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 36000000000000 bytes.", "32.74 TiB"),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes.", "1.00 GiB"),
        ("RESOURCE_EXHAUSTED: Failed to allocate request for 3.35GiB (3597035520B) on device ordinal 0", "3.35 GiB"),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4.00GiB.", "4.00 GiB"),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.5G of 15.48G hbm.", "20.50 GiB"),
    ],
)
def test_every_form_of_the_backends_message_is_read(message, needed):
    config = configs.load("configs/classify/lenet5.py:smoke")
    with pytest.raises(out_of_memory.OutOfMemory) as error, out_of_memory.explained(config):
        raise jax.errors.JaxRuntimeError(message)
    assert needed in str(error.value).splitlines()[1] and error.value.exit_code == 1


def test_other_errors_pass_unchanged():
    config = configs.load("configs/classify/lenet5.py:smoke")
    with pytest.raises(ValueError, match="shapes"), out_of_memory.explained(config):
        raise ValueError("shapes do not match")
    with pytest.raises(UserError, match="typo"), out_of_memory.explained(config):
        raise UserError("typo")
    with pytest.raises(out_of_memory.OutOfMemory, match="largest buffers"), out_of_memory.explained(config):
        raise MemoryError


def test_the_largest_buffers_are_named_by_module():
    text = out_of_memory.largest_buffers(configs.load("configs/classify/lenet5.py"), n=8)
    sizes = [
        float(value) * {"KiB": 2**10, "MiB": 2**20}[unit] for value, unit in re.findall(r"([\d.]+) (KiB|MiB)", text)
    ]
    assert len(sizes) == 8 and sizes == sorted(sizes, reverse=True)
    assert math.isclose(sizes[0], 64 * 28 * 28 * 6 * 4, rel_tol=0.01)  # the first convolution of a batch of 64
    assert re.search(r"conv_general_dilated in LeNet\w*/conv0", text), text


@pytest.mark.parametrize("mode", ["eval", "profile", "predict"])
def test_other_modes_explain_it_too(mode, tmp_path, monkeypatch):
    import importlib
    import types

    module = importlib.import_module(f"cvdl_jax.cli.modes.{'evaluate' if mode == 'eval' else mode}")

    def full(*args, **kwargs):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1048576 bytes.")

    config = configs.load("configs/classify/mlp.py:smoke")
    where = {"eval": "compiled", "profile": "trace", "predict": "predict"}[mode]
    monkeypatch.setattr(module, where, full)
    built = types.SimpleNamespace(
        config=config,
        task=types.SimpleNamespace(predict=full, evals={"validation": Eval(full)}),
        data=None,
        info=types.SimpleNamespace(spec={"image": None}),
    )
    args = types.SimpleNamespace(
        mode=mode,
        config=None,
        overrides=[],
        workdir=str(tmp_path),
        split="",
        external="",
        again=False,
        checkpoint="best",
        weights="auto",
        steps=1,
        input="x",
        out="y.csv",
    )
    for name, value in {
        "build": lambda config: built,
        "load_config": lambda args: config,
        "with_split": lambda built, name: built,
        "make_program": lambda built, **k: types.SimpleNamespace(
            jobs=lambda: {"create": None, "step": None}, steps_per_call=1
        ),
        "as_trained": lambda built, source: None,
        "files": lambda built, paths: None,
        "readable": lambda source: (None, []),
    }.items():
        if hasattr(module, name):
            monkeypatch.setattr(module, name, value)
    if hasattr(module, "compiling"):
        monkeypatch.setattr(module.compiling, "run_in_workers", lambda *a: ({}, 0.0))
    if hasattr(module, "kept"):
        monkeypatch.setattr(module.kept, "read_config", lambda workdir: config)
        monkeypatch.setattr(module.kept, "open_run", lambda *a: built)
    if hasattr(module, "runs"):
        monkeypatch.setattr(module.runs, "checkpoint_path", lambda *a: tmp_path / "3")
        monkeypatch.setattr(module.runs, "load_built", lambda *a, **k: (built, None, 3))
        monkeypatch.setattr(module.runs, "with_weights", lambda state, weights: state)
    with pytest.raises(out_of_memory.OutOfMemory, match="out of memory"):
        module.run(args)
