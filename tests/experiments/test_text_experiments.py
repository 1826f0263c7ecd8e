"""Pre-training of BERT, classification of texts, norms of sequences: losses by hand, padding, masks, mistakes."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs_for_tests import start

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.data import masked_words, word_pieces
from cvdl_jax.data.masked_words import Masked
from cvdl_jax.data.word_pieces import SPECIAL
from cvdl_jax.engine.build import build
from cvdl_jax.engine.feed import TrainFeed
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.models import registry
from cvdl_jax.models.sequence.bert import Classifier, Pretraining
from cvdl_jax.ops.losses import classification
from experiments import bert, classify_text
from experiments.studies import norms_of_sequences

VOCABULARY = (*SPECIAL, *(f"w{i}" for i in range(45)))
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def batch_of(rows=6, t=16, seed=0):
    rng = np.random.default_rng(seed)
    lengths = np.asarray([16, 9, 12, 5, 16, 7])[:rows]
    tokens = rng.integers(5, 50, (rows, t))
    tokens[:, 0] = 1
    tokens[np.arange(rows), lengths - 1] = 2
    tokens[np.arange(t)[None] >= lengths[:, None]] = 0
    batch = {"tokens": tokens, "segments": (tokens > 25).astype(int), "length": lengths, "next": np.arange(rows) % 2}
    return {name: jnp.asarray(x, jnp.int32) for name, x in batch.items()}


@pytest.fixture(scope="module")
def pretrained():
    """A tiny BERT, one batch, what was hidden of it, and its scores."""
    model = Pretraining(registry.create({"name": "bert_tiny", "dropout": 0.0, "attention_dropout": 0.0}, "config.model",
                                        vocabulary=50))  # fmt: skip
    batch = batch_of()

    @quick_jit
    def run(batch, params, key):
        masked = masked_words.mask_words(key, batch["tokens"], VOCABULARY)
        inputs = bert.inputs(batch, masked)
        params = model.init(key, *inputs, False)["params"] if params is None else params
        return params, model.apply({"params": params}, *inputs, False)[0], masked

    params, scores, masked = run(batch, None, jax.random.key(0))
    return SimpleNamespace(model=model, batch=batch, params=params, scores=scores, masked=masked)


@pytest.mark.curriculum("J16", "J17")
def test_the_loss_is_of_hidden_words_and_of_pairs(pretrained):
    """By hand: the mean over hidden words, plus the pairs', each with the weight of its hidden words."""
    words, pairs = (np.asarray(x, np.float64) for x in pretrained.scores)
    masked, batch = jax.device_get((pretrained.masked, pretrained.batch))
    mask = np.asarray([1, 1, 1, 1, 1, 0.0])
    told = jax.device_get(bert.as_sums(pretrained.scores, pretrained.batch, pretrained.masked, jnp.asarray(mask)))

    def cross_entropy(scores, target):
        return np.log(np.exp(scores).sum()) - scores[target]

    of_words, of_pairs, weighted = [], [], 0.0
    for i in range(5):
        hidden = int(masked.weights[i].sum())
        of_words += [cross_entropy(words[i, j], masked.targets[i, j]) for j in range(hidden)]
        of_pairs.append(cross_entropy(pairs[i], batch["next"][i]))
        weighted += hidden * of_pairs[-1]
    assert told["loss"][1] == told["masked_loss"][1] == len(of_words) and told["next_loss"][1] == 5
    np.testing.assert_allclose(told["masked_loss"][0], sum(of_words), rtol=1e-5)
    np.testing.assert_allclose(told["next_loss"][0], sum(of_pairs), rtol=1e-5)
    np.testing.assert_allclose(told["loss"][0], sum(of_words) + weighted, rtol=1e-5)
    right = (words.argmax(-1) == masked.targets)[:5][masked.weights[:5] > 0].sum()
    assert told["masked_accuracy"][0] == right
    assert told["next_accuracy"][0] == (pairs.argmax(-1) == batch["next"])[:5].sum()
    means = {k: float(a / b) for k, (a, b) in told.items()}
    metrics = bert.finalise(means, {"label": batch["next"][:5]})
    np.testing.assert_allclose(metrics["loss"], means["masked_loss"] + means["next_loss"])
    np.testing.assert_allclose(metrics["masked_perplexity"], np.exp(means["masked_loss"]))


