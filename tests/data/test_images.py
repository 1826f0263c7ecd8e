"""Images of files and what is wrong with them: turned, 16-bit, float, too large, unreadable."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from cvdl_jax.data import load as load_module
from cvdl_jax.data import readable, stream
from cvdl_jax.data.image_files import common_size, read_image
from cvdl_jax.data.load import load
from cvdl_jax.data.schema import Feature, allow_pixels, decode_image
from cvdl_jax.data.sources import Interval, Source
from cvdl_jax.errors import ConfigError, DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)  # taller and wider are told apart
# How a camera stores the upright picture x for each orientation (Exif 2.32, table 5): first row, first column.
STORED = {
    1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1), 6: lambda x: x.swapaxes(0, 1)[::-1], 7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[:, ::-1],
}  # fmt: skip


def stored(orientation, kind, pixels=PIXELS):
    """A file whose pixels are turned, with the EXIF entry that says so."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels)))
    image.save(file, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_images_are_turned_as_their_exif_says(tmp_path, kind, orientation):
    data = stored(orientation, kind)
    np.testing.assert_array_equal(decode_image(data, 3), PIXELS)
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), PIXELS)
    assert common_size([path], False) == (3, 5)  # from the header
    if kind != "TIFF":  # which Pillow turns by itself
        as_stored = decode_image(data, 3, upright=False)
        np.testing.assert_array_equal(as_stored, STORED[orientation](PIXELS))


def test_a_jpeg_of_a_camera_is_upright_in_training_and_in_predictions(tmp_path):
    from cvdl_jax.data.folder import FlatSource

    halves = np.zeros((16, 32, 3), np.uint8)
    halves[:, 16:] = 255
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(stored(6, "JPEG", halves))
    images = [load(f"folder:{tmp_path}", cache=False).splits["train"].arrays["image"][0]]
    images.append(FlatSource(str(tmp_path))[0]["image"])
    for image in images:
        assert image.shape == (16, 32, 3) and image[:, :16].max() < 30 and image[:, 16:].min() > 225


def test_damaged_exif_of_a_whole_image_is_passed_over():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05garbage")
    np.testing.assert_array_equal(decode_image(file.getvalue(), 3), PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled(kind):
    values = np.array([[0, 1, 128, 129], [257, 32768, 65278, 65535]], np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    expected = np.round(values * (255 / 65535)).astype(np.uint8)  # 128 / 257 is below one half, 129 / 257 above
    assert expected[0].tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(decode_image(file.getvalue(), 1)[..., 0], expected)
    np.testing.assert_array_equal(decode_image(file.getvalue(), 3), np.repeat(expected[..., None], 3, -1))
    with pytest.raises(ValueError, match="have no known range"):  # values of a mask are classes
        decode_image(file.getvalue(), 1, mask=True)


def test_pixels_without_a_range_are_refused():
    file = io.BytesIO()
    Image.fromarray(np.ones((2, 2), np.float32)).save(file, "TIFF")
    with pytest.raises(ValueError, match="mode F have no known range; save them as 8-bit, or as 16-bit grey"):
        decode_image(file.getvalue(), 3)


def test_a_prepared_set_of_16_bit_images_is_scaled():
    import tensorflow_datasets as tfds

    from cvdl_jax.data.schema import from_tfds

    features = tfds.features.FeaturesDict({
        "image": tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16, encoding_format="png"),
        "depth": tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16, encoding_format="png"),
    })  # fmt: skip
    kinds = {name: (f.kind, f.dtype) for name, f in from_tfds(features).items()}
    assert kinds == {"image": ("image", "uint8"), "depth": ("tensor", "int32")}  # distances keep their values


# Float images ---------------------------------------------------------------------------------------------------------


