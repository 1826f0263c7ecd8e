"""Fingerprints and kept arrays see every change of the files, and are not computed twice for nothing."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvdl_jax.data import digests, tfds_source
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.load import load


def bitmap(path, shade, size=96):
    """An uncompressed image of 27 KiB whose middle has a shade; the file's size does not depend on it."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[size // 2] = shade
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CVDL_CACHE", str(tmp_path / "cache"))
    for name in ("cat", "dog"):
        for i in range(2):
            bitmap(tmp_path / "set" / name / f"{i}.bmp", 10)
    return tmp_path / "set"


@pytest.mark.parametrize("ending", ["bmp", "ppm"])
def test_repainted_pixels_of_an_image_of_the_same_size_are_seen(folder, ending):
    path = folder / "dog" / f"9.{ending}"
    bitmap(path, 10)
    before, state = load(f"folder:{folder}"), path.stat()
    bitmap(path, 200)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # a tool that keeps the time
    assert path.stat().st_size == state.st_size
    after = load(f"folder:{folder}")
    assert before.fingerprint != after.fingerprint
    assert after.splits["train"].arrays["image"][-1, 48, 0, 0] == 200  # decoded again
    assert not after.known_as(before.fingerprint)
    bitmap(path, 10)
    assert load(f"folder:{folder}").fingerprint == before.fingerprint  # of content, not of times
    (folder / "dog").rename(folder / "ant")
    assert load(f"folder:{folder}").fingerprint != before.fingerprint


def test_runs_of_before_are_known_by_the_fingerprint_that_they_have(folder, scratch_data):
    source = open_source(f"folder:{folder}", "train")
    former = [digests.edges(path, 1 << 12) for path in source._own()]
    assert [text.split()[1] for text in former] == ["27702"] * 4
    assert load(f"folder:{folder}").known_as(load_of(source.former_fingerprint()))
    assert source.former_fingerprint() != source.fingerprint()
    digit = open_source("digits", "train[:5]")
    assert digit.fingerprint() == digit.former_fingerprint()  # its edges are all of it


def load_of(*fingerprints):
    """The fingerprint of a data set from those of its splits, as it always was."""
    import hashlib

    return hashlib.sha256("".join(fingerprints).encode()).hexdigest()


def test_a_byte_in_the_middle_of_a_shard_is_seen(tmp_path, scratch_data, monkeypatch):
    open_source("digits", "train")
    copy = tmp_path / "other" / "1.0.0"
    shutil.copytree(scratch_data / "digits" / "1.0.0", copy)
    monkeypatch.setattr(tfds_source, "_MIB", 64)  # shards are larger than two edges then
    source = open_source("other", "train", str(tmp_path))
    before, former = source.fingerprint(), source.former_fingerprint()
    shard = copy / "digits-train.array_record-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)
    source = open_source("other", "train", str(tmp_path))
    assert source.fingerprint() != before and source.former_fingerprint() == former


def test_digests_of_many_bytes_are_kept_until_a_file_is_written(folder, monkeypatch):
    monkeypatch.setattr(digests, "KEPT", 0)
    files = sorted(folder.rglob("*.bmp"))
    first = digests.digests(folder, files, 1 << 12)

    def refuse(path, size, edge):
        raise AssertionError(f"{path.name} is read again")

    with monkeypatch.context() as patch:
        patch.setattr(digests, "_whole", refuse)
        with pytest.raises(AssertionError, match="is read again"):  # written a moment ago: it might change unseen
            digests.digests(folder, files, 1 << 12)
    monkeypatch.setattr(digests, "_SETTLED", -3600.0)
    digests.digests(folder, files, 1 << 12)
    (kept,) = (Path(os.environ["CVDL_CACHE"]) / "digests").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(digests, "_whole", refuse)
        assert digests.digests(folder, files, 1 << 12) == first
        os.utime(files[1], ns=(1, 1))
        with pytest.raises(AssertionError, match=f"{files[1].name} is read again"):
            digests.digests(folder, files, 1 << 12)
    kept.write_text("{damaged")
    assert digests.digests(folder, files, 1 << 12) == first


def test_of_a_large_set_samples_decide_and_its_arrays_are_kept_under_times_too(folder, monkeypatch):
    exact = open_source(f"folder:{folder}", "train")
    exact.fingerprint()
    monkeypatch.setattr(digests, "EXACT", 1000)
    source = open_source(f"folder:{folder}", "train")
    assert source.fingerprint() != exact.fingerprint() and exact.cache_key() == exact.fingerprint()
    os.utime(folder / "cat" / "0.bmp", ns=(5, 5))
    later = open_source(f"folder:{folder}", "train")
    assert later.fingerprint() == source.fingerprint() and later.cache_key() != source.cache_key()
    pixels = np.asarray(Image.open(folder / "cat" / "0.bmp")) + np.uint8(1)  # all of it
    Image.fromarray(pixels).save(folder / "cat" / "0.bmp")
    assert open_source(f"folder:{folder}", "train").fingerprint() != source.fingerprint()
