"""`load`: splits, their arrays, the cache, and what is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cvdl_jax.config.configs import cache_folder
from cvdl_jax.data import resident
from cvdl_jax.data.load import load
from cvdl_jax.errors import ConfigError, DataError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    shared = cache_folder() / "datasets"  # of the session: digits is prepared once
    shared.mkdir(parents=True, exist_ok=True)
    (tmp_path / "datasets").symlink_to(shared)
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path))
    return tmp_path


def digits(**more):
    return load("digits", **{"validation": "validation", "test": "test", **more})


def no_decoding(monkeypatch):
    def refuse(split):
        raise AssertionError("decoded again")

    monkeypatch.setattr(resident, "_decode_all", refuse)


def test_a_data_set_in_its_entirety():
    data = digits()
    train = data.splits["train"]
    assert (data.name, data.version, data.num_classes) == ("digits", "1.0.0", 10)
    assert data.class_names == tuple("0123456789") and len(data.fingerprint) == 64
    assert train.spec["image"].shape == (8, 8, 1) and train.spec["image"].dtype == np.uint8
    assert train.spec["label"].shape == () and train.spec["label"].dtype == np.int32
    assert set(train.spec) == {"image", "label"}  # texts stay on the host
    assert [s.size for s in data.splits.values()] == [1149, 289, 359]
    assert [len(s.arrays["image"]) for s in data.splits.values()] == [1149, 289, 359]
    assert list(np.asarray(data.splits["test"].ids)[:2]) == ["test/0", "test/1"]


def test_the_second_start_maps_the_arrays(cache, monkeypatch):
    first = digits()
    no_decoding(monkeypatch)
    second = digits()
    for split in first.splits:
        for entry, array in first.splits[split].arrays.items():
            np.testing.assert_array_equal(second.splits[split].arrays[entry], array)
            assert isinstance(second.splits[split].arrays[entry], np.memmap)
    with pytest.raises(AssertionError, match="decoded again"):
        digits(image_size=(4, 4))  # other settings, other arrays
    with pytest.raises(AssertionError, match="decoded again"):
        digits(train="train[:5]")


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "no json", "other shape"])
def test_a_damaged_cache_is_rebuilt_with_a_warning(cache, damage):
    whole = load("digits", train="test").splits["train"].arrays["image"]
    (folder,) = (cache / "arrays").iterdir()
    file = folder / json.loads((folder / "done.json").read_text())["image"][0]
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[-5] ^= 1
        file.write_bytes(content)
    elif damage == "truncated":
        file.write_bytes(content[:-7])
    elif damage == "missing":
        file.unlink()
    elif damage == "no json":
        (folder / "done.json").write_text("{")
    else:
        np.save(file, np.zeros((3, 8, 8, 1), np.uint8))
    with pytest.warns(UserWarning, match="cached arrays in .* are damaged .*decoding again"):
        again = load("digits", train="test").splits["train"].arrays["image"]
    np.testing.assert_array_equal(again, whole)
    load("digits", train="test")  # no warning: it was mended
    assert [p.name for p in (cache / "arrays").iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_is_done_without(cache):
    (cache / "arrays").write_text("a file, not a folder")
    with pytest.warns(UserWarning, match="cannot be kept in .*set CVDL_CACHE"):
        assert load("digits", train="test").splits["train"].arrays["label"].shape == (359,)
    load("digits", train="test", cache=False)


def test_no_arrays_beyond_the_limit():
    assert digits(resident_limit=1000).splits["train"].arrays is None
    assert digits(resident="never").splits["test"].arrays is None
    assert digits(resident="always", resident_limit=1000).splits["train"].arrays is not None
    half = 1200 * 68  # bytes: the limit is for all splits together
    assert digits(resident_limit=half).splits["test"].arrays is None


def test_splits_that_share_examples_are_refused():
    with pytest.raises(DataError, match=r"'train' and 'train\[90%:\]' share examples 1034 to 1148 of 'train'"):
        digits(validation="train[90%:]")
    data = digits(train="train[:90%]", validation="train[90%:]")
    assert data.splits["train"].size + data.splits["validation"].size == 1149


def test_the_fingerprint_is_of_the_data_not_of_the_place(tmp_path, monkeypatch):
    first = digits()
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path))  # it is made once more
    second = digits(cache=False)
    assert first.data_dir != second.data_dir
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != load("xor").fingerprint


@pytest.mark.long
def test_the_fingerprint_does_not_depend_on_the_process_that_prepared(tmp_path):
    code = "from cvdl_jax.data.load import load; print(load('digits', cache=False).fingerprint)"
    outputs = set()
    for seed in ("1", "2"):
        more = {"PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd(), "CVDL_CACHE": str(tmp_path / seed)}
        environment, command = {**os.environ, **more}, [sys.executable, "-c", code]
        outputs.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1


def test_labels_outside_the_classes_are_refused(monkeypatch):
    from cvdl_jax.data.tfds_source import TfdsSource

    read = TfdsSource.read_entries
    monkeypatch.setattr(
        TfdsSource,
        "read_entries",
        lambda self, i, names: [{**row, "label": row["label"] - 1} for row in read(self, i, names)],
    )
    with pytest.raises(DataError, match=r"example test/\d+ of digits: 'label' is -1, outside 0 to 9"):
        load("digits", train="test", cache=False)
    split = load("digits", train="test", resident="never").splits["train"]
    zero = next(i for i in range(split.size) if split.source[i]["label"] < 0)
    with pytest.raises(DataError, match=f"example test/{zero} of digits: 'label' is -1"):
        split.example(zero)


def test_entries_are_chosen_by_name():
    assert set(digits(features=("image",)).splits["train"].spec) == {"image"}
    with pytest.raises(ConfigError, match="did you mean 'image'"):
        digits(features=("imag",))
    with pytest.raises(ConfigError, match="'id' is text"):
        digits(features=("id",))
    with pytest.raises(ConfigError, match="asks for no split"):
        load("digits", train="")


def test_sets_of_boxes_and_masks_load_but_do_not_stack(real_data):
    bccd = load("bccd", str(real_data), train="train[:3]", features=(), cache=False).splits["train"]
    example = bccd.example(1)
    assert example["image"].shape == (480, 640, 3) and example["objects/bbox"].shape[1:] == (4,)
    with pytest.raises(DataError, match=r"'objects/label'\] vary in length: keep others with .*\('image',\)"):
        _ = bccd.spec
    nuclei = {"name": "dsb2018_nuclei", "data_dir": str(real_data), "train": "train[:3]", "cache": False}
    with pytest.raises(DataError, match=r"\['image', 'instance_mask'\] vary in size: set config.data.image_size"):
        _ = load(**nuclei).splits["train"].spec
    sized = load(**nuclei, image_size=(32, 48), features=("image", "instance_mask")).splits["train"]
    assert sized.arrays["instance_mask"].shape == (3, 32, 48, 1)
    full = load(**nuclei).splits["train"].example(0)["instance_mask"]
    assert set(np.unique(sized.arrays["instance_mask"][0])) <= set(np.unique(full))  # nearest: no new values
    with pytest.raises(ConfigError, match="would move the image but not its boxes"):
        load(**nuclei, image_size=(32, 48), crop="random")
    camvid = load("camvid", str(real_data), train="train[:2]", cache=False).splits["train"]
    assert camvid.arrays["segmentation_mask"].max() <= 11
    text = load("tiny_shakespeare", str(real_data)).splits["train"]
    assert len(text.source[0]["text"]) == 1003854 and text.spec == {}


def test_mnist_from_the_cache(real_data, cache, monkeypatch):
    splits = {"train": "train[:300]", "validation": "train[59900:]", "test": "test[:100]"}
    first = load("mnist", str(real_data), **splits)
    no_decoding(monkeypatch)
    second = load("mnist", str(real_data), **splits)
    for name, split in second.splits.items():
        np.testing.assert_array_equal(split.arrays["image"], first.splits[name].arrays["image"])
    assert second.splits["train"].arrays["label"][:5].tolist() == first.splits["train"].arrays["label"][:5].tolist()
    assert cache_folder() == cache
