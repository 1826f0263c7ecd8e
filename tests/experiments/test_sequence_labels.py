"""Sequences and their labels: sums with ignored places by hand, figures, mistakes, and a task that is learned."""

import json
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import launch
from cvdl_jax.config import configs
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.ops.losses.regression import l2
from experiments import sequence_labels

LONG, CLIPS = "configs/sequence/long_range.py", "configs/sequence/moving_digits.py"


def scores_for(read, k, high=0.7):
    """Scores whose softmax is `high` for the class that is read."""
    p = np.full((*np.shape(read), k), (1 - high) / (k - 1))
    np.put_along_axis(p, np.asarray(read)[..., None], high, -1)
    return jnp.log(p)


@pytest.mark.curriculum("K14")
def test_ignored_places_and_padding_do_not_count():
    """Three strings, the last one padding. Counted are 2 and 3 places, of which 1 and 3 are right."""
    truth = jnp.asarray([[1, 2, 0, 0], [3, 0, 1, 2], [1, 1, 1, 1]])
    read = jnp.asarray([[1, 3, 0, 2], [3, 1, 1, 2], [2, 2, 2, 2]])
    judge = partial(sequence_labels.as_sums, softmax_cross_entropy, (0,))
    batch = {"label": truth, "mask": jnp.asarray([1.0, 1.0, 0.0])}
    out = sequence_labels.evaluation_step(lambda state, batch: scores_for(read, 4), judge, "label", None, batch, None)
    means = {k: float(v[0] / v[1]) for k, v in out.items() if isinstance(v, tuple)}
    assert means["accuracy"] == pytest.approx(4 / 5) and means["sequence_accuracy"] == 0.5
    assert means["loss"] == pytest.approx(-(4 * np.log(0.7) + np.log(0.1)) / 5, rel=1e-6)
    assert out["loss"][1] == 5 and out["sequence_accuracy"][1] == 2
    rows = {"truth": np.asarray(out["truth"][:2]), "read": np.asarray(out["read"][:2])}
    np.testing.assert_array_equal(rows["read"], read[:2])
    metrics = sequence_labels.finalise(means, rows)
    assert metrics["error_rate"] == pytest.approx(1 / 5) and metrics["examples"] == 2
    assert metrics["sequence_accuracy_low"] < 0.5 < metrics["sequence_accuracy_high"]
    assert "accuracy_low" not in metrics  # places of one string are not independent


def test_nothing_is_ignored_where_nothing_is_named():
    sums, _ = sequence_labels.as_sums(
        softmax_cross_entropy, (), scores_for([0, 2, 1], 3), jnp.asarray([0, 2, 2]), jnp.ones(3)
    )
    assert "sequence_accuracy" not in sums and sums["accuracy"][0] == 2 and sums["accuracy"][1] == 3


@pytest.mark.curriculum("K11")
def test_numbers_are_solved_within_the_tolerance():
    truth = jnp.asarray([1.0, 0.5, 1.5, 9.0])
    scores = jnp.asarray([[1.03], [0.55], [1.47], [9.01]])  # the last one is padding
    mask = jnp.asarray([1.0, 1.0, 1.0, 0.0])
    sums, read = sequence_labels.as_sums(l2, (), scores, truth, mask)
    assert sums["solved"][0] == 2 and sums["solved"][1] == 3
    assert float(sums["loss"][0]) == pytest.approx(0.03**2 + 0.05**2 + 0.03**2, rel=1e-4)
    metrics = sequence_labels.finalise({"loss": 0.1, "solved": 2 / 3}, {"truth": truth[:3], "read": read[:3]})
    assert metrics["constant_loss"] == pytest.approx(1 / 6) and "accuracy" not in metrics
    assert metrics["solved_low"] < 2 / 3 < metrics["solved_high"]


def test_frames_are_scaled_and_symbols_stay():
    normalise = lambda x: x - 0.5  # noqa: E731
    frames = jnp.full((1, 2, 4, 4, 1), 255, jnp.uint8)
    np.testing.assert_array_equal(sequence_labels.inputs_of("x", normalise, {"x": frames}), np.full(frames.shape, 0.5))
    symbols = jnp.asarray([[3, 1]])
    assert sequence_labels.inputs_of("x", normalise, {"x": symbols}) is symbols


