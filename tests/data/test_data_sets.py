"""The sets that need no download: digits and toy sets."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cvdl_jax.data.catalogue import open_source
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
    assert not (tmp_path / "data").exists()  # sets of ours are made in the cache: a data folder may be others' too
    assert [p.name for p in (tmp_path / "cache" / "datasets").iterdir()] == ["digits"]
    assert len(list((tmp_path / "cache" / "arrays").iterdir())) == 3


def test_sets_of_ours_are_made_in_the_cache_and_found_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    source = open_source("digits", "test", str(tmp_path / "data"))
    assert source.location == str(tmp_path / "cache" / "datasets" / "digits" / "1.0.0")
    assert list((tmp_path / "data").iterdir()) == []
    shutil.move(tmp_path / "cache" / "datasets" / "digits", tmp_path / "data")
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path / "file"))
    assert open_source("digits", "test", str(tmp_path / "data")).location.startswith(str(tmp_path / "data"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"digits cannot be prepared .*set CVDL_CACHE to a folder that can be written"):
        open_source("digits", "test", str(tmp_path / "nowhere"))


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
