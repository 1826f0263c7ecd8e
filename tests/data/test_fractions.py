"""Splits by fraction: sizes, disjointness, seeds, classes, what is refused, and what a run of one leaves behind."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from cvdl_jax.data import load, subset
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.errors import ConfigError, DataError

SPLIT = {"fractions": (0.7, 0.15, 0.15), "stratified": True, "seed": 0}


@pytest.mark.curriculum("W1")
@pytest.mark.parametrize(
    ("n", "cut", "expected"),
    [
        (1_000_000, (0.98, 0.01, 0.01), [980_000, 10_000, 10_000]),
        (4_000_000, (0.995, 0.0025, 0.0025), [3_980_000, 10_000, 10_000]),
        (10_000, (0.7, 0.15, 0.15), [7_000, 1_500, 1_500]),
        (1_797, (0.7, 0.15, 0.15), [1_258, 270, 269]),  # 1257.9, 269.55, 269.55
        (10, (0.7, 0.15, 0.15), [7, 2, 1]),  # of equal remainders the earlier part gains
        (3, (1 / 3, 1 / 3, 1 / 3), [1, 1, 1]),
        (5, (0.5, 0.5), [3, 2]),
    ],
)
def test_sizes_by_largest_remainder(n, cut, expected):
    assert subset.sizes(n, cut) == expected


@pytest.mark.curriculum("W1")
@given(st.integers(1, 400), st.lists(st.integers(1, 30), min_size=2, max_size=3), st.integers(0, 2**32 - 1))
def test_parts_are_disjoint_and_complete(n, weights, seed):
    cut = [w / sum(weights) for w in weights]
    try:
        parts = subset.sizes(n, cut)
    except ConfigError as error:
        assert "empty" in str(error) and min(n * f for f in cut) < 1
        return
    assert sum(parts) == n and all(abs(size - n * f) < 1 for size, f in zip(parts, cut, strict=True))
    assigned = subset.assign(n, cut, seed)
    assert [len(rows) for rows in assigned] == parts
    assert sorted(np.concatenate(assigned).tolist()) == list(range(n))
    assert all((np.diff(rows) > 0).all() for rows in assigned)


@pytest.mark.curriculum("W1", "W5")
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=7), st.lists(st.integers(1, 20), min_size=2, max_size=6),
    st.integers(0, 99),
)  # fmt: skip
def test_classes_keep_their_proportions(classes, weights, seed):
    """Every class in every part at most one off, the sizes of the parts as without classes."""
    n, shares = sum(classes), [Fraction(w, sum(weights)) for w in weights]
    exact = np.asarray([float(n * share) for share in shares])
    parts = np.floor(exact).astype(int)
    parts[np.argsort(parts - exact, kind="stable")[: n - parts.sum()]] += 1
    cells = subset.allocate(classes, parts, shares)
    assert cells.min() >= 0 and (cells.sum(0) == parts).all() and (cells.sum(1) == classes).all()
    assert np.abs(cells - np.outer(classes, [float(share) for share in shares])).max() <= 1
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(classes)), classes))
    k = min(len(weights), n)
    assigned = subset.assign(n, k, seed, labels)
    counts = np.stack([np.bincount(labels[rows], minlength=len(classes)) for rows in assigned], 1)
    assert sorted(np.concatenate(assigned).tolist()) == list(range(n))
    assert (counts == subset.allocate(classes, subset.equal_sizes(n, k), [Fraction(1, k)] * k)).all()


def test_totals_that_differ_are_refused():
    with pytest.raises(ValueError, match="classes hold 5 examples, parts 6"):
        subset.allocate([2, 3], [3, 3], [Fraction(1, 2)] * 2)


def test_the_draw_is_known():
    """A function of (n, seed, labels) alone: these numbers are the same on every machine and in every NumPy."""
    assert [rows.tolist() for rows in subset.assign(10, (0.6, 0.2, 0.2), 0)] == DRAWN[0]
    assert [rows.tolist() for rows in subset.assign(10, (0.6, 0.2, 0.2), 1)] == DRAWN[1]


DRAWN = [[[0, 4, 5, 6, 7, 9], [1, 2], [3, 8]], [[1, 2, 3, 4, 5, 6], [0, 9], [7, 8]]]


@pytest.mark.curriculum("W1")
def test_digits_by_fractions():
    """All 1,797: disjoint, complete, reproducible; each class as scikit-learn's stratified split counts it."""
    splits = load.load("digits", train="all", split=SPLIT).splits
    assert list(splits) == ["train", "validation", "test"] and [s.size for s in splits.values()] == [1258, 270, 269]
    ids = [set(s.ids) for s in splits.values()]
    assert len(set.union(*ids)) == 1797 and not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])
    whole = load.load("digits", train="all").splits["train"]
    at = {name: i for i, name in enumerate(whole.ids)}
    for split in splits.values():
        rows = [at[name] for name in split.ids]
        for key in ("image", "label"):
            np.testing.assert_array_equal(split.arrays[key], whole.arrays[key][rows])
        assert split.example(3)["label"] == open_source("digits", "all")[rows[3]]["label"]
    share = np.bincount(whole.arrays["label"]) / 1797
    for split in splits.values():
        assert np.abs(np.bincount(split.arrays["label"]) - share * split.size).max() <= 1
    theirs = StratifiedShuffleSplit(1, test_size=269, random_state=0)
    _, test = next(theirs.split(np.zeros(1797), whole.arrays["label"]))
    difference = np.bincount(whole.arrays["label"][test]) - np.bincount(splits["test"].arrays["label"])
    assert np.abs(difference).max() <= 1


