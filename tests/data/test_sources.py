"""Where examples come from: TFRecord and ArrayRecord, split syntax, the folders looked in, messages."""

import shutil
import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.sources import data_folder, parse_split
from cvdl_jax.data.tfrecord import TFRecordFile, masked_crc32c
from cvdl_jax.errors import DataError

SIZES = {"train": 100, "test": 10}


def crc_of(data: bytes) -> int:
    """The masked CRC32C, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + struct.pack("<I", crc_of(length)) + record + struct.pack("<I", crc_of(record))


def test_crc_of_the_standard_example():
    assert crc_of(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked_crc32c([b"123456789"]).tolist() == [crc_of(b"123456789")]


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=6))
def test_checksums_of_many_records_are_those_bit_by_bit(records):
    assert masked_crc32c(records).tolist() == [crc_of(record) for record in records]


@pytest.fixture
def records(tmp_path):
    content = [b"", b"a", b"some bytes", bytes(range(256)) * 3]
    path = tmp_path / "x.tfrecord"
    path.write_bytes(b"".join(map(frame, content)))
    return path, content


def test_a_tfrecord_file_is_a_sequence(records):
    path, content = records
    file = TFRecordFile(path)
    assert len(file) == 4 and list(file) == content and file.read([3, 1]) == [content[3], content[1]]


@pytest.mark.parametrize("cut", [1, 4, 400, 790])
def test_a_truncated_file_is_refused_at_once(records, cut):
    path, _ = records
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"x\.tfrecord is (truncated or )?damaged"):
        TFRecordFile(path)


def test_a_flipped_bit_is_found(records):
    path, _ = records
    whole = bytearray(path.read_bytes())
    whole[-100] ^= 4
    path.write_bytes(whole)
    file = TFRecordFile(path)
    assert file[2] == b"some bytes"
    with pytest.raises(DataError, match="record 3 fails its checksum"):
        file.read([2, 3])
    whole[8] ^= 1  # in the checksum of the first length
    path.write_bytes(whole)
    with pytest.raises(DataError, match="length of record 0 fails its checksum"):
        TFRecordFile(path)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", [("train", 0, 100)]),
        ("train[90%:]", [("train", 90, 100)]),
        ("train[:3]+test", [("train", 0, 3), ("test", 0, 10)]),
        ("train[-5:]", [("train", 95, 100)]),
        ("all", [("train", 0, 100), ("test", 0, 10)]),
    ],
)
def test_split_syntax_is_that_of_tfds(split, expected):
    assert parse_split(split, SIZES, "set") == expected


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("trian", "no split 'trian'.*did you mean 'train'"),
        ("train[:0]", "is empty.*train .100 examples"),
        ("train[:101]", "incompatible with 100 examples"),
        ("train[", "cannot be read"),
        ("train[:9]+train[5:7]", "share examples 5 to 6 of 'train'"),
    ],
)
def test_a_wrong_split_names_the_splits(split, message):
    with pytest.raises(DataError, match=message):
        parse_split(split, SIZES, "set")


def test_the_data_folder(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "/from/environment")
    assert str(data_folder("/given")) == "/given"
    assert str(data_folder()) == "/from/environment"
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert data_folder().name == "tensorflow_datasets" and "~" not in str(data_folder())


def test_missing_data_name_the_folder_what_was_found_and_the_command(tmp_path, scratch_data):
    with pytest.raises(DataError, match=r"nowhere does not exist .*TFDS_DATA_DIR.*tfds build mnist"):
        open_source("mnist", "train", str(tmp_path / "nowhere"))
    open_source("digits", "train")
    shutil.copytree(scratch_data / "digits", tmp_path / "digits")
    with pytest.raises(DataError, match=r"expected .*mnist/<version>/dataset_info\.json; found: digits;.*tfds build"):
        open_source("mnist", "train", str(tmp_path))
    with pytest.raises(DataError, match="did you mean 'digits'"):
        open_source("digit", "train", str(tmp_path))
    (tmp_path / "other" / "1.0.0").mkdir(parents=True)
    with pytest.raises(DataError, match=r"found in .*other: 1\.0\.0"):
        open_source("other", "train", str(tmp_path))
    with pytest.raises(DataError, match=r"version 1\.0\.0, not 9\.0\.0"):
        open_source("digits:9.0.0", "train", str(tmp_path))


def test_damaged_folders_are_data_errors(tmp_path, scratch_data):
    open_source("digits", "train")
    copy = tmp_path / "other" / "1.0.0"
    shutil.copytree(scratch_data / "digits" / "1.0.0", copy)
    shard = copy / "digits-train.array_record-00000-of-00001"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="other"):
        open_source("other", "train", str(tmp_path)).read([0, 1100])
    shard.unlink()
    with pytest.raises(DataError, match=r"digits-train.*is missing; found in its folder: dataset_info.json"):
        open_source("other", "train", str(tmp_path))
    (copy / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match="cannot be opened as a TFDS data set"):
        open_source("other", "train", str(tmp_path))


def test_an_undecodable_example_is_named(scratch_data, monkeypatch):
    source = open_source("digits", "train[10:]")
    monkeypatch.setattr("cvdl_jax.data.tfds_source.decode_image", lambda *_: 1 // 0)
    with pytest.raises(DataError, match=r"example train/15 of .* cannot be decoded .*--config.data.skip_bad=True"):
        source[5]


@pytest.mark.parametrize(("name", "count"), [("mnist", 50), ("bccd", 10), ("tiny_shakespeare", 1)])
def test_both_containers_hold_the_same_examples(real_data, real_data_tfrecord, name, count):
    first, second = (open_source(name, "test+train", str(d)) for d in (real_data, real_data_tfrecord))
    assert len(first) == len(second) and first.features == second.features
    picked = np.linspace(0, len(first) - 1, min(count, len(first))).astype(int)
    for a, b in zip(first.read(picked), second.read(picked), strict=True):
        assert a.keys() == b.keys() == first.features.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    assert first.identify(0) == second.identify(0) == "test/0"
    assert first.fingerprint() != second.fingerprint()


def test_examples_are_those_of_tfds_without_tensorflow(real_data, recwarn, caplog):
    import tensorflow_datasets as tfds

    source = open_source("dsb2018_nuclei", "train[:4]", str(real_data))
    theirs = tfds.data_source("dsb2018_nuclei", split="train[:4]", data_dir=str(real_data), download=False)
    for ours, other in zip(source.read(range(4)), theirs, strict=True):
        np.testing.assert_array_equal(ours["image"], other["image"])
        np.testing.assert_array_equal(ours["instance_mask"], other["instance_mask"])
        np.testing.assert_array_equal(ours["objects/bbox"], np.stack(other["objects"]["bbox"]))
        assert ours["objects/label"].dtype == np.int32
        assert ours["file_name"] == other["file_name"]
    assert "tensorflow" not in sys.modules
    assert "OpenCV" not in caplog.text
