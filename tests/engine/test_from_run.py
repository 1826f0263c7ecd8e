"""Starting from another run's weights: what is loaded, what is said, and what begins anew."""

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import State, create_state
from cvdl_jax.core.trees import path_name
from cvdl_jax.data import load as data_load
from cvdl_jax.engine import finish, from_run, runs, train
from cvdl_jax.engine.build import build, make_program
from cvdl_jax.errors import CheckpointError, ConfigError
from cvdl_jax.models import pretrained, tensor_files
from cvdl_jax.workdir.checkpoint import read_step
from cvdl_jax.workdir.metric_log import read

MODEL = [
    "--config=configs/classify/mlp.py", "--config.batch_size=16", "--config.eval.every_steps=2",
    "--config.log.every_steps=1", "--config.log.tensorboard=False", "--config.model.hidden=(16,)",
    "--config.model.norm=batch", "--config.model.dropout=0.0", "--config.optim.schedule={}",
]  # fmt: skip
STILL = ["--config.total_steps=2", "--config.optim.lr=0.0", "--config.seed=5"]  # parameters stay as they were loaded


def start(workdir, *flags: str) -> int:
    """Runs the model with these flags; a later one replaces an earlier one of the same key."""
    merged = {flag.partition("=")[0]: flag for flag in [*MODEL, *flags]}
    return launch.main([*merged.values(), f"--workdir={workdir}"])


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """They take half the time of a run of two steps; tests of whole runs draw them."""
    monkeypatch.setattr(finish, "draw", lambda run, state: None)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run whose best step is its last but one evaluation or any other: two checkpoints at least are kept."""
    workdir = tmp_path_factory.mktemp("source") / "run"
    flags = ["--config.total_steps=4", "--config.checkpoint.keep=3", "--config.optim.lr=0.05"]
    assert start(workdir, *flags) == 0
    return workdir


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory):
    """Zeros and ones of digits as a folder of images."""
    folder = tmp_path_factory.mktemp("folder")
    arrays = data_load.load("digits").splits["train"].arrays
    for label in (0, 1):
        (folder / f"digit{label}").mkdir()
        for i in np.flatnonzero(arrays["label"] == label)[:12]:
            Image.fromarray(arrays["image"][i, :, :, 0]).save(folder / f"digit{label}" / f"{i}.png")
    return [
        f"--config.data={{'name':'folder:{folder}','train':'train','channels':1}}",
        "--config.data.split.fractions=0.67,0.33",
        "--config.batch_size=8",
    ]


def state_of(folder, step=2):
    return read_step(folder / "checkpoints" / str(step))["state"]


def best_of(workdir) -> int:
    import json

    return json.loads((workdir / "results.json").read_text())["selected_step"]


def arrays_of(workdir) -> int:
    """How many parameters and statistics a run has."""
    state = state_of(workdir, best_of(workdir))
    return len(jax.tree.leaves((state["params"], state["extra"])))


def assert_equal(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_run_starts_from_the_selected_step_of_another(source, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert start(workdir, *STILL, f"--config.init_from={source}") == 0
    out = capsys.readouterr().out
    best = best_of(source)
    line = f"initialised from {source / 'checkpoints' / str(best)}: {arrays_of(source)} arrays loaded"
    assert line in out and json.loads((workdir / "meta.json").read_text())["initialised"][0] == line
    assert "not used" not in out and "left as initialised" not in out
    there, here = state_of(source, best), state_of(workdir)
    assert_equal(here["params"], there["params"])
    # step, optimizer and rows begin anew
    assert here["step"] == 2 and [row["step"] for row in read(workdir / "metrics.jsonl")] == [1, 2]
    counts = [int(x) for p, x in jax.tree_util.tree_leaves_with_path(here["opt"]) if "count" in jax.tree_util.keystr(p)]
    assert counts and set(counts) == {2}


def test_what_is_said_of_a_source_beside_the_run_does_not_depend_on_where_they_lie(source, tmp_path, monkeypatch):
    monkeypatch.chdir(source.parent)
    assert start(tmp_path / "run", *STILL, f"--config.init_from={source.name}") == 0
    line = json.loads((tmp_path / "run" / "meta.json").read_text())["initialised"][0]
    assert line.startswith(f"initialised from {source.name}/checkpoints/{best_of(source)}:")


def test_a_run_starts_from_any_checkpoint_folder(source, tmp_path, capsys):
    other = next(step for step in (2, 4) if step != best_of(source))
    workdir, path = tmp_path / "run", source / "checkpoints" / str(other)
    assert start(workdir, *STILL, f"--config.init_from={path}") == 0
    assert f"initialised from {path}: {arrays_of(source)} arrays loaded" in capsys.readouterr().out
    assert_equal(state_of(workdir)["params"], state_of(source, other)["params"])


def test_statistics_are_loaded_and_moments_are_not(source):
    """Before any step: the state that the loop begins with."""
    from cvdl_jax.config import configs
    from cvdl_jax.engine import from_run, runs
    from cvdl_jax.engine.build import build, make_program

    config = configs.load(
        "configs/classify/mlp.py", [flag for flag in [*MODEL, *STILL] if flag.startswith("--config.")]
    )
    program = make_program(build(config))
    runs.compile_functions(program, ["create"])
    fresh = program.create()
    state, _ = from_run.load_weights(str(source), program.create(), config)
    there = state_of(source, best_of(source))
    assert_equal(state.extra["batch_stats"], there["extra"]["batch_stats"])
    assert float(abs(np.asarray(there["extra"]["batch_stats"]["norm0"]["mean"])).max()) > 0
    assert_equal(state.opt, fresh.opt)
    assert int(state.step) == 0


def test_data_and_frozen_networks_of_the_source_stay_there(monkeypatch):
    """A run has named its own: those of another run, of the same shape, would take their place without a word."""
    one = lambda: np.zeros(3, np.float32)  # noqa: E731
    comes = {"batch_stats": {"mean": one()}, "ema": {"w": one()}, "target": {"w": one()}, "memory": {"queue": one()}}
    stays = {
        "encoder": {"params": {"k": one()}}, "autoencoder": {"k": one()}, "scale": {"std": one()},
        "probe": {"x": one()}, "target_test": {"image": one(), "label": one()}, "thresholds": {"verify": one()},
        "feedback": {"best": one()},
    }  # fmt: skip
    extra = {**comes, **stays, "target": {"w": one(), "image": one(), "label": one()}}
    state = jax.tree.map(jax.numpy.asarray, State(0, {"w": one()}, {}, extra))
    named = {f"extra/{path_name(p)}": x + 1 for p, x in jax.tree_util.tree_leaves_with_path(extra)}
    source = from_run.Source(Path("x"), {"params/w": one() + 1, **named}, frozenset(extra))
    monkeypatch.setattr(from_run, "open_source", lambda *_: source)
    loaded, said = from_run.load_weights("x", state, SimpleNamespace(init={}))
    assert loaded.params["w"].all() and loaded.extra["ema"]["w"].all() and loaded.extra["target"]["w"].all()
    assert loaded.extra["batch_stats"]["mean"].all() and loaded.extra["memory"]["queue"].all()
    assert not any(np.any(x) for k in stays for x in jax.tree.leaves(loaded.extra[k]))
    assert not loaded.extra["target"]["image"].any() and not loaded.extra["target"]["label"].any()
    assert "5 arrays loaded" in said and "not used" not in said


@pytest.mark.curriculum("I1")
def test_another_number_of_classes_gets_a_new_head(source, two_classes, tmp_path, capsys):
    still, trained, plain = (tmp_path / name for name in ("still", "trained", "plain"))
    flags = [*STILL, *two_classes, "--config.optim.freeze=(?!head/).*"]
    assert start(still, *flags, f"--config.init_from={source}") == 0
    out = capsys.readouterr().out
    assert f": {arrays_of(source) - 2} arrays loaded" in out  # all but the head
    assert "2 of the checkpoint not used: params/head/bias, params/head/kernel" in out
    assert (
        "2 left as initialised: params/head/bias (2,), (10,) there, params/head/kernel (16, 2), (16, 10) there" in out
    )
    assert start(plain, *flags) == 0
    fresh = state_of(plain)["params"]["head"]
    assert_equal(state_of(still)["params"]["head"], fresh)  # from the seed, as without init_from
    assert start(trained, *flags, "--config.optim.lr=0.05", f"--config.init_from={source}") == 0
    there = state_of(source, best_of(source))["params"]
    for here in (state_of(still)["params"], state_of(trained)["params"]):
        assert_equal({**here, "head": 0}, {**there, "head": 0})
    assert np.abs(state_of(trained)["params"]["head"]["kernel"] - fresh["kernel"]).min() > 0


def test_an_average_begins_at_the_loaded_parameters(source, tmp_path):
    """The source kept none. An average of random initial values would be evaluated in their stead."""
    workdir = tmp_path / "run"
    assert start(workdir, *STILL, "--config.ema.decay=0.999", f"--config.init_from={source}") == 0
    here = state_of(workdir)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), here["extra"]["ema"], here["params"]
    )


def test_nothing_fits(source, two_classes, tmp_path, capsys):
    flags = ["--config.model.hidden=(24,)", *two_classes, f"--config.init_from={source}"]
    assert start(tmp_path / "run", *STILL, *flags) == 2
    error = capsys.readouterr().err
    assert f"config.init_from={str(source)!r}" in error and "none of its parameters fits" in error
    assert "same architecture" in error


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_no_checkpoint_there(tmp_path, capsys, name):
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    folder = tmp_path / name
    assert start(tmp_path / "run", *STILL, f"--config.init_from={folder}") == 2
    error = capsys.readouterr().err
    assert f"config.init_from={str(folder)!r}" in error and "no checkpoint" in error and "checkpoints/<step>" in error


def test_a_damaged_source_is_refused(source, tmp_path, capsys):
    shutil.copytree(source, tmp_path / "copy")
    step = tmp_path / "copy" / "checkpoints" / str(best_of(source))
    largest = max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    assert start(tmp_path / "run", *STILL, f"--config.init_from={tmp_path / 'copy'}") == 2
    assert "damaged" in capsys.readouterr().err


def test_a_continued_run_does_not_load_again(source, tmp_path, capsys, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    flags = ["--config.total_steps=8", f"--config.init_from={copy}", "--config.optim.lr=0.05"]
    assert start(tmp_path / "whole", *flags) == 0
    original = train.Loop._advance

    def advance(loop):
        original(loop)
        if loop.step >= 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(train.Loop, "_advance", advance)
        assert start(tmp_path / "run", *flags) == 75
    shutil.rmtree(copy)  # the source is needed only once
    capsys.readouterr()
    assert start(tmp_path / "run", *flags) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "restored step" in out and "initialised from" not in out
    assert_equal(state_of(tmp_path / "run", 8), state_of(tmp_path / "whole", 8))


def test_averages_restart_from_what_they_average():
    import jax.numpy as jnp

    from cvdl_jax.core.task import State
    from cvdl_jax.optim.ema import restart_averages

    params = {"discriminator": {"w": jnp.ones(3)}, "generator": {"w": jnp.full(2, 5.0)}}
    extra = {"ema": {"w": jnp.zeros(2)}, "batch_stats": {}, "other": jnp.ones(1)}
    state = restart_averages(State(jnp.int32(0), params, {}, extra))
    assert state.extra["ema"]["w"].tolist() == [5.0, 5.0] and state.extra["other"].tolist() == [1.0]
    whole = restart_averages(State(jnp.int32(0), {"w": jnp.ones(2)}, {}, {"ema": {"w": jnp.zeros(2)}}))
    assert whole.extra["ema"]["w"].tolist() == [1.0, 1.0]


# Classifiers of other runs -----------------------------------------------------------------------------------------

INVERTED = """
from experiments import classify


