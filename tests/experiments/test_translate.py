"""Translation: what is counted, what the decoder reads and writes, figures, mistakes; a run that learns."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.analysis.figures import alignment
from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from experiments import translate

SMOKE = "configs/sequence/translate.py:smoke"
KEY = jax.random.key(0)
SOURCE = np.asarray([[5, 7, 2, 0, 0], [6, 6, 4, 8, 2], [9, 2, 0, 0, 0]], np.int32)
TARGET = np.asarray([[8, 2, 0, 0], [5, 4, 9, 2], [7, 6, 2, 0]], np.int32)


class Copying:
    """Writes the source's symbols, as a model of the contract; it counts the places in its carry."""

    def apply(self, variables, *args, method=None, **more):
        return {"encode": self.encode, "decode": self.decode, None: self.whole}[method](*args)

    def encode(self, source, train):
        assert not train
        return {"source": source}

    def start(self, memory, length):
        return {"place": jnp.zeros(len(memory["source"]), jnp.int32)}

    def decode(self, symbols, memory, train, carry):
        logits = 9 * jax.nn.one_hot(jnp.take_along_axis(memory["source"], carry["place"][:, None], 1), 10)
        return logits, {"carry": {"place": carry["place"] + 1}}

    def whole(self, source, symbols, train):
        self.seen = (source, symbols, train)
        return jnp.zeros((*symbols.shape, 10)), {}


@pytest.mark.curriculum("J12")
def test_sums_by_hand():
    """Two sentences of 2 and 3 symbols, one of them wrong, and a row of padding; padding never counts."""
    p = np.full((3, 4, 3), 0.1)
    for row, symbols in enumerate(([1, 2, 0, 0], [1, 1, 2, 1], [0, 0, 0, 0])):
        p[row, np.arange(4), symbols] = 0.8
    target = jnp.asarray([[1, 2, 0, 0], [2, 1, 2, 0], [1, 1, 1, 2]])
    sums = translate.as_sums(softmax_cross_entropy, jnp.log(p), target, jnp.asarray([1.0, 1.0, 0.0]))
    assert sums["loss"][1] == sums["token_accuracy"][1] == 5 and sums["token_accuracy"][0] == 4
    np.testing.assert_allclose(sums["loss"][0], -(4 * np.log(0.8) + np.log(0.1)), rtol=1e-6)


@pytest.mark.curriculum("J12")
def test_the_decoder_reads_the_target_one_place_late():
    model = Copying()
    translate.training_loss(model, softmax_cross_entropy, State(0, {}), {"source": SOURCE, "target": TARGET}, KEY)
    source, symbols, train = model.seen
    np.testing.assert_array_equal(source, SOURCE)
    assert train and symbols.tolist() == [[1, 8, 2, 0], [1, 5, 4, 9], [1, 7, 6, 2]]


@pytest.mark.curriculum("J12", "J30")
@pytest.mark.parametrize("name", ["transformer_tiny", "seq2seq_attention_tiny", "seq2seq_plain_tiny"])
def test_a_padded_batch_has_the_loss_of_its_sentences(name):
    """The loss of a batch is that of its sentences, each alone and as short as it is, weighted by their symbols."""
    context = {"source_symbols": 10, "target_symbols": 10}
    more = {"dropout": 0.0, "depth": 1} if name.startswith("transformer") else {"layers": 1}
    model = registry.create({"name": name, **more}, "config.model", **context)

    @jax.jit
    def totals(batches):
        params = model.init(KEY, SOURCE, TARGET, False)["params"]
        state = State(0, jax.tree.map(lambda p: 2 * p, params))
        return [translate.training_loss(model, softmax_cross_entropy, state, b, KEY)[1] for b in batches]

    sizes = ((3, 2), (5, 4))
    alone = [{"source": SOURCE[i : i + 1, :s], "target": TARGET[i : i + 1, :t]} for i, (s, t) in enumerate(sizes)]
    whole, *parts = totals([{"source": SOURCE[:2], "target": TARGET[:2]}, *alone])
    for metric in ("loss", "token_accuracy"):
        assert whole[metric][1] == sum(part[metric][1] for part in parts) == 6
        np.testing.assert_allclose(whole[metric][0], sum(part[metric][0] for part in parts), rtol=1e-4)


@pytest.mark.curriculum("J12")
def test_what_is_written_ends_at_its_end():
    """Greedily and by beams, each row its own source, as many symbols as asked for; after the end there is padding."""
    how = translate.Decoding(beams=3)
    out = jax.device_get(jax.jit(lambda s: translate.written(Copying(), how, 5, {}, s))(SOURCE))
    assert out["greedy"].tolist() == out["beam"].tolist() == SOURCE.tolist()
    out = translate.written(Copying(), how, 3, {}, SOURCE)
    assert out["greedy"].tolist() == [[5, 7, 2], [6, 6, 4], [9, 2, 0]]


def test_a_sentence_is_exact_when_all_of_it_is_right():
    truth = np.asarray([[4, 5, 2, 0], [4, 2, 0, 0], [6, 7, 8, 2], [9, 2, 0, 0]])
    greedy, beam = truth.copy(), truth.copy()
    greedy[0, 1], greedy[2], beam[3] = 6, [6, 7, 8, 9], [9, 9, 2, 0]
    metrics = translate.finalise({"loss": 0.5}, {"truth": truth, "greedy": greedy, "beam": beam})
    assert (metrics["greedy_exact"], metrics["beam_exact"], metrics["sentences"]) == (0.5, 0.75, 4)
    assert metrics["loss"] == 0.5 and metrics["greedy_exact_low"] < 0.5 < metrics["greedy_exact_high"]


