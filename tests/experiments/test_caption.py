"""Captions: shifted words, padding and the penalty by hand, what is written against the right references, mistakes."""

import json
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from experiments import caption

CONFIG = "configs/multimodal/caption.py"
V = 6


def logits_for(words, high=0.5):
    """Logits whose softmax is `high` for one word."""
    p = np.full((*np.shape(words), V), (1 - high) / (V - 1))
    np.put_along_axis(p, np.asarray(words)[..., None], high, -1)
    return jnp.log(jnp.asarray(p, jnp.float32))


@pytest.mark.curriculum("K12")
def test_after_each_word_the_next_is_to_be_said():
    """Begin 4 5 end: after begin the word 4, after 4 the 5, after 5 the end; nothing after the end."""
    words = jnp.asarray([[1, 4, 5, 2, 0], [1, 4, 2, 0, 0]])
    losses, said = caption.word_losses(logits_for([[4, 5, 2, 0], [5, 2, 0, 0]]), words)
    right, wrong = -np.log(0.5), -np.log(0.1)
    np.testing.assert_allclose(losses, [[right, right, right, 0], [wrong, right, 0, 0]], rtol=1e-5)
    np.testing.assert_array_equal(said, [[1, 1, 1, 0], [1, 1, 0, 0]])


class Model:
    """Says always the same, and looks where it is told."""

    def __init__(self, logits, attention):
        self.out = logits, {"attention": jnp.asarray(attention)}

    def apply(self, variables, image, tokens, train, mutable, rngs):
        self.tokens = tokens
        return self.out, {}


@pytest.mark.curriculum("K12")
def test_the_loss_of_an_image_and_the_penalty_of_what_was_not_looked_at():
    """Two places; the first caption of two words and its end looks at (0.5, 0.5), (1, 0), (0.2, 0.8): sums 1.7, 1.3."""
    words = jnp.asarray([[1, 4, 5, 2, 0], [1, 4, 2, 0, 0]])
    alpha = np.asarray([[[0.5, 0.5], [1, 0], [0.2, 0.8], [9, 9]], [[1, 0], [1, 0], [9, 9], [9, 9]]])
    model = Model(logits_for([[4, 5, 2, 0], [5, 2, 0, 0]]), alpha)
    state = State(jnp.int32(0), {}, {}, {"batch_stats": {}})
    batch = {"image": jnp.zeros((2, 4, 4, 3)), "caption": words}
    _, sums = caption.training_loss(model, lambda x: x, 0.5, state, batch, None)
    np.testing.assert_array_equal(model.tokens, words[:, :-1])
    nll = [-3 * np.log(0.5), -np.log(0.1) - np.log(0.5)]
    penalty = [0.7**2 + 0.3**2, 1 + 1]
    assert float(sums["loss"][0]) == pytest.approx(sum(nll) + 0.5 * sum(penalty), rel=1e-5) and sums["loss"][1] == 2
    assert float(sums["word_loss"][0]) == pytest.approx(sum(nll), rel=1e-5) and sums["word_loss"][1] == 5
    assert sums["word_accuracy"][0] == 4 and sums["word_accuracy"][1] == 5


@pytest.mark.curriculum("K12")
def test_all_captions_of_the_real_rows_are_read_and_every_row_is_written(monkeypatch):
    """Three images, the last one padding; the second has one caption of two."""
    references = jnp.asarray([
        [[1, 4, 5, 2], [1, 5, 2, 0]],
        [[1, 4, 2, 0], [0, 0, 0, 0]],
        [[1, 4, 4, 2], [1, 4, 2, 0]],
    ])  # fmt: skip
    read_rows = []

    def read(model, state, tokens, carry):
        read_rows.append((tokens, carry["h"]))
        return logits_for(jnp.full(tokens.shape, 4)), {"carry": carry}

    monkeypatch.setattr(caption, "look", lambda *args: {"h": jnp.arange(3.0)[:, None]})
    monkeypatch.setattr(caption, "read", read)
    writing = lambda read, carry, length: (jnp.full((3, length), 4), jnp.full((3, length), 5))  # noqa: E731
    batch = {"captions": references, "mask": jnp.asarray([1.0, 1.0, 0.0])}
    out = caption.evaluation_step(None, None, writing, None, batch, None)
    tokens, h = read_rows[0]
    np.testing.assert_array_equal(tokens, references.reshape(6, 4)[:, :-1])
    np.testing.assert_array_equal(h[:, 0], [0, 0, 1, 1, 2, 2])  # every caption with its own image
    right, wrong = -np.log(0.5), -np.log(0.1)
    total = (right + 2 * wrong) + 2 * wrong + (right + wrong)
    assert float(out["word_loss"][0]) == pytest.approx(total, rel=1e-5) and out["word_loss"][1] == 7
    assert out["greedy"].shape == out["beam"].shape == (3, 3)


