"""`--mode attack` on a tiny run: the numbers beside NumPy, what is kept and drawn, and what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.analysis.attacks import pgd, threat
from cvdl_jax.cli.modes import attack
from cvdl_jax.data import load as data_load
from cvdl_jax.engine import runs

FLAGS = [
    "--config=configs/classify/softmax.py", "--config.total_steps=30", "--config.batch_size=64",
    "--config.eval.every_steps=15", "--config.log.tensorboard=False", "--config.optim.lr=0.05",
    "--config.adversary={'epsilon': 0.05, 'step_size': 0.05, 'steps': 1, 'share': 0.5, 'ramp_percent': 50}",
    "--config.robust={'epsilon': 0.1, 'step_size': 0.1, 'steps': 1, 'random_start': False}",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("attack") / "run"
    assert launch.main([*FLAGS, f"--workdir={workdir}"]) == 0
    return workdir


def refused(capsys, *flags):
    capsys.readouterr()
    assert launch.main(["--mode=attack", *flags]) == 2
    return capsys.readouterr().err


@pytest.mark.curriculum("P21", "P7")
def test_accuracies_equal_those_of_the_function_and_of_the_run(run, tmp_path, capsys):
    out = tmp_path / "attack.json"
    method = "fgsm(eps=0.1) | pgd(eps=0.1, steps=3, restarts=2)"
    assert launch.main(["--mode=attack", f"--workdir={run}", f"--method={method}", f"--out={out}"]) == 0
    said, entry = capsys.readouterr().out, json.loads(out.read_text())
    metrics, results = entry["metrics"], json.loads((run / "results.json").read_text())["metrics"]
    data = data_load.load("digits", test="test")
    arrays = data.splits["test"].batch(np.arange(data.splits["test"].size))
    x, y = jnp.asarray(arrays["image"], jnp.float32) / 255, jnp.asarray(arrays["label"])
    logits_fn = runs.logits_fn(run)
    assert metrics["clean_accuracy"] == pytest.approx(results["test/accuracy"])
    gradient = jax.grad(lambda x: -jax.nn.log_softmax(logits_fn(x))[jnp.arange(len(y)), y].sum())(x)
    by_hand = jnp.clip(x + 0.1 * jnp.sign(gradient), 0, 1)
    expected = float((np.asarray(logits_fn(np.asarray(by_hand))).argmax(1) == y).mean())
    assert metrics["fgsm(eps=0.1)/robust_accuracy"] == pytest.approx(expected, abs=0.003)
    # the evaluation of the run itself, of one step of the whole radius without a random start, is the same attack
    assert results["test/robust_accuracy"] == pytest.approx(expected, abs=0.003)
    assert results["test/robust_accuracy_low"] < results["test/robust_accuracy"] < metrics["clean_accuracy"]
    strong = metrics["pgd(eps=0.1, steps=3, restarts=2)/robust_accuracy"]
    assert metrics["robust_accuracy"] <= min(strong, metrics["fgsm(eps=0.1)/robust_accuracy"]) + 1e-9
    assert metrics["robust_accuracy_low"] < metrics["robust_accuracy"] < metrics["robust_accuracy_high"]
    assert "359 examples of test" in said and "sees" in said and "gradients" in said
    assert "test of this run has been evaluated once" in said
    page = (run / "report.html").read_text()
    assert "attacks test" in page and "adversarial test" in page and "pgd(eps=0.1" in page
    with Image.open(run / "figures" / "adversarial_test.png") as picture:
        assert picture.size[0] > 300


def test_entries_are_kept_by_what_was_attacked(run, capsys):
    """The same again takes the place of itself, another attack or number of examples stands beside it."""
    common = ["--mode=attack", f"--workdir={run}", "--split=validation"]
    sign, search = "fgsm(eps=0.1)", "square(eps=0.1, queries=3)"
    for method, limit in ((sign, 20), (sign, 20), (sign, 10), (search, 10)):
        assert launch.main([*common, f"--method={method}", f"--limit={limit}"]) == 0
    entries = json.loads((run / "attacks" / "validation.json").read_text())
    assert [(e["methods"][0], e["examples"]) for e in entries] == [
        ("fgsm(eps=0.1)", 20), ("fgsm(eps=0.1)", 10), ("square(eps=0.1, queries=3)", 10),
    ]  # fmt: skip
    assert entries[0]["queries"] == [0] and 0 < entries[2]["queries"][0] <= 30
    assert "evaluated" not in capsys.readouterr().out  # only the test split is counted


def test_chunks_hold_every_example_once(run, monkeypatch):
    monkeypatch.setattr(attack, "CHUNK", 2)
    built, _, _ = runs.load_built(run, with_data=True)
    parts = list(attack.chunks(built, "validation", 100, 0))
    assert [len(x) for x, _ in parts] == [200, 89]
    whole = built.data.splits["validation"].batch(np.arange(289))
    np.testing.assert_allclose(np.concatenate([x for x, _ in parts]), whole["image"] / 255, rtol=1e-6)
    assert np.concatenate([y for _, y in parts]).tolist() == whole["label"].tolist()
    assert [len(x) for x, _ in attack.chunks(built, "validation", 100, 120)] == [120]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), 'needs its attacks; for example --method "pgd(eps=0.3)'),
        (("--method=pgd(eps=-1.0)",), "--method: pgd.eps=-1.0 must be positive"),
        (("--method=deepfool(eps=0)",), "deepfool.eps=0.0 must be above 0"),
        (("--method=pgdd(eps=0.1)",), "there is no attack 'pgdd'; did you mean 'pgd'"),
        (("--method=fgsm", "--split=tset"), "--split='tset' is not evaluated by this run; did you mean 'test'"),
        (("--method=fgsm", "--limit=-1"), "--limit=-1 must be a number of examples"),
        (("--method=fgsm", "--checkpoint=15"), "--again"),
    ],
)
def test_what_is_refused(run, capsys, flags, words):
    assert words in refused(capsys, f"--workdir={run}", *flags)


def test_a_run_of_features_is_refused(tmp_path, capsys):
    flags = ["--config=configs/toy/mlp.py:smoke", f"--workdir={tmp_path / 'toy'}"]
    assert launch.main(flags) == 0
    message = refused(capsys, f"--workdir={tmp_path / 'toy'}", "--method=fgsm", "--split=validation")
    assert "attacks keep pixels in 0..1" in message or "gives no scores" in message


def test_a_run_whose_images_have_several_classes_is_refused(tmp_path, capsys):
    assert launch.main(["--config=configs/classify/multi_label.py:smoke", f"--workdir={tmp_path / 'many'}"]) == 0
    message = refused(capsys, f"--workdir={tmp_path / 'many'}", "--method=fgsm", "--split=validation")
    assert "the images of this run may have several each; attack a run of config.experiment=classify" in message


@pytest.mark.curriculum("P9")
def test_a_run_is_attacked_in_a_notebook(run):
    logits_fn = runs.logits_fn(run)
    x = np.random.default_rng(0).uniform(size=(3, *logits_fn.shape)).astype(np.float32)
    z = pgd.projected(logits_fn, x, eps=0.1, steps=2)
    assert z.shape == x.shape and threat.distance(jnp.asarray(x), z).max() <= 0.1 + 1e-6
