"""`--mode export`: a run as a program that needs JAX alone, and as a file of weights."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export

import launch
from cvdl_jax.engine import finish, runs
from cvdl_jax.models import tensor_files

RNG = np.random.default_rng(0)
LOAD = """
import sys, numpy as np
from jax import export
model = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
scores = [np.asarray(model.call(x)["scores"]) for x in np.load(sys.argv[2]).values()]
np.savez(sys.argv[3], *scores)
assert not [name for name in sys.modules if name.startswith(("cvdl_jax", "flax", "orbax"))]
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A perceptron with averaged weights, batch normalisation and normalised images, after two steps."""
    folder = tmp_path_factory.mktemp("export") / "run"
    flags = ["--config=configs/classify/mlp.py:smoke", "--config.model.norm=batch", "--config.ema.decay=0.5"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "draw", lambda run, state: None)
        assert launch.main([*flags, "--config.log.tensorboard=False", f"--workdir={folder}"]) == 0
    return folder


def test_the_program_is_the_prediction_for_any_number_of_images(trained, tmp_path, capsys):
    out = tmp_path / "model.stablehlo"
    assert launch.main(["--mode=export", f"--workdir={trained}", f"--out={out}"]) == 0
    assert "image uint8[b, 8, 8, 1] to scores float32" in capsys.readouterr().out
    model = export.deserialize(bytearray(out.read_bytes()))
    task, state, _ = runs.load(trained)
    for n in (1, 5):
        images = RNG.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
        expected = task.predict(state, {"image": images})["scores"]
        np.testing.assert_allclose(model.call(images)["scores"], expected, rtol=1e-5, atol=1e-5)
    raw = tmp_path / "raw.stablehlo"  # other weights are another program
    assert launch.main(["--mode=export", f"--workdir={trained}", f"--out={raw}", "--weights=raw"]) == 0
    other = export.deserialize(bytearray(raw.read_bytes())).call(images)["scores"]
    assert np.abs(np.asarray(other) - expected).max() > 1e-4


@pytest.mark.long
@pytest.mark.curriculum("I7")
def test_the_program_needs_jax_alone(trained, tmp_path, clean_environment):
    out, images = tmp_path / "model.stablehlo", RNG.integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    assert launch.main(["--mode=export", f"--workdir={trained}", f"--out={out}"]) == 0
    np.savez(tmp_path / "in.npz", images)
    command = [sys.executable, "-c", LOAD, str(out), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    task, state, _ = runs.load(trained)
    with np.load(tmp_path / "out.npz") as file:
        expected = task.predict(state, {"image": images})["scores"]
        np.testing.assert_allclose(file["arr_0"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.curriculum("I7")
def test_weights_are_those_that_evaluations_use(trained, tmp_path, capsys):
    out = tmp_path / "weights.safetensors"
    assert launch.main(["--mode=export", f"--workdir={trained}", f"--out={out}"]) == 0
    assert "weights by our own names" in capsys.readouterr().out
    file, (_, state, _) = tensor_files.read(out), runs.load(trained)
    average, raw = state.extra["ema"]["head"]["kernel"], state.params["head"]["kernel"]
    np.testing.assert_array_equal(file.tensors["params/head/kernel"], average)
    assert np.abs(np.asarray(average - raw)).max() > 0
    statistics = jax.tree.leaves(state.extra["ema_statistics"])
    assert sum(name.startswith("batch_stats/") for name in file.tensors) == len(statistics)
    assert '"mean": [0.3048' in file.metadata["preprocessing"]


@pytest.mark.parametrize(
    ("out", "words"), [("", "name one"), ("model.onnx", "--out=model.onnx: export writes model.stablehlo or")]
)
def test_files_of_other_kinds_are_refused(trained, capsys, out, words):
    assert launch.main(["--mode=export", f"--workdir={trained}", *([f"--out={out}"] if out else [])]) == 2
    assert words in capsys.readouterr().err


def test_a_run_without_a_data_set_predicts_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(finish, "draw", lambda run, state: None)
    flags = ["--config=configs/explain/pca.py:smoke", "--config.log.tensorboard=False"]
    assert launch.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 0
    assert launch.main(["--mode=export", f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'm.stablehlo'}"]) == 2
    assert "experiment 'embed' predicts nothing from a data set" in capsys.readouterr().err
