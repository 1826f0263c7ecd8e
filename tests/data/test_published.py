"""Sets that are not here: their sizes, shapes and refusals; and a program that is built from them."""

import numpy as np
import pytest
from PIL import Image

from cvdl_jax.cli.check import report
from cvdl_jax.config import configs
from cvdl_jax.data import published
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError, DataError

SECTION = {
    "name": "imagenet2012", "train": "train[:99%]", "validation": "train[99%:]", "test": "validation",
    "image_size": (64, 48), "crop": "random_resized", "crop_fraction": 0.875,
}  # fmt: skip


@pytest.fixture(autouse=True)
def without_imagenet(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))


def test_sizes_and_shapes_are_those_of_the_publication():
    data = published.stated(SECTION)
    sizes = {name: split.size for name, split in data.splits.items()}
    assert sizes == {"train": 1_268_355, "validation": 12_812, "test": 50_000} and data.num_classes == 1000
    train, test = data.splits["train"], data.splits["test"]
    assert (train.stage.crop, test.stage.crop, test.stage.crop_fraction) == ("random_resized", "center", 0.875)
    assert train.spec["image"].shape == (64, 48, 3) and train.spec["label"].shape == ()
    with pytest.raises(DataError, match="the examples of imagenet2012 are not here; only its sizes are known"):
        train.batch([0])


def test_only_what_is_known_is_stated(tmp_path):
    assert published.stated({**SECTION, "name": "digits"}) is None
    assert published.stated({**SECTION, "split": {"fractions": (0.5, 0.5)}}) is None  # its sizes depend on the labels
    (tmp_path / "imagenet2012").mkdir()
    assert published.stated(SECTION) is None  # it is here: the reader of data sets says what is wrong with it


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"crop": "middle"}, ConfigError, "config.data.crop='middle' is not known"),
        ({"imagesize": (1, 1)}, ConfigError, "did you mean 'image_size'"),
        ({"validation": "train[98%:]"}, DataError, "share"),
        ({"test": "tests"}, DataError, "imagenet2012 has no split 'tests'"),
        ({"image_size": None, "crop": "none"}, DataError, "vary in size: set config.data.image_size"),
    ],
)
def test_mistakes_are_refused_as_with_the_data(change, error, words):
    with pytest.raises(error, match=words):
        _ = {name: split.spec for name, split in published.stated({**SECTION, **change}).splits.items()}


def test_a_run_is_built_and_told_without_its_data():
    config = configs.load("configs/classify/lenet5.py", ["config.augment=", "config.normalise={}"])
    config.data = {**SECTION, "image_size": (32, 32)}
    config.total_epochs, config.batch_size = 2, 128
    with pytest.raises(DataError, match="imagenet2012"):
        build(config)
    built = build(config, open_data=report._stated)
    assert built.info.num_classes == 1000 and built.info.total_steps == -(-2 * 1_268_355 // 128)
    (first, *_) = report.data_lines(built)
    assert first == (
        "data imagenet2012: train 1,268,355, validation 12,812, test 50,000 examples; streamed; not on this machine, "
        "sizes as published"
    )


def test_a_folder_takes_the_place_of_imagenet(tmp_path):
    """With the usual names of its splits; one image in a hundred of each class selects the checkpoint."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 100), ("val", 2)):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 9, 3), np.uint8)).save(tmp_path / split / name / f"{i}.png")
    built = build(configs.load(f"configs/classify/imagenet_vgg16.py:path={tmp_path}", ["config.batch_size=8"]))
    splits = built.data.splits
    assert {name: split.size for name, split in splits.items()} == {"train": 198, "validation": 2, "test": 4}
    assert {name: split.stage.crop for name, split in splits.items()} == {
        "train": "random", "validation": "center", "test": "center"
    }  # fmt: skip
    assert built.info.num_classes == 2 and built.info.spec["image"].shape == (8, 224, 224, 3)
    assert splits["train"].batch(np.arange(2), np.zeros(2, int), 0)["image"].shape == (2, 224, 224, 3)


@pytest.mark.parametrize(
    ("name", "sizes", "classes", "flag"),
    [
        ("coco", {"train": 117_104, "validation": 1_183, "test": 5_000}, 80, "objects/is_crowd"),
        ("voc", {"train": 2_501 + 2_259, "validation": 251, "test": 4_952}, 20, "objects/is_difficult"),
    ],
)
def test_sets_with_boxes_are_stated_as_their_recipes_ask(name, sizes, classes, flag):
    config = configs.load(f"configs/detect/retinanet_coco.py:data={name}")
    data = published.stated(config.data)
    assert {key: split.size for key, split in data.splits.items()} == sizes and data.num_classes == classes
    spec = data.splits["train"].spec
    shapes = {
        "image": (512, 512, 3),
        "objects/bbox": (100, 4),
        "objects/label": (100,),
        "boxes_mask": (100,),
        flag: (100,),
    }
    assert shapes.items() <= {entry: s.shape for entry, s in spec.items()}.items()
