"""WordPiece as the reference code has it, texts as padded rows, pairs of sentences, drawn reviews, hidden words."""

from collections import Counter
from functools import partial

import jax
import numpy as np
import pytest

from cvdl_jax.core import parallel
from cvdl_jax.data import encoded_texts, masked_words, sentence_pairs, word_pieces
from cvdl_jax.data.builders import reviews
from cvdl_jax.data.load import load
from cvdl_jax.data.scenes import Words
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Interval, Source
from cvdl_jax.data.word_pieces import SPECIAL
from cvdl_jax.errors import ConfigError, DataError

# The vocabulary of the reference code's tests and more, and what `tokenizers` 0.23.3 (BertWordPieceTokenizer) gives for
# it; only marks such as [MASK] inside a text are special pieces there, and pieces of a text here.
PIECES = (*SPECIAL, "the", "un", "##want", "##ed", "runn", "##ing", ",", "a", "##b", "want", "hotel", "naive", "!",
          "中", "国", "t", "##t", "##e", "$", "[", "]", "mask")  # fmt: skip
WORKED = {
    "unwanted,running": ["un", "##want", "##ed", ",", "runn", "##ing"],
    "UNwant\u00c9d,running": ["un", "##want", "##ed", ",", "runn", "##ing"],
    "Hôtel NAÏVE!": ["hotel", "naive", "!"],
    "中国ab": ["中", "国", "a", "##b"],
    "the\u00a0\tthe\n": ["the", "the"],
    "a\u200bb\x00": ["a", "##b"],  # controls are nothing, not blanks
    "te te$": ["t", "##e", "t", "##e", "$"],
    "[MASK]": ["[", "mask", "]"],
    "wantz": ["[UNK]"],  # as a whole, though "want" is known
    "t" * 100: ["t", *["##t"] * 99],
    "t" * 101: ["[UNK]"],
    "": [],
}


def of(pieces=PIECES, **more):
    return word_pieces.vocabulary(pieces, "the test", **more)


class Texts(Source):
    """Texts in memory, with a label."""

    def __init__(self, *rows, split="train"):
        self.rows, self.split = rows, split
        self.name, self.version, self.location, self.intervals = "texts", "1", "", [Interval(split, 0, len(rows))]
        text = Feature("text", (), "bytes")
        self.features = {"text": text, "other": text, "label": Feature("label", (), "int32", 2, ("no", "yes"))}

    def read(self, indices):
        keep = [self.rows[i] if isinstance(self.rows[i], tuple) else (self.rows[i], "the") for i in indices]
        return [
            {"text": t if isinstance(t, bytes) else t.encode(), "other": o.encode(), "label": np.int32(i % 2)}
            for i, (t, o) in zip(indices, keep, strict=True)
        ]

    def fingerprint(self):
        return str(self.rows)


@pytest.mark.curriculum("J15")
@pytest.mark.parametrize("text", WORKED, ids=lambda text: ascii(text[:12]))
def test_pieces_are_those_of_the_reference(text):
    vocabulary = of()
    assert [vocabulary.pieces[i] for i in vocabulary.encode(text)] == WORKED[text]


def test_a_cased_vocabulary_keeps_case_and_accents():
    vocabulary = of((*SPECIAL, "Hôtel", "hotel"), lower_case=False)
    assert vocabulary.encode("Hôtel hotel hôtel") == [5, 6, vocabulary.special("[UNK]")]
    assert word_pieces.words("Été, Σ", False) == ["Été", ",", "Σ"]


def test_decoding_joins_pieces_and_leaves_padding_out():
    vocabulary = of()
    assert vocabulary.decode([1, *vocabulary.encode("unwanted running"), 2, 0, 0]) == "[CLS] unwanted running [SEP]"