@pytest.mark.curriculum("W1")
def test_the_seed_and_the_fingerprint_know_the_split():
    def of(**changes):
        return load.load("digits", train="all", split={**SPLIT, **changes})

    first, again, other, plain = of(), of(), of(seed=1), of(stratified=False)
    assert list(first.splits["test"].ids) == list(again.splits["test"].ids) and first.fingerprint == again.fingerprint
    assert set(first.splits["test"].ids) != set(other.splits["test"].ids)
    assert len({data.fingerprint for data in (first, other, plain)}) == 3
    streamed = load.load("digits", train="all", split=SPLIT, resident="never").splits["test"]
    rows = np.arange(4)
    np.testing.assert_array_equal(streamed.batch(rows)["image"], first.splits["test"].batch(rows)["image"])


@pytest.mark.curriculum("W1")
def test_a_run_is_not_continued_with_another_split(tmp_path):
    from types import SimpleNamespace

    from cvdl_jax.config import configs
    from cvdl_jax.errors import UserError
    from cvdl_jax.workdir.folder import Workdir, read_json

    given = ["config.data.train=all", "config.data.validation=", "config.data.test=",
             "config.data.split.fractions=(0.7, 0.15, 0.15)", "config.data.split.stratified=True"]  # fmt: skip
    config = configs.load("configs/classify/softmax.py", given)
    workdir = Workdir(tmp_path / "run")
    workdir.checkpoints.joinpath("3").mkdir(parents=True)
    workdir.write_config(config)
    with pytest.raises(ConfigError, match=r"another configuration \(data.split.seed: \(absent\) -> 1\)"):
        workdir.write_config(configs.load("configs/classify/softmax.py", [*given, "config.data.split.seed=1"]))
    data = load.load(**config.data.to_dict())
    workdir.meta.write_text('{"model": {"parameters": 1}}')
    workdir.record_start(SimpleNamespace(data=data, config=config), 1, [])
    assert read_json(workdir.meta)["data"]["fingerprint"] == data.fingerprint
    other = load.load(**{**config.data.to_dict(), "split": {**SPLIT, "seed": 1}})
    with pytest.raises(UserError, match="the data have changed since"):
        workdir.record_start(SimpleNamespace(data=other, config=config), 1, [])


def test_two_fractions_leave_the_named_test_split():
    splits = load.load("digits", test="test", split={"fractions": (0.8, 0.2)}).splits
    assert {k: s.size for k, s in splits.items()} == {"train": 919, "validation": 230, "test": 359}
    assert splits["train"].source.split == "train: train of 80/20 (seed 0)"


