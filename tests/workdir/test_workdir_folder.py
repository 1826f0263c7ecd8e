"""Files of a run's folder: whole or not there."""

import pytest

from cvdl_jax.workdir.folder import replacing, write_whole


def test_an_error_leaves_the_old_file_and_nothing_half_written(tmp_path):
    path = tmp_path / "a.bin"
    write_whole(path, b"old")
    with pytest.raises(OSError, match="full"), replacing(path) as file:
        file.write(b"half")
        raise OSError("full")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_take_its_place_goes(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "folder", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_two_who_write_one_file_at_once_do_not_meet(tmp_path):
    path = tmp_path / "page.html"
    with replacing(path) as one, replacing(path) as other:
        one.write(b"one")
        other.write(b"the other")
    assert path.read_bytes() == b"one"  # the last to end
    assert list(tmp_path.iterdir()) == [path]
