"""Folders of images as people have them: layouts, links, odd files and names, empty and lonely classes, parts."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvdl_jax.analysis import data_differences
from cvdl_jax.config import configs
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.folder import FlatSource, survey
from cvdl_jax.data.load import load
from cvdl_jax.engine import build
from cvdl_jax.errors import ConfigError, DataError


def save(path, value, size=(4, 3), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def animals(root, n=3, splits=("",), classes=("cat", "dog")):
    """n images of each class in each split; the red value counts them."""
    for split in splits:
        for c, name in enumerate(classes):
            for i in range(n):
                save(root / split / name / f"{i}.png", (10 * c + i, 0, 0))
    return f"folder:{root}"


def ids(name, split="train"):
    source = open_source(name, split)
    return [source.identify(i) for i in range(len(source))]


# Layouts --------------------------------------------------------------------------------------------------------------


def test_a_folder_of_class_folders(tmp_path):
    for i in range(3):
        save(tmp_path / "dog" / f"{i}.png", (i, 20, 30))
        save(tmp_path / "cat" / f"{i}.bmp", (10 + i, 0, 0))
    train = (data := load(f"folder:{tmp_path}")).splits["train"]
    assert data.class_names == ("cat", "dog") and data.num_classes == 2
    assert list(train.ids) == ["cat/0.bmp", "cat/1.bmp", "cat/2.bmp", "dog/0.png", "dog/1.png", "dog/2.png"]
    assert train.arrays["image"].shape == (6, 3, 4, 3)
    assert train.arrays["image"][1, 0, 0].tolist() == [11, 0, 0]
    assert train.arrays["label"].tolist() == [0, 0, 0, 1, 1, 1] == train.source.labels().tolist()


def test_some_examples_of_a_folder_are_of_all_its_classes(tmp_path):
    """A folder is in the order of its classes, and its first images are of the first one alone."""
    train = load(animals(tmp_path, 6)).splits["train"]
    assert train.some(4).tolist() == [0, 3, 6, 9] and train.source.labels()[train.some(4)].tolist() == [0, 0, 1, 1]
    assert train.some(0).tolist() == train.some(12).tolist() == train.some(99).tolist() == list(range(12))
    first = [int(x[0, 0, 0]) for x in data_differences.stored_images(train, 4)]
    assert first == [0, 3, 10, 13]
    assert load("digits").splits["train"].some(4).tolist() == [0, 1, 2, 3]  # a set in no order


def test_a_folder_with_splits_and_images_of_two_sizes(tmp_path):
    save(tmp_path / "train" / "b" / "x.png", 7, (4, 3), "L")
    save(tmp_path / "train" / "a" / "deep" / "y.png", 9, (8, 8), "L")
    save(tmp_path / "val" / "b" / "z.jpg", (1, 2, 3))
    data = load(f"folder:{tmp_path}", validation="val")
    assert data.class_names == ("a", "b")
    assert data.splits["validation"].example(0)["label"] == 1
    with pytest.raises(DataError, match=r"\['image'\] vary in size: set config.data.image_size"):
        _ = data.splits["train"].spec
    sized = load(f"folder:{tmp_path}", image_size=(2, 2), channels=1).splits["train"]
    assert sized.arrays["image"][..., 0].tolist() == [[[9, 9], [9, 9]], [[7, 7], [7, 7]]]


@pytest.mark.parametrize(
    "names", [("Train", "Val", "Test"), ("training", "valid", "testing"), ("TRAIN", "dev", "test")]
)
def test_folders_are_the_splits_that_they_say(tmp_path, names):
    name = animals(tmp_path, 2, names)
    for split, folder in zip(("train", "validation", "test"), names, strict=True):
        assert (
            ids(name, split) == ids(name, folder) == [f"{folder}/{c}/{i}.png" for c in ("cat", "dog") for i in (0, 1)]
        )
        assert ids(name, f"{folder}[:3]") == ids(name, split)[:3]
    assert len(open_source(name, "all")) == 12


def test_splits_without_training_images_are_splits_too(tmp_path):
    name = animals(tmp_path, 1, ("val", "test"))
    assert open_source(name, "test").features["label"].class_names == ("cat", "dog")
    animals(tmp_path, 1, ("control",), ("early", "late"))  # then "test" is a class, as in a medical study
    assert open_source(name, "train").features["label"].class_names == ("control", "test", "val")
    animals(tmp_path, 1, ("train",))  # and now it is a split again
    with pytest.warns(UserWarning, match=r"1 folders that are no split \(control\)"):
        assert open_source(name, "train").features["label"].class_names == ("cat", "dog")


def test_two_folders_that_say_one_split(tmp_path):
    name = animals(tmp_path, 1, ("train", "val", "valid"))
    assert ids(name, "valid") == ["valid/cat/0.png", "valid/dog/0.png"] and ids(name, "val")[0] == "val/cat/0.png"
    with pytest.raises(DataError, match="no split 'validation'"):
        open_source(name, "validation")
    (tmp_path / "train").rename(tmp_path / "Train")
    animals(tmp_path, 1, ("training",))
    with pytest.raises(DataError, match="has Train and training, which are one split; rename one of them"):
        open_source(name, "train")


def test_a_class_called_train_is_a_class(tmp_path):
    name = animals(tmp_path, 2, classes=("bus", "train"))
    assert open_source(name, "train").features["label"].class_names == ("bus", "train")


# What else lies there -------------------------------------------------------------------------------------------------


def test_what_programs_leave_is_passed_over_and_the_rest_is_said_in_one_warning(tmp_path):
    name = animals(tmp_path, 2, ("train", "val"))
    before = ids(name), load(name).fingerprint
    for folder in (".ipynb_checkpoints", "train/.ipynb_checkpoints", "train/cat/.ipynb_checkpoints", "__MACOSX/train",
                   "train/cat/__MACOSX", "train/dog/@eaDir"):  # fmt: skip
        save(tmp_path / folder / "cat-checkpoint.png", 0)
    (tmp_path / "train" / "cat" / "._0.png").write_text("AppleDouble")
    (tmp_path / "train" / "cat" / ".DS_Store").write_text("x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (ids(name), load(name).fingerprint) == before
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "0.xml").write_text("<a/>")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    save(tmp_path / "runs" / "figures" / "loss.png", 0)
    save(tmp_path / "cover.png", 0)
    save(tmp_path / "train" / "stray.png", 0)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("x")
    (tmp_path / "train" / "cat" / "features.h5").write_text("x")  # Pillow has a plugin that only says what it is
    (tmp_path / "train" / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "train" / "dog" / "self").symlink_to(tmp_path / "train" / "dog" / "self")
    with pytest.warns(UserWarning) as said:
        assert ids(name) == before[0]
    (message,) = (str(w.message) for w in said)
    for part in (
        "3 folders that are no split (annotations, labels, runs)",
        "2 broken links (train/dog/gone.png, train/dog/self)",
        "2 files that are no images (train/cat/features.h5, train/cat/notes.txt)",
    ):  # fmt: skip
        assert part in message, message
    assert "2 images outside class folders (" in message and "train/stray.png" in message and "cover.png" in message


def test_links_are_followed_but_not_in_circles(tmp_path):
    animals(tmp_path / "real", 2, classes=("cat", "deep"))
    root = tmp_path / "set"
    save(root / "dog" / "a.png", 0)
    (root / "cat").symlink_to(tmp_path / "real" / "cat")
    (root / "dog" / "more").symlink_to(tmp_path / "real" / "deep")
    assert ids(f"folder:{root}") == ["cat/0.png", "cat/1.png", "dog/a.png", "dog/more/0.png", "dog/more/1.png"]
    (root / "all").symlink_to(root)  # a link to the parent folder
    (root / "dog" / "up").symlink_to(root / "dog")
    (tmp_path / "real" / "deep" / "back").symlink_to(tmp_path / "real" / "other")
    (tmp_path / "real" / "other").mkdir()
    (tmp_path / "real" / "other" / "forth").symlink_to(tmp_path / "real" / "deep")
    (root / "dog" / "twice").symlink_to(tmp_path / "real" / "deep")
    with pytest.warns(UserWarning) as said:
        assert len(ids(f"folder:{root}")) == 5
    message = str(said[0].message)
    assert "3 links to a folder above them (" in message and "all" in message and "dog/up" in message
    assert "1 links to a folder that is here already (dog/twice)" in message


def test_one_folder_is_not_two_classes_or_two_splits(tmp_path):
    name = animals(tmp_path, 2, ("train", "val"))
    (tmp_path / "test").symlink_to(tmp_path / "val")
    assert len(open_source(name, "test")) == 4
    with pytest.raises(DataError, match=r"'val' and 'test' share the folder .*val/cat, by a link"):
        load(name, validation="val", test="test")
    (tmp_path / "train" / "puma").symlink_to(tmp_path / "train" / "cat")
    with pytest.raises(DataError, match=r"train/cat is reached as the class 'puma' and as the class 'cat'.*remove one"):
        open_source(name, "train")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX")
def test_names_that_are_not_utf8(tmp_path, capfd):
    name = animals(tmp_path, 2)
    odd = os.fsdecode(b"caf\xe9")
    save(tmp_path / odd / os.fsdecode(b"\xff.png"), (7, 7, 7))
    save(tmp_path / odd / "plain.png", (8, 8, 8))
    data = load(name)
    assert data.class_names == (r"caf\xe9", "cat", "dog")
    assert list(data.splits["train"].ids)[:2] == [r"caf\xe9/plain.png", r"caf\xe9/\xff.png"]
    print(*data.class_names, *data.splits["train"].ids, data.name)
    assert data.splits["train"].arrays["image"][1, 0, 0].tolist() == [7, 7, 7]
    assert [FlatSource(str(tmp_path)).identify(i) for i in range(2)] == list(data.splits["train"].ids)[:2]
    (tmp_path / odd / "plain.png").write_text("x")
    with pytest.raises(DataError, match=r"the image .*caf\\xe9/plain\.png cannot be read"):
        load(name)


# Classes --------------------------------------------------------------------------------------------------------------


def test_an_empty_class_is_an_error_a_class_or_none_as_asked(tmp_path):
    name = animals(tmp_path, 2)
    (tmp_path / "bird").mkdir()
    with pytest.raises(DataError, match=r"class folder 'bird' .* holds no image .*--config.data.empty_classes=keep"):
        load(name)
    kept = load(name, empty_classes="keep")
    assert kept.class_names == ("bird", "cat", "dog") and kept.splits["train"].arrays["label"].tolist() == [1, 1, 2, 2]
    with pytest.warns(UserWarning, match=r"1 class folders without images \(bird\)"):
        assert load(name, empty_classes="ignore").class_names == ("cat", "dog")
    with pytest.raises(ConfigError, match="is for folder:/path; leave it out"):
        load("digits", empty_classes="keep")


def test_a_class_that_only_validation_has(tmp_path):
    name = animals(tmp_path, 2, ("train", "val"))
    save(tmp_path / "val" / "bird" / "0.png", 0)
    with pytest.raises(DataError, match=r"'bird' has examples in validation, but none in train; .*empty_classes=keep"):
        load(name, validation="validation")
    data = load(name, validation="validation", empty_classes="keep")
    assert data.class_names == ("bird", "cat", "dog") and 0 not in data.splits["train"].arrays["label"]
    (tmp_path / "train" / "bird").mkdir()  # an empty folder is no training example either
    with pytest.raises(DataError, match="none in train"):
        load(name, validation="validation")


def test_one_class_is_nothing_to_classify(tmp_path):
    name = animals(tmp_path / "up", 16)
    config = configs.load("configs/classify/softmax.py:smoke", [
        f"config.data.name=folder:{tmp_path}", "config.data.validation=", "config.data.test=", "config.select.metric=",
    ])  # fmt: skip
    with pytest.raises(ConfigError, match=r"has one class, up, .*the folder that holds the class folders"):
        build.build(config)
    assert load(name).num_classes == 2


# Parts ----------------------------------------------------------------------------------------------------------------


def test_a_part_of_a_set_in_the_order_of_its_classes_is_refused_with_the_line_that_cuts_it(tmp_path):
    name = animals(tmp_path, 20, classes=("ant", "bee", "cat", "dog"))
    with pytest.raises(ConfigError) as error:
        load(name, train="train[:80%]", validation="train[80%:90%]", test="train[90%:]")
    assert "config.data.train='train[:80%]'" in str(error.value)
    assert "has 4 examples of 'dog', where its share would be 16" in str(error.value)
    line = str(error.value).rpartition("instead: ")[2].split()
    base = ["config.data.name=" + name, "config.data.train=train[:80%]", "config.data.validation=train[80%:90%]",
            "config.data.test=train[90%:]", *line]  # fmt: skip
    given = {override.lstrip("-").partition("=")[0]: override for override in base}  # the last of two equal ones
    data = build.load_data(configs.load("configs/classify/softmax.py", given.values()))
    counts = {key: np.bincount(split.arrays["label"]).tolist() for key, split in data.splits.items()}
    assert counts == {"train": [16] * 4, "validation": [2] * 4, "test": [2] * 4}
    with pytest.raises(ConfigError, match=r"has 0 examples of 'ant', where its share would be 5.*fractions=0.8,0.2"):
        load(name, train="train[25%:50%]")
    whole = load(name, train="train[:80]").splits["train"]  # all of it
    assert whole.size == 80
    parts = "+".join(f"train[{k}:{k + 5}]" for k in (0, 20, 40, 60))  # chosen with care
    assert load(name, train=parts).splits["train"].size == 20


def test_prepared_sets_in_the_order_of_their_classes(tmp_path, monkeypatch):
    from cvdl_jax.data import tfds_source

    class Sorted(tfds_source.TfdsSource):
        def read_entries(self, indices, names):
            rows = super().read_entries(indices, names)
            whole = len(self) == 1149
            return [
                {**row, "label": np.int32(i // 115)} if whole else row for row, i in zip(rows, indices, strict=True)
            ]

    load("digits", train="train[:100]")  # scans in no order of classes
    monkeypatch.setattr(tfds_source, "TfdsSource", Sorted)
    with pytest.raises(ConfigError, match=r"digits stands in the order of its classes.* has 0 examples of '1'"):
        load("digits", train="train[:100]", cache=False)


def test_the_error_for_a_split_that_is_not_there_prints_lines_that_work(tmp_path):
    name = animals(tmp_path, 10)
    config = configs.load("configs/classify/softmax.py", [f"config.data.name={name}"])
    with pytest.raises(DataError, match=r"has no split 'validation'.*cut it from the images there are: ") as error:
        build.load_data(config)
    words = str(error.value).split()
    line = [word for word in words if word.startswith("--config.data.") and "image_size" not in word]
    cut = build.load_data(configs.load("configs/classify/softmax.py", [f"config.data.name={name}", *line]))
    assert {key: split.size for key, split in cut.splits.items()} == {"train": 14, "validation": 3, "test": 3}
    (spec,) = [word for word in words if word.startswith("configs/classify/folder.py:path=")]
    assert build.load_data(configs.load(spec)).splits["test"].size == 3
    animals(tmp_path / "two", 10, ("train", "test"))
    with pytest.raises(DataError, match=r"fractions=0\.85,0\.15"):
        open_source(f"folder:{tmp_path}/two", "validation")
    (tmp_path / "two" / "test").rename(tmp_path / "two" / "val")
    with pytest.raises(DataError, match=r"leave the test split out: --config\.data\.test=$"):
        open_source(f"folder:{tmp_path}/two", "test")


def test_the_config_for_a_folder_finds_splits_and_sizes(tmp_path):
    assert survey(str(tmp_path / "nowhere")) is None and survey(str(tmp_path)) is None
    animals(tmp_path / "a", 8)
    config = configs.load(f"configs/classify/folder.py:path={tmp_path}/a,size=2")
    assert config.data.split.to_dict() == {"fractions": (0.7, 0.15, 0.15), "stratified": True}
    assert config.data.image_size == (2, 3) and config.batch_size == 2  # of one size: 3 x 4 pixels
    data = build.load_data(config)
    assert [split.size for split in data.splits.values()] == [11, 3, 2]
    animals(tmp_path / "b", 40, ("Train", "valid", "Test"))
    save(tmp_path / "b" / "Train" / "cat" / "wide.png", 0, (40, 10))
    config = configs.load(f"configs/classify/folder.py:path={tmp_path}/b")
    assert "split" not in config.data and config.data.image_size == (3, 3) and config.batch_size == 8
    assert [split.size for split in build.load_data(config).splits.values()] == [81, 80, 80]
    animals(tmp_path / "c", 2, ("train", "test"))
    config = configs.load(f"configs/classify/folder.py:path={tmp_path}/c,smoke")
    assert config.data.split.to_dict() == {"fractions": (0.85, 0.15), "stratified": True} and config.batch_size == 1


# Mistakes -------------------------------------------------------------------------------------------------------------


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist; write .*configs/classify/folder.py:path="):
        open_source(f"folder:{tmp_path}/nowhere", "train")
    with pytest.raises(DataError, match=r"no class folders with images .found: nothing"):
        open_source(f"folder:{tmp_path}", "train")
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"no class folders with images .found: cat"):
        open_source(f"folder:{tmp_path}", "train")
    animals(tmp_path, 3)
    for i in (0, 2):
        (tmp_path / "cat" / f"{i}.png").write_text("x")
    with pytest.raises(DataError, match=r"2 of 6 images cannot be read: .*cat/0\.png, .*cat/2\.png .*skip_bad=True"):
        open_source(f"folder:{tmp_path}", "train")


def test_a_flat_folder_for_predictions(tmp_path):
    save(tmp_path / "b.png", (1, 2, 3))
    save(tmp_path / "a" / "c.png", (4, 5, 6))
    source = FlatSource(str(tmp_path))
    assert [source.identify(i) for i in range(len(source))] == ["a/c.png", "b.png"]
    assert source[1]["image"].shape == (3, 4, 3)
    several = FlatSource([str(tmp_path / "b.png"), str(tmp_path / "a"), str(tmp_path / "b.png")])
    assert [several.identify(i) for i in range(len(several))] == ["b.png", "a/c.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        FlatSource(str(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"nothing\.png does not exist"):
        FlatSource([str(tmp_path / "b.png"), str(Path(tmp_path / "nothing.png"))])


@pytest.mark.curriculum("W17")
def test_caltech_256_is_read_as_it_is_unpacked(tmp_path):
    """Numbered class folders of JPEG files of any size, some grey; TFDS has no builder of it."""
    names = ("001.ak47", "002.american-flag", "056.dog", "257.clutter")
    for number, name in enumerate(names, 1):
        (tmp_path / "256_ObjectCategories" / name).mkdir(parents=True)
        for i in range(5):
            pixels = np.full((10 + i, 20, 3)[: 2 if i == 4 else 3], 40 * number, np.uint8)
            file = tmp_path / "256_ObjectCategories" / name / f"{name[:3]}_{i + 1:04}.jpg"
            Image.fromarray(pixels).save(file, quality=95)
    data = load(
        f"folder:{tmp_path}/256_ObjectCategories", image_size=(8, 8), cache=False,
        split={"fractions": (0.6, 0.2, 0.2), "stratified": True},
    )  # fmt: skip
    assert data.num_classes == 4 and data.class_names == names
    assert {key: split.size for key, split in data.splits.items()} == {"train": 12, "validation": 4, "test": 4}
    for split in data.splits.values():
        batch = split.batch(np.arange(split.size))
        assert batch["image"].shape == (split.size, 8, 8, 3)
        np.testing.assert_allclose(batch["image"].mean((1, 2, 3)), 40 * (batch["label"] + 1), atol=3)
        assert set(np.bincount(batch["label"], minlength=4)) == {split.size // 4}
