"""The studies of networks that differ in one thing: what they count, what they compare, how images are moved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model

from cvdl_jax.analysis import seed_copies
from cvdl_jax.analysis.receptive_field import effective_receptive_field, extent
from cvdl_jax.config import configs
from cvdl_jax.core import counting
from cvdl_jax.core.task import State
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import conv_arithmetic as arithmetic
from experiments.studies import capacity

RNG = np.random.default_rng(0)


def flat(model, image):
    """{layer: parameters} and multiply-accumulates."""
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))["params"]
    macs = counting.macs(lambda p: model.apply({"params": p}, image, False)[0], params)
    return {name: counting.parameters(tree) for name, tree in params.items()}, macs


@pytest.mark.curriculum("H36")
@pytest.mark.parametrize("large, stacked, weights", [(5, 2, (25, 18)), (7, 3, (49, 27))])
def test_stacked_small_filters_see_what_a_large_one_sees_for_fewer_weights(large, stacked, weights):
    """By the calculators, by the networks themselves, and by a gradient."""
    c, side = 4, 16
    seen = [arithmetic.receptive_field([(3, 1, 1, 1)] * stacked), arithmetic.receptive_field([(large,)])]
    assert [field.size for field in seen] == [large, large]
    x = jnp.asarray(RNG.normal(size=(1, side, side, c)), jnp.float32)
    for kernel, convolutions, share in ((large, 1, weights[0]), (3, stacked, weights[1])):
        model = make_model(
            "convnet", 3, channels=(c,), kernel=kernel, convolutions=convolutions, units=(), scores="maps", window=1,
            pool_stride=1, activation="identity",
        )  # fmt: skip
        layers, macs = flat(model, x)
        biases = convolutions * c
        assert sum(layers.values()) - layers["head"] - biases == share * c**2
        assert macs == side**2 * (share * c**2 + 3 * c)
        params = jax.jit(lambda x, model=model: model.init(jax.random.key(0), x, False))(x)["params"]
        field = effective_receptive_field(
            lambda x, m=model, p=params: m.apply({"params": p}, x, False)[1]["stages"][0], x
        )
        assert extent(field) == (large, large)


@pytest.mark.curriculum("A18")
def test_separable_convolutions_have_the_parameters_and_products_of_their_calculators():
    model = make_model("convnet", 3, channels=(4, 6), separable=True, kernel=5, units=(), scores="maps")
    layers, macs = flat(model, jnp.zeros((1, 8, 8, 1)))
    assert layers["conv0"] == arithmetic.conv_parameters((5, 5), 1, 4)  # one channel has nothing to separate
    assert layers["conv1_depthwise"] + layers["conv1"] == arithmetic.separable_parameters((5, 5), 4, 6)
    separable = arithmetic.separable_macs((4, 4), 5, 4, 6, padding=2)
    assert macs == arithmetic.conv_macs((8, 8), 5, 1, 4, padding=2) + separable + 2 * 2 * 6 * 3


@pytest.mark.curriculum("A18")
def test_each_knob_turns_the_size_of_the_network_that_it_should():
    from configs.studies.capacity import METHODS, get_config

    base = dict(get_config().model)
    name = base.pop("name")
    sizes = {}
    for method, changes in METHODS.items():
        layers, macs = flat(make_model(name, 10, **(base | changes.get("model", {}))), jnp.zeros((1, 8, 8, 1)))
        sizes[method] = sum(layers.values()), macs
    assert sizes["base"] == sizes["dropout"] == sizes["weight_decay"]
    assert all(small < large for small, large in zip(sizes["narrow"], sizes["wide"], strict=True))
    assert sizes["shallow"][1] < sizes["base"][1] < sizes["deep"][1]
    assert sizes["separable"][0] < sizes["base"][0] and sizes["separable"][1] < sizes["base"][1] / 2


def test_one_by_one_is_vmap():
    def one(tree, x, key):
        return {"sum": tree["a"] * x + jax.random.normal(key, x.shape)}

    args = {"a": jnp.arange(3.0)}, jnp.asarray(RNG.normal(size=(3, 4))), jax.random.split(jax.random.key(0), 3)
    for each in (seed_copies.one_by_one, seed_copies.in_turn):
        np.testing.assert_array_equal(each(one)(*args)["sum"], jax.vmap(one)(*args)["sum"])


@pytest.mark.curriculum("H25")
def test_images_are_placed_anywhere_on_a_canvas_and_dense_layers_cannot_take_another_size():
    image = jnp.asarray(RNG.integers(1, 255, (200, 3, 3, 1)), jnp.uint8)
    canvas = np.asarray(capacity.placed(image, 5, jax.random.key(0)))
    assert canvas.shape == (200, 5, 5, 1) and canvas.dtype == np.uint8
    places = [tuple(np.argwhere(x[..., 0]).min(0)) for x in canvas]
    assert set(places) == {(i, j) for i in range(3) for j in range(3)}
    for x, (i, j), own in zip(canvas, places, np.asarray(image), strict=True):
        np.testing.assert_array_equal(x[i : i + 3, j : j + 3], own)
        assert (x > 0).sum() == 9
    heads = {"dense": {"units": ()}, "maps": {"units": (), "scores": "maps"}}
    for name, fields in heads.items():
        model = make_model("convnet", 3, channels=(2,), **fields)
        params = seed_copies.initialise(model, jax.random.key(0), jnp.zeros((1, 4, 4, 1)), 2)
        assert [capacity.takes(model, params, jnp.zeros((1, n, n, 1))) for n in (4, 6)] == [True, name == "maps"]


@pytest.mark.curriculum("A18", "H25")
def test_gaps_and_gains_are_those_of_the_same_seed():
    study = capacity.Study({"a": {}, "b": {}}, {"b": "a"})
    values = {"a": (0.5, 0.6), "b": (0.7, 0.9), "a_train": (1.0, 0.9), "b_train": (0.8, 0.8), "b_at_20": (0.1, 0.3)}
    means = {f"{name}/{i}": x for name, pair in values.items() for i, x in enumerate(pair)}
    sizes = {name: {f"{name}_parameters": 10.0 * (name == "a") + 5, f"{name}_macs": 3.0} for name in "ab"}
    found = capacity.finalise(study, sizes, means, {})
    assert found["a_gap"] == pytest.approx(0.4) and found["b_gap"] == pytest.approx(0.0)
    assert found["b_gain"] == pytest.approx(0.25) and "a_gain" not in found and "b_at_20_gain" not in found
    assert found["b_at_20"] == pytest.approx(0.2) and found["a_parameters"] == 15 and found["b_macs"] == 3
    assert not [name for name in found if "_train_gain" in name]
    (axis,) = capacity.drawn(study, found, {})["costs"].axes  # the multiply-accumulates are the same
    assert {text.get_text() for text in axis.texts} == {"a", "b"}


@pytest.mark.curriculum("A18")
def test_accuracies_in_the_sample_are_those_of_each_seeds_own_examples():
    config = configs.load("configs/studies/capacity.py:smoke")
    config.study.methods = {"base": {}}
    config.study.against = {}
    config.study.canvases = (8,)
    config.model = {"name": "linear"}
    task = build(config).task
    state = State(jnp.int32(0), **jax.jit(task.init)(jax.random.key(0), {}))
    means = {
        name: float(total)
        for name, (total, _) in jax.jit(task.evals["test"].step)(state, {}, jax.random.key(0)).items()
    }
    assert means["base_at_8/0"] == means["base/0"]  # without a margin there is one place
    model, data = make_model("linear", 10), state.extra["data"]["train"]
    for i, rows in enumerate(state.extra["rows"]):
        params = jax.tree.map(lambda x, i=i: x[i], state.params["base"])
        logits = model.apply({"params": params}, data["image"][rows] / 255.0, False)[0]
        assert means[f"base_train/{i}"] == pytest.approx(float((logits.argmax(-1) == data["label"][rows]).mean()))


@pytest.mark.parametrize(
    "section, message",
    [
        ({"against": {"wide": "bse"}}, "names 'wide', which is no method"),
        ({"canvases": (6,)}, r"config.study.canvases=\(6,\) must be at least the side of the images, 8"),
    ],
)
def test_studies_that_make_no_sense_are_refused(section, message):
    config = configs.load("configs/studies/capacity.py:smoke")
    for key, value in section.items():
        config.study[key] = value
    with pytest.raises(ConfigError, match=message):
        build(config)