@pytest.fixture(scope="module")
def smoke():
    """The smoke run of the recurrent model with attention, built, and its state with another average."""
    built = build(configs.load(f"{SMOKE.replace(':', ':model=attention,')}", ["--config.ema.decay=0.9"]))
    batch = {k: jnp.asarray(v) for k, v in built.data.splits["validation"].batch(np.arange(4)).items()}
    parts = jax.jit(built.task.init)(KEY, batch)
    params = parts["params"]
    state = State(jnp.int32(0), params, {}, {"ema": jax.tree.map(lambda p: 3 * p, params)})
    return built, state, {**batch, "mask": jnp.asarray([1.0, 1.0, 1.0, 0.0])}


def test_an_evaluation_uses_the_averaged_weights_and_counts_real_rows(smoke):
    built, state, batch = smoke
    evaluation = built.task.evals["validation"]
    assert set(built.task.evals) == {"validation", "test"} and built.task.evals["test"].final
    step = jax.jit(evaluation.step)
    out = step(state, batch, KEY)
    symbols = int((np.asarray(batch["target"])[:3] != 0).sum())
    assert out["loss"][1] == out["token_accuracy"][1] == symbols
    np.testing.assert_array_equal(out["truth"], batch["target"])
    same = step(state._replace(params=state.extra["ema"]), batch, KEY)
    other = step(state._replace(extra={"ema": state.params}), batch, KEY)
    assert out["loss"][0] == same["loss"][0] != other["loss"][0]


@pytest.mark.curriculum("J30")
def test_figures_show_sentences_and_where_they_look(smoke):
    built, state, batch = smoke
    pages = built.task.report(state, batch, KEY)
    assert set(pages) == {"translations", "translated_sentences", "attention"}
    names = built.info.class_names
    first = " ".join(translate.words(np.asarray(batch["source"][0]), names))
    assert (
        pages["translated_sentences"].startswith(f"{first}\n   ->  ") and "\n  not  " in pages["translated_sentences"]
    )
    assert "<" not in first and len(pages["attention"].axes) == 2
    columns = [tick.get_text() for tick in pages["attention"].axes[0].get_xticklabels()]
    assert " ".join(columns) == f"{first} <end>"


def test_a_map_of_attention_has_a_row_for_each_word_written():
    weights = np.asarray([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8]])
    axis = alignment.alignments([(weights, ["una", "kata"], ["a", "big", "cat"])]).axes[0]
    np.testing.assert_array_equal(axis.images[0].get_array(), weights)
    assert [t.get_text() for t in axis.get_yticklabels()] == ["una", "kata"]
    with pytest.raises(ValueError, match=r"weights of shape \(2, 3\) are not of 3 words by 2"):
        alignment.alignments([(weights, ["a", "big", "cat"], ["una", "kata"])])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.data.name=digits", r"needs symbols 'source' and 'target' .* set config.data.name=toy_translation"),
        ("--config.data.features=('source',)", "needs symbols 'source' and 'target'"),
        ("--config.decoding.beams=0", r"config.decoding.beams=0 must be from 1"),
        ("--config.decoding.length_penalty=-1.0", r"config.decoding.length_penalty=-1.0 must be 0 or more"),
        ("--config.decoding.beam=3", "did you mean 'beams'"),
        ("--config.model.name=lstm", "'lstm' is made for num_classes"),
        ("--config.loss.label_smoothing=1.0", r"label_smoothing=1.0 must be in \[0, 1\)"),
        ("--config.data.name=toy_translation(length=9)", "some have 24 tokens with their end; write length=24"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(SMOKE, [override]))


def test_models_of_the_config():
    names = {
        word: configs.load(f"configs/sequence/translate.py:model={word}").model.name
        for word in ("transformer", "attention", "plain")
    }
    assert names == {
        "transformer": "transformer_base", "attention": "seq2seq_attention", "plain": "seq2seq_plain",
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.curriculum("J12")
def test_a_run_learns_to_translate(tmp_path):
    """Sentences without adjectives, with numbers of one digit: most are exact, of which by chance none is."""
    flags = [
        f"--config={SMOKE}", "--config.total_steps=500", "--config.batch_size=64", "--config.eval.every_steps=500",
        "--config.data.name=toy_translation(phrases=2, adjectives=0, digits=1, length=10, train=4000, validation=100, "
        "test=200)", "--config.model.width=32", "--config.model.hidden=64", "--config.model.heads=4",
        "--config.optim.lr=0.005", "--config.optim.schedule={'name': 'cosine', 'warmup_steps': 50}",
        "--config.log.every_steps=100", "--config.log.tensorboard=False", f"--workdir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert launch.main(flags) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert results["test/greedy_exact"] > 0.5 and results["test/beam_exact"] > 0.5
    assert results["test/sentences"] == 200 and results["test/token_accuracy"] > 0.9
    assert (tmp_path / "run" / "figures" / "attention.png").stat().st_size > 1000