@pytest.mark.curriculum("J16")
def test_the_loss_does_not_ask_for_words_that_were_not_chosen(pretrained):
    masked, batch = pretrained.masked, pretrained.batch
    chosen = np.asarray(masked.weights) > 0
    assert (~chosen).any()
    others = jnp.where(chosen, masked.targets, (masked.targets + 7) % 50)
    mask, without = jnp.ones(6), {k: x for k, x in batch.items() if k != "next"}
    first, second = (
        bert.as_sums(pretrained.scores, without, Masked(*m), mask) for m in (masked, masked._replace(targets=others))
    )
    assert first["loss"] == second["loss"] and "next_loss" not in first
    wrong = jnp.where(chosen, (masked.targets + 7) % 50, masked.targets)
    assert bert.as_sums(pretrained.scores, without, masked._replace(targets=wrong), mask)["loss"][0] != first["loss"][0]


@pytest.mark.curriculum("J15")
def test_padding_is_not_read_and_segments_and_places_are(pretrained):
    model, batch, masked = pretrained.model, pretrained.batch, pretrained.masked
    run = quick_jit(lambda tokens, segments, lengths: model.apply(
        {"params": pretrained.params}, tokens, segments, lengths, masked.places, False)[0])  # fmt: skip
    tokens, segments, lengths, _ = bert.inputs(batch, masked)
    words, pairs = jax.device_get(pretrained.scores)
    padding = jnp.arange(16)[None] >= lengths[:, None]
    other = run(jnp.where(padding, 9, tokens), jnp.where(padding, 1, segments), lengths)
    chosen = np.asarray(masked.weights) > 0
    np.testing.assert_allclose(np.asarray(other[0])[chosen], words[chosen], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other[1], pairs, rtol=1e-4, atol=1e-5)
    for changed in (
        run(tokens, 1 - segments, lengths), run(tokens, segments, jnp.minimum(lengths, 4)),
        run(tokens.at[:, 1].set(tokens[:, 2]).at[:, 2].set(tokens[:, 1]), segments, lengths),
    ):  # fmt: skip
        assert np.abs(np.asarray(changed[1]) - pairs).max() > 1e-6
    empty = run(tokens, segments, jnp.zeros_like(lengths))  # nothing to attend to
    assert np.isfinite(empty[0]).all() and np.isfinite(empty[1]).all()


@pytest.mark.curriculum("J16")
def test_words_are_hidden_anew_at_every_step_and_alike_in_evaluations(pretrained):
    how = masked_words.Masking()
    state = State(0, pretrained.params, {}, {"batch_stats": {}})
    loss = quick_jit(
        lambda key: bert.training_loss(pretrained.model, VOCABULARY, how, (), state, pretrained.batch, key)[1]
    )
    keys = [jax.random.key(i) for i in (1, 1, 2)]
    one, same, other = (float(loss(key)["masked_loss"][0]) for key in keys)
    assert one == same != other
    told = partial(bert.told, pretrained.model, VOCABULARY, how)
    evaluate = quick_jit(lambda batch, key: bert.evaluation_step(told, state, batch, key))
    batch = {**pretrained.batch, "mask": jnp.ones(6)}
    turned = {name: x[::-1] for name, x in batch.items()}
    first, second = evaluate(batch, keys[0]), evaluate(turned, keys[2])
    np.testing.assert_allclose(first["masked_loss"][0], second["masked_loss"][0], rtol=1e-5)
    np.testing.assert_array_equal(first["label"], batch["next"])
    np.testing.assert_allclose(first["scores"], second["scores"][::-1], rtol=1e-4, atol=1e-5)