def test_a_vocabulary_without_special_pieces_is_refused_by_their_names(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\nthe\r\n[SEP]\n")
    with pytest.raises(DataError, match=r"vocab.txt lacks the special pieces \[CLS\], \[MASK\]; a vocabulary has one"):
        word_pieces.read(path)
    path.write_text("\n".join((*SPECIAL, "the", "the")))
    with pytest.raises(DataError, match="has the piece 'the' more than once"):
        word_pieces.read(path)
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    assert word_pieces.read(path).pieces == PIECES
    with pytest.raises(DataError, match=r"the vocabulary '.*none.txt' cannot be read .*config.data.text.vocabulary"):
        word_pieces.read(tmp_path / "none.txt")


def test_a_vocabulary_that_is_made_spells_every_word_and_has_the_commonest_whole():
    whole = word_pieces.made_of(["cab cab bad", "Bad ace"], 100).pieces
    assert whole == (*SPECIAL, *"abcde", "##a", "##b", "##c", "##d", "##e", "bad", "cab", "ace")
    some = word_pieces.made_of(["cab cab bad", "bad ace"], 16)
    assert some.pieces == whole[:16]
    assert [some.pieces[i] for i in some.encode("bad ace")] == ["bad", "a", "##c", "##e"]
    with pytest.raises(ConfigError, match=r"config.data.text.size=9 is too small: .* are 15; use at least that"):
        word_pieces.made_of(["cab cab bad", "bad ace"], 9)


# Rows of numbers ----------------------------------------------------------------------------------------------


def rows_of(*texts, **settings):
    (source,) = encoded_texts.encoded({"train": Texts(*texts)}, settings).values()
    return source, source.read(range(len(source)))


@pytest.mark.curriculum("J15")
def test_one_text_and_two_texts_as_bert_reads_them():
    source, rows = rows_of("a b", ("a a", "b"), length=8)
    a, b = (source.vocabulary.numbers[c] for c in "ab")
    assert rows[0]["tokens"].tolist() == [1, a, b, 2, 0, 0, 0, 0] and rows[0]["length"] == 4
    assert rows[0]["segments"].tolist() == [0] * 8 and rows[1]["label"] == 1
    source, rows = rows_of("a b", ("a a", "b"), length=8, entries=("text", "other"))
    a, b = (source.vocabulary.numbers[c] for c in "ab")
    assert rows[1]["tokens"].tolist() == [1, a, a, 2, b, 2, 0, 0] and rows[1]["length"] == 6
    assert rows[1]["segments"].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]


def test_what_is_too_long_is_refused_or_cut_and_counted():
    with pytest.raises(DataError, match=r"train/1 of texts has 5 pieces, and config.data.text.length=6 has place for 4;"
                       " set it to 7 or more, or cut such texts: --config.data.text.truncate=True"):  # fmt: skip
        rows_of("a b", "a b a b a", length=6)
    source, rows = rows_of("a b", "a b a b b", length=5, truncate=True)
    a, b = (source.vocabulary.numbers[c] for c in "ab")
    assert rows[1]["tokens"].tolist() == [1, a, b, a, 2] and [int(row["cut"]) for row in rows] == [0, 2]
    _, rows = rows_of(("a a a a", "b b"), length=7, truncate=True, entries=("text", "other"))
    assert rows[0]["tokens"].tolist() == [1, a, a, 2, b, b, 2] and rows[0]["cut"] == 2  # of the longer one
    _, rows = rows_of(("a a a", "b b b"), length=8, truncate=True, entries=("text", "other"))
    assert rows[0]["tokens"].tolist() == [1, a, a, a, 2, b, b, 2]  # of equal ones, of the second


def test_buckets_put_texts_of_similar_length_into_one_batch_and_are_no_part_of_the_data():
    texts = ["a " * n for n in (1, 2, 3, 6, 1, 2, 3, 6)]  # rows of 3, 4, 5 and 8 numbers
    source, _ = rows_of(*texts, length=8, buckets=(3, 5))
    assert encoded_texts.groups(source).numbers.tolist() == [0, 1, 1, 2, 0, 1, 1, 2]
    plain, _ = rows_of(*texts, length=8)
    assert encoded_texts.groups(plain) is None and plain.fingerprint() == source.fingerprint()
    for wrong in ((5, 3), (3, 3), (8,), (9,)):
        with pytest.raises(
            ConfigError, match=r"buckets=\(.*\) must be different lengths below .*length=8, in ascending"
        ):
            rows_of("a", length=8, buckets=wrong)
    with pytest.raises(ConfigError, match="buckets"):
        rows_of("a", length=8, buckets=(0, 3))


