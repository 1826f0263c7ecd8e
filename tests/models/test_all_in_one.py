"""The All-In-One network and its faces: what each head depends on, sources and their labels, even batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core import counting
from cvdl_jax.core.task import create_state
from cvdl_jax.core.trees import path_name
from cvdl_jax.data import order, portraits
from cvdl_jax.data.builders import face_tasks
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import Words
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.models.multi_task import all_in_one

ROW = all_in_one.VARIANTS["all_in_one_tiny"]
SETTINGS = {"size": 24, "people": 4, "train": 24, "validation": 12, "test": 12}
NAME = f"face_tasks({', '.join(f'{k}={v}' for k, v in SETTINGS.items())})"


def named(tree):
    """{path: leaf} of a tree."""
    return {path_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def made(name="all_in_one_tiny", **context):
    return registry.create({"name": name}, "config.model", kinds=("multi_task",), **context)


@pytest.mark.curriculum("I12")
def test_the_published_network_has_seven_heads_and_the_published_sizes():
    model = made("all_in_one", heads=all_in_one.VARIANTS["all_in_one"]["heads"])
    shapes = jax.eval_shape(
        lambda key, x: model.init_with_output(key, x, False), jax.random.key(0), jnp.zeros((1, 227, 227, 3))
    )
    (outputs, out), variables = shapes
    sizes = {name: x.shape[1] for name, x in outputs.items()}
    assert sizes == {"detection": 1, "landmarks": 42, "visibility": 21, "pose": 3, "smile": 1, "gender": 1, "age": 1,
                     "identity": 10_548}  # fmt: skip
    assert [x.shape[1:] for x in out["stages"]] == [(27, 27, 96), (13, 13, 384), (6, 6, 512), (6, 6, 512)]
    kernels = {name: x.shape for name, x in named(variables["params"]).items() if name.endswith("kernel")}
    assert kernels["conv1a/kernel"] == (4, 4, 96, 256) and kernels["conv3a/kernel"] == (2, 2, 384, 256)
    assert kernels["conv_all/kernel"] == (1, 1, 1024, 256) and kernels["local0/kernel"] == (6 * 6 * 256, 2048)
    assert kernels["gender0/kernel"] == kernels["identity0/kernel"] == (6 * 6 * 512, 1024)
    assert kernels["smile0/kernel"] == (2048, 512) and kernels["identity1/kernel"] == (1024, 512)


@pytest.fixture(scope="module")
def slopes():
    """{head: names of the parameters that it depends on}."""
    model = made(heads=ROW["heads"])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *ROW["input"])), jnp.float32)
    params = model.init(jax.random.key(0), x, False)["params"]
    assert counting.parameters(params) == ROW["params"]

    heads = [name for name, _ in ROW["heads"]]

    @jax.jit
    def all_slopes(params):
        outputs, pull = jax.vjp(lambda p: model.apply({"params": p}, x, False)[0], params)
        chosen = {
            n: jnp.zeros((len(heads), *o.shape)).at[i].set(1.0) for i, n in enumerate(heads) for o in [outputs[n]]
        }
        return jax.vmap(lambda of: pull(of)[0])(chosen)  # one row for each head

    rows = {name: np.asarray(x) for name, x in named(all_slopes(params)).items()}
    return {head: {name for name, x in rows.items() if np.abs(x[i]).max() > 0} for i, head in enumerate(heads)}


@pytest.mark.curriculum("I12")
def test_tasks_branch_off_where_the_paper_says(slopes):
    """Local tasks fuse convolutions one, three and five; age and gender follow the sixth, the identity the seventh."""
    convolutions = {head: sorted(n for n in of if n.startswith("conv") and n.endswith("kernel")) for head, of in
                    slopes.items()}  # fmt: skip
    shared = [f"conv{i}/kernel" for i in range(1, 6)]
    for head in all_in_one.LOCAL:
        assert convolutions[head] == sorted([*shared, "conv1a/kernel", "conv3a/kernel", "conv_all/kernel"])
    for head in all_in_one.GLOBAL:
        assert convolutions[head] == [*shared, "conv6/kernel"]
    assert convolutions["identity"] == [*shared, "conv6/kernel", "conv7/kernel"]
    for head, of in slopes.items():  # no task sees the hidden layers of another
        own = {n.split("/")[0].rstrip("0123456789") for n in of if not n.startswith(("conv", "PReLU", "local", "head"))}
        assert own == {head} and f"head_{head}/kernel" in of


def test_a_network_has_the_heads_that_are_asked_for():
    some = made(heads=(("age", 1), ("pose", 3)))
    shapes = jax.eval_shape(
        lambda key, x: some.init_with_output(key, x, False), jax.random.key(0), jnp.zeros((1, 35, 35, 3))
    )
    (outputs, _), variables = shapes
    assert list(outputs) == ["age", "pose"] and not any("identity" in n for n in named(variables["params"]))
    with pytest.raises(ConfigError, match=r"config.tasks.mood: the network All-In-One has heads for detection"):
        made(heads=(("mood", 1),)).init(jax.random.key(0), jnp.zeros((1, 35, 35, 3)), False)


# The faces ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    return load(NAME, validation="validation", test="test", spread="source")


@pytest.mark.curriculum("I12")
def test_a_source_says_what_it_knows_and_hides_the_rest(data):
    for split in ("train", "validation"):
        rows = {name: np.asarray(x) for name, x in data.splits[split].arrays.items()}
        assert rows["source"].tolist() == [i % 4 for i in range(SETTINGS[split])]
        for i, number in enumerate(rows["source"]):
            known = {name for name in face_tasks.LABELS if rows[f"known/{name}"][i]}
            expected = set(face_tasks.SOURCES[list(face_tasks.SOURCES)[number]])
            expected -= {"gender"} if number == 0 and split != "train" else set()
            no_face = number == 3 and not rows["face"][i]
            assert known == ({"face"} if no_face else expected)
            for name in set(face_tasks.LABELS) - known:
                assert not rows[name][i].any()
            assert ("landmarks" in known) or not rows["visibility"][i].any()
    poses = rows["source"] == 3
    assert 0 < rows["face"][poses].mean() < 1


@pytest.mark.curriculum("I12")
def test_the_hidden_truth_is_that_of_the_drawing():
    config = face_tasks.configure(**{**SETTINGS, "size": 96})
    rows = [face_tasks.example("train", i, config) for i in range(24)]
    again = [row["image"] for row in rows if row["source"] == 0]
    assert len(again) == 6 and not (again[0] == again[1]).all()
    row = next(row for row in rows if row["source"] == 3 and row["face"])
    i = rows.index(row)
    seen = portraits.view(Words(face_tasks.STREAMS["train"] + 1, i), config.turn)
    assert row["angles"].tolist() == [seen.pitch, seen.yaw, seen.roll]
    who = face_tasks.Someone(Words(face_tasks.STREAMS["train"], i))
    np.testing.assert_array_equal(row["image"], portraits.draw(who.drawn, seen, 96).image)
    points = portraits.landmarks(who.drawn, seen, 96)
    np.testing.assert_allclose(row["landmarks"][[7, 10, 13]], points[[68, 69, 30], :2], rtol=1e-6)  # irises, nose
    people = [face_tasks.Someone(Words(5, i)) for i in range(400)]
    men = np.array([p.gender for p in people])
    beard, grey = (np.array([getattr(p.drawn, name) for p in people]) for name in ("moustache", "hair"))
    ages = np.array([p.age for p in people])
    assert not beard[men == 0].any() and beard[men == 1].any() and 0.4 < men.mean() < 0.6
    assert not (grey[ages < 36] == 5).any() and (grey[ages > 70] == 5).mean() > 0.5


def test_a_turned_head_hides_the_far_side():
    who = face_tasks.Someone(Words(5, 0)).drawn
    left, right = 15, 16  # sides of the head, from the left of the image
    for yaw, hidden, shown in ((40, right, left), (-40, left, right)):
        seen = face_tasks.visible(who, portraits.FRONT._replace(yaw=yaw), 64)
        assert (seen[hidden], seen[shown]) == (0, 1) and seen[13] == 1
    away = face_tasks.visible(who, portraits.FRONT._replace(x=1400), 64)
    assert not away.any()


@pytest.mark.curriculum("I9")
def test_every_batch_has_the_shares_of_the_sources(data):
    split = data.splits["train"]
    sources = np.asarray(split.arrays["source"])
    seen = []
    for step in range(9):  # three epochs of three batches
        _, index = split.at(7, order.batch_positions(step, 8))
        assert np.bincount(sources[index], minlength=4).tolist() == [2, 2, 2, 2]
        seen += index.tolist()
    assert all(sorted(seen[24 * e : 24 * e + 24]) == list(range(24)) for e in range(3)) and seen[:24] != seen[24:48]
    uneven = order.Groups(np.arange(60) % 6 == 0, spread=True)
    rows = order.permutation(0, 0, 60, uneven)
    assert all(uneven.numbers[rows[i : i + 12]].sum() == 2 for i in range(0, 60, 12))
    with pytest.raises(ConfigError, match=r"config.data.spread='age' is no entry of face_tasks with a class of each"):
        load(NAME, spread="age")


@pytest.mark.long
@pytest.mark.curriculum("I12")
def test_a_step_of_the_recipe_counts_the_labels_of_each_source():
    built = build(
        configs.load("configs/regimes/all_in_one.py:smoke", ["--config.augment=", "--config.model.dropout=0.0"])
    )
    batch = {name: jnp.zeros(x.shape, x.dtype) for name, x in built.info.spec.items()}
    state = create_state(built.task, jax.random.key(0), batch)
    split = built.data.splits["train"]
    _, index = split.at(0, order.batch_positions(0, 16))
    rows = split.batch(index)
    rows = {**rows, "image": jnp.asarray(rows["image"], jnp.float32) / 255}
    known = np.asarray(rows["known/age"]) == 1
    ages = np.array(built.task.predict(state, rows)["age"])
    rows["age"] = np.where(known, ages + np.cumsum(known) * 3.0 - 2.0, 0.0).astype(np.float32)  # 1 to 10 years off
    update = jax.jit(built.task.train.update)
    new, _, sums = update(state, rows, jax.random.key(1))
    count = {name.split("/")[0]: float(w) for name, (_, w) in sums.items() if name.endswith("/loss")}
    faces = float(np.asarray(rows["known/landmarks"]).sum())
    assert count == {"detection": 4, "landmarks": faces, "visibility": faces, "pose": faces, "smile": 4, "gender": 12,
                     "age": 4, "identity": 4}  # fmt: skip
    weights = {name: section["weight"] for name, section in built.config.tasks.items()}
    total = sum(weights[name] * float(sums[f"{name}/loss"][0]) for name in weights)
    assert float(sums["loss"][0]) == pytest.approx(total, rel=1e-5) and float(sums["loss"][1]) == 16
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(new.params))
    _, _, last = update(state._replace(step=jnp.int32(2)), rows, jax.random.key(1))  # of two steps: half the bounded
    wrong = np.asarray(built.task.predict(state, rows)["age"]) - np.asarray(rows["age"])
    wrong = wrong[known]
    squared, bounded = np.square(wrong / 20).sum() / 2, (1 - np.exp(-np.square(wrong) / (2 * 9))).sum()
    assert abs(squared - bounded) > 0.5  # or no share of the two could be told from another
    assert float(sums["age/loss"][0]) == pytest.approx(squared, rel=1e-3)
    assert float(last["age/loss"][0]) == pytest.approx((squared + bounded) / 2, rel=1e-3)
    assert float(sums["age/mae"][0]) == pytest.approx(np.abs(wrong).sum(), rel=1e-3)
