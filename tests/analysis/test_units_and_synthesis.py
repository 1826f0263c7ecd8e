"""Filters, patches, neighbours, made images, segmentation from a map, and explanations that are measured."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.explain import faithfulness, methods, segmentation, synthesis, units
from cvdl_jax.analysis.logits import Logits
from cvdl_jax.errors import ConfigError, DataError

RNG = np.random.default_rng(0)


class Net(nn.Module):
    """Two convolutions, pooling between them, and a dense layer for one image size."""

    @nn.compact
    def __call__(self, x):
        y = nn.max_pool(nn.relu(nn.Conv(3, (3, 3), padding="VALID", name="conv0")(x)), (2, 2), (2, 2))
        y = nn.Conv(2, (3, 3), padding="VALID", name="conv1")(y)
        return nn.Dense(3, name="head")(y.reshape(len(y), -1))


NET, X = Net(), jax.random.uniform(jax.random.key(0), (4, 12, 12, 3))
PARAMS = NET.init(jax.random.key(1), X)["params"]
F = Logits(lambda x: NET.apply({"params": PARAMS}, x))
W = RNG.normal(size=(4, 4, 1, 3)).astype(np.float32)


def linear(x):
    return jnp.tensordot(x, jnp.asarray(W), 3)


@pytest.mark.curriculum("O1", "O2")
def test_filters_are_pictures_of_kernels():
    w = np.asarray(PARAMS["conv0"]["kernel"])
    first = units.filters(PARAMS, "conv0")
    assert first.shape == (3, 1, 3, 3, 3)
    one = w[..., 1]
    np.testing.assert_allclose(first[1, 0], (one - one.min()) / (one.max() - one.min()), atol=1e-6)
    deeper = units.filters({"stage": {"conv": {"kernel": RNG.normal(size=(3, 3, 5, 7))}}}, "stage/conv")
    assert deeper.shape == (7, 5, 3, 3, 1) and deeper.min() == 0 and deeper.max() == 1
    slices = units.filters(PARAMS | {"deep": {"kernel": np.arange(2 * 2 * 4 * 2).reshape(2, 2, 4, 2)}}, "deep")
    assert slices[1, 2, 0, 1, 0] == pytest.approx((1 * 8 + 2 * 2) / 30)  # row 0, column 1, channel 2 of filter 1
    with pytest.raises(ConfigError, match="layer='conv2' is not a convolution with filters; did you mean 'conv"):
        units.filters(PARAMS, "conv2")


@pytest.mark.curriculum("O3")
def test_tiles_of_all_activations():
    from cvdl_jax.analysis.explain.layers import activations

    seen = activations(F, X)
    assert {name: a.shape for name, a in seen.items()} == {
        "conv0": (4, 10, 10, 3), "conv1": (4, 3, 3, 2), "head": (4, 3),
    }  # fmt: skip
    tiles = units.tiled(seen["conv0"][0])  # 3 maps: 2 x 2 tiles with a line between them
    assert tiles.shape == (21, 21) and (tiles[10] == 1).all() and (tiles[11:, 11:] == 1).all()
    a = np.asarray(seen["conv0"][0, ..., 1])
    np.testing.assert_allclose(tiles[:10, 11:], (a - a.min()) / (a.max() - a.min()), atol=1e-5)
    assert units.tiled(seen["head"][0]).shape == (3, 3)


@pytest.mark.curriculum("O4")
def test_patches_that_excite_a_unit_have_the_box_that_it_sees():
    rows, columns = units.receptive_boxes(F, X, "conv1")
    assert rows.tolist() == [[0, 8], [2, 10], [4, 12]] == columns.tolist()  # 3, 2/2, 3: 8 pixels, 2 apart
    values = np.asarray(_conv1(X))[..., 1]
    best = units.top_patches(F, X, 1, "conv1", most=4, overlap=0.0)
    i, row, column = np.unravel_index(values.argmax(), values.shape)
    assert best[0].index == i and best[0].value == pytest.approx(values.max(), rel=1e-5)
    assert best[0].box == (2 * row, 2 * column, 2 * row + 8, 2 * column + 8)
    assert len({p.index for p in best}) == 4 and [p.value for p in best] == sorted([p.value for p in best])[::-1]
    several = units.top_patches(F, X, 1, "conv1", most=36, overlap=0.99)
    assert len(several) == 36  # all places, for no two boxes are the same
    with pytest.raises(ConfigError, match=r"channel=2: the layer 'conv1' has the channels 0 \.\.\. 1"):
        units.top_patches(F, X, 2, "conv1")


def _conv1(x):
    from cvdl_jax.analysis.explain.layers import reach

    return reach(F, X, "conv1")(x)


@pytest.mark.curriculum("O5", "O6")
def test_nearest_examples_as_scikit_learn():
    from sklearn.neighbors import NearestNeighbors

    of_set, queries = RNG.normal(size=(50, 2, 3)) + 100, RNG.normal(size=(4, 2, 3)) + 100
    got = units.nearest_examples(of_set, queries, 6)
    distance, index = NearestNeighbors(n_neighbors=6).fit(of_set.reshape(50, -1)).kneighbors(queries.reshape(4, -1))
    np.testing.assert_array_equal(got.index, index)
    np.testing.assert_allclose(got.distance, distance, atol=1e-6)
    with pytest.raises(DataError, match="at least k=60 examples"):
        units.nearest_examples(of_set, queries, 60)


@pytest.mark.curriculum("O23")
def test_the_image_of_a_class_of_a_linear_score():
    """`w . I - lambda |I|^2` is largest at `w / (2 lambda)`; clipped, at the corner that the weights point to."""
    start = np.full((2, 4, 4, 1), 0.5, np.float32)
    free = synthesis.class_image(linear, start, [2, 0], steps=200, rate=0.1, decay=1.0, clip=False)
    np.testing.assert_allclose(free[0] - 0.5, W[..., 2] / 2, atol=1e-4)
    np.testing.assert_allclose(free[1] - 0.5, W[..., 0] / 2, atol=1e-4)
    corner = synthesis.class_image(linear, start, 1, steps=60, rate=0.5, decay=0.0)
    np.testing.assert_array_equal(corner[0], W[..., 1] > 0)
    for given, target, error, words in (
        (start, 3, ConfigError, "target=3 is not one of the classes 0 ... 2"),
        (start, [1, 2, 0], ConfigError, r"a class, or one for each of 2 rows, got int64\[3\]"),
        (start, None, ConfigError, "name the class whose image"),
        ((255 * start).astype(np.uint8), 1, DataError, "x is uint8; give floats in the range of the model, such as x"),
        (255 * start, 1, DataError, r"start is in 127.5\.\.127.5; give such images, or clip=False"),
    ):
        with pytest.raises(error, match=words):
            synthesis.class_image(linear, given, target)


@pytest.mark.curriculum("O24")
def test_deepdream_raises_the_activation_and_its_gradient_is_the_activation():
    from cvdl_jax.analysis.explain.layers import reach

    run = reach(F, X, "conv0")
    dreamed = synthesis.deepdream(F, X, "conv0", octaves=2, steps=4, rate=0.02, jitter=2)
    assert dreamed.shape == X.shape and float(dreamed.min()) >= 0 and float(dreamed.max()) <= 1
    assert float((run(dreamed) ** 2).sum()) > 1.1 * float((run(X) ** 2).sum())
    _, back = jax.vjp(run, X)
    slope = back(run(X))[0]  # the gradient at the layer is set to its activation
    size = jnp.abs(slope).mean((1, 2, 3), keepdims=True)
    one = synthesis.deepdream(F, X, "conv0", octaves=1, steps=1, rate=0.001, jitter=0)
    np.testing.assert_allclose(one, jnp.clip(X + 0.001 * slope / size, 0, 1), atol=1e-5)
    with pytest.raises(ConfigError, match=r"deepdream\(scale=1.0\) is the ratio"):
        synthesis.deepdream(F, X, "conv0", scale=1.0)


@pytest.mark.curriculum("O25")
def test_style_is_carried_and_content_kept():
    a = RNG.normal(size=(1, 2, 3, 4)).astype(np.float32)
    flat = a.reshape(6, 4)
    np.testing.assert_allclose(synthesis.gram(jnp.asarray(a))[0], flat.T @ flat / 6, rtol=1e-5)
    from cvdl_jax.analysis.explain.layers import reach

    run, style = reach(F, X, "conv0"), X[3:] ** 3
    made = synthesis.style_transfer(F, X[:1], style, "conv1", ["conv0"], style_weight=1e3, steps=30)
    gap = lambda x: float(((synthesis.gram(run(x)) - synthesis.gram(run(style))) ** 2).mean())  # noqa: E731
    assert gap(made) < 0.2 * gap(X[:1])
    kept = synthesis.style_transfer(F, X[:1], style, "conv1", ["conv0"], style_weight=1e-9, steps=10)
    np.testing.assert_allclose(kept, X[:1], atol=0.05)


@pytest.mark.curriculum("O22")
def test_a_disc_is_cut_out_from_a_map_that_only_points_at_it():
    y, x = np.mgrid[:32, :32]
    truth = (y - 14) ** 2 + (x - 18) ** 2 < 81
    image = np.where(truth[..., None], [0.8, 0.3, 0.2], [0.2, 0.4, 0.7]) + 0.05 * RNG.normal(size=(32, 32, 3))
    pointing = np.exp(-((y - 15.0) ** 2 + (x - 17.0) ** 2) / 30)
    mask = segmentation.segment(np.clip(image, 0, 1), pointing[..., None])
    assert (mask & truth).sum() / (mask | truth).sum() > 0.97
    with pytest.raises(DataError, match="has no two sides"):
        segmentation.segment(image, np.ones((32, 32)))


def test_curves_by_hand_of_a_linear_score():
    x = np.ones((1, 4, 4, 1), np.float32)
    maps, w = W[None, ..., 1], np.sort(W[..., 1].reshape(-1))[::-1]
    deleted = faithfulness.deletion(linear, x, maps, 1, steps=16, output="score")
    np.testing.assert_allclose(deleted.values[0], w.sum() - np.concatenate([[0], np.cumsum(w)]), atol=1e-5)
    inserted = faithfulness.insertion(linear, x, maps, 1, steps=16, output="score")
    np.testing.assert_allclose(inserted.values[0], np.concatenate([[0], np.cumsum(w)]), atol=1e-5)
    values = inserted.values[0]
    assert inserted.area[0] == pytest.approx((values[:-1] + values[1:]).mean() / 2)
    worse = faithfulness.insertion(linear, x, -maps, 1, steps=16, output="score")
    assert worse.area[0] < inserted.area[0]
    few = faithfulness.deletion(linear, x, maps, 1, steps=5, output="score")
    assert few.shares.tolist() == [0, 3 / 16, 6 / 16, 10 / 16, 13 / 16, 1]
    with pytest.raises(DataError, match=r"maps have the shape \[1, 4, 3, 1\]"):
        faithfulness.deletion(linear, x, maps[:, :, :3], 1)


def test_maps_that_are_no_numbers_have_no_place_in_a_ranking():
    bad = np.where(np.arange(16).reshape(1, 4, 4, 1) == 5, np.nan, W[None, ..., 1])
    x, truth = np.ones((1, 4, 4, 1), np.float32), np.ones((1, 4, 4), bool)
    for measure in (
        lambda: faithfulness.insertion(linear, x, bad, 1),
        lambda: faithfulness.rank_correlation(W[None, ..., 1], bad),
        lambda: faithfulness.pointing_game(bad, truth),
    ):
        with pytest.raises(DataError, match="the maps have numbers that are not finite"):
            measure()


def test_the_pointing_game():
    maps, truth = np.zeros((2, 5, 5, 2)), np.zeros((2, 5, 5), bool)
    maps[0, 1, 1], maps[1, 3, 4] = 1, 1
    truth[0, 1, 1], truth[1, 1, 3] = True, True
    assert faithfulness.pointing_game(maps, truth).tolist() == [True, False]
    assert faithfulness.pointing_game(maps, truth, 1).tolist() == [True, False]
    assert faithfulness.pointing_game(maps, truth, 2).tolist() == [True, True]
    with pytest.raises(DataError, match="a pixel of the class in every image"):
        faithfulness.pointing_game(maps, np.zeros((2, 5, 5), bool))


def test_randomised_weights_change_a_map_that_depends_on_them():
    def explain(params):
        return methods.gradient(lambda x: NET.apply({"params": params}, x), X, 1)

    check = faithfulness.sanity_check(explain, PARAMS, ["head", "conv1", "conv0"])
    assert list(check) == ["head", "conv1", "conv0"] and abs(check["conv0"]) < 0.7
    assert check["head"] < 0.98
    edges = faithfulness.sanity_check(lambda params: X, PARAMS, ["head"])
    assert edges["head"] == pytest.approx(1)  # what shows the image itself does not
    other = faithfulness.randomised(PARAMS, ["head"])
    assert other["conv0"] is PARAMS["conv0"] and not np.array_equal(other["head"]["kernel"], PARAMS["head"]["kernel"])
    np.testing.assert_allclose(
        np.sort(np.ravel(other["head"]["kernel"])), np.sort(np.ravel(PARAMS["head"]["kernel"])), rtol=1e-6
    )
    with pytest.raises(ConfigError, match="layer='heads' has no parameters"):
        faithfulness.randomised(PARAMS, ["heads"])
    a = RNG.normal(size=(2, 3, 3, 1))
    np.testing.assert_allclose(faithfulness.rank_correlation(a, np.exp(a)), 1)
    np.testing.assert_allclose(faithfulness.rank_correlation(a, -a), -1)


@pytest.mark.curriculum("O21")
def test_every_method_by_name_gives_maps_and_those_that_add_up_are_named():
    few = {"smoothgrad": {"samples": 2}, "ig": {"steps": 4}, "shapley": {"permutations": 1, "patch": 6}}
    few["occlusion"] = {"size": 6}
    for name, fn in methods.METHODS.items():
        if name in ("rollout", "cam"):  # for other networks
            continue
        maps = np.asarray(fn(F, X[:2], **few.get(name, {})))
        assert maps.shape in ((2, 12, 12, 3), (2, 12, 12, 1)) and np.isfinite(maps).all(), name
        assert fn.__doc__ and np.abs(maps).max() > 0, name
    assert set(methods.ADD_UP) < set(methods.METHODS)
