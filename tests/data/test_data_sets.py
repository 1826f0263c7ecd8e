"""The sets that need no download: digits, toy sets, folders of images."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.folder import FlatSource
from cvdl_jax.data.load import load
from cvdl_jax.errors import ConfigError, DataError


def all_of(name, split, data_dir=""):
    source = open_source(name, split, data_dir)
    rows = source.read(range(len(source)))
    return {key: np.stack([r[key] for r in rows]) for key in rows[0]}


def test_digits_are_the_scans_of_scikit_learn_in_stratified_splits():
    from sklearn.datasets import load_digits

    scans, labels = load_digits(return_X_y=True)
    seen = []
    shares = {"train": 0.64, "validation": 0.16, "test": 0.2}
    for split, share in shares.items():
        rows = all_of("digits", split)
        where = rows["id"].astype(int)
        seen += where.tolist()
        np.testing.assert_array_equal(rows["label"], labels[where])
        # The documented rounding, by exact fractions: half up.
        exact = [[int((int(v) * 255 * 2 + 16) // 32) for v in scan] for scan in scans[where]]
        np.testing.assert_array_equal(rows["image"].reshape(-1, 64), exact)
        counts, every = np.bincount(rows["label"]), np.bincount(labels)
        assert np.all(abs(counts - share * every) <= 1)
    assert sorted(seen) == list(range(1797))
    assert all_of("digits", "train")["image"].max() == 255


@pytest.mark.long
def test_two_processes_prepare_digits_at_once_without_tensorflow(tmp_path):
    code = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "from cvdl_jax.data.load import load\n"
        "data = load('digits', sys.argv[1], validation='validation', test='test')\n"
        "assert not {'tensorflow', 'torch'} & sys.modules.keys()\n"
        "print(data.fingerprint, data.splits['train'].arrays['image'].sum())"
    )
    environment = {**os.environ, "CVDL_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    running = [subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in running]
    assert [p.returncode for p in running] == [0, 0], results
    assert results[0] == results[1]
    assert results[0][1] == ""  # nothing on stderr: no progress bars, no advice
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["digits"]
    assert len(list((tmp_path / "cache" / "arrays").iterdir())) == 3


def test_a_data_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("")
    source = open_source("digits", "test", str(tmp_path / "file"))
    assert source.location == str(tmp_path / "cache" / "datasets" / "digits" / "1.0.0")
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"digits cannot be prepared .*set config.data.data_dir, TFDS_DATA_DIR"):
        open_source("digits", "test", str(tmp_path / "file"))


@pytest.mark.curriculum("B31")
@pytest.mark.parametrize("name", ["blobs", "circles", "xor", "spirals"])
def test_toys_are_balanced_and_their_splits_are_fixed(name):
    data = load(name, validation="validation", test="test")
    assert [s.size for s in data.splits.values()] == [1000, 500, 500]
    points = [s.arrays["features"] for s in data.splits.values()]
    assert points[0].shape == (1000, 2) and points[0].dtype == np.float32
    assert len({tuple(p) for split in points for p in split.tolist()}) == 2000
    counts = np.bincount(data.splits["train"].arrays["label"])
    assert len(counts) == data.num_classes and counts.max() - counts.min() <= 1
    assert data.fingerprint == load(name, validation="validation", test="test").fingerprint


@pytest.mark.curriculum("B31")
def test_toys_have_the_shape_of_their_name():
    def without_noise(name):
        arrays = load(name).splits["train"].arrays
        return arrays["features"].astype(float), arrays["label"]

    x, y = without_noise("xor(noise=0.0)")
    np.testing.assert_array_equal(y, (x[:, 0] * x[:, 1] < 0).astype(int))
    x, y = without_noise("circles(noise=0.0)")
    np.testing.assert_allclose(np.hypot(*x.T), (y + 1) / 2, atol=1e-4)
    x, y = without_noise("blobs(noise=0.0, num_classes=4)")
    np.testing.assert_allclose(x, 0.7 * np.stack([np.cos(y * np.pi / 2), np.sin(y * np.pi / 2)], 1), atol=1e-4)
    x, y = without_noise("spirals(noise=0.0)")
    turn = 3 * np.pi * (np.hypot(*x.T) - 0.1) / 0.9 + np.pi * y
    np.testing.assert_allclose(x, np.hypot(*x.T)[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1), atol=1e-3)


def test_toys_with_wrong_arguments():
    with pytest.raises(ConfigError, match="did you mean 'noise'"):
        open_source("xor(nois=0.1)", "train")
    with pytest.raises(DataError, match="no split 'tset'"):
        open_source("xor", "tset")


def save(path, value, size=(4, 3), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def test_a_folder_of_class_folders(tmp_path):
    for i in range(3):
        save(tmp_path / "dog" / f"{i}.png", (i, 20, 30))
        save(tmp_path / "cat" / f"{i}.bmp", (10 + i, 0, 0))
    data = load(f"folder:{tmp_path}", train="train[:4]", validation="train[4:]")
    assert data.class_names == ("cat", "dog") and data.num_classes == 2
    train, validation = data.splits["train"], data.splits["validation"]
    assert list(train.ids) == ["cat/0.bmp", "cat/1.bmp", "cat/2.bmp", "dog/0.png"]
    assert train.arrays["image"].shape == (4, 3, 4, 3)
    assert train.arrays["image"][1, 0, 0].tolist() == [11, 0, 0]
    assert validation.arrays["label"].tolist() == [1, 1]


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


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        open_source(f"folder:{tmp_path}/nowhere", "train")
    with pytest.raises(DataError, match=r"no class folders .found: nothing"):
        open_source(f"folder:{tmp_path}", "train")
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"class folder 'cat' .* no image"):
        open_source(f"folder:{tmp_path}", "train")
    save(tmp_path / "cat" / "good.png", 0)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    with pytest.warns(UserWarning, match="1 files are no images and are left out: notes.txt"):
        assert len(open_source(f"folder:{tmp_path}", "train")) == 1
    (tmp_path / "cat" / "notes.txt").rename(tmp_path / "cat" / "bad.png")
    with pytest.raises(DataError, match=r"image .*bad\.png cannot be read"):
        open_source(f"folder:{tmp_path}", "train")


def test_a_flat_folder_for_predictions(tmp_path):
    save(tmp_path / "b.png", (1, 2, 3))
    save(tmp_path / "a" / "c.png", (4, 5, 6))
    source = FlatSource(str(tmp_path))
    assert [source.identify(i) for i in range(len(source))] == ["a/c.png", "b.png"]
    assert source[1]["image"].shape == (3, 4, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        FlatSource(str(tmp_path / "empty"))


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
