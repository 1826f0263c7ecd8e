"""Contrastive learning of images and captions: the glue around the loss, retrieval, prompts, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.data import captions
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from experiments import image_text

CONFIG = "configs/multimodal/clip.py:smoke"
END = captions.END


class Tabled:
    """Stands for a model: the vector of an image is a row of a table by its first pixel, that of a text by its word."""

    def __init__(self, vectors):
        self.vectors = jnp.asarray(vectors, jnp.float32)

    def encode_image(self, image):
        return self.vectors[image[:, 0, 0, 0].astype(int)]

    def encode_text(self, tokens):
        return self.vectors[tokens[:, 1]]

    def apply(self, variables, *args, method="__call__", mutable=None, **how):
        if method != "__call__":
            return getattr(self, method)(args[0])
        out = {"image": self.encode_image(args[0]), "text": self.encode_text(args[1])}
        out = (None, {**out, "scale": jnp.exp(variables["params"]["log_scale"])})
        return (out, {}) if mutable else out


VECTORS = np.asarray([[1, 0], [0, 1], [0.6, 0.8], [0.8, -0.6], [-1, 0]], np.float32)


def state_of(scale=2.0):
    return State(jnp.zeros((), jnp.int32), {"log_scale": jnp.log(scale)}, {}, {"batch_stats": {}})


def images(*numbers):
    return np.broadcast_to(np.asarray(numbers, np.float32)[:, None, None, None], (len(numbers), 2, 2, 3))


def texts(*words):
    return np.asarray([[captions.BEGIN, word, END, 0] for word in words], np.int32)


@pytest.mark.curriculum("J24")
@pytest.mark.parametrize("identical", ["negative", "positive"])
def test_every_image_meets_every_caption_of_the_batch(identical):
    """A loop over pairs; captions 0 and 2 of the batch are the same words."""
    shown, said = [0, 1, 2], [2, 3, 2]
    batch = {"image": images(*shown), "caption": texts(*said)}
    _, sums = image_text.training_loss(Tabled(VECTORS), lambda x: x, state_of(3.0), batch, None, identical)
    s = 3.0 * VECTORS[shown] @ VECTORS[said].T
    total = 0.0
    for i in range(3):
        right = [j for j in range(3) if (said[j] == said[i] if identical == "positive" else j == i)]
        total += np.mean([np.log(np.exp(s[i]).sum()) - s[i, j] for j in right]) / 2
        total += np.mean([np.log(np.exp(s[:, i]).sum()) - s[j, i] for j in right]) / 2
    np.testing.assert_allclose(sums["loss"][0], total, rtol=1e-5)
    assert sums["loss"][1] == 3 and np.allclose(sums["scale"], (9.0, 3.0))
    best = s.argmax(1)
    right = [said[best[i]] == said[i] if identical == "positive" else best[i] == i for i in range(3)]
    assert sums["batch_image_to_text"][0] == sum(right)


def test_the_scale_stays_below_a_hundred_and_may_fall():
    for log_scale, expected in ((np.log(150.0), 100.0), (np.log(20.0), 20.0)):
        state = state_of()._replace(params={"log_scale": jnp.float32(log_scale), "w": 1})
        new, _, sums = image_text.limit_scale(state, {}, None)
        np.testing.assert_allclose(np.exp(new.params["log_scale"]), expected, rtol=1e-5)
        assert new.params["w"] == 1 and sums == {}


@pytest.mark.curriculum("J25")
def test_a_class_is_the_mean_of_its_prompts_vectors():
    """Class 0 by the words 0 and 1, class 1 by 3 and 3: the mean of unit vectors, made one of length one again."""
    prompted = np.stack([texts(0, 1), texts(3, 3)])
    batch = {"image": images(0, 2, 3)}
    scores = image_text.class_scores(Tabled(VECTORS), lambda x: x, prompted, state_of(5.0), batch)
    expected = 5 * VECTORS[[0, 2, 3]] @ np.asarray([[0.5**0.5, 0.5**0.5], [0.8, -0.6]]).T
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.curriculum("J25")
def test_evaluation_by_hand():
    """Three images of up to two captions. Words 2 and 3 are near the images 2 and 3, and word 4 is near none."""
    padding, wide = np.zeros((1, 4), np.int32), np.pad(VECTORS, ((0, 0), (0, 1)))  # vectors of three numbers
    said = np.stack([np.concatenate(pair) for pair in
                     ((texts(2), texts(0)), (texts(3), padding), (texts(0), texts(4)))])  # fmt: skip
    batch = {"image": images(2, 3, 1), "captions": said, "label": np.asarray([0, 1, 1]), "mask": np.ones(3)}
    prompted = np.stack([texts(2), texts(3)])
    rows = image_text.evaluation_step(Tabled(wide), lambda x: x, prompted, state_of(), batch, None)
    assert rows["text"].shape == (3, 2, 3)
    np.testing.assert_array_equal(rows["text"][1, 1], wide[3])  # padding has the first caption, and is masked
    metrics = image_text.finalise({}, {name: np.asarray(x) for name, x in rows.items()})
    assert metrics["examples"] == 3 and metrics["distinct_captions"] == 4  # 2, 0, 3, 4
    # cosines of the images (2, 3, 1) to the captions (0, 2, 3, 4): (.6, 1, 0, -.6), (.8, 0, 1, -.8), (0, .8, -.6, 0)
    assert metrics["image_to_text_recall1"] == pytest.approx(2 / 3) and metrics["image_to_text_recall5"] == 1
    # (0): images 2 and 1 have it, and image 3 is nearest; (2), (3) find their own; (4): image 1 is nearest and has it
    assert metrics["text_to_image_recall1"] == pytest.approx(3 / 4)
    assert metrics["image_to_text_chance"] == metrics["text_to_image_chance"] == pytest.approx(5 / 12)
    assert metrics["zero_shot_accuracy"] == pytest.approx(2 / 3) and metrics["zero_shot_chance"] == 0.5
    assert metrics["zero_shot_accuracy_low"] < 2 / 3 < metrics["zero_shot_accuracy_high"]
    lost = image_text.finalise({}, {**{n: np.asarray(x) for n, x in rows.items()}, "scores": np.full((3, 2), np.nan)})
    assert lost["zero_shot_accuracy"] == 0
    without = image_text.evaluation_step(Tabled(wide), lambda x: x, None, state_of(), batch, None)
    assert without.keys() == {"image", "text", "captions"}


@pytest.mark.curriculum("J25")
def test_the_report_ranks_the_classes():
    batch = {"image": images(2, 3) / 4, "label": np.asarray([0, 0])}
    scores = jnp.log(jnp.asarray([[0.7, 0.1, 0.2], [0.25, 0.15, 0.6]]))
    pages = image_text.report(lambda state, batch: scores, ("red bar", "ring", "cross"), None, batch, None)
    assert pages["zero_shot_ranking"].split("\n") == [
        "image 0: red bar, number 1 of 3", "     70.0 %  red bar", "     20.0 %  cross", "     10.0 %  ring",
        "image 1: red bar, number 2 of 3", "     60.0 %  cross", "     25.0 %  red bar", "     15.0 %  ring",
    ]  # fmt: skip
    colours = [text.get_color() for axis in pages["zero_shot"].axes for text in axis.texts]
    assert colours == ["black", "tab:red"]


@pytest.fixture(scope="module")
def run():
    """The smoke run with a small perceptron in the place of its backbone, which is compiled sooner."""
    return build(configs.load(CONFIG, ["--config.model.backbone.name=mlp_tiny"]))


def test_a_step_draws_captions_and_moves_both_encoders_and_the_temperature(run):
    split = run.data.splits["train"]
    batch = {name: jnp.asarray(x) for name, x in split.batch(np.arange(16)).items()}
    batch["image"] = batch["image"] / 255
    before = run.task.init(jax.random.key(0), batch)
    state = State(jnp.zeros((), jnp.int32), before["params"], {}, before["extra"])
    state = run.task.train.init(state)
    step = jax.jit(run.task.train.update, compiler_options={"xla_backend_optimization_level": 0})
    after, seen, sums = step(state, batch, jax.random.key(1))
    assert seen["caption"].shape == (16, 16) and sums["loss"][1] == 16
    for image in range(16):
        assert (seen["caption"][image][None] == batch["captions"][image]).all(-1).any()
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before["params"], after.params)
    for part in ("backbone", "text", "image_projection", "text_projection", "log_scale"):
        assert any(jax.tree.leaves(moved[part])), part
    hot = state._replace(params={**state.params, "log_scale": jnp.float32(6.0)})
    assert step(hot, batch, jax.random.key(1))[0].params["log_scale"] <= np.float32(image_text.LARGEST)
    scores = jax.eval_shape(run.task.predict, state, {"image": batch["image"]})["scores"]
    assert scores.shape == (16, 42)


def test_the_vocabulary_is_that_of_the_training_captions(run):
    assert run.info.vocabulary == run.data.vocabulary and run.info.vocabulary[:4] == captions.SPECIAL
    rows = run.task.init(jax.random.key(0), {"image": jnp.zeros((1, 32, 32, 3)), "captions": jnp.zeros((1, 4, 16))})
    assert rows["params"]["text"]["tokens"]["embedding"].shape == (len(run.info.vocabulary), 16)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "--config.data.caption_length=0",
            "needs an 'image' and 'captions'; name a set with both, and set config.data",
        ),
        ("--config.data.features=('image',)", r"config.zero_shot: .* has no classes with names; set config.zero_shot="),
        ("--config.zero_shot.templates=('a {name}',)", r"'a \{name\}' has \{name\}, where \{label\} is to stand once"),
        (
            "--config.contrast.identical=same",
            "config.contrast.identical='same'; expected one of 'negative', 'positive'",
        ),
        ("--config.model.positions=12", None),
        ("--config.model.end=9", "config.model.end=9 is not what captions end with; set config.model.end=2"),
        ("--config.data.caption_length=9", "set config.data.caption_length="),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    if message is None:  # said when the first batch is traced
        run = build(configs.load(CONFIG, [override]))
        example = {"image": jnp.zeros((1, 32, 32, 3)), "captions": jnp.zeros((1, 4, 16), int)}
        with pytest.raises(ConfigError, match="texts of 16 tokens are longer than the 12 positions of clip"):
            jax.eval_shape(run.task.init, jax.random.key(0), example)
        return
    with pytest.raises(Exception, match=message) as error:
        build(configs.load(CONFIG, [override]))
    assert type(error.value).__name__ in ("ConfigError", "DataError")


def test_a_model_of_another_kind_is_refused():
    assert registry.variants()["clip_tiny"].kind == "multimodal"
    with pytest.raises(ConfigError, match="is of kind 'backbones', expected 'multimodal'"):
        build(configs.load(CONFIG, ["--config.model.name=resnet8_tiny"]))