@pytest.mark.curriculum("J16")
def test_the_page_has_told_words_in_the_places_of_hidden_ones(pretrained):
    batch, masked = jax.device_get((pretrained.batch, pretrained.masked))
    words, pairs = jax.device_get(pretrained.scores)
    pages = bert.page(lambda state, batch: ((words, pairs), masked), VOCABULARY, True, None, batch, None)
    assert word_pieces.vocabulary(pages["vocabulary"].splitlines(), "the page").pieces == VOCABULARY
    lines = pages["hidden_words_texts"].splitlines()
    assert len(lines) == 12 and "[PAD]" not in pages["hidden_words_texts"]
    for i, line in enumerate(lines[::2]):
        pieces = line.replace(", not ", ",").split(" ")
        assert len(pieces) == batch["length"][i] and line.count("<") == masked.weights[i].sum()
        for j in range(int(masked.weights[i].sum())):
            told, true = VOCABULARY[words[i, j].argmax()], VOCABULARY[masked.targets[i, j]]
            assert pieces[masked.places[i, j]] == (f"<{told}>" if told == true else f"<{told},{true}>")
        verdict = "right" if pairs[i].argmax() == batch["next"][i] else "wrong"
        assert lines[2 * i + 1].strip() == f"{('of another document', 'next')[pairs[i].argmax()]}: {verdict}"
    assert "vocabulary" not in bert.page(
        lambda state, batch: ((words, pairs), masked), VOCABULARY, False, None, batch, None
    )


# Classification ---------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("J13", "J18")
@pytest.mark.parametrize("name", ["bert_tiny", "text_transformer_tiny"])
def test_a_classifier_reads_the_tokens_that_are_there(name):
    encoder = registry.create({"name": name}, "config.model", vocabulary=50)
    model, batch = Classifier(encoder, 3), batch_of()

    @quick_jit
    def run(batch):
        variables = model.init(jax.random.key(0), *classify_text.inputs(batch), False)
        return variables, *model.apply(variables, *classify_text.inputs(batch), False)

    variables, logits, out = run(batch)
    padding = np.arange(16)[None] >= np.asarray(batch["length"])[:, None]
    other = run({**batch, "tokens": jnp.where(padding, 9, batch["tokens"])})[1]
    assert logits.shape == (6, 3) and variables["params"]["head"]["kernel"].shape == out["pre_logits"].shape[1:] + (3,)
    np.testing.assert_allclose(other, logits, rtol=1e-4, atol=1e-5)
    if name != "bert_tiny":
        tokens, real = np.asarray(out["tokens"]), ~padding
        mean = [row[keep].mean(0) for row, keep in zip(tokens, real, strict=True)]
        np.testing.assert_allclose(out["pre_logits"], mean, rtol=1e-4, atol=1e-5)


@pytest.mark.curriculum("J18")
def test_a_classifier_has_the_names_of_the_pretrained_encoder(pretrained):
    """So `config.init_from` of a pre-training run fills all of it but the last layer."""
    encoder, batch = pretrained.model.encoder.clone(parent=None), pretrained.batch
    made = jax.eval_shape(
        lambda k: Classifier(encoder, 2).init(k, *classify_text.inputs(batch), False), jax.random.key(0)
    )["params"]
    mine, theirs = ({jax.tree_util.keystr(p): x.shape for p, x in jax.tree_util.tree_leaves_with_path(t)}
                    for t in (made, pretrained.params))  # fmt: skip
    new = {name for name in mine if mine[name] != theirs.get(name)}
    assert new == {"['head']['kernel']", "['head']['bias']"}
    assert {name.split("'")[1] for name in theirs.keys() - mine.keys()} == {
        "masked_dense", "masked_norm", "masked_bias", "next",
    }  # fmt: skip