class Floats(Source):
    """Images of one value each, from low to high."""

    def __init__(self, low, high, n=8):
        self.values = np.linspace(low, high, n, dtype=np.float32)
        self.name, self.version, self.split, self.location = "floats", "", "train", ""
        self.intervals = [Interval("train", 0, n)]
        self.features = {"image": Feature("tensor", (2, 2, 1), "float32"), "label": Feature("label", (), "int32", 2)}

    def read(self, indices):
        return [{"image": np.full((2, 2, 1), self.values[i]), "label": np.int32(i % 2)} for i in indices]

    def fingerprint(self):
        return "floats"


@pytest.mark.parametrize("resident", ["always", "never"])
def test_float_images_outside_0_to_1_are_refused_or_brought_into_it(monkeypatch, resident):
    monkeypatch.setattr(load_module, "open_source", lambda *_: Floats(-1, 1))
    wrong = (
        r"example train/0 of floats: the pixels of 'image' reach from -1 to -1, expected 0 to 1; .*pixel_range=LOW,HIGH"
    )
    with pytest.raises(DataError, match=wrong):  # before the first batch
        load("floats", resident=resident)
    images = load("floats", resident=resident, pixel_range=(-1.0, 1.0)).splits["train"].batch(np.arange(8))["image"]
    np.testing.assert_allclose(images[:, 0, 0, 0], np.linspace(0, 1, 8), atol=1e-6)
    with pytest.raises(DataError, match=r"reach from 1\.\S+ to 1\.\S+, expected"):
        load("floats", resident=resident, pixel_range=(-1.0, 0.0))
    monkeypatch.setattr(load_module, "open_source", lambda *_: Floats(0, 1))
    assert load("floats", resident=resident).splits["train"].batch(np.arange(8))["image"].max() == 1
    monkeypatch.setattr(load_module, "open_source", lambda *_: Floats(np.nan, 1))
    with pytest.raises(DataError, match="reach from nan to nan"):
        load("floats", resident=resident)


def test_a_pixel_range_that_changes_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"pixel_range=\(0.0, 255.0\): there are no float images; leave it out"):
        load("digits", pixel_range=(0.0, 255.0))
    with pytest.raises(ConfigError, match=r"must be \(low, high\), finite, low < high"):
        load("digits", pixel_range=(1.0, 1.0))


# Large and unreadable images ------------------------------------------------------------------------------------------


def animals(root, n=4):
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (24, 24, 3), np.uint8)).save(
                root / name / f"{i}.png"
            )
    return f"folder:{root}"


def truncate(path):
    """Leaves the header whole, so that only decoding notices."""
    path.write_bytes(path.read_bytes()[:-400])


def test_the_limit_of_large_images_is_a_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    name = animals(tmp_path / "set", 1)
    with pytest.raises(
        DataError, match=r"DecompressionBombError.*set config.data.max_pixels to the number of its pixels"
    ):
        load(name)
    assert load(name, max_pixels=24 * 24).splits["train"].size == 2
    allow_pixels(50)
    assert Image.MAX_IMAGE_PIXELS == 576  # never lowered
    with pytest.raises(ConfigError, match="max_pixels=-1 must be 0"):
        load(name, max_pixels=-1)


def test_unreadable_images_are_refused_or_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path / "cache"))
    name = animals(tmp_path / "set")
    truncate(tmp_path / "set" / "cat" / "1.png")
    (tmp_path / "set" / "dog" / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"the image .*dog/3\.png cannot be read .*--config.data.skip_bad=True"):
        load(name)
    with pytest.warns(
        UserWarning,
        match=r"2 of 8 examples of 'train' of folder:set cannot be read .*: cat/1.png, dog/3.png .OSError: image",
    ):
        data = load(name, skip_bad=True)
    split = data.splits["train"]
    assert data.skipped == {"train": ("cat/1.png", "dog/3.png")}
    assert list(split.ids) == [f"{c}/{i}.png" for c, i in
                               (("cat", 0), ("cat", 2), ("cat", 3), ("dog", 0), ("dog", 1), ("dog", 2))]  # fmt: skip
    assert split.arrays["label"].tolist() == [0, 0, 0, 1, 1, 1] and split.arrays["image"].shape == (6, 24, 24, 3)
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="2 of 8"):
        patch.setattr(readable, "_bad_of", lambda source, places: 1 // 0)  # what was found is kept
        load(name, skip_bad=True)
    truncate(tmp_path / "set" / "cat" / "2.png")
    with pytest.warns(UserWarning, match="3 of 8"):
        load(name, skip_bad=True)
    for path in (tmp_path / "set").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"8 of 8 examples of 'train' of folder:set cannot be read"):
        load(name, skip_bad=True)


