"""Texts as ids, streams through them, and the language experiment: what is read, carried, counted and drawn."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import make_model

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state, step_function
from cvdl_jax.data import text
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.workdir.metric_log import read
from experiments import language

SMOKE = "configs/sequence/char_rnn.py:smoke"
KEY = jax.random.key(0)

# Characters and ids ---------------------------------------------------------------------------------------------------


def test_ids_are_places_in_the_sorted_vocabulary():
    ids = text.encode("cab\na", "\nabc")
    np.testing.assert_array_equal(ids, [3, 1, 2, 0, 1])
    assert ids.dtype == np.int32 and text.decode(ids, "\nabc") == "cab\na"


@given(st.text(min_size=1, max_size=50))
def test_decoding_gives_the_text_back(string):
    vocabulary = "".join(sorted(set(string)))
    assert text.decode(text.encode(string, vocabulary), vocabulary) == string


@pytest.mark.parametrize("unknown", ["\t", "b", "z", "é", "\U0001f600"])
def test_an_unknown_character_is_an_error_that_names_it(unknown):
    with pytest.raises(DataError) as error:
        text.encode(f"to ac{unknown}a", " acot", "the test text of plays")
    assert f"the test text of plays has {unknown!r} at character 5 (after 'to ac')" in str(error.value)
    assert "5 characters are ' acot'" in str(error.value)


def test_an_empty_text_is_an_error():
    with pytest.raises(DataError, match="the validation text is empty"):
        text.encode("", "ab", "the validation text")


def test_generated_text_is_fixed_and_true():
    texts = text.load("additions")
    lines = text.decode(texts.splits["train"], texts.vocabulary).splitlines()
    assert len(lines) == 2000
    for line in lines:
        left, right = line.split("=")
        assert sum(map(int, left.split("+"))) == int(right)
    assert texts.vocabulary == "\n+0123456789="
    assert texts.fingerprint == text.load("additions").fingerprint
    assert not np.array_equal(texts.splits["validation"][:50], texts.splits["test"][:50])


def test_vocabulary_comes_from_the_training_text_alone(monkeypatch):
    pages = {"train": "abc", "validation": "cab", "test": "abd"}
    monkeypatch.setattr(text, "_read", lambda name, split, data_dir: pages[split])
    assert text.load("plays", test="").vocabulary == "abc"
    with pytest.raises(DataError, match="the test text of plays has 'd' at character 2"):
        text.load("plays")


def test_data_without_text_and_unknown_splits_are_errors(scratch_data):
    with pytest.raises(DataError, match="'digits' has no feature 'text'"):
        text.load("digits")
    with pytest.raises(DataError, match="additions has no split 'training'"):
        text.load("additions", train="training")
    with pytest.raises(ConfigError, match=r"config\.text\.train is empty"):
        text.load("additions", train="")


def test_tiny_shakespeare(real_data):
    texts = text.load("tiny_shakespeare", str(real_data))
    assert {name: len(ids) for name, ids in texts.splits.items()} == {
        "train": 1_003_854, "validation": 55_770, "test": 55_770,
    }  # fmt: skip
    assert len(texts.vocabulary) == 65
    assert text.decode(texts.splits["train"][:14], texts.vocabulary) == "First Citizen:"


# Streams --------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("K5")
@settings(max_examples=15)  # every shape compiles anew
@given(size=st.integers(5, 60), streams=st.integers(1, 5), length=st.integers(1, 9))
def test_streams_go_on_where_they_were(size, streams, length):
    """Whatever the sizes: each stream reads the circle without a gap, and inputs are targets one character before."""
    ids = jnp.arange(size)
    starts = text.stream_starts(size, streams)
    steps = [text.cut(ids, jnp.asarray(starts), jnp.int32(k), length) for k in range(5)]
    targets = np.concatenate([s["targets"] for s in steps], 1)
    np.testing.assert_array_equal(targets, (starts[:, None] + np.arange(5 * length)) % size)
    np.testing.assert_array_equal(np.concatenate([s["inputs"] for s in steps], 1), (targets - 1) % size)


@pytest.mark.curriculum("K5")
def test_late_steps_do_not_overflow():
    size, length, step = 1_003_854, 64, 2**31 - 5
    batch = text.cut(jnp.arange(size), jnp.array([0, size - 1]), jnp.int32(step), length)
    first = [step * length % size, (step * length + size - 1) % size]
    np.testing.assert_array_equal(batch["targets"][:, 0], first)


@pytest.mark.curriculum("K5")
def test_one_round_reads_every_character_once():
    """When the streams' length is a multiple of the cut."""
    batches = [text.cut(jnp.arange(48), text.stream_starts(48, 4), jnp.int32(k), 3) for k in range(4)]
    seen = np.concatenate([b["targets"].ravel() for b in batches])
    np.testing.assert_array_equal(np.sort(seen), np.arange(48))


