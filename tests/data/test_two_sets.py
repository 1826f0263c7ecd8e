"""Two classes as two sets of images: rows, orders and epochs without pairs, pairs by names, and what is refused."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cvdl_jax.config import configs
from cvdl_jax.data import order, stream
from cvdl_jax.data.load import load
from cvdl_jax.engine import build
from cvdl_jax.errors import ConfigError, DataError

DOMAINS = ("photos", "paintings")


def save(path, value, size=(4, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)


def two(root, photos=5, paintings=3, part="", size=(4, 4)):
    """Folders of photos 0, 1, ... and of paintings 100, 101, ... by their red; the name of both as one set."""
    for name, number, first in (("photos", photos, 0), ("paintings", paintings, 100)):
        for i in range(number):
            save(root / name / part / f"{i}.png", first + i, size)
    return f"folder:{root / 'photos'}:{root / 'paintings'}"


def red(batch, name):
    return batch[name][:, 0, 0, 0].tolist()


# Without pairs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
def test_each_set_goes_through_epochs_of_its_own(tmp_path, capfd, turned):
    """Of 5 photos and 3 paintings an epoch has 5 rows; whatever is looked at, no image lags behind by two."""
    data = load(two(tmp_path), domains=DOMAINS[::-1] if turned else DOMAINS)
    train = data.splits["train"]
    assert train.size == 5 and data.num_classes is None and set(train.spec) == {"image", "image_other", "once"}
    told = capfd.readouterr().out
    assert "5 images of 'photos'" in told and "3 images of 'paintings'" in told
    assert "; an epoch is 5, in which 'paintings' is shown 1.67 times" in told
    batches = list(stream.train_batches(train, 7, 0, 15, 2))
    photos, paintings = ("image_other", "image") if turned else ("image", "image_other")
    seen = {name: [x for batch in batches for x in red(batch, name)] for name in (photos, paintings)}
    assert all(sorted(seen[photos][i : i + 5]) == [0, 1, 2, 3, 4] for i in range(0, 30, 5))
    assert all(sorted(seen[paintings][i : i + 3]) == [100, 101, 102] for i in range(0, 30, 3))
    assert len({tuple(seen[photos][i : i + 5]) for i in range(0, 30, 5)}) > 3
    assert len({tuple(seen[paintings][i : i + 3]) for i in range(0, 30, 3)}) > 3
    (later,) = stream.train_batches(train, 7, 11, 12, 2)  # what a step sees depends on its number alone
    assert red(later, "image") == red(batches[11], "image") and later["once"].shape == (2, 2)
    assert [red(b, photos) for b in stream.train_batches(train, 8, 0, 15, 2)] != [red(b, photos) for b in batches]


def test_sets_of_one_size_are_mixed_anew_in_every_epoch(tmp_path):
    train = load(two(tmp_path, 4, 4), domains=DOMAINS).splits["train"]
    rows = [(a, b) for batch in stream.train_batches(train, 0, 0, 20, 4)
            for a, b in zip(red(batch, "image"), red(batch, "image_other"), strict=True)]  # fmt: skip
    counts = Counter(rows)
    assert len(counts) > 12 and max(counts.values()) < 12  # of 16 combinations in 20 epochs of 4 rows
    _, indices = train.at(0, np.arange(80))
    assert [train.source.identify(int(i)) for i in indices[:3]] == [
        f"photos/{a}.png + paintings/{b - 100}.png" for a, b in rows[:3]
    ]


def test_rows_and_members_are_one_to_one():
    for n, m in ((5, 3), (4, 4), (6, 1)):
        sets = order.TwoSets(n, m)
        rows = [int(sets.row(np.int64(u), np.int64(v))) for u in range(n) for v in range(m)]
        assert sorted(rows) == list(range(n * m))
        assert [sets.members(row) for row in rows] == [(u, v) for u in range(n) for v in range(m)]
        assert [sets.members(i) for i in range(n)] == [(i, i % m) for i in range(n)]


def test_an_evaluation_counts_every_image_once(tmp_path):
    """The smaller set is repeated to fill the rows, and `once` says where."""
    two(tmp_path, 2, 2, "train")
    data = load(two(tmp_path, 5, 3, "test"), domains=DOMAINS, test="test")
    test = data.splits["test"]
    assert test.arrays is not None and data.splits["train"].arrays is None
    assert red(test.arrays, "image") == [0, 1, 2, 3, 4]
    assert red(test.arrays, "image_other") == [100, 101, 102, 100, 101]
    assert test.arrays["once"].tolist() == [[1, 1], [1, 1], [1, 1], [1, 0], [1, 0]]


def test_the_cut_is_made_in_each_set_and_no_image_is_in_two_parts(tmp_path):
    data = load(
        two(tmp_path, 20, 10), domains=DOMAINS, split={"fractions": (0.7, 0.2, 0.1), "stratified": True}, cache=False
    )
    parts = {}
    for name, split in data.splits.items():
        batch = split.batch(np.arange(split.size))
        parts[name] = {*red(batch, "image")}, {*red(batch, "image_other")}
    assert {name: tuple(map(len, sides)) for name, sides in parts.items()} == {
        "train": (14, 7), "validation": (4, 2), "test": (2, 1)
    }  # fmt: skip
    for side, whole in ((0, {*range(20)}), (1, {*range(100, 110)})):
        assert set.union(*(sides[side] for sides in parts.values())) == whole


def test_the_windows_of_two_sets_are_drawn_apart(tmp_path):
    """Images of two sets may differ in size, and move by themselves; those of a pair move together."""
    ramp = np.tile(np.arange(32, dtype=np.uint8)[None, :, None], (32, 1, 3))
    for name, side in (("photos", 32), ("paintings", 24)):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.fromarray(ramp[:side, :side]).save(tmp_path / name / f"{i}.png")
    path = f"folder:{tmp_path / 'photos'}:{tmp_path / 'paintings'}"
    how = {"image_size": (8, 8), "crop": "random", "crop_fraction": 0.25}
    (batch,) = stream.train_batches(load(path, domains=DOMAINS, **how).splits["train"], 0, 0, 1, 8)
    assert batch["image"].shape == batch["image_other"].shape == (8, 8, 8, 3)
    share = {name: np.asarray(red(batch, name)) / (side - 8) for name, side in (("image", 32), ("image_other", 24))}
    assert abs(share["image"] - share["image_other"]).max() > 0.1
    for file in (tmp_path / "paintings").glob("*.png"):
        Image.fromarray(ramp).save(file)
    (batch,) = stream.train_batches(load(path, domains=DOMAINS, paired=True, **how).splits["train"], 0, 0, 1, 8)
    np.testing.assert_array_equal(batch["image"], batch["image_after"])
    assert len(set(red(batch, "image"))) > 1


def test_two_classes_of_any_set_are_two_sets(capfd):
    data = load("digits", domains=("1", "7"))
    assert data.splits["train"].size == max(data.splits["train"].source.sizes)
    assert "of other classes are left out" in capfd.readouterr().out


def test_a_set_of_two_domains_has_a_fingerprint_of_its_own(tmp_path):
    name = two(tmp_path)
    prints = {load(name, domains=DOMAINS[::step]).fingerprint for step in (1, -1)} | {load(name).fingerprint}
    assert len(prints) == 3


# Pairs ----------------------------------------------------------------------------------------------------------------


def test_pairs_are_files_of_one_name(tmp_path):
    """Whatever the endings, the folders below and the order of listing; grey and colour are both colour."""
    for part, values in (("train", (3, 1, 2)), ("val", (9,))):
        for i in values:
            save(tmp_path / "edges" / part / "deep" / f"{i}.png", i, mode="L")
            save(tmp_path / "shoes" / part / "deep" / f"{i}.bmp", 100 + i)
    data = load(f"folder:{tmp_path / 'edges'}:{tmp_path / 'shoes'}", domains=("edges", "shoes"), paired=True,
                validation="val")  # fmt: skip
    train = data.splits["train"]
    assert red(train.arrays, "image") == [1, 2, 3] and red(train.arrays, "image_after") == [101, 102, 103]
    assert train.arrays["image"][0, 0, 0].tolist() == [1, 1, 1]  # grey, repeated
    assert train.source.identify(0) == "edges/train/deep/1.png + shoes/train/deep/1.bmp"
    assert red(data.splits["validation"].arrays, "image_after") == [109]
    one = load(f"folder:{tmp_path / 'edges'}:{tmp_path / 'shoes'}", domains=("edges", "shoes"), paired=True,
               train="train[:1]", validation="train[1:]")  # fmt: skip
    assert [split.size for split in one.splits.values()] == [1, 2]


def test_pairs_are_cut_as_pairs(tmp_path):
    data = load(two(tmp_path, 10, 10), domains=DOMAINS, paired=True, split={"fractions": (0.6, 0.2, 0.2)})
    assert [split.size for split in data.splits.values()] == [6, 2, 2]
    for split in data.splits.values():
        assert red(split.arrays, "image_after") == [100 + x for x in red(split.arrays, "image")]


@pytest.mark.filterwarnings("ignore:1 of 4 examples")
def test_a_pair_with_an_image_that_cannot_be_read_is_left_out_whole(tmp_path):
    name = two(tmp_path, 4, 4)
    (tmp_path / "paintings" / "2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"the image .*2\.png cannot be read"):
        load(name, domains=DOMAINS, paired=True)
    data = load(name, domains=DOMAINS, paired=True, skip_bad=True, image_size=(4, 4))
    assert red(data.splits["train"].arrays, "image") == [0, 1, 3]
    assert data.skipped["train"] == ("photos/2.png + paintings/2.png",)


# What is refused ------------------------------------------------------------------------------------------------------


def refused(name, words, error=DataError, **how):
    with pytest.raises(error, match=words):
        load(name, **{"domains": DOMAINS, **how})


def test_a_file_without_a_partner_is_named(tmp_path):
    name = two(tmp_path, 5, 3)
    refused(name, r"'train': 2 images have no partner .*: photos/3, photos/4; add the partners", paired=True)
    save(tmp_path / "paintings" / "extra.png", 0)
    refused(name, r"3 images have no partner .* photos/4, paintings/extra; ", paired=True)
    save(tmp_path / "photos" / "1.jpg", 0)
    refused(name, r"'photos' has 1\.jpg and 1\.png, and a pair has one of each", paired=True)


def test_sizes_that_differ_inside_a_pair_are_named(tmp_path):
    name = two(tmp_path, 2, 2)
    save(tmp_path / "paintings" / "1.png", 0, (6, 4))
    words = "the pair '1' has 4x4 pixels in 'photos' and 4x6 in 'paintings'"
    refused(name, words, paired=True, image_size=(4, 4))
    assert load(name, domains=DOMAINS, image_size=(4, 4)).splits["train"].size == 2
    with pytest.raises(DataError, match=r"\['image', 'image_other'\] vary in size: set config.data.image_size"):
        _ = load(name, domains=DOMAINS).splits["train"].spec


def test_folders_that_are_not_there_or_empty_are_named(tmp_path):
    name = two(tmp_path, 2, 2)
    refused(f"{name}s", "the image folder .*paintingss does not exist", image_size=(4, 4))
    (tmp_path / "none").mkdir()
    lacking = f"folder:{tmp_path / 'photos'}:{tmp_path / 'none'}"
    refused(lacking, "the class folder 'none' .* holds no image", domains=("photos", "none"))
    refused(f"folder:{tmp_path}:{tmp_path / 'photos'}", "photos is inside .* each of them is to be a class")
    refused(name, "no split 'test'", test="test")
    two(tmp_path, 2, 2, "train")
    (tmp_path / "photos" / "test").mkdir()
    save(tmp_path / "photos" / "test" / "1.png", 1)
    with pytest.warns(UserWarning, match="4 images outside the folders of splits"):
        refused(name, "'test' of folder:photos:paintings has no image of 'paintings'", test="test")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"domains": ("photos",)}, "must be the names of two classes"),
        ({"domains": ("photos", "photos")}, "must be the names of two classes"),
        ({"domains": ("photos", "painting")}, "has no class 'painting'.*did you mean 'paintings'"),
        ({"domains": (), "paired": True}, "pairs the images of two classes; name them in config.data.domains"),
        ({"resident": "always"}, "makes other rows of two sets in every epoch; use resident='auto'"),
        ({"numbered": True}, "draws pairs anew; leave out config.data.numbered"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, how, words):
    refused(two(tmp_path), words, ConfigError, **how)


def test_pairs_need_files(tmp_path):
    refused("digits", "knows pairs by the names of their files, which digits has not", ConfigError, paired=True)
    refused("spirals", "chooses two classes of images, and spirals has no 'image'", ConfigError)
    words = r"chooses two classes of images, and face_domains has no 'image' with a 'label'"
    refused("face_domains(size=16, train=16, validation=8, test=8)", words, ConfigError)


# The recipe -----------------------------------------------------------------------------------------------------------


def test_the_recipe_takes_two_folders(tmp_path):
    """Cut 80/10/10 in each folder, or the splits that are there; pairs where these are asked for."""
    two(tmp_path, 30, 20)
    path = f"before={tmp_path / 'photos'},after={tmp_path / 'paintings'}"
    config = configs.load(f"configs/generate/image_translation.py:{path},size=8")
    data = build.load_data(config)
    assert {name: split.source.sizes for name, split in data.splits.items()} == {
        "train": (24, 16), "validation": (3, 2), "test": (3, 2)
    }  # fmt: skip
    assert data.splits["train"].spec["image_other"].shape == (8, 8, 3)
    with pytest.raises(DataError, match="10 images have no partner"):
        build.load_data(configs.load(f"configs/generate/image_translation.py:{path},method=paired"))
    two(tmp_path, 4, 3, "train")
    two(tmp_path, 2, 1, "val")
    two(tmp_path, 1, 2, "testing")
    with pytest.warns(UserWarning, match="50 images outside the folders of splits"):
        data = build.load_data(configs.load(f"configs/generate/image_translation.py:{path}"))
    assert [split.source.sizes for split in data.splits.values()] == [(4, 3), (2, 1), (1, 2)]
