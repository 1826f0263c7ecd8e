"""Domain adaptation: its losses by hand, which way each gradient goes, and that labels of the target are never read."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import create_state
from cvdl_jax.data.augment import policy
from cvdl_jax.engine import target_domain
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_train
from cvdl_jax.nn.domain_classifier import DomainClassifier
from cvdl_jax.ops import domain_adaptation as domains
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from experiments import adapt

RNG = np.random.default_rng(0)
B, STEPS, RATE = 6, 10, 0.5
BATCH = {
    "image": jnp.asarray(RNG.uniform(size=(B, 4, 4, 1)), jnp.float32),
    "label": jnp.asarray(RNG.integers(0, 3, B), jnp.int32),
}
STORED = {
    "image": RNG.integers(0, 256, (9, 4, 4, 1)).astype(np.uint8),
    "label": RNG.integers(0, 3, 9).astype(np.int32),
}


@pytest.mark.curriculum("U8")
def test_a_reversed_gradient_is_the_identity_backwards():
    x = jnp.asarray([1.0, -2.0])
    value, (slope, none) = jax.value_and_grad(lambda x, s: (domains.reversed_gradient(x, s) ** 2).sum(), (0, 1))(x, 0.3)
    assert value == 5 and none == 0
    np.testing.assert_allclose(slope, -0.3 * 2 * x, rtol=1e-6)


@pytest.mark.curriculum("U8")
def test_the_schedule_is_the_papers():
    p = np.linspace(0, 1, 5)
    np.testing.assert_allclose(domains.adaptation_strength(p), 2 / (1 + np.exp(-10 * p)) - 1, atol=1e-6)
    np.testing.assert_allclose(domains.adaptation_strength(0.5, 2.0), 2 / (1 + np.exp(-1)) - 1, rtol=1e-6)


@pytest.mark.curriculum("U7", "U8")
def test_distances_of_domains_by_hand():
    s, t = RNG.normal(size=(7, 3)), RNG.normal(size=(5, 3)) * 2 + 1
    want = ((np.cov(s.T) - np.cov(t.T)) ** 2).sum() / (4 * 9)
    np.testing.assert_allclose(domains.coral_distance(jnp.asarray(s), jnp.asarray(t)), want, rtol=1e-5)
    np.testing.assert_allclose(domains.coral_distance(jnp.asarray(s), jnp.asarray(s + 5)), 0, atol=1e-9)  # means differ
    losses = domains.domain_losses(jnp.log(jnp.asarray([3.0])), jnp.log(jnp.asarray([1 / 3])))
    np.testing.assert_allclose(losses, -2 * np.log(3 / 4), rtol=1e-6)
    with pytest.raises(ValueError, match="covariances need two rows of one width"):
        domains.coral_distance(jnp.ones((1, 3)), jnp.ones((5, 3)))


def made(monkeypatch, method, stored=STORED, more=(), **settings):
    """(task, its first state) of a small perceptron, by plain gradient descent; `more` are keys of the config."""
    labelled = method == "oracle"
    kept = {"target": {k: stored[k] for k in (("image", "label") if labelled else ("image",))}, "target_test": stored}
    monkeypatch.setattr(adapt, "target_images", lambda config, info, want: kept if want == labelled else None)
    config = configs.load(f"configs/regimes/adapt.py:method={method}")
    config.augment, config.normalise, config.model = "", {}, {"name": "mlp", "hidden": (5,)}
    config.optim = {"name": "sgd", "lr": RATE, "momentum": 0.0}
    config.adapt.update(settings)
    config.update(dict(more))
    spec = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in BATCH.items()}
    info = Info(3, (), spec, {"train": B, "validation": B, "test": B}, B, STEPS, 1.0, 0)
    task = adapt.make(config, info)
    return task, create_state(task, jax.random.key(0), BATCH)._replace(step=jnp.asarray(3))


def drawn(state, key):
    """The target's images that a step gives its rows: the chain's first transform has key 0."""
    return adapt.with_target(state, BATCH, jax.random.fold_in(key, 0))[1]


def applied(params, image):
    """(logits, hidden units) of the perceptron, as another program would compute them."""
    x = image.reshape(len(image), -1)
    names = sorted(params)
    first, last = (params[name] for name in names) if len(names) == 2 else (None, None)
    hidden = jax.nn.relu(x @ first["kernel"] + first["bias"][None])
    return hidden @ last["kernel"] + last["bias"][None], hidden


@pytest.mark.curriculum("U7", "U8")
@pytest.mark.parametrize("method", ["dann", "coral"])
def test_a_step_goes_along_the_slopes_of_the_papers_objective(monkeypatch, method):
    """The classifier descends the class loss minus lambda times the domain loss, the domain classifier its own loss."""
    settings = {"weight": 0.7, "units": 4} if method == "dann" else {"weight": 0.7}
    task, state = made(monkeypatch, method, **settings)
    key = jax.random.key(5)
    new, _, sums = jax.jit(task.train.update)(state, BATCH, key)
    target = drawn(state, key)["target"]
    strength = 2 / (1 + np.exp(-10 * 3 / STEPS)) - 1

    def parts(params):
        (logits, hidden), (other, more) = (applied(params["classifier"], x) for x in (BATCH["image"], target))
        classification = softmax_cross_entropy(logits, BATCH["label"]).mean()
        if method == "coral":
            return classification, domains.coral_distance(logits, other)
        judge = partial(DomainClassifier(4).apply, {"params": params["domain"]})
        return classification, (jax.nn.softplus(-judge(hidden)) + jax.nn.softplus(judge(more))).mean()

    one, two = parts(state.params)
    np.testing.assert_allclose(sums["loss"][0] / sums["loss"][1], one + 0.7 * two, rtol=1e-5)
    np.testing.assert_allclose(sums["adaptation"][0] / sums["adaptation"][1], two, rtol=1e-4)
    sign = -strength if method == "dann" else 1.0
    slopes = jax.grad(lambda p: parts(p)[0] + sign * 0.7 * parts(p)[1])(state.params)
    moved = jax.tree.map(lambda p, g: p - RATE * g, state.params, slopes)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), new.params["classifier"], moved["classifier"]
    )
    if method == "dann":
        judge = partial(DomainClassifier(4).apply, {"params": state.params["domain"]})
        ours, theirs = (judge(applied(state.params["classifier"], x)[1]) for x in (BATCH["image"], target))
        right = ((ours > 0).mean() + (theirs <= 0).mean()) / 2
        assert float(sums["domain_accuracy"][0] / sums["domain_accuracy"][1]) == pytest.approx(float(right))
        slopes = jax.grad(lambda p: 0.7 * parts(p)[1])(state.params)["domain"]
        moved = jax.tree.map(lambda p, g: p - RATE * g, state.params["domain"], slopes)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), new.params["domain"], moved)


@pytest.mark.curriculum("U7", "U8")
@pytest.mark.parametrize("method", ["dann", "coral", "source", "oracle"])
def test_only_the_oracle_reads_labels_of_the_target(monkeypatch, method):
    other = {**STORED, "label": (STORED["label"] + 1) % 3}
    results = []
    for stored in (STORED, other):
        task, state = made(monkeypatch, method, stored)
        assert ("label" in state.extra["target"]) == (method == "oracle")
        results.append(jax.jit(task.train.update)(state, BATCH, jax.random.key(2))[0].params)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), *results)
    assert all(jax.tree.leaves(same)) == (method != "oracle")
    if method == "oracle":  # nor does it read those of the source
        task, state = made(monkeypatch, method)
        swapped = {**BATCH, "label": (BATCH["label"] + 1) % 3}
        one, two = (task.train.update(state, b, jax.random.key(2))[0].params for b in (BATCH, swapped))
        jax.tree.map(np.testing.assert_array_equal, one, two)


@pytest.mark.curriculum("U7")
def test_both_domains_are_augmented_each_by_itself_and_normalised(monkeypatch):
    more = {"augment": "uniform_noise(amount=0.4)", "normalise": {"mean": (0.3,), "std": (0.5,)}}
    task, state = made(monkeypatch, "coral", more=more)
    key = jax.random.key(5)
    _, _, sums = jax.jit(task.train.update)(state, BATCH, key)
    augment, own = policy.build(more["augment"]), jax.random.fold_in(key, 1)  # the second transform of the chain
    images = BATCH["image"], drawn(state, key)["target"]
    seen = [
        (augment.update(state, {"image": x}, jax.random.fold_in(own, i))[1]["image"] - 0.3) / 0.5
        for i, x in enumerate(images)
    ]
    logits, other = (applied(state.params["classifier"], x)[0] for x in seen)
    classification = softmax_cross_entropy(logits, BATCH["label"]).mean()
    np.testing.assert_allclose(sums["classification"][0] / sums["classification"][1], classification, rtol=1e-4)
    distance = domains.coral_distance(logits, other)
    np.testing.assert_allclose(sums["adaptation"][0] / sums["adaptation"][1], distance, rtol=1e-3)
    said = task.predict(state, {"image": BATCH["image"]})["scores"]
    np.testing.assert_allclose(said, applied(state.params["classifier"], (BATCH["image"] - 0.3) / 0.5)[0], rtol=1e-4)


@pytest.mark.curriculum("U7")
def test_domains_have_random_numbers_of_their_own(monkeypatch):
    """One image everywhere: only what is dropped can make the logits of one domain others than those of the other."""
    image = jnp.full((B, 4, 4, 1), 51 / 255)
    stored = {"image": np.full((9, 4, 4, 1), 51, np.uint8), "label": STORED["label"]}
    distances = []
    for dropout in (0.0, 0.5):
        task, state = made(monkeypatch, "coral", stored, {"model": {"name": "mlp", "hidden": (5,), "dropout": dropout}})
        _, _, sums = jax.jit(task.train.update)(state, {**BATCH, "image": image}, jax.random.key(0))
        distances.append(float(sums["adaptation"][0]))
    assert distances[0] < 1e-9 < 1e-6 < distances[1]


@pytest.mark.curriculum("U7")
def test_statistics_are_of_one_domain_after_the_other(monkeypatch):
    section = {"name": "mlp", "hidden": (5,), "norm": "batch"}
    task, state = made(monkeypatch, "coral", more={"model": section})
    new, _, _ = jax.jit(task.train.update)(state, BATCH, jax.random.key(0))
    model, expected = registry.create(section, "config.model", num_classes=3), state
    for image in (BATCH["image"], drawn(state, jax.random.key(0))["target"]):
        _, expected = apply_train(model, expected, image, jax.random.key(1), on="classifier")
    stats = [jax.device_get(one.extra["batch_stats"]) for one in (new, expected)]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), *stats)
    with pytest.raises(ConfigError, match=r"config\.batch_stats='exact' would not be those of the target"):
        made(monkeypatch, "coral", more={"batch_stats": "exact"})


def test_rows_get_examples_of_the_target_with_their_own_labels(monkeypatch):
    _, state = made(monkeypatch, "oracle")
    batches = [drawn(state, jax.random.key(i)) for i in range(6)]
    places = []
    for batch in batches:
        for image, label in zip(batch["target"], batch["target_label"], strict=True):
            (place,) = np.flatnonzero((np.abs(STORED["image"] / 255 - np.asarray(image)) < 1e-6).all((1, 2, 3)))
            assert label == STORED["label"][place]
            places.append(place)
    assert set(places) == set(range(9)) and len(set(places[:B])) > 1


@pytest.mark.curriculum("U7")
def test_the_target_is_evaluated_whole(monkeypatch):
    monkeypatch.setattr(adapt, "CHUNK", 4)  # which does not divide the nine examples
    task, state = made(monkeypatch, "source")
    evaluation = task.evals["target"]
    total, weight = jax.jit(evaluation.step)(state, {}, jax.random.key(0))["accuracy"]
    guess = np.asarray(applied(state.params["classifier"], jnp.asarray(STORED["image"] / 255, jnp.float32))[0]).argmax(
        1
    )
    assert float(total / weight) == pytest.approx((guess == STORED["label"]).mean())
    metrics = evaluation.finalize({"accuracy": 5 / 9}, {})
    assert metrics["accuracy_low"] < 5 / 9 < metrics["accuracy_high"]
    assert evaluation.final and not task.evals["validation"].final
    assert [task.evals[split].data for split in ("validation", "test")] == ["validation", "test"]


def test_padded_rows_of_the_source_do_not_count():
    logits = jnp.eye(3)
    batch = {"image": None, "label": jnp.asarray([0, 0, 2]), "mask": jnp.asarray([1.0, 1.0, 0.0])}
    sums = adapt.evaluation_step(lambda state, image: logits, None, batch, None)
    assert [float(x) for x in sums["accuracy"]] == [1, 2]
    want = softmax_cross_entropy(logits, batch["label"])[:2].sum()
    np.testing.assert_allclose(sums["loss"], [want, 2], rtol=1e-6)


def test_another_set_of_classes_or_sizes_is_refused():
    config = configs.load("configs/regimes/adapt.py:smoke")
    spec = {"image": jax.ShapeDtypeStruct((2, 32, 32, 1), jnp.float32)}
    names = tuple("0123456789")
    info = Info(10, names, spec, {}, 2, 1, 1.0, 0)
    kept = target_domain.target_images(config, info, False)
    assert set(kept["target"]) == {"image"} and len(kept["target"]["image"]) == 1149
    assert len(kept["target_test"]["label"]) == 359
    with pytest.raises(ConfigError, match="has other classes than"):
        target_domain.target_images(config, info._replace(class_names=names[::-1]), False)
    spec = {"image": jax.ShapeDtypeStruct((2, 28, 28, 3), jnp.float32)}
    with pytest.raises(ConfigError, match=r"config\.target\.image_size=\(28, 28\) and config\.target\.channels=3"):
        target_domain.target_images(config, info._replace(spec=spec), False)