def test_a_step_of_short_texts_computes_the_columns_of_their_bucket(pretrained):
    """Losses and gradients are those of all columns; and with a bucket that holds nobody, too."""
    rows = np.asarray([1, 3, 5])  # 9, 5 and 7 pieces of 16: the bucket of 9
    batch = {name: x[rows] for name, x in pretrained.batch.items()} | {"label": jnp.asarray([0, 1, 1])}
    classifier = Classifier(pretrained.model.encoder.clone(parent=None), 2)
    params = jax.jit(lambda k: classifier.init(k, *classify_text.inputs(batch), False))(jax.random.key(0))["params"]

    def value(loss, about, params, buckets):
        state = State(0, params, {}, {"batch_stats": {}})
        total, count = loss(*about, buckets, state, batch, jax.random.key(3))[1]["loss"]
        return total / count

    classes = partial(value, classify_text.training_loss, (classifier, classification.softmax_cross_entropy))
    compare = quick_jit(lambda p: [jax.value_and_grad(classes)(p, buckets) for buckets in ((), (6, 9))])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), *compare(params))
    words = partial(value, bert.training_loss, (pretrained.model, VOCABULARY, masked_words.Masking()))
    compare = quick_jit(lambda p: [words(p, buckets) for buckets in ((), (6, 9))])
    np.testing.assert_allclose(*compare(pretrained.params), rtol=1e-4)
    for of, p in ((classes, params), (words, pretrained.params)):
        (switch,) = [e for e in jax.make_jaxpr(partial(of, buckets=(9, 12)))(p).eqns if e.primitive.name == "cond"]
        assert len(switch.params["branches"]) == 3


def test_training_batches_are_of_one_bucket_resident_and_streamed():
    """And every text is read once an epoch."""
    words = [
        "--config.data.text.buckets=(24,40)", "--config.data.text.length=128", "--config.batch_size=10",
        "--config.data.name=reviews(train=240, validation=9, test=9)",
    ]  # fmt: skip
    rows = {}
    for resident in ("always", "never"):
        config = configs.load("configs/sequence/text_classifier.py", [*words, f"--config.data.resident={resident}"])
        built = build(config)
        split = built.data.splits["train"]
        assert (split.arrays is None) == (resident == "never") and built.data.splits["test"].groups is None
        feed = TrainFeed(
            SimpleNamespace(batch_size=10, steps_per_call=1, resident=resident == "always"), built.data, 0, 0, 24
        )
        batches = [feed.next(step, 1) for step in range(24)]
        rows[resident] = [split.arrays["length"][b] if resident == "always" else b["length"] for b in batches]
    np.testing.assert_array_equal(rows["always"], rows["never"])
    lengths = np.asarray(rows["always"])
    assert sorted(lengths.ravel()) == sorted(row["length"] for row in split.source.read_entries(range(240), ["length"]))
    buckets = np.searchsorted((24, 40), lengths)
    assert len(set(buckets.ravel())) > 1 and (np.ptp(buckets, 1) > 0).sum() <= 2  # batches on a border


@pytest.mark.long
@pytest.mark.curriculum("J18")
def test_fine_tuning_takes_the_encoder_and_the_vocabulary_of_a_pretraining_run(tmp_path):
    """And a run of another vocabulary is told that its words do not fit."""
    before = start(tmp_path / "before", "bert", "none", "--config.total_steps=4")
    assert before.returncode == 0, before.stderr
    pieces = f"--config.data.text.vocabulary={tmp_path / 'before' / 'figures' / 'vocabulary.txt'}"
    more = ["--config.total_steps=4", f"--config.init_from={tmp_path / 'before'}"]
    tuned = start(tmp_path / "tuned", "texts", "none", *more, pieces)
    assert tuned.returncode == 0, tuned.stderr
    assert "2 left as initialised: params/head/bias (2,), params/head/kernel (8, 2)" in tuned.stdout
    words = ["--config.data.text.size=100", "--config.data.text.truncate=True"]
    other = start(tmp_path / "other", "texts", "none", *more, *words)
    assert "params/words/embedding (100, 8), (286, 8) there" in other.stdout, other.stdout