def test_what_is_left_out_moves_no_other_example_to_another_part(tmp_path):
    name = animals(tmp_path / "set", 20)
    cut = {"split": {"fractions": (0.5, 0.25, 0.25), "stratified": True}}
    whole = load(name, **cut)
    lost = next(iter(whole.splits["train"].ids))
    truncate(tmp_path / "set" / lost)
    with pytest.warns(UserWarning, match="1 of 20"):
        rest = load(name, **cut, skip_bad=True)
    for key, split in whole.splits.items():
        assert list(rest.splits[key].ids) == [i for i in split.ids if i != lost]
    fractions_of_now = load(name, **cut, resident="never")
    assert rest.fingerprint == fractions_of_now.fingerprint  # of the data as they lie there, left out or not


def test_a_corrupt_image_met_while_streaming_says_the_way_on(tmp_path):
    name = animals(tmp_path / "set")
    truncate(tmp_path / "set" / "cat" / "1.png")
    split = load(name, resident="never").splits["train"]
    with pytest.raises(DataError, match=r"cat/1\.png cannot be read .*leave out what cannot be read: .*skip_bad=True"):
        list(stream.train_batches(split, 0, 0, 2, 4))
    with pytest.warns(UserWarning, match="1 of 8"):
        split = load(name, resident="never", skip_bad=True).splits["train"]
    batches = list(stream.train_batches(split, 0, 0, 7, 4))
    assert len(batches) == 7 and all(batch["image"].any() for batch in batches)


# Names of entries -----------------------------------------------------------------------------------------------------


def test_the_class_under_another_name(tmp_path):
    from test_named_sets import prepare

    folder = prepare("cifar100", tmp_path)
    fine = load("cifar100", str(folder), cache=False)
    coarse = load("cifar100", str(folder), label="coarse_label", cache=False)
    assert (fine.num_classes, coarse.num_classes) == (100, 20) and len(coarse.class_names) == 20
    split = coarse.splits["train"]
    assert "coarse_label" not in split.features and split.arrays["label"].max() < 20
    np.testing.assert_array_equal(split.arrays["label"], fine.splits["train"].arrays["coarse_label"])
    np.testing.assert_array_equal(load_module.labels(split.source, False), split.arrays["label"])
    assert (
        split.source.base.features["label"].num_classes == 100
        and split.source[0].keys() == split.source.features.keys()
    )
    for wrong, words in (("kind", "is not an entry of cifar100; its class labels: coarse_label, label"),
                         ("image", r"is a image of shape \(32, 32, 3\) in cifar100")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            load("cifar100", str(folder), label=wrong)


def test_entries_are_read_without_their_images(scratch_data, monkeypatch):
    source = load("digits", train="train[:7]").splits["train"].source
    labels = [int(row["label"]) for row in source.read(range(7))]
    monkeypatch.setattr("cvdl_jax.data.tfds_source.decode_image", lambda *_: 1 // 0)
    assert [int(row["label"]) for row in source.read_entries(range(7), ["label"])] == labels
    assert load_module.labels(source, False).tolist() == labels


def test_what_was_found_unreadable_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path / "cache"))
    name = animals(tmp_path / "set", 2)
    load(name, skip_bad=True)
    (file,) = (Path(os.environ["CVDL_CACHE"]) / "unreadable").iterdir()
    assert json.loads(file.read_text()) == {}
