"""Judges that are files: their digests, what they see, refusals; the nearest training images; control rows."""

import hashlib
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.figures import codes
from cvdl_jax.cli.tables import spec
from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.data import load as data_load
from cvdl_jax.engine import classifiers, from_run, judges
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import tensor_files
from experiments import control_samples

RNG = np.random.default_rng(3)
DIGITS = configs.from_plain({"data": {"name": "digits", "train": "train", "validation": "validation"}})


@pytest.mark.curriculum("R34")
def test_our_feature_nets_are_the_files_that_their_pages_describe():
    files = sorted(classifiers.OURS.glob("*.safetensors"))
    assert [file.stem for file in files] == sorted(page.stem for page in classifiers.OURS.glob("*.json")) != []
    for file in files:
        page = json.loads(file.with_suffix(".json").read_text())
        assert page["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest() and file.stat().st_size < 2e6
        assert page["command"].startswith("python launch.py") and len(page["commit"]) == 40 and "seed" in page


@pytest.fixture(scope="module")
def net():
    return classifiers.read("lenet5_mnist")


def test_a_judge_of_a_file_sees_normalised_images_of_its_own_size(net):
    jury = from_run.load_judge(file="lenet5_mnist", channels=1, samples=7, layer="pre_logits")
    split = data_load.load("digits").splits["train"].arrays
    images = jnp.asarray(split["image"][:300] / 255, jnp.float32)  # [300, 8, 8, 1]
    by_hand = (jax.image.resize(images, (300, 32, 32, 1), "bilinear") - 0.1307) / 0.3081
    scores, out = net.model.apply(net.variables, by_hand, False)
    probabilities = jury.probabilities(images)
    np.testing.assert_allclose(probabilities, jax.nn.softmax(scores, -1), atol=1e-5)
    np.testing.assert_allclose(jury.features(images), out["pre_logits"], atol=1e-4)
    assert (probabilities.argmax(-1) == split["label"][:300]).mean() > 0.5  # scans of another kind; by chance 0.1
    assert jury.samples == 7 and jury.name == f"pre_logits_{net.sha256[:8]}"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"file": "lenet5_mnits"}, r"file='lenet5_mnits' is no file .* mean .lenet5_mnist"),
        ({"file": "lenet5_mnist", "sha256": "0123456789"}, "0123456789 is expected: it is another network"),
        ({"file": "lenet5_mnist", "sha256": "2b0a"}, "needs at least the first eight digits"),
        ({"file": "lenet5_mnist", "layer": "logits"}, r"config\.judge\.layer='logits' is not one of .*pre_logits"),
        ({"file": "lenet5_mnist", "channels": 3}, "judges images with 1 channels, the samples have 3"),
        ({"file": "lenet5_mnist", "workdir": "runs/x"}, r"workdir='runs/x' stands beside config\.judge\.file"),
        ({"file": "lenet5_mnist", "checkpoint": "latest"}, "is of a run, and the judge is a file"),
        ({}, r"config\.judge\.workdir is missing; name the run"),
        ({"workdir": "runs/x", "sha256": "0" * 64}, "is the digest of a file"),
    ],
)
def test_a_judge_that_cannot_be_is_refused(section, said):
    with pytest.raises(ConfigError, match=said):
        from_run.load_judge(**{"channels": 1, **section})


def test_a_file_that_is_not_its_network_is_refused(tmp_path):
    ours = tensor_files.read(classifiers.OURS / "lenet5_mnist.safetensors")
    for name, tensors, metadata, said in (
        ("plain", ours.tensors, {}, "does not say which classifier it is; write it anew"),
        (
            "less",
            {k: x for k, x in ours.tensors.items() if k != "params/head/bias"},
            ours.metadata,
            "lacks params/head/bias",
        ),
        ("more", {**ours.tensors, "params/other": np.zeros(1)}, ours.metadata, "'params/other' first"),
    ):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(tensor_files.to_bytes(tensors, metadata))
        with pytest.raises(ConfigError, match=said):
            classifiers.read(str(path))
    changed = {name: x + 1e-3 for name, x in ours.tensors.items()}
    path.write_bytes(tensor_files.to_bytes(changed, ours.metadata))
    assert classifiers.read(str(path)).sha256 != ours.sha256  # another file is another name of a distance
    with pytest.raises(ConfigError, match="another network"):
        classifiers.read(str(path), ours.sha256)