def make(config, info):
    task = classify.make(config, info)

    def predict(state, batch):
        return {**task.predict(state, {**batch, "image": 1 - batch["image"]}), "inverted": True}

    return task._replace(predict=predict)
"""


def test_layers_are_read_only_of_models_that_see_what_the_run_predicts_from(tmp_path):
    experiment = tmp_path / "inverted.py"
    experiment.write_text(INVERTED)
    flags = ["config.model.hidden=(8,)", "config.model.dropout=0.0"]
    plain = build(configs.load("configs/classify/mlp.py:smoke", flags))
    inverted = build(configs.load("configs/classify/mlp.py:smoke", [*flags, f"config.experiment={experiment}"]))
    state = create_state(plain.task, jax.random.key(0), from_run.example_batch(plain))
    section = SimpleNamespace(workdir="runs/other", layer="pre_logits")
    assert from_run.classifies(plain, state) and from_run.classifies(inverted, state)
    features = from_run.model_features(plain, state, section)(from_run.example_batch(plain))
    assert features.shape == (4, 8)
    with pytest.raises(ConfigError, match=r"does not predict what config\.model gives for its normalised inputs"):
        from_run.model_features(inverted, state, section)


# Files of weights and rules -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh():
    """(config, state) of a run of the source's model that has not begun."""
    config = configs.load("configs/classify/mlp.py", [f for f in [*MODEL, *STILL] if f.startswith("--config.")])
    program = make_program(build(config))
    runs.compile_functions(program, ["create"])
    return config, program.create()