@pytest.mark.curriculum("W1")
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"split": {"fractions": (0.7, 0.2, 0.2)}}, "fractions=(0.7, 0.2, 0.2) add up to 1.1, expected 1"),
        ({"split": {"fractions": (1.0, 0.0)}}, "fractions[0]=1.0 must be in (0, 1)"),
        ({"split": {"fractions": (0.5,)}}, "must be two numbers (train, validation) or three"),
        ({"split": {"fractions": (0.9999, 0.0001)}}, "1149 examples cut by (0.9999, 0.0001) leave part 2"),
        ({"split": {"fraction": (0.5, 0.5)}}, "did you mean 'fractions'?"),
        ({"split": {"stratified": True}}, "needs one of fractions=(0.7, 0.15, 0.15) and folds=5"),
        ({"split": {"fractions": (0.5, 0.5), "folds": 2}}, "needs one of fractions"),
        ({"split": {"fractions": (0.5, 0.5), "seed": -1}}, "config.data.split.seed=-1 must lie in 0 ... 2**32 - 1"),
        ({"split": {"fractions": (0.5, 0.5), "fold": 1}}, "config.data.split.fold=1 must lie in 0 ... 0"),
        ({"split": SPLIT, "validation": "validation"}, "add --config.data.validation="),
        ({"split": SPLIT, "test": "test"}, "add --config.data.test="),
        ({"split": SPLIT, "train": "", "test": ""}, "asks for no split"),
        ({"split": {"fractions": (0.5, 0.5), "stratified": True}, "train": "train[:9]"}, "fewer than 2 parts"),
        ({"order_seed": -1}, "config.data.order_seed=-1 must lie in 0 ... 2**32 - 1"),
    ],
)
def test_impossible_splits_are_refused(values, words):
    with pytest.raises(ConfigError) as error:
        load.load("digits", **values)
    assert words in str(error.value)


@pytest.mark.curriculum("W1")
@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("train[:600]", "train[599:]", "599 to 599 of 'train'"),
        ("train[599:]", "train[:600]", "599 to 599 of 'train'"),
        ("train[:600]", "test+train[599:600]", "599 to 599 of 'train'"),
        ("validation+train[:1]", "test+train[0:5]", "0 to 0 of 'train'"),
    ],
)
def test_one_shared_example_is_enough_to_refuse_two_splits(first, second, shared):
    with pytest.raises(DataError, match=f"share examples {shared}"):
        load.load("digits", train=first, validation=second)


@pytest.mark.curriculum("W1")
def test_neighbours_share_nothing():
    data = load.load("digits", train="train[:600]", validation="train[600:]")
    assert set(data.splits["train"].ids).isdisjoint(data.splits["validation"].ids)
    assert sum(split.size for split in data.splits.values()) == 1149
    with pytest.raises(DataError, match="share examples 4 to 4 of 'train'"):
        load.load("digits", train="train[:5]+train[4:9]")


@pytest.mark.curriculum("W1")
def test_splits_that_overlap_are_refused():
    with pytest.raises(DataError, match=r"'train\[:600\]' and 'train\[500:\]' share examples 500 to 599 of 'train'"):
        load.load("digits", train="train[:600]", validation="train[500:]")
    with pytest.raises(DataError, match="'all' and 'test' share examples 0 to 358 of 'test'; choose disjoint ranges"):
        load.load("digits", train="all", test="test", split={"fractions": (0.5, 0.5)})


def test_a_set_without_labels_is_not_stratified():
    source = open_source("digits", "train")
    source.features = {name: f for name, f in source.features.items() if f.kind != "label"}
    with pytest.raises(ConfigError, match=r"digits has no class label, which config\.data\.split\.stratified"):
        load.labels(source)
    cut = subset.Cut((0.5, 0.5))
    assert len(subset.apply(cut, source, lambda: load.labels(source))["train"]) == 575


def test_the_order_of_a_run_may_have_its_own_seed():
    from types import SimpleNamespace

    from cvdl_jax.engine.feed import TrainFeed

    program = SimpleNamespace(resident=True, batch_size=8, steps_per_call=1)
    data = [load.load("digits", order_seed=seed) for seed in (None, 3)]
    rows = {(i, seed): TrainFeed(program, data[i], seed, 0, 10).next(0, 1).tolist() for i in (0, 1) for seed in (3, 4)}
    assert rows[0, 3] == rows[1, 3] == rows[1, 4] != rows[0, 4]
