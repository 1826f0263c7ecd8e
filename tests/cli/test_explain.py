"""`--mode explain`: pictures and arrays of maps for image files, by a tiny run; what is wrong is one sentence."""

import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.analysis.explain import gradients
from cvdl_jax.cli.modes import explain
from cvdl_jax.engine import runs
from cvdl_jax.errors import ConfigError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained") / "run"
    flags = ["--config=configs/classify/lenet5.py:smoke", "--config.log.tensorboard=False", f"--workdir={folder}"]
    assert launch.main(flags) == 0
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a", "b", "more/c"):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{name}.png")
    return folder


def test_maps_of_image_files(run, photos, tmp_path, capsys):
    out, calls = tmp_path / "maps", "gradient, ig(steps=3),ig(steps=3, target='7'),gradcam"
    flags = [f"--workdir={run}", f"--input={photos}", f"--out={out}", f"--method={calls}"]
    assert launch.main(["--mode=explain", *flags]) == 0
    assert "maps of 3 images by step 2" in capsys.readouterr().out
    assert {str(p.relative_to(out)) for p in out.rglob("*.*")} == {
        "maps.npz", "a.png.png", "b.png.png", "more/c.png.png",
    }  # fmt: skip
    with Image.open(out / "more" / "c.png.png") as picture:
        assert picture.size[0] > 500  # the image and four maps
    f = runs.logits_fn(run)
    with np.load(out / "maps.npz") as file:
        x = file["images"]
        assert x.shape == (3, *f.shape) and file["files"].tolist() == ["a.png", "b.png", "more/c.png"]
        np.testing.assert_array_equal(file["classes"], np.asarray(f(x)).argmax(-1))
        np.testing.assert_allclose(file["gradient"], gradients.gradient(f, x), rtol=1e-4, atol=1e-6)
        seven = gradients.integrated_gradients(f, x, 7, steps=3)
        np.testing.assert_allclose(file["ig(steps=3, target='7')"], seven, rtol=1e-4, atol=1e-6)
        assert file["gradcam"].shape == (3, *f.shape[:2], 1)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("gradcamm", "there is no 'gradcamm': did you mean 'gradcam'?"),
        ("ig(step=3)", "ig.step"),
        ("ig(steps=0)", "ig.steps=0 must be from 1"),
        ("gradcam(layer='conv9')", "layer='conv9' does not exist; did you mean 'conv"),
        ("ig(target='seven')", "there is no class 'seven'"),
        ("ig(target=10)", "target=10 is not one of the classes 0 ... 9"),
        ("ig(baseline=255)", "the baseline is in 255..255, and inputs are in 0..1"),
        ("rollout(target=3)", "this method's maps are the same for all classes; leave target out"),
        ("rollout", "no attention layers that can be seen; use gradcam"),
        ("ig,ig", "name each method once"),
        ("", "needs --method, --input FOLDER and --out FOLDER; methods: saliency, gradient"),
    ],
)
def test_what_is_wrong_is_said(run, photos, tmp_path, capsys, method, message):
    flags = [f"--workdir={run}", f"--input={photos}", f"--out={tmp_path / 'maps'}", f"--method={method}"]
    assert launch.main(["--mode=explain", *flags]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "maps").exists()


def test_an_out_that_is_a_file_is_refused(run, photos, tmp_path, capsys):
    (tmp_path / "x.png").write_bytes(b"")
    flags = [f"--workdir={run}", f"--input={photos}", f"--out={tmp_path / 'x.png'}", "--method=ig"]
    assert launch.main(["--mode=explain", *flags]) == 2
    assert "x.png is a file; name a folder" in capsys.readouterr().err


def test_methods_are_read_by_their_commas_outside_of_brackets():
    got = explain.asked("ig(steps=2, baseline=0.5), lrp(rule='gamma')|saliency")
    assert list(got) == ["ig(steps=2, baseline=0.5)", "lrp(rule='gamma')", "saliency"]
    assert got["ig(steps=2, baseline=0.5)"][1] == {"steps": 2, "baseline": 0.5} and got["saliency"][1] == {}
    with pytest.raises(ConfigError, match="name each method once"):
        explain.asked("ig,,saliency")


def test_the_scores_of_a_run_are_those_that_it_predicts(run):
    task, state, _ = runs.load(run)
    f = runs.logits_fn(run, batch_size=2)
    x = np.random.default_rng(1).integers(0, 256, (3, *f.shape), np.uint8)
    np.testing.assert_allclose(f(x), task.predict(state, {"image": x})["scores"], rtol=1e-5, atol=1e-6)
    assert f.batch_size == 2 and len(f.class_names) == 10