def test_sums_of_an_evaluation_leave_padding_out():
    p = jnp.log(jnp.asarray([[0.8, 0.2], [0.6, 0.4], [0.5, 0.5]]))
    batch = {"label": jnp.asarray([0, 1, 0]), "mask": jnp.asarray([1.0, 1.0, 0.0])}
    from cvdl_jax.ops.losses.classification import softmax_cross_entropy

    out = jax.device_get(
        classify_text.evaluation_step(lambda state, batch: p, softmax_cross_entropy, None, batch, None)
    )
    np.testing.assert_allclose(out["loss"][0] / out["loss"][1], -(np.log(0.8) + np.log(0.4)) / 2, rtol=1e-6)
    assert out["accuracy"][0] / out["accuracy"][1] == 0.5
    info = SimpleNamespace(vocabulary=VOCABULARY, class_names=("bad", "good"))
    rows = {
        "tokens": np.asarray([[1, 6, 2, 0], [1, 7, 8, 2]]),
        "length": np.asarray([3, 4]),
        "label": np.asarray([0, 1]),
    }
    pages = classify_text.page(lambda state, batch: p[:2], info, False, None, rows, None)
    assert pages == {"texts": "bad: [CLS] w1 [SEP]\nbad, not good: [CLS] w2 w3 [SEP]"}


@pytest.mark.parametrize(
    ("config", "override", "message"),
    [
        ("text_classifier", "--config.data.text.length=12", "pieces, and config.data.text.length=12 has place for 10"),
        ("text_classifier", "--config.model.positions=64", "texts of 96 tokens are longer than the model's 64"),
        ("text_classifier", "--config.data.name=digits", r"entries=\('text',\): digits has no text 'text'"),
        ("text_classifier", "--config.data.text.pairs=True", "'label' of two classes or more"),
        ("text_classifier", "--config.head_dropout=1.0", r"config.head_dropout=1.0 must be in \[0, 1\)"),
        ("bert", "--config.model.name=text_transformer", "choose a BERT, such as bert_mini"),
        ("bert", "--config.masking.share=0.0", r"config.masking.share=0.0 must be in \(0, 1\)"),
        ("bert", "--config.masking.random=0.5", "must not add up to more than 1"),
        ("bert", "--config.data.text.words=3", "words"),
    ],
)  # fmt: skip
def test_mistakes_name_the_thing_and_the_fix(config, override, message):
    with pytest.raises((ConfigError, DataError), match=message) as error:
        built = build(configs.load(f"configs/sequence/{config}.py:smoke", [override]))
        jax.eval_shape(built.task.init, jax.random.key(0), built.info.spec)
    assert "\n" not in str(error.value)


def test_tokens_outside_the_vocabulary_are_refused():
    model = registry.create({"name": "bert_tiny"}, "config.model", vocabulary=50)
    tokens = jnp.asarray([[1, 50, 2]])
    with pytest.raises(ValueError, match=r"tokens\[0, 1\]=50 must be a piece, from 0 to 49"):
        model.init(jax.random.key(0), tokens, jnp.zeros_like(tokens), jnp.asarray([3]), False)
    with pytest.raises(ConfigError, match=r"reads tokens, whole numbers \[b, t\], got float32\[1, 3\]"):
        model.init(jax.random.key(0), tokens.astype(jnp.float32), tokens, jnp.asarray([3]), False)


# Norms of sequences -----------------------------------------------------------------------------------------------


@pytest.mark.curriculum("J14")
def test_accuracies_of_short_and_long_texts_and_the_table():
    rows = {"length": np.asarray([4, 9, 5, 8, 4]), "layer_2/right": np.asarray([1, 0, 1, 1, 0])}
    metrics = norms_of_sequences.finalise({"layer_2/accuracy": 0.6}, rows)
    assert metrics["layer_2/accuracy_short"] == pytest.approx(2 / 3) and metrics["layer_2/accuracy_long"] == 0.5
    drawn = norms_of_sequences.table({"layer_2": {"batch": 2}}, metrics, rows)
    assert drawn["table"].splitlines()[1].split() == ["layer_2", "2", "0.600", "0.667", "0.500"]
    built = build(configs.load("configs/studies/norms_of_sequences.py:smoke", []))
    assert set(built.task.evals) == {"validation", "test"} and built.task.evals["test"].draw is not None
    with pytest.raises(ConfigError, match=r"config.study.cases.layer_8.batch=5 must divide config.batch_size=16"):
        build(configs.load("configs/studies/norms_of_sequences.py:smoke", ["--config.study.cases.layer_8.batch=5"]))
