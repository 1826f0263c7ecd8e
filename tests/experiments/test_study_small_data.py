"""The study of small training sets: what each method changes, what it begins with, and who sees what."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import Transform, create_state
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from experiments.studies import small_data

FILE = "configs/studies/small_data.py:smoke"


@pytest.fixture(scope="module")
def small():
    """(config, study, networks, state at first, a batch): one size and two seeds."""
    config = configs.load(
        FILE, ["config.study.sizes=(20,)", "config.batch_size=8", "config.model={'name':'mlp','hidden':(32,)}"]
    )
    run = build(config)
    state = jax.jit(partial(create_state, run.task))(jax.random.key(0), {})
    study = configs.call(small_data.Study, config.study, "config.study")
    nets = small_data.built(study, config, run.info, 5)
    batch = small_data.draw(study, 8, state, {}, jax.random.key(1))[1]
    return config, study, nets, state, batch


@pytest.mark.curriculum("W16", "I2")
def test_transfer_begins_with_trained_weights_but_for_its_head(small):
    _, _, _, state, _ = small
    plain = state.params["plain_as_it_is"]
    for name in ("transfer_frozen", "transfer_tenth"):
        moved = np.abs(np.asarray(state.params[name]["dense0"]["kernel"] - plain["dense0"]["kernel"]))
        assert 0 < np.median(moved) and moved.max() < 0.01  # two steps of Adam at a rate of 0.002
        assert (moved[0] != moved[1]).any()  # each seed has weights of its own
        jax.tree.map(np.testing.assert_array_equal, state.params[name]["head"], plain["head"])
    auxiliary = dict(state.params["auxiliary_weak"])
    assert auxiliary.pop("rotation")["kernel"].shape == (2, 32, 4)
    jax.tree.map(np.testing.assert_array_equal, auxiliary, plain)


@pytest.mark.curriculum("W16")
def test_a_batch_has_the_images_of_each_seeds_own_set_with_their_labels(small):
    _, _, _, state, batch = small
    data = state.extra["data"]["train"]
    for seed in range(2):
        own = np.asarray(state.extra["rows"][seed, :20])
        for image, label in zip(np.asarray(batch["image"][seed]), np.asarray(batch["label"][seed]), strict=True):
            (place, *_) = (i for i in own if (np.asarray(data["image"][i]) == image).all())
            assert data["label"][place] == label


@pytest.mark.curriculum("W16")
def test_the_loss_of_a_method_by_hand(small):
    """Plain, and with the auxiliary task: its gradient reaches its own head and what both share."""
    _, _, nets, state, batch = small
    key = jax.random.key(2)
    loss = partial(small_data.training_loss, state=state, batch=batch, key=key)
    total, weight = jax.jit(lambda: loss("plain_as_it_is", nets["plain_as_it_is"][0], 0.0))()[1]["loss"]
    model, expected = nets["plain_as_it_is"][0].model, []
    for seed in range(2):
        params = jax.tree.map(lambda x, i=seed: x[i], state.params["plain_as_it_is"])
        image = np.asarray(batch["image"][seed], np.float32) / 255
        logits = model.apply({"params": params}, jnp.asarray(image), False)[0]
        expected.append(softmax_cross_entropy(logits, batch["label"][seed]).mean())
    assert float(total / weight) == pytest.approx(float(sum(expected)), rel=1e-4)

    def auxiliary(params, weight):
        own = state._replace(params={**state.params, "auxiliary_weak": params})
        return small_data.training_loss("auxiliary_weak", nets["auxiliary_weak"][0], weight, own, batch, key)[1][
            "loss"
        ][0]

    params, values = state.params["auxiliary_weak"], jax.jit(jax.value_and_grad(auxiliary), static_argnums=1)
    (one, slope), (two, _) = values(params, 1.0), values(params, 2.0)
    assert float(two - one) == pytest.approx(float(one - total), rel=1e-4)  # the same first weights as "plain"
    assert 16 * 0.7 < float(one - total) < 16 * 2.8  # about log 4 for each image
    assert float(jnp.abs(slope["rotation"]["kernel"]).max()) > 0
    none = jax.tree.map(jnp.zeros_like, params["rotation"])
    flat, _ = values({**params, "rotation": none}, 1.0)
    assert float(flat - total) == pytest.approx(16 * np.log(4), rel=1e-4)


@pytest.mark.curriculum("W16")
def test_images_are_augmented_and_turned_anew_in_every_step(small):
    _, _, nets, state, batch = small
    net = nets["auxiliary_weak"][0]

    def loss(net, weight):
        own = partial(small_data.training_loss, "auxiliary_weak", net, weight)
        run = jax.jit(lambda batch, key: own(state, batch, key)[1]["loss"][0])
        return lambda batch, seed: float(run(batch, jax.random.key(seed)))

    def negative(state, batch, key):
        return state, {**batch, "image": 1 - batch["image"]}, {}

    def noisy(state, batch, key):
        return state, {**batch, "image": batch["image"] + jax.random.uniform(key, batch["image"].shape)}, {}

    inverted = {**batch, "image": 255 - batch["image"]}
    plain, changed = loss(net, 0.0), loss(net._replace(augment=Transform(negative)), 0.0)
    assert changed(batch, 0) == pytest.approx(plain(inverted, 0), rel=1e-5) != plain(batch, 0) == plain(batch, 1)
    for drawn in (loss(net._replace(augment=Transform(noisy)), 0.0), loss(net, 1.0)):
        assert drawn(batch, 0) != drawn(batch, 1)


@pytest.mark.curriculum("W16")
def test_accuracies_are_of_each_copy_on_both_splits(small):
    _, study, nets, state, _ = small
    one = {"plain_as_it_is": nets["plain_as_it_is"]}
    sums = jax.jit(lambda s: small_data.accuracies(study, one, "test", s, {}, None))(state)
    assert set(sums) == {f"plain_as_it_is_20_{part}/{seed}" for part in ("validation", "test") for seed in (0, 1)}
    model, data = nets["plain_as_it_is"][0].model, state.extra["data"]["test"]
    for seed in range(2):
        params = jax.tree.map(lambda x, i=seed: x[i], state.params["plain_as_it_is"])
        logits = jax.jit(lambda p: model.apply({"params": p}, data["image"] / 255.0, False)[0])(params)
        share = float((logits.argmax(-1) == data["label"]).mean())
        assert float(sums[f"plain_as_it_is_20_test/{seed}"][0]) == pytest.approx(share, abs=0.006)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["config.study.source=('5','6')"], "must be two classes or more each, none in both"),
        (["config.study.sizes=(20,2000)"], r"must ascend, up to the 57\d training images"),
        (["config.study.methods.auxiliary.weak.auxiliary=-1.0"], r"auxiliary\.weak\.auxiliary=-1\.0 must be 0 or more"),
        (["config.study.methods.plain.as_it_is.transfr=True"], r"transfr is not an argument of Method"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(FILE, overrides))


def test_a_study_needs_its_baseline():
    config = configs.load(FILE)
    del config.study.methods["plain"]
    with pytest.raises(ConfigError, match=r"config\.study\.methods lacks 'plain'"):
        build(config)