@given(size=st.integers(1, 70), streams=st.integers(1, 6), length=st.integers(1, 9))
def test_evaluation_predicts_every_character_once(size, streams, length):
    if streams > size:
        return
    ids = np.arange(size, dtype=np.int32)
    chunks = text.evaluation_chunks(ids, streams, length)
    real = chunks["mask"] > 0
    np.testing.assert_array_equal(np.sort(chunks["targets"][real]), ids)
    np.testing.assert_array_equal(chunks["inputs"][real], chunks["targets"][real] - 1)  # -1 before the first
    rows = chunks["mask"].swapaxes(0, 1).reshape(streams, -1)
    assert (np.diff(rows, axis=1) <= 0).all(), "a part is read without gaps and then ends"


def test_impossible_streams_are_refused():
    with pytest.raises(ConfigError, match="6 streams do not fit a text of 5 characters"):
        text.stream_starts(5, 6)
    with pytest.raises(ConfigError, match=r"config\.streams\.length=0 must be at least 1"):
        text.cut(jnp.arange(9), jnp.zeros(1, jnp.int32), jnp.int32(0), 0)


# The experiment -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    """A small task without dropout, its first state, and its step."""
    overrides = [
        "--config.model.units=6",
        "--config.streams.reset=0.0",
        "--config.model.dropout=0.0",
        "--config.batch_size=4",
    ]
    config = configs.load(SMOKE, overrides)
    built = build(config)
    state = create_state(built.task, KEY, {})
    return built, state, jax.jit(step_function(built.task, 0))


@pytest.mark.curriculum("K5")
def test_state_is_carried_and_its_gradient_is_cut(tiny):
    """Two steps without learning leave the state of one pass over both cuts; the gradient is that of the second cut
    alone, from a constant state."""
    built, state, _ = tiny
    model = make_model("lstm", 13, "float32", units=6)
    ids = text.load("additions").splits["train"]
    cuts = [text.cut(jnp.asarray(ids), state.rows["start"], jnp.int32(k), 8) for k in range(2)]

    def loss(params, state, batch):
        new, sums = language.training_loss(model, state._replace(params=params), batch, KEY)
        return sums["loss"][0], new

    for batch in cuts:
        before = state
        grads, state = jax.grad(loss, has_aux=True)(state.params, state, batch)
    both = jnp.concatenate([c["inputs"] for c in cuts], 1)
    _, out = model.apply({"params": state.params}, both, False)
    for ours, whole in zip(jax.tree.leaves(state.rows["hidden"]), jax.tree.leaves(out["carry"]), strict=True):
        np.testing.assert_allclose(ours, whole, atol=1e-6)
    assert float(jnp.abs(before.rows["hidden"]["layer1"]["c"]).max()) > 0
    fresh = create_state(built.task, KEY, {})
    through = jax.grad(lambda p: loss(p, loss(p, fresh, cuts[0])[1], cuts[1])[0])(before.params)
    for one, other in zip(jax.tree.leaves(grads), jax.tree.leaves(through), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)  # though differentiated through both cuts

    def uncut(params):
        logits, _ = model.apply({"params": params}, both, False)
        return optax.softmax_cross_entropy_with_integer_labels(logits[:, 8:], cuts[1]["targets"]).sum()

    value, whole = jax.value_and_grad(uncut)(before.params)
    assert float(value) == pytest.approx(float(loss(before.params, before, cuts[1])[0]), rel=1e-5)  # forwards no cut
    kernel = lambda tree: tree["layer0"]["recurrent_kernel"]  # noqa: E731
    assert np.abs(kernel(whole) - kernel(grads)).max() > 1e-3  # which the cut keeps from the gradient


