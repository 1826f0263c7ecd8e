"""Prediction of image files by runs whose data sets have one, three, four or other numbers of channels."""

import csv
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import launch
from cvdl_jax.cli.modes import predict
from cvdl_jax.data import load
from cvdl_jax.data.host import HostStage
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Interval, Source
from cvdl_jax.data.split import Split
from cvdl_jax.engine import finish
from cvdl_jax.errors import DataError

NAMES = ("clear", "solid")  # told apart by the alpha channel alone


class Glass(Source):
    """White 2x2 images with alpha: class 0 has alpha 0, class 1 has 255."""

    def __init__(self, name, split, *_options):
        size = 64
        self.name, self.version, self.split, self.location = name, "", split, ""
        self.intervals = [Interval(split, 0, size)]
        self.features = {
            "image": Feature("image", (2, 2, 4), "uint8"), "label": Feature("label", (), "int32", 2, NAMES),
        }  # fmt: skip

    def read(self, indices):
        images = [np.full((2, 2, 4), 255, np.uint8) for _ in indices]
        for image, i in zip(images, indices, strict=True):
            image[..., 3] = 255 * (i % 2)
        return [{"image": image, "label": np.int32(i % 2)} for image, i in zip(images, indices, strict=True)]

    def fingerprint(self):
        return f"glass {self.split}"


def test_a_run_of_images_with_alpha_predicts_by_it(tmp_path, monkeypatch):
    """A file without alpha is solid."""
    monkeypatch.setattr(load, "open_source", Glass)
    monkeypatch.setattr(finish, "draw", lambda run, state: None)
    flags = [
        "--config=configs/classify/softmax.py:smoke", "--config.total_steps=30",
        "--config.optim={'name':'sgd','lr':1.0}",
        "--config.normalise={}", "--config.select.metric=", "--config.data={'name': 'glass', 'train': 'train'}",
    ]  # fmt: skip
    assert launch.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 0
    (tmp_path / "new").mkdir()
    for name, mode, colour in (("a", "RGBA", (255, 255, 255, 0)), ("b", "RGBA", (255,) * 4), ("c", "RGB", (255,) * 3)):
        Image.new(mode, (2, 2), colour).save(tmp_path / "new" / f"{name}.png")
    out = tmp_path / "out.csv"
    assert (
        launch.main(["--mode=predict", f"--workdir={tmp_path / 'run'}", f"--input={tmp_path / 'new'}", f"--out={out}"])
        == 0
    )
    with out.open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["clear", "solid", "solid"]


def trained_on(channels):
    """As far as reading files looks at a run."""
    features = {"image": Feature("image", (4, 2, channels), "uint8")}
    split = Split("train", SimpleNamespace(), HostStage(), features)
    spec = {"image": jax.ShapeDtypeStruct((8, 4, 2, channels), np.float32)}
    return SimpleNamespace(info=SimpleNamespace(spec=spec), data=SimpleNamespace(splits={"train": split}))


@pytest.mark.parametrize(("channels", "pixel"), [(1, [76]), (3, [255, 0, 0]), (4, [255, 0, 0, 255])])
def test_files_are_read_with_the_channels_of_the_run(tmp_path, channels, pixel):
    Image.new("RGB", (6, 3), (255, 0, 0)).save(tmp_path / "red.png")
    built = trained_on(channels)
    image = predict.as_trained(built, predict.files(built, [str(tmp_path)])).batch(np.arange(1))["image"]
    assert image.shape == (1, 4, 2, channels) and image[0, 0, 0].tolist() == pixel


@pytest.mark.parametrize("channels", [2, 12])
def test_channels_that_no_file_has_are_refused(tmp_path, channels):
    words = f"the run was trained on images with {channels} channels, image files have 1, 3 or 4; predict from arrays"
    with pytest.raises(DataError, match=words):
        predict.files(trained_on(channels), [str(tmp_path)])
