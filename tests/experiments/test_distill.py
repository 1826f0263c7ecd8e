"""Distillation: what the loss is made of, that the teacher sees its own normalisation and never changes."""

import json
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import State, create_state, step_function
from cvdl_jax.data import opened
from cvdl_jax.engine import classifiers, from_run, runs, teachers
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.workdir.checkpoint import read_step

FILE = "configs/regimes/distill.py"
RNG = np.random.default_rng(0)


def load(arg, *overrides):
    return configs.load(f"{FILE}:{arg}", overrides)


@pytest.fixture(scope="module")
def trained():
    """A step of each kind on the same batch: {targets: (state before, state after, means)}, and the batch."""
    batch = {"image": jnp.asarray(RNG.random((16, 32, 32, 1)), jnp.float32), "label": jnp.arange(16) % 10}
    stepped = {}
    for targets in ("soft", "hard"):
        task = build(load(f"targets={targets},smoke", "config.model.hidden=(8,)", "config.augment=")).task
        state = jax.jit(lambda key, task=task: create_state(task, key, batch))(jax.random.key(0))
        after, sums = jax.jit(step_function(task, 0))(state, batch)
        stepped[targets] = state, after, {name: float(total / weight) for name, (total, weight) in sums.items()}
    return batch, stepped


@pytest.mark.curriculum("I8")
def test_the_loss_by_hand(trained):
    """Student behind the statistics of digits, teacher behind those of MNIST."""
    batch, stepped = trained
    net, label = classifiers.read("lenet5_mnist"), np.asarray(batch["label"])
    assert load("smoke").normalise != configs.from_plain({"x": net.about["normalise"]}).x
    v = np.asarray(net.model.apply(net.variables, net.normalise(batch["image"]), False)[0], np.float64)
    x = (np.asarray(batch["image"]) - 0.3048) / 0.3752
    for targets, share in (("soft", 0.9), ("hard", 0.5)):
        before, _, means = stepped[targets]
        model = registry.create({"name": "mlp", "hidden": (8,)}, "", num_classes=10)
        z = np.asarray(model.apply({"params": before.params}, jnp.asarray(x), False)[0], np.float64)
        of_labels = -log_softmax(z, -1)[np.arange(16), label].mean()
        if targets == "soft":
            p = softmax(v / 4, -1)
            of_teacher = 16 * (p * (np.log(p) - log_softmax(z / 4, -1))).sum(-1).mean()
        else:
            of_teacher = -log_softmax(z, -1)[np.arange(16), v.argmax(-1)].mean()
        assert means["taught"] == pytest.approx(of_teacher, rel=1e-4)
        assert means["loss"] == pytest.approx((1 - share) * of_labels + share * of_teacher, rel=1e-4)
        assert means["agreement"] == pytest.approx((z.argmax(-1) == v.argmax(-1)).mean())
        assert means["accuracy"] == pytest.approx((z.argmax(-1) == label).mean())


@pytest.mark.curriculum("I8")
def test_the_teacher_is_frozen_and_no_parameter(trained):
    net = classifiers.read("lenet5_mnist")
    for before, after, _ in trained[1].values():
        jax.tree.map(np.testing.assert_array_equal, after.extra["teacher"]["params"], net.variables["params"])
        assert set(after.params) == {"dense0", "head"} and set(before.opt) == {"model"}
        moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before.params, after.params)
        assert min(jax.tree.leaves(moved)) > 0
        assert not any(x.shape[:1] == (5,) for x in jax.tree.leaves(after.opt))  # no moments of its convolutions


@pytest.mark.curriculum("I8")
def test_another_run_does_not_bring_its_own_teacher(trained, monkeypatch, tmp_path):
    """`config.init_from` of a run with a teacher loads the student."""
    _, state, _ = trained[1]["soft"]
    other = jax.tree.map(lambda x: x + 1, {"params": state.params, "extra": state.extra})
    monkeypatch.setattr(from_run, "find", lambda source: tmp_path)
    monkeypatch.setattr(from_run, "read_step", lambda path: {"state": other})
    loaded, _ = from_run.load_weights("x", state, SimpleNamespace(init={}))
    jax.tree.map(np.testing.assert_array_equal, loaded.params, other["params"])
    jax.tree.map(np.testing.assert_array_equal, loaded.extra["teacher"], state.extra["teacher"])


INFO = build(load("smoke")).info