@pytest.mark.curriculum("K3")
def test_a_step_learns_and_reports_nats_per_character(tiny):
    _, state, step = tiny
    new, sums = step(state, {})
    assert sums["loss"][1] == 4 * 8
    assert sums["loss"][0] / sums["loss"][1] == pytest.approx(np.log(13), rel=0.2)
    assert int(new.step) == 1 and float(jnp.abs(new.rows["hidden"]["layer0"]["h"]).max()) > 0
    np.testing.assert_array_equal(new.rows["start"], state.rows["start"])


@pytest.mark.curriculum("K5")
def test_a_few_streams_begin_anew(tiny):
    """Whole streams, all layers together, as often as asked for; the others keep their state."""
    _, state, _ = tiny
    ones = jnp.ones((2000, 3))
    many = {"start": jnp.zeros(2000, jnp.int32), "hidden": {"layer0": {"h": ones, "c": ones}}}
    new, _, sums = language.begin_anew(0.2, state._replace(rows=many), {}, KEY)
    h, c = (np.asarray(new.rows["hidden"]["layer0"][name]) for name in "hc")
    np.testing.assert_array_equal(h, c)
    assert set(h.sum(1).tolist()) == {0.0, 3.0} and sums == {}
    assert (h[:, 0] == 0).mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.curriculum("K5")
def test_evaluation_equals_one_pass_over_the_text(tiny, monkeypatch):
    """The state is carried across chunks, so their length changes nothing; the count is the text's."""
    _, state, _ = tiny
    model = make_model("lstm", 13, "float32", units=6)
    ids = text.load("additions").splits["validation"][:301]
    means = {}
    for length in (32, 301):
        monkeypatch.setattr(language, "EVALUATION_LENGTH", length)
        step = partial(language.evaluation_step, model, ids, 1)
        means[length] = {name: float(a / b) for name, (a, b) in jax.jit(step)(state, {}, KEY).items()}
    inputs = np.concatenate([[-1], ids[:-1]]).astype(np.int32)
    logits, _ = model.apply({"params": state.params}, inputs[None], False)
    each = -np.asarray(jax.nn.log_softmax(logits[0]))[np.arange(301), ids]
    for mean in means.values():
        assert mean["characters"] == 301
        assert mean["loss"] == pytest.approx(each.mean(), rel=1e-5)
        assert mean["accuracy"] == pytest.approx((np.argmax(logits[0], -1) == ids).mean())


def test_a_wrong_count_is_refused():
    means = {"characters": 10.0, "loss": 2.0}
    assert language.finalise(10, means, {})["bits"] == pytest.approx(2.0 / np.log(2))
    with pytest.raises(RuntimeError, match="10 characters were predicted, the text has 11"):
        language.finalise(11, means, {})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.streams.reset=1.5", r"streams.reset=1.5 must be in \[0, 1\]"),
        ("--config.sample.prompt=x", "config.sample.prompt has 'x' at character 0"),
        ("--config.sample.temperatures=(0.0,)", r"temperatures\[0\]=0.0 must be positive"),
        ("--config.streams.lenght=3", "did you mean 'length'"),
        ("--config.text.name=additionz", "additionz"),
        ("--config.loss.name=hinge", "no use for config.loss; leave it empty"),
        ("--config.remat=True", "set config.remat=False"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises((ConfigError, DataError), match=message):
        build(configs.load(SMOKE, [override]))


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_configs_of_the_family(name):
    config = configs.load(f"configs/sequence/char_rnn.py:cell={name}")
    assert (config.experiment, config.model.name, config.model.layers) == ("language", name, 2)


@pytest.mark.long
@pytest.mark.curriculum("K3", "K5")
def test_a_run_learns_to_write_additions(tmp_path):
    """Far below 2.52, the entropy of the single characters: it knows where digits, signs and line ends come."""
    flags = [
        f"--config={SMOKE}", "--config.total_steps=400", "--config.eval.every_steps=200", "--config.model.units=48",
        "--config.streams.length=16", "--config.log.every_steps=100", "--config.optim.lr=0.01",
        "--config.log.tensorboard=False", f"--workdir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert launch.main(flags) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    texts = text.load("additions")
    assert results["validation/characters"] == len(texts.splits["validation"])
    assert results["validation/loss"] < 1.6 and results["test/loss"] < 1.6
    rows = [row for row in read(tmp_path / "run" / "metrics.jsonl") if "train/loss" in row]
    assert rows[-1]["train/loss"] < rows[0]["train/loss"] - 0.3
    assert (tmp_path / "run" / "figures" / "samples.png").stat().st_size > 1000
