"""Prototypical networks: which rows are support and queries, evaluation episodes, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.data.episodes import EpisodeSettings
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.few_shot import measured
from experiments import few_shot

CONFIG = "configs/regimes/prototypical.py:smoke"


class Flat:
    """Stands for a network: the embedding is the first row of pixels."""

    def apply(self, variables, image, train, mutable=None, **how):
        out = (image[:, 0, :, 0] * variables["params"]["scale"], {})
        return (out, {}) if mutable else out


@pytest.mark.parametrize("shots", [1, 2])
def test_an_episode_by_loops(shots):
    """Three classes of four rows: queries are classified by the means of the first rows, which cost nothing."""
    x = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    state = State(jnp.zeros((), jnp.int32), {"scale": jnp.float32(2)}, {}, {"batch_stats": {}})
    batch = {"image": jnp.asarray(x)[:, None, :, None], "label": jnp.asarray([7] * 4 + [3] * 4 + [5] * 4)}
    _, sums = few_shot.training_loss(Flat(), lambda v: v + 0.5, EpisodeSettings(3, 4), shots, state, batch, None)
    x, total, hits = 2 * (x + 0.5), 0.0, 0
    centres = [x[4 * c : 4 * c + shots].mean(0) for c in range(3)]
    for c in range(3):
        for i in range(4 * c + shots, 4 * c + 4):
            s = np.asarray([-np.square(x[i] - centre).sum() for centre in centres])
            total += np.log(np.exp(s).sum()) - s[c]
            hits += s.argmax() == c
    count = 3 * (4 - shots)
    np.testing.assert_allclose(sums["loss"], (total, count), rtol=1e-4)
    np.testing.assert_allclose(sums["accuracy"], (hits, count))


def test_evaluation_is_over_the_episodes_of_the_settings():
    settings = few_shot.FewShot(way=3, shots=(1, 2), queries=4, episodes=20)
    labels = np.repeat(np.arange(5), 8)
    x = np.eye(5)[labels] + np.random.default_rng(0).normal(size=(40, 5)) * 0.6
    metrics = few_shot.finalise(settings, {}, {"embedding": x, "label": labels})
    assert metrics["examples"] == 40 and metrics["chance"] == pytest.approx(1 / 3)
    for shots in (1, 2):
        expected = measured(x, labels, 3, shots, 4, 20)
        assert {name: metrics[name] for name in expected} == expected
    assert 1 / 3 < metrics["3way_1shot_accuracy"] < metrics["3way_2shot_accuracy"] < 1


def test_evaluations_use_the_averaged_weights():
    extra = {"batch_stats": {}, "ema": {"scale": jnp.float32(3)}}
    state = State(0, {"scale": jnp.float32(2)}, {}, extra)
    batch = {"image": jnp.arange(4.0).reshape(2, 1, 2, 1), "who": jnp.asarray([4, 9])}
    embed = partial(few_shot.embeddings, Flat(), lambda x: x - 1)
    rows = few_shot.evaluation_step(embed, "who", state, batch, None)
    np.testing.assert_allclose(rows["embedding"], [[-3, 0], [3, 6]])
    np.testing.assert_array_equal(rows["label"], [4, 9])


@pytest.fixture(scope="module")
def run():
    return build(configs.load(CONFIG))


def test_the_run_trains_on_episodes_of_people_and_has_no_layer_of_scores(run):
    split = run.data.splits["train"]
    _, rows = split.at(0, np.arange(16))
    people = split.arrays["identity"][rows].reshape(4, 4)
    assert (people == people[:, :1]).all() and len(set(people[:, 0].tolist())) == 4
    batch = {"image": jnp.zeros((16, 32, 32, 3)), "identity": jnp.zeros(16, int)}
    made = jax.eval_shape(run.task.init, jax.random.key(0), batch)
    assert "head" not in made["params"] and "conv1" in made["params"]
    assert run.task.evals["test"].step.args[-1] == "identity" and run.task.evals["test"].final


def test_the_figure_shows_the_nearest_other_image(run):
    from cvdl_jax.analysis.figures import embeddings

    x = np.asarray([[0.0], [1.0], [1.2], [5.0]])
    page = embeddings.neighbours(np.zeros((4, 8, 8, 1)), x, [0, 0, 1, 1])
    colours = [text.get_color() for axis in page.axes for text in axis.texts][1::2]
    assert colours == ["black", "tab:red", "tab:red", "black"]  # 1, 2, 1 and 2 are nearest


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.few_shot.training_shots=4", "training_shots=4 .* more images of each than shots"),
        ("--config.few_shot.episodes=1", "episodes=1 and way=5 must be at least 2"),
        ("--config.grad=accumulate(2)", r"config.grad='accumulate\(2\)' would take an episode apart; leave accumulate"),
        ("--config.augment=label_noise(0.2)", "label_noise has no effect: the class of an image here is its place"),
        ("--config.batch_size=12", "must be 4 classes x 4 images of config.data.episodes; set config.batch_size=16"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(CONFIG, [override]))