class Scaled(nn.Module):
    """Its weight, for images and for words."""

    def setup(self):
        self.w = self.param("w", nn.initializers.ones, ())

    def look(self, x, train):
        return self.w * x

    def read(self, tokens, carry, train):
        return self.w * tokens, carry

    def __call__(self, x, tokens, train):
        return self.look(x, train), self.read(tokens, x, train)


def test_images_are_seen_and_words_read_by_the_averaged_weights():
    state = State(jnp.int32(3), {"w": jnp.float32(2)}, {}, {"batch_stats": {}, "ema": {"w": jnp.float32(5)}}, {})
    assert caption.look(Scaled(), lambda x: x + 1, state, {"image": jnp.ones(())}) == 10
    assert caption.read(Scaled(), state, jnp.ones(()), jnp.zeros(()))[0] == 5


@pytest.mark.curriculum("K12")
def test_measures_are_of_the_beams_and_with_a_prefix_of_the_greedy_words():
    rows = {
        "references": np.asarray([[[1, 4, 5, 2], [1, 5, 2, 0]], [[1, 4, 2, 0], [0, 0, 0, 0]]]),
        "beam": np.asarray([[5, 2, 2], [4, 2, 2]]),
        "greedy": np.asarray([[4, 2, 2], [4, 2, 2]]),
    }
    metrics = caption.finalise({"word_loss": 0.5}, rows)
    assert metrics["exact"] == 1 and metrics["greedy_exact"] == 0.5 and metrics["bleu1"] == 1
    assert metrics["greedy_bleu1"] == 1 and metrics["bleu2"] == 0  # there is no pair of words
    assert metrics["examples"] == 2 and metrics["word_loss"] == 0.5
    rows["references"][1, 0, 1] = 3  # an unknown word is in no caption
    rows["beam"][1, 0] = 3
    assert caption.finalise({}, rows)["exact"] == 0.5


def test_figures_say_what_was_written(monkeypatch):
    words = ("<padding>", "<begin>", "<end>", "<unknown>", "a", "dog")
    monkeypatch.setattr(caption, "look", lambda *args: {"h": jnp.zeros((2, 1))})
    monkeypatch.setattr(caption, "read", lambda model, state, tokens, carry: (
        None, {"attention": jnp.tile(jnp.asarray([0.0, 0.0, 1.0, 0.0]), (*tokens.shape, 1))}))  # fmt: skip
    batch = {"image": np.ones((2, 8, 8, 3)), "captions": np.asarray([[[1, 4, 5, 2]], [[1, 5, 2, 0]]])}
    writing = lambda read, carry, length: (None, jnp.asarray([[4, 5, 2], [4, 2, 2]]))  # noqa: E731
    pages = caption.report(None, None, writing, words, None, batch, None)
    texts = [(text.get_text(), text.get_color()) for axis in pages["captions"].axes for text in axis.texts]
    assert texts == [("a dog", "black"), ("a\nnot dog", "tab:red")]
    axes = pages["attention"].axes
    assert [axis.get_title() for axis in axes] == ["", "a", "dog", "", "a", ""]
    veil = np.asarray(axes[1].images[1].get_array())[..., 3]
    np.testing.assert_allclose(veil, [[0.85, 0.85], [0, 0.85]])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.data.caption_length=0", "needs an 'image' and 'captions'; name a set with both"),
        ("--config.doubly_stochastic=-1.0", r"doubly_stochastic=-1.0 must be 0 or more"),
        ("--config.model.attention=none", r"doubly_stochastic=0.1 must be 0 or more, and 0 without attention"),
        ("--config.decode.beams=0", r"config.decode.beams=0 must be from 1"),
        ("--config.decode.beam=2", "did you mean 'beams'"),
        ("--config.model.name=clip_tiny", "config.model.name='clip_tiny' is made for vocabulary, and is given words"),
        ("--config.model.level=7", "must name stages of the backbone in rising order, 0 to 2"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    with pytest.raises(ConfigError, match=message):
        run = build(configs.load(f"{CONFIG}:smoke", [override]))
        import jax

        batch = {k: jnp.zeros(s.shape, s.dtype) for k, s in run.info.spec.items()}
        jax.eval_shape(partial(run.task.init), jax.random.key(0), batch)


@pytest.mark.long
@pytest.mark.curriculum("K12")
def test_a_run_learns_to_say_what_is_there(tmp_path):
    """Single shapes of 24 pixels: the captions have a form that is learned in a hundred steps, and a colour."""
    name = "captioned_scenes(size=24, objects=1, train=256, validation=32, test=32)"
    flags = [
        f"--config={CONFIG}:smoke", f"--config.data.name={name}", "--config.total_steps=250", "--config.optim.lr=0.01",
        "--config.model.units=32", "--config.model.embedding=16", "--config.model.backbone.channels=(8,16,16)",
        "--config.log.every_steps=50", "--config.log.tensorboard=False", f"--workdir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert launch.main(flags) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["test/word_loss"] < 1.2 and metrics["test/bleu1"] > 0.6 and metrics["test/bleu4"] > 0.1
    assert (tmp_path / "run" / "figures" / "attention.png").stat().st_size > 1000