def test_copies_are_found_and_drawn_beside_what_they_are_copies_of(monkeypatch):
    data = data_load.load("digits", validation="validation").splits
    training = data["train"].arrays["image"]
    fakes = np.stack([training[5] / 255, training[907] / 255, 0 * training[0]]).astype(np.float32)
    evaluation = judges.nearest_training(lambda state, key, n: jnp.asarray(fakes[:n]), DIGITS, 3)
    assert evaluation.data == 1 and evaluation.final
    rows = jax.tree.map(np.asarray, evaluation.step(None, {}, None))
    monkeypatch.setattr(judges, "_BLOCK", 400)  # the copies are in different blocks
    metrics = evaluation.finalize({}, rows)
    flat = training.reshape(len(training), -1) / 255
    dark, unseen = np.sqrt((flat**2).sum(1)), data["validation"].arrays["image"][:3].reshape(3, -1) / 255
    assert metrics["nearest"] == pytest.approx(dark.min() / 3, rel=1e-4) and metrics["among"] == len(training)
    far = np.sqrt(((unseen[:, None] - flat[None]) ** 2).sum(2)).min(1)
    assert metrics["nearest_unseen"] == pytest.approx(far.mean(), rel=1e-4)
    shown = {}
    monkeypatch.setattr(codes, "pairs", lambda before, after, count: shown.update(before=before, after=after))
    evaluation.draw(metrics, rows)
    np.testing.assert_allclose(shown["after"], training[[5, 907, dark.argmin()]] / 255)
    np.testing.assert_array_equal(shown["before"], fakes)


# Control rows ---------------------------------------------------------------------------------------------------------


def test_a_gaussian_of_pixels_has_their_mean_and_covariance():
    images = RNG.random((9, 1, 2, 1)) @ np.ones((1, 1)) * 0.5 + 0.2
    images[:, 0, 1] = 0.5 * images[:, 0, 0] + 0.1 * images[:, 0, 1]
    state = State(jnp.int32(0), {}, {}, {"mean": jnp.zeros(2), "root": jnp.zeros((2, 2))}, {})
    total = None
    for start, mask in ((0, np.ones(6)), (6, np.array([1, 1, 1, 0, 0, 0]))):
        part = np.resize(images[start:], (6, 1, 2, 1))  # the last rows are padding
        sums = control_samples.fit_sums(state, {"image": jnp.asarray(part), "mask": jnp.asarray(mask)}, None)
        total = sums if total is None else jax.tree.map(jnp.add, total, sums)
    fitted = control_samples.fit_apply(state, total)
    flat = images.reshape(9, 2)
    np.testing.assert_allclose(fitted.extra["mean"], flat.mean(0), rtol=1e-5)
    covariance = fitted.extra["root"] @ fitted.extra["root"].T
    np.testing.assert_allclose(covariance, np.cov(flat, rowvar=False, bias=True), atol=1e-6)
    made = control_samples.gaussian((1, 2, 1), fitted, jax.random.key(0), 20_000)
    assert made.shape == (20_000, 1, 2, 1) and 0 <= made.min() and made.max() <= 1
    np.testing.assert_allclose(np.cov(made.reshape(-1, 2), rowvar=False), covariance, atol=2e-3)
    assert len(np.unique(np.asarray(made))) > 30_000  # each row has noise of its own


def test_real_control_samples_are_training_images():
    images = jnp.asarray(RNG.integers(0, 256, (5, 2, 2, 1)), jnp.uint8)
    state = State(jnp.int32(0), {}, {}, {"images": images}, {})
    made = np.asarray(control_samples.real(state, jax.random.key(1), 64))
    rows = (np.abs(made[:, None] - np.asarray(images)[None] / 255) < 1e-6).all((2, 3, 4))
    assert rows.any(1).all() and rows.any(0).all()
    floats = state._replace(extra={"images": jnp.asarray(images, jnp.float32) / 255})  # as some sets have them
    np.testing.assert_allclose(control_samples.real(floats, jax.random.key(1), 64), made, rtol=1e-6)


def test_controls_that_cannot_be_are_refused():
    image = jax.ShapeDtypeStruct((4, 8, 8, 1), jnp.float32)
    info = SimpleNamespace(spec={"image": image}, sizes={}, seed=0)
    for kind, change, said in (
        ("gaussian", "config.total_steps=3", "takes no steps and needs images"),
        ("untrained", "config.model={}", "is the generator of config.control.kind='untrained'"),
        ("gaussian", "config.control.kind=mean", r"config\.control\.kind='mean'"),
    ):
        config = configs.load(f"configs/generate/controls.py:kind={kind},smoke", [change])
        with pytest.raises(ConfigError, match=said):
            control_samples.make(config, info)


def test_the_table_of_generators_names_the_judge_and_has_control_rows(net):
    table = spec.load("configs/tables/mnist_generators.py")
    assert table.metric["key"] == f"distance/frechet_10000_pre_logits_{net.sha256[:8]}"
    names = [row["name"] for row in table.rows]
    assert {"real images", "Gaussian of pixels", "untrained DCGAN", "VAE", "DCGAN", "LSGAN", "WGAN-GP", "DDPM"} == {
        *names
    }
    for planned in (table, spec.load("configs/tables/mnist_generators.py:smoke")):
        for run in spec.planned(planned, [], "nowhere"):
            config = run.config
            assert config.judge.file == "lenet5_mnist" and net.sha256.startswith(config.judge.sha256)
