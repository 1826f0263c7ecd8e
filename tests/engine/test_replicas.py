"""Replicas: several seeds trained by one vmapped task equal their ordinary runs, and become ordinary run folders."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reports_for_tests import checked

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import Added, Eval, State
from cvdl_jax.engine import replicas
from cvdl_jax.engine.build import build, make_program
from cvdl_jax.engine.evaluate import evaluate
from cvdl_jax.engine.feed import TrainFeed
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir import test_set_ledger
from cvdl_jax.workdir.metric_log import read
from cvdl_jax.workdir.run_state import state_of

SMALL = [
    "config.total_steps=9", "config.batch_size=32", "config.eval.every_steps=3", "config.log.every_steps=3",
    "config.log.tensorboard=False", "config.model.hidden=(12,)", "config.steps_per_call=1",
]  # fmt: skip
EVERYTHING = [
    "config.model.norm=batch", "config.augment=flip | padded_crop(padding=1)", "config.ema.decay=0.9",
    "config.plateau={'metric': 'validation/loss', 'patience': 1, 'factor': 0.5, 'min_delta': 10.0}",
]  # fmt: skip


def trained(config, steps, feed_back):
    """The state after some steps, and the metrics of each, which are fed back where that is asked for."""
    built = build(config)
    program = make_program(built)
    for name in ("create", "step", *(["eval validation"] if feed_back else [])):
        program.jobs()[name]()
    state, feed = program.create(), TrainFeed(program, built.data, config.seed, 0, steps)
    rows, feedback = [], jax.jit(built.task.on_eval) if feed_back else None
    for step in range(steps):
        state, sums = program.advance(state, program.zero_sums(), feed.next(step, 1), 1)
        row = {f"train/{k}": float(a) / float(w) for k, (a, w) in jax.device_get(sums).items()}
        if feed_back:
            metrics, _ = evaluate(program, "validation", state, built.data.splits["validation"], step)
            row |= {f"validation/{k}": float(v) for k, v in metrics.items()}
            state, _ = feedback(state, {k: np.float32(v) for k, v in row.items()})
            state = jax.device_put(state, program.shardings)
        rows.append(row)
    return jax.device_get(state), rows


def assert_equal_to_the_ordinary_run(overrides, steps, feed_back):
    """The second of three replicas against the run of its seed, in float64; the others differ from it."""
    with jax.enable_x64(True):
        config = configs.load("configs/classify/mlp.py", [*SMALL, "config.compute_dtype=float64", *overrides])
        parent = replicas.parent(config, 3)
        state, rows = trained(parent, steps, feed_back)
        own, own_rows = trained(replicas.member(parent, config.seed + 1), steps, feed_back)
    last, _, value = replicas.slices(state, 1)
    assert int(last.step) == steps and jax.tree.leaves(own.params)[0].dtype == np.float64
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), last, own)
    for mine, theirs in zip(rows, own_rows, strict=True):
        one = replicas.of_seed(mine, config.seed + 1)
        for key in theirs.keys() - {"validation/accuracy_low", "validation/accuracy_high", "validation/examples"}:
            np.testing.assert_allclose(one[key], theirs[key], rtol=1e-6, err_msg=key)
    others = [jax.tree.leaves(replicas.slices(state, i)[0].params)[1] for i in (0, 2)]
    assert all(np.abs(other - jax.tree.leaves(last.params)[1]).max() > 1e-3 for other in others)
    return rows, state, value


@pytest.mark.curriculum("W7")
def test_a_replica_is_the_ordinary_run_of_its_seed_in_float64():
    """Drop-out, noise on gradients and an average of the weights: to 1e-9 after three steps."""
    more = ["config.ema.decay=0.9", "config.seed=5", "config.optim.gradient_noise.eta=0.01"]
    assert_equal_to_the_ordinary_run(more, 3, False)


@pytest.mark.long
@pytest.mark.curriculum("W7")
def test_a_replica_with_everything_is_the_ordinary_run_in_float64():
    """Augmentation, batch norm and a falling learning rate too; each replica keeps its own best step."""
    rows, state, value = assert_equal_to_the_ordinary_run(EVERYTHING, 4, True)
    best = [row["validation/accuracy_seed1"] for row in rows]
    assert value == pytest.approx(max(best)) and int(state.extra["selected"]["step"][1]) == 1 + int(np.argmax(best))


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """Two replicas of seed 5 and 6, and beside them the ordinary run of seed 6."""
    root = tmp_path_factory.mktemp("replicas")
    flags = ["--config=configs/classify/mlp.py", *(f"--{each}" for each in SMALL)]
    assert launch.main([*flags, "--config.seed=5", "--replicas=2", f"--workdir={root / 'two'}"]) == 0
    order = "--config.data.order_seed=5"
    assert launch.main([*flags, "--config.seed=6", order, f"--workdir={root / 'own'}"]) == 0
    return root / "two"


@pytest.mark.curriculum("W7")
def test_replicas_become_ordinary_run_folders(parent):
    """The folder of seed 6 is that of the ordinary run: configuration, rows, selected step, metrics, predictions."""
    mine, own = parent / "seed6", parent.parent / "own"
    config = json.loads((mine / "config.json").read_text())
    assert config == json.loads((own / "config.json").read_text()) and config["data"]["order_seed"] == 5
    results, theirs = (json.loads((folder / "results.json").read_text()) for folder in (mine, own))
    for key in ("step", "selected_step", "selected_by"):
        assert results[key] == theirs[key], key
    assert results["metrics"].keys() == theirs["metrics"].keys()
    for key, value in theirs["metrics"].items():
        assert results["metrics"][key] == pytest.approx(value, rel=1e-4), key
    with np.load(mine / "predictions" / "test.npz") as a, np.load(own / "predictions" / "test.npz") as b:
        assert a["ids"].tolist() == b["ids"].tolist() and a["label"].tolist() == b["label"].tolist()
        np.testing.assert_allclose(a["scores"], b["scores"], rtol=1e-3, atol=1e-4)
    for row, other in zip(read(mine / "metrics.jsonl"), read(own / "metrics.jsonl"), strict=True):
        assert row["step"] == other["step"] and row["train/loss"] == pytest.approx(other["train/loss"], rel=1e-4)
        assert not any("_seed" in key for key in row)
    assert state_of(mine, config).state == "done" and (mine / "report.html").is_file()
    meta = json.loads((mine / "meta.json").read_text())
    assert meta["seed"] == 6 and meta["replica"] == {"parent": "two", "seeds": [5, 6]}
    assert len(test_set_ledger.looks(mine)) == 1 and test_set_ledger.looks(parent) == []


def test_the_parent_reports_means_and_never_tests(parent):
    metrics = json.loads((parent / "results.json").read_text())["metrics"]
    assert not any(key.startswith("test/") for key in metrics)
    each = [metrics[f"validation/accuracy_seed{seed}"] for seed in (5, 6)]
    assert metrics["validation/accuracy"] == pytest.approx(np.mean(each))
    row = read(parent / "metrics.jsonl")[-1]
    assert row["train/loss"] == pytest.approx((row["train/loss_seed5"] + row["train/loss_seed6"]) / 2)
    tree = checked(parent / "report.html")
    (head,) = [text for _, _, text in tree.find("p", class_="what") if "seed" in text]
    assert head.startswith("classify") and head.endswith("replicas of seeds 5, 6")
    cards = [text for _, _, text in tree.find("div", class_="card")]
    assert any(text.startswith("validation accuracy, mean of 2") for text in cards)
    assert not any("_seed" in text for text in cards)
    plots = {plot["title"]: plot["series"] for plot in json.loads(tree.text("script", id="curves-data"))["plots"]}
    assert [each["name"] for each in plots["loss"]] == ["train/loss", "validation/loss"]
    ends = sorted(row[f"train/loss_seed{seed}"] for seed in (5, 6))  # the band of the mean
    assert [plots["loss"][0][end][-1] for end in ("low", "high")] == pytest.approx(ends, rel=1e-5)
    assert not any("each seed" in title for title in plots)
    heads = [text for _, has, text in tree.find("th", scope="col")][:6]
    assert heads == ["metric", "mean", "deviation", "95 % interval", "seed 5", "seed 6"]


@pytest.mark.curriculum("W6", "W7")
def test_replicas_are_evaluated_continued_and_combined(parent, tmp_path, capsys):
    results = json.loads((parent / "seed5" / "results.json").read_text())
    out = tmp_path / "metrics.json"
    assert launch.main(["--mode=eval", f"--workdir={parent / 'seed5'}", f"--out={out}"]) == 0
    assert json.loads(out.read_text())["metrics"] == results["metrics"]
    before = (parent / "seed5" / "results.json").stat().st_mtime_ns
    (parent / "seed6" / "DONE").unlink()  # interrupted while it was written
    assert launch.main([f"--workdir={parent}", "--replicas=2"]) == 0
    assert (parent / "seed6" / "DONE").exists() and before == (parent / "seed5" / "results.json").stat().st_mtime_ns
    capsys.readouterr()
    ensemble = ["--ensemble", str(parent), f"--workdir={tmp_path / 'both'}"]
    assert launch.main(ensemble) == 0
    found = json.loads((tmp_path / "both" / "results.json").read_text())
    assert [each["accuracy"] for each in found["members"]] == [
        json.loads((parent / name / "results.json").read_text())["metrics"]["test/accuracy"]
        for name in ("seed5", "seed6")
    ]
    assert launch.main([*ensemble, "--config.data.test=test[:50]"]) == 2  # another look at their test split
    assert "add --again" in capsys.readouterr().err
    assert launch.main([*ensemble, "--config.data.test=test[:50]", "--again"]) == 0
    found = json.loads((tmp_path / "both" / "results.json").read_text())
    assert found["examples"] == 50 and len(test_set_ledger.looks(parent / "seed5")) == 2


@pytest.mark.parametrize(
    ("n", "overrides", "words"),
    [
        (1, (), "--replicas=1 must lie in 2 ... 256"),
        (257, (), "--replicas=257 must lie in"),
        (3, ("config.seed=4294967294",), "must be less than 2**32"),
        (2, ("config.early_stopping={'metric': 'validation/loss'}",), "cannot be combined with config.early_stopping"),
        (2, ("config.init_from=runs/a",), "cannot be combined with config.init_from"),
        (2, ("config.parallel.mode=pmap",), "needs config.parallel.mode='jit', got 'pmap'"),
    ],
)
def test_what_cannot_be_replicated_is_refused(n, overrides, words):
    with pytest.raises(ConfigError) as error:
        replicas.parent(configs.load("configs/classify/mlp.py", overrides), n)
    assert words in str(error.value)


def test_another_number_of_replicas_is_refused(parent):
    config = configs.from_plain(json.loads((parent / "config.json").read_text()))
    assert replicas.parent(config, 2) is config
    with pytest.raises(ConfigError, match="this folder trains 2 replicas; leave it out"):
        replicas.parent(config, 3)


def test_tasks_without_steps_or_with_rows_are_refused():
    config = configs.load("configs/explain/pca.py:smoke")
    with pytest.raises(ConfigError, match="takes no training steps"):
        build(replicas.parent(config, 2))
    config = configs.load("configs/sequence/char_rnn.py:smoke", ["config.text.name=additions"])
    with pytest.raises(ConfigError, match="keeps a state per row"):
        make_program(build(replicas.parent(config, 2)))


def test_what_an_evaluation_adds_is_added_for_every_replica():
    def step(state, batch, key):
        return {"counts": Added(batch["x"].sum(0) * state.params), "loss": (state.params.sum(), 1.0)}

    def finalize(means, rows):
        return {**means, "first": rows["counts"][0], "shape": len(rows["counts"])}

    evaluation = Eval(step, finalize)
    params = jnp.asarray([[1, 2, 3], [4, 5, 6]])  # of two replicas
    state = State(jnp.int32(0), params, {}, {"replicas": {}})
    outputs = replicas._evaluate(evaluation, (7, 9), state, {"x": jnp.ones((4, 3), jnp.int32)}, None)
    counts = outputs["counts"].value
    np.testing.assert_array_equal(counts.T, 4 * params)
    metrics = replicas._finalise(evaluation, (7, 9), {"loss_seed7": 1.0, "loss_seed9": 2.0}, {"counts": counts})
    assert metrics["first_seed7"] == 4 and metrics["first_seed9"] == 16 and metrics["shape_seed9"] == 3