def test_figures_say_what_was_read():
    frames = jnp.zeros((2, 3, 8, 8, 1), jnp.uint8)
    batch = {"x": frames, "label": jnp.asarray([0, 1])}
    fn = lambda state, batch: scores_for([0, 0], 2)  # noqa: E731
    figure = sequence_labels.report(fn, "x", "label", ("still", "left"), (), None, batch, None)["predictions"]
    texts = [(text.get_text(), text.get_color()) for axis in figure.axes for text in axis.texts]
    assert texts == [("still", "black"), ("still, not left", "tab:red")]
    batch = {"x": jnp.zeros((1, 3, 2)), "label": jnp.asarray([[1, 2, 0]])}
    fn = lambda state, batch: scores_for([[1, 1, 1]], 3)  # noqa: E731
    figure = sequence_labels.report(fn, "x", "label", ("nothing", "A", "B"), (0,), None, batch, None)["predictions"]
    texts = [(text.get_text(), text.get_color()) for axis in figure.axes for text in axis.texts]
    true, read = [("true", "tab:gray"), ("A", "black"), ("B", "black")], [("read", "tab:gray"), ("A", "black")]
    assert texts == [*true, *read, ("A", "tab:red")]
    batch = {"x": jnp.zeros((2, 3, 2)), "target": jnp.asarray([0.5, 1.0])}
    figure = sequence_labels.report(lambda s, b: jnp.ones((2, 1)), "x", "target", (), (), None, batch, None)
    np.testing.assert_array_equal(figure["predictions"].axes[0].lines[1].get_ydata(), [1, 1])


@pytest.mark.parametrize(
    ("config", "override", "message"),
    [
        (
            LONG,
            "--config.inputs=sequences",
            r"config.inputs='sequences' is not an entry of the data.*'sequence': \[6, 2",
        ),
        (
            LONG,
            "--config.targets=sequence",
            r"needs a class or a number, and config.targets='sequence' is float32 \[6,",
        ),
        (LONG, "--config.structure=many_to_many", r"needs classes \[s\], and config.targets='target' is float32 \[\]"),
        (LONG, "--config.ignore=('blank',)", "names classes, and config.targets='target' are numbers"),
        (LONG, "--config.loss.name=softmax_cross_entropy", "config.loss.name='softmax_cross_entropy'"),
        (f"{LONG}:data=copying", "--config.ignore=('blanc',)", "'blanc' is no class; did you mean 'blank'"),
        (f"{LONG}:data=copying", "--config.loss.name=l2", "config.loss.name='l2'"),
        (CLIPS, "--config.model.name=lstm", "config.model.name='lstm' is made for num_classes"),
    ],
)
def test_mistakes_name_the_thing_and_the_fix(config, override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(f"{config}{',' if ':' in config else ':'}smoke", [override]))


@pytest.mark.curriculum("K2")
@pytest.mark.parametrize(
    ("structure", "inputs", "targets", "steps"),
    [
        ("one_to_one", (3,), (), 1), ("one_to_many", (3,), (7,), 7), ("many_to_one", (5, 3), (), 1),
        ("many_to_many", (5, 3), (5,), 1), ("delayed", (5,), (7,), 7),
    ],
)  # fmt: skip
def test_the_structure_says_how_many_outputs_there_are(structure, inputs, targets, steps):
    spec = {"x": jax.ShapeDtypeStruct((2, *inputs), jnp.float32), "y": jax.ShapeDtypeStruct((2, *targets), jnp.int32)}
    info = SimpleNamespace(spec=spec, num_classes=3, class_names=("a", "b", "c"))
    config = ConfigDict({"inputs": "x", "targets": "y", "structure": structure, "ignore": ("c", "a")})
    assert sequence_labels.kind_of(config, info) == (False, steps, (2, 0))


@pytest.mark.curriculum("K2", "K13")
def test_the_target_of_a_clip_is_the_entry_that_was_asked_for():
    for target, classes in (("motion", 5), ("digit", 10)):
        run = build(configs.load(f"{CLIPS}:target={target},smoke"))
        batch = {k: jnp.zeros(s.shape, s.dtype) for k, s in run.info.spec.items()}
        shapes = jax.eval_shape(run.task.init, jax.random.key(0), batch)["params"]
        assert shapes["reader"]["head"]["kernel"].shape == (4, classes)


def trained(tmp_path, *flags):
    workdir = tmp_path / "run"
    assert launch.main([*flags, "--config.log.tensorboard=False", f"--workdir={workdir}"]) == 0
    return json.loads((workdir / "results.json").read_text())["metrics"]


@pytest.mark.long
@pytest.mark.curriculum("K11")
def test_a_gated_network_remembers_across_a_short_lag(tmp_path):
    """Copying one of four symbols after 5 steps is learned; without a memory the accuracy is 1/4."""
    name = "copying(lag=5, count=1, symbols=4, train=512, validation=64, test=64)"
    metrics = trained(
        tmp_path, f"--config={LONG}:data=copying,cell=gru,smoke", f"--config.data.name={name}",
        "--config.total_steps=300", "--config.model.units=16", "--config.optim.lr=0.02", "--config.log.every_steps=100",
    )  # fmt: skip
    assert metrics["test/accuracy"] > 0.9 and metrics["test/sequence_accuracy"] > 0.9
