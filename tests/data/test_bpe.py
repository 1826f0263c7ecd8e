"""Byte-pair encoding: merges worked by hand, how a text is cut, ids of bytes that begin a vocabulary, bad files."""

import gzip

import pytest

from cvdl_jax.data.bpe import BytePairs
from cvdl_jax.errors import DataError

FILE = "#version: 0.2\nr e\nd o\nre d</w>\ndo g</w>\no g</w>\n"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    file = tmp_path_factory.mktemp("bpe") / "merges.txt.gz"
    file.write_bytes(gzip.compress(FILE.encode()))
    return BytePairs(file)


def test_merges_worked_by_hand(pairs):
    """ "dog": d o first (rank 1), then do g; "fog": o g alone; "red": r e, re d; "rered" merges r e twice at once."""
    assert pairs.pieces("Dog") == ["dog</w>"] and pairs.pieces("fog") == ["f", "og</w>"]
    assert pairs.pieces("red  dogs") == ["red</w>", "do", "g", "s</w>"]
    assert pairs.pieces("rered") == ["re", "red</w>"]


def test_ids_of_bytes_and_merges(pairs):
    """256 bytes from "!" on, as many that end a word, the merges, begin and end: "a" alone is 320, as CLIP has it."""
    assert pairs.size == 512 + 5 + 2 and (pairs.begin, pairs.end) == (517, 518)
    assert pairs.encode("a red dog", 8).tolist() == [517, 320, 514, 515, 518, 0, 0, 0]
    assert pairs.encode("!", 3).tolist() == [517, 256, 518]
    assert [pairs.ids[piece] for piece in pairs.pieces("\u00e9")] == [127, 256 + 102]  # its two bytes, C3 and A9


def test_a_text_is_cut_as_clips(pairs):
    cut = ["".join(x for x in pairs.pieces(text)).split("</w>")[:-1] for text in
           ("it's 42!!", "they'll a_b", "x&amp;y")]  # fmt: skip
    assert cut == [["it", "'s", "4", "2", "!!"], ["they", "'ll", "a", "_", "b"], ["x", "&", "y"]]


def test_what_cannot_be_encoded_is_refused(pairs, tmp_path):
    with pytest.raises(DataError, match="the text 'red dog' has 2 pieces, and 3 ids hold 1 to 1 and two"):
        pairs.encode("red dog", 3)
    with pytest.raises(DataError, match="the text ' ' has 0 pieces"):
        pairs.encode(" ")
    with pytest.raises(DataError, match=r"cannot be read .*; name the file of CLIP's merges, bpe_simple_vocab_16e6"):
        BytePairs(tmp_path / "nothing.txt")
    file = tmp_path / "bad.txt"
    file.write_text("#version\nr e\nre q x\n")
    with pytest.raises(DataError, match="line 3: 're q x' is no pair of pieces"):
        BytePairs(file)