def test_texts_without_words_and_settings_without_sense_are_refused(tmp_path):
    with pytest.raises(DataError, match="example train/1 of texts: 'text' is ' ', which has no piece of a word"):
        rows_of("a", " ")
    with pytest.raises(DataError, match="example train/0 of texts: 'text' is not UTF-8"):
        rows_of(b"\xff", vocabulary="")
    with pytest.raises(ConfigError, match=r"entries=\('title',\): texts has no text 'title'"):
        rows_of("a", entries=("title",))
    with pytest.raises(ConfigError, match=r"entries=\('text', 'text'\) must be one text or two different ones"):
        rows_of("a", entries=("text", "text"))
    with pytest.raises(ConfigError, match=r"config.data.text.length=2 has no place for a piece of each text"):
        rows_of("a", length=2)
    (tmp_path / "v.txt").write_text("\n".join(PIECES), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config.data.text.size=50 is of a vocabulary that is made"):
        rows_of("a", vocabulary=str(tmp_path / "v.txt"), size=50)
    with pytest.raises(ConfigError, match="there is no training split to make one of; name a file"):
        encoded_texts.encoded({"test": Texts("a")}, {"length": 8})


def test_the_vocabulary_is_of_the_training_split_and_belongs_to_the_fingerprint(tmp_path):
    both = encoded_texts.encoded({"train": Texts("a b"), "test": Texts("z a", split="test")}, {"length": 8})
    assert both["test"].vocabulary == both["train"].vocabulary and "z" not in both["train"].vocabulary.pieces
    assert both["test"].read([0])[0]["tokens"].tolist()[1] == both["train"].vocabulary.special("[UNK]")
    prints = set()
    for pieces, more in ((PIECES, {}), (PIECES[:-1], {}), (PIECES, {"length": 9})):
        (tmp_path / "v.txt").write_text("\n".join(pieces), encoding="utf-8")
        settings = {"length": 8, "vocabulary": str(tmp_path / "v.txt"), **more}
        prints.add(encoded_texts.encoded({"train": Texts("a b")}, settings)["train"].fingerprint())
    assert len(prints) == 3


# Pairs of sentences ----------------------------------------------------------------------------------------------


def test_sentences_end_with_marks_before_a_blank_or_with_the_line():
    assert sentence_pairs.sentences("One. Two 3.5!  Three?\n\nFour\n") == ["One.", "Two 3.5!", "Three?", "Four"]


@pytest.mark.curriculum("J17")
def test_half_of_the_pairs_follow_and_half_are_of_two_documents():
    counts = np.asarray([3, 1, 4, 2, 5])
    pairs = sentence_pairs.partners(counts)
    assert len(pairs) == (counts - 1).sum() == 10
    firsts = {(d, s) for d, s in pairs[:, :2].tolist()}
    assert firsts == {(d, s) for d, n in enumerate(counts) for s in range(n - 1)}
    assert pairs[:, 4].sum() == 5
    for first, sentence, second, partner, follows in pairs.tolist():
        assert 0 <= partner < counts[second]
        assert (second, partner) == (first, sentence + 1) if follows else second != first
        longest = np.delete(counts, first).max()  # a false partner stands where the true one does, if there is one
        assert partner == sentence + 1 if longest > sentence + 1 else partner == counts[second] - 1
    many = sentence_pairs.partners([2] * 4001)
    assert many[:, 4].sum() == 2001
    away = (many[:, 2] - many[:, 0])[many[:, 4] == 0] % 4001
    assert away.min() >= 1 and abs(away.mean() / 2001 - 1) < 0.05  # any other document
    np.testing.assert_array_equal(sentence_pairs.partners(counts), pairs)


@pytest.mark.curriculum("J17")
def test_pairs_hold_the_sentences_of_their_documents_and_the_label():
    texts = ["a b. c. d.", "e. f.", "g."]
    (source,) = encoded_texts.encoded({"train": Texts(*texts)}, {"length": 16, "pairs": True}).values()
    rows, documents = source.read(range(len(source))), [sentence_pairs.sentences(text) for text in texts]
    assert len(rows) == 3 and source.features["next"].class_names == ("of another document", "next")
    for i, row in enumerate(rows):
        ends = np.flatnonzero(row["tokens"] == 2)
        decode = source.vocabulary.decode
        first, second = (decode(part).replace(" .", ".") for part in np.split(row["tokens"], ends)[:2])
        document, sentence = map(int, source.identify(i).removeprefix("train/").split("."))
        assert first.removeprefix("[CLS] ") == documents[document][sentence]
        told = second.removeprefix("[SEP] ")
        assert (told == documents[document][sentence + 1]) == bool(row["next"])
        assert bool(row["next"]) or told not in documents[document]
        assert row["segments"].tolist() == [0] * (ends[0] + 1) + [1] * (ends[1] - ends[0]) + [0] * (15 - ends[1])


def test_texts_that_give_no_pair_are_refused():
    for texts in (("a. b.",), ("a.", "b.")):
        with pytest.raises(DataError, match="pairs need two documents, one with two sentences"):
            encoded_texts.encoded({"train": Texts(*texts)}, {"length": 16, "pairs": True})["train"].read([0])
    with pytest.raises(ConfigError, match="must be the text that is cut into sentences"):
        encoded_texts.encoded({"train": Texts("a. b.")}, {"pairs": True, "entries": ("text", "other")})


# Reviews ----------------------------------------------------------------------------------------------


def test_reviews_are_the_same_everywhere():
    assert reviews.write(Words(40, 1), 0, 3, 6) == (
        "Kesys is a film from Japan. The camera is not lovely and the acting is sad. The acting was not solid, and the "
        "plot boring."
    )


@pytest.mark.curriculum("J13")
def test_good_and_bad_reviews_have_the_same_words():
    """Draw for draw, so that no count of words tells them apart; what stands behind "not" does."""
    for i in range(200):
        bad, good = (word_pieces.words(reviews.write(Words(40, i), label, 3, 6)) for label in (0, 1))
        assert Counter(bad)["not"] == Counter(good)["not"] > 0
        denied = [{words[k + 1] for k, word in enumerate(words) if word == "not"} for words in (bad, good)]
        assert denied[0] <= set(reviews.ADJECTIVES[1]) and denied[1] <= set(reviews.ADJECTIVES[0])
        stated = [set(words) - wrong for words, wrong in zip((bad, good), denied, strict=True)]
        assert stated[0] & set(reviews.ADJECTIVES[0]) and stated[1] & set(reviews.ADJECTIVES[1])
        pairs = [
            sorted(zip(*[[w for w in words if w in kind] for kind in reviews.ADJECTIVES], strict=True))
            for words in (bad, good)
        ]
        assert Counter(bad) == Counter(good) and pairs[0] == pairs[1]


def test_the_set_is_read_as_tokens_with_its_label_and_as_pairs():
    name = "reviews(train=40, validation=6, test=5)"
    data = load(name, train="train", validation="validation", test="test", text={"length": 200})
    batch = data.splits["train"].batch(np.arange(40))
    assert data.class_names == ("bad", "good") and set(data.splits["test"].spec) == {
        "tokens",
        "segments",
        "length",
        "label",
    }
    vocabulary = data.splits["train"].source.vocabulary
    text = vocabulary.decode(batch["tokens"][3, 1 : batch["length"][3] - 1].tolist())
    words = Words(40, 3)
    assert batch["label"][3] == words.below(2)
    assert text == " ".join(word_pieces.words(reviews.write(words, batch["label"][3], 3, 6)))
    assert Counter(batch["label"].tolist())[1] in range(12, 29)
    pairs = load(name, train="train", validation="validation", text={"length": 200, "pairs": True})
    assert pairs.class_names == ("of another document", "next") and pairs.splits["train"].size > 80
    assert pairs.fingerprint != data.fingerprint


# Hidden words ----------------------------------------------------------------------------------------------

FEW = (*SPECIAL, *(f"w{i}" for i in range(95)))
mask_words = jax.jit(
    lambda key, tokens: masked_words.mask_words(key, tokens, FEW),
    compiler_options={"xla_backend_optimization_level": 0},
)


@pytest.fixture(scope="module")
def example():
    rng, rows, t = np.random.default_rng(0), 400, 42
    tokens = rng.integers(5, 100, (rows, t))
    lengths = rng.integers(5, t + 1, rows)
    tokens[:, 0] = 1
    tokens[np.arange(t)[None] >= lengths[:, None]] = 0
    tokens[np.arange(rows), lengths - 1] = 2
    tokens[:, 3] = np.where(lengths > 4, 3, tokens[:, 3])  # an unknown word
    tokens = tokens.astype(np.int32)
    return tokens, mask_words(jax.random.key(0), tokens)


@pytest.mark.curriculum("J16")
def test_fifteen_percent_are_chosen_and_never_special_ones(example):
    tokens, masked = jax.device_get(example)
    weights, rows = masked.weights, np.arange(len(tokens))[:, None]
    able = (tokens >= 5).sum(1)
    np.testing.assert_array_equal(weights.sum(1), np.minimum(np.maximum(np.floor(0.15 * able + 0.5), 1), able))
    np.testing.assert_array_equal(masked.targets, tokens[rows, masked.places])
    assert (masked.targets[weights > 0] >= 5).all()
    for i, places in enumerate(masked.places):
        assert len(set(places)) == len(places)
        untouched = np.setdiff1d(np.arange(tokens.shape[1]), places[weights[i] > 0])
        np.testing.assert_array_equal(masked.tokens[i, untouched], tokens[i, untouched])
    assert masked.places.shape[1] == 6  # round(0.15 * 42)


@pytest.mark.curriculum("J16")
def test_eighty_ten_ten(example):
    tokens, masked = jax.device_get(example)
    seen = masked.tokens[np.arange(len(tokens))[:, None], masked.places]
    chosen = masked.weights > 0
    masks, kept = (seen == 4)[chosen].mean(), (seen == masked.targets)[chosen].mean()
    n = chosen.sum()
    for share, expected in ((masks, 0.8 + 0.1 / 100), (kept, 0.1 + 0.1 / 100)):  # a random piece may be either
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)
    others = seen[chosen & (seen != 4) & (seen != masked.targets)]
    assert others.min() < 20 and others.max() > 80


def test_what_is_hidden_is_of_the_row_and_the_key_and_of_the_text_where_asked(example):
    tokens, masked = example
    np.testing.assert_array_equal(masked.places, mask_words(jax.random.key(0), tokens).places)
    assert (mask_words(jax.random.key(1), tokens).places != masked.places).any()
    same = np.repeat(tokens[:1], len(tokens), 0)
    assert len({tuple(row) for row in np.asarray(mask_words(jax.random.key(0), same).places)}) > 1

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def of_the_text(tokens):
        with parallel.rows_known_by(parallel.contents(tokens)):
            return masked_words.mask_words(jax.random.key(0), tokens, FEW).tokens

    np.testing.assert_array_equal(of_the_text(tokens), of_the_text(tokens[::-1])[::-1])


def test_shares_that_are_more_than_all_are_refused():
    with pytest.raises(ConfigError, match=r"masked=0.8 and random=0.3 are shares .* must not add up to more than 1"):
        masked_words.check(masked_words.Masking(random=0.3), FEW)
    with pytest.raises(ConfigError, match=r"the data have no pieces of words; set config.data.text"):
        masked_words.check(masked_words.Masking(), ())