@pytest.mark.curriculum("I8")
def test_the_teacher_of_a_run_is_its_average_with_its_statistics(monkeypatch):
    model = registry.create({"name": "mlp", "hidden": (4,), "norm": "batch"}, "", num_classes=10)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), False)
    ema = jax.tree.map(lambda x: x + 1.0, variables["params"])
    extra = {"batch_stats": variables["batch_stats"], "ema": ema}
    built = SimpleNamespace(info=INFO)
    about = {"model": {"name": "mlp", "hidden": [4], "norm": "batch"}, "normalise": {}}
    about |= {"image_shape": [32, 32, 1], "num_classes": 10}
    monkeypatch.setattr(runs, "load_evaluated", lambda *args: (built, State(0, variables["params"], {}, extra), 1))
    monkeypatch.setattr(classifiers, "described", lambda *args: about)
    with opened.noting() as notes:
        teacher = teachers.load({"workdir": "runs/x"}, INFO)
    jax.tree.map(np.testing.assert_array_equal, teacher.variables["params"], ema)
    image = jnp.asarray(RNG.random((3, 32, 32, 1)), jnp.float32)
    expected = model.apply({"params": ema, "batch_stats": variables["batch_stats"]}, image, False)[0]
    np.testing.assert_allclose(
        teachers.logits(teacher, teacher.variables, image), expected, rtol=1e-5
    )  # of running averages
    monkeypatch.setattr(runs, "load_evaluated", None)  # a run that is read again does without its source
    with opened.noting(dict(notes)):
        again = teachers.load({"workdir": "runs/x"}, INFO)
    assert jax.tree.structure(again.variables) == jax.tree.structure(teacher.variables)
    np.testing.assert_allclose(teachers.logits(again, teacher.variables, image), expected, rtol=1e-5)
    monkeypatch.setattr(runs, "load_evaluated", lambda *args: (built, State(0, variables["params"], {}, extra), 1))
    for change, message in (
        ({"num_classes": 7}, "the teacher knows 7 classes, the data set has 10"),
        ({"class_names": ["cat", "dog"]}, r"'runs/x' has the classes \['cat', 'dog'\], the data set \['0'"),
        ({"image_shape": [28, 28, 1]}, r"images \[28, 28, 1\], these are \[32, 32, 1\]; set config.data.image_size"),
    ):
        monkeypatch.setattr(classifiers, "described", lambda *_, c=change: {**about, **c})
        with pytest.raises(ConfigError, match=message):
            teachers.load({"workdir": "runs/x"}, INFO)
    monkeypatch.setattr(classifiers, "described", lambda *args: {})
    with pytest.raises(ConfigError, match="is not the run of a classifier of images"):
        teachers.load({"workdir": "runs/x"}, INFO)


def test_a_classifier_inside_of_a_larger_network_is_no_teacher():
    """Of domain adaptation, `params` are {"classifier", ...}: `config.model` alone has no use for them."""
    run = build(configs.load("configs/regimes/adapt.py:smoke"))
    batch = {name: jnp.zeros(x.shape, x.dtype) for name, x in run.info.spec.items()}
    state = jax.jit(lambda b: create_state(run.task, jax.random.key(0), b))(batch)
    assert "classifier" in state.params and classifiers.described(run, state) == {}


@pytest.mark.curriculum("I8")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["kind=hard"], r"temperature: kind='hard' has no temperature, got 4.0"),
        (["temperature=None"], r"temperature: kind='soft' needs a temperature"),
        (["temperature=0.0"], r"temperature=0.0 must be positive"),
        (["share=0.0"], r"share=0.0 must be in \(0, 1\]"),
        (["workdir=runs/x"], r"workdir='runs/x' stands beside config.distill.file='lenet5_mnist'"),
        (["file="], r"config.distill.workdir is missing"),
        (["file=lenet"], r"config.distill.file='lenet' is no file .* none of our feature nets"),
        (["checkpoint=latest"], r"config.distill.checkpoint is of a run, and the teacher is a file"),
        (["sha256=1234567f"], r"config.distill.file='lenet5_mnist' has the SHA-256 .*, and 1234567f is expected"),
        (["kind=firm"], r"config.distill.kind='firm'"),
    ],
)
def test_a_distillation_that_makes_no_sense_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build(load("smoke", *(f"config.distill.{text}" for text in overrides)))


@pytest.mark.curriculum("I8")
def test_images_of_another_size_are_refused_and_auxiliary_heads_too():
    with pytest.raises(ConfigError, match=r"trained on images \[32, 32, 1\], these are \[16, 16, 1\]"):
        build(load("smoke", "config.data.image_size=(16,16)"))
    assert load("").distill.workdir == "runs/mnist_lenet5" and load("").data.first == 1000
    assert load("targets=labels").experiment == "classify" and "distill" not in load("targets=labels")


@pytest.mark.long
@pytest.mark.curriculum("I8")
def test_a_student_learns_from_a_run_and_is_evaluated_without_it(tmp_path, capsys):
    source, workdir = tmp_path / "teacher", tmp_path / "student"
    common = ["--config.log.tensorboard=False", "--config.data.image_size=(12,12)", "--config.model.hidden=(8,)"]
    norm = ["--config.model.norm=batch", "--config.model.dropout=0.5", "--config.ema.decay=0.5"]
    assert launch.main(["--config=configs/classify/mlp.py:smoke", f"--workdir={source}", *common, *norm]) == 0
    flags = [*common, f"--config.distill.workdir={source}", "--config.distill.file="]
    assert launch.main([f"--config={FILE}:smoke", f"--workdir={workdir}", *flags]) == 0, capsys.readouterr().err
    there = read_step(runs.checkpoint_path(source))["state"]
    here = read_step(runs.checkpoint_path(workdir))["state"]["extra"]["teacher"]
    jax.tree.map(np.testing.assert_array_equal, here["params"], there["extra"]["ema"])
    assert len(jax.tree.leaves(here["batch_stats"])) == 2
    shutil.rmtree(source)
    metrics = json.loads((workdir / "results.json").read_text())["metrics"]
    task, state, _ = runs.load(workdir)
    scores = task.predict(state, {"image": np.zeros((2, 12, 12, 1), np.uint8)})["scores"]
    assert scores.shape == (2, 10) and metrics["test/examples"] == 359