def with_rules(config, rules):
    """The configuration with `init` set."""
    changed = config.copy_and_resolve_references()
    changed.init = rules
    return changed


def arrays_by_name(source) -> dict[str, np.ndarray]:
    """The parameters and statistics of a run by our names, as a file holds them."""
    state = state_of(source, best_of(source))
    tree = {"params": state["params"], "batch_stats": state["extra"]["batch_stats"]}
    return {path_name(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.curriculum("I6")
def test_a_file_of_weights_is_loaded_as_a_run_is(source, fresh, tmp_path):
    config, state = fresh
    normalise = configs.to_plain(config.normalise)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(tensor_files.to_bytes(arrays_by_name(source), pretrained.preprocessing(normalise, (8, 8))))
    new, report = from_run.load_weights(str(path), state, config)
    same, _ = from_run.load_weights(str(source), state, config)
    assert_equal(new.params, same.params)
    assert_equal(new.extra["batch_stats"], same.extra["batch_stats"])
    assert f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}" in report
    path.write_bytes(tensor_files.to_bytes(arrays_by_name(source), pretrained.preprocessing({}, (8, 8))))
    with pytest.raises(ConfigError, match=r"config\.normalise\.mean=.* expect none"):
        from_run.load_weights(str(path), state, config)


def test_rules_say_what_is_taken(source, fresh):
    """dense0's kernel keeps its values under another name; the head is left as initialised."""
    config, state = fresh
    taken = from_run.chosen(
        {"params/a/kernel": 1, "params/head/kernel": 2, "params/head/bias": 3},
        {"rename": (("^params/a", "params/dense0"),), "exclude": "^params/head/b", "include": "kernel$"},
    )
    assert taken == {"params/dense0/kernel": 1, "params/head/kernel": 2}
    new, report = from_run.load_weights(str(source), state, with_rules(config, {"exclude": "head/"}))
    there = state_of(source, best_of(source))["params"]
    assert_equal(new.params["dense0"], there["dense0"])
    assert_equal(new.params["head"], state.params["head"])
    assert "2 left as initialised: params/head/bias" in report


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"include": "nothing"}, "leaves none of 7 arrays"), ({"exclude": "("}, "is no regular expression"),
        ({"rename": (("^.*$", "x"),)}, "two arrays would be called 'x'"),
        ({"include": "bias$"}, r"% of this model's parameters fits .*--config\.init\.least="),
    ],
)  # fmt: skip
def test_rules_that_leave_too_little_are_refused(source, fresh, rules, words):
    """One bias of another network is no initialisation."""
    config, state = fresh
    with pytest.raises((ConfigError, CheckpointError), match=words):
        from_run.load_weights(str(source), state, with_rules(config, rules))
