"""Captions as ids: worked vocabularies, what is refused, several captions of an image, words that travel with a run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds

from cvdl_jax.data import captions, described
from cvdl_jax.data.load import load
from cvdl_jax.errors import ConfigError, DataError

TRAIN = [["a dog", "a red dog runs"], ["a dog's ball, red"], ["the dog", "a ball"]]
TEST = [["a cat", "the ball"], ["a dog"], ["the red cat runs"]]


def written(folder, train=TRAIN, test=TEST, nested=False):
    """A TFDS set of made-up captions: under "captions", or with numbers beside them as in COCO."""
    texts = tfds.features.Text()
    inner = {"text": texts, "id": np.int64} if nested else texts

    with tfds.core.registered.skip_registration():

        class Captioned(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = {"image": tfds.features.Image(shape=(4, 4, 1), encoding_format="png"),
                            "image/filename": texts, "captions": tfds.features.Sequence(inner)}  # fmt: skip
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features),
                                             disable_shuffling=True)  # fmt: skip

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples(train), "test": self._generate_examples(test)}

            def _generate_examples(self, rows):
                from cvdl_jax.data.builders.shapes import png

                for i, row in enumerate(rows):
                    said = [{"text": text, "id": 7 * k} for k, text in enumerate(row)] if nested else row
                    yield (
                        i,
                        {"image": png(np.full((4, 4), i, np.uint8)), "image/filename": f"{i}.png", "captions": said},
                    )

    Captioned(data_dir=folder, file_format="array_record").download_and_prepare()
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("captions"))


def opened(folder, name="captioned", **more):
    return load(name, **{"data_dir": folder, "train": "train", "test": "test", "caption_length": 7, **more})


def test_a_caption_is_cut_into_words_and_signs():
    assert captions.words_of("A dog's ball, red.") == ["a", "dog's", "ball", ",", "red", "."]
    assert captions.words_of("  ") == [] and captions.words_of("x_1 2nd") == ["x", "_", "1", "2nd"]


def test_the_vocabulary_is_sorted_by_count_and_then_by_word():
    counts = {"b": 2, "a": 2, "d": 1, "c": 5}
    assert captions.vocabulary(counts) == ("<padding>", "<begin>", "<end>", "<unknown>", "c", "a", "b", "d")
    assert captions.vocabulary(counts, least=2)[4:] == ("c", "a", "b")


def test_ids_stand_between_begin_and_end_and_come_back_as_words():
    words = captions.vocabulary({"a": 3, "dog": 2, "red": 1})
    ids = captions.encode("a red cat", words, 6)
    assert ids.tolist() == [1, 4, 6, 3, 2, 0] and ids.dtype == np.int32
    assert captions.decode(ids, words) == "a red <unknown>" and captions.decode([1, 5, 2, 4], words) == "dog"
    with pytest.raises(DataError, match=r"'a red cat' has 3 words, 5 with its begin and end.*caption_length=4; set"):
        captions.encode("a red cat", words, 4)
    with pytest.raises(DataError, match="a caption is empty"):
        captions.encode(" ", words, 4)


def test_a_set_with_captions_by_name(folder, capsys):
    """Counted by hand: a 4, dog 3, ball 2, red 2, then the rest once, in order; unknown words of the test are said."""
    data = opened(folder)
    assert data.vocabulary[4:] == ("a", "dog", "ball", "red", ",", "dog's", "runs", "the")
    train, test = data.splits["train"], data.splits["test"]
    assert train.spec["captions"].shape == (2, 7) and train.spec["captions"].dtype == np.int32
    batch = train.batch(np.arange(3))
    assert batch["captions"][:, 0].tolist() == [[1, 4, 5, 2, 0, 0, 0], [1, 4, 9, 6, 8, 7, 2], [1, 11, 5, 2, 0, 0, 0]]
    assert batch["captions"][0, 1].tolist() == [1, 4, 7, 5, 10, 2, 0] and not batch["captions"][1, 1].any()
    assert captions.real(batch["captions"]).tolist() == [[True, True], [True, False], [True, True]]
    assert [captions.decode(row, data.vocabulary) for row in test.batch(np.arange(3))["captions"][:, 0]] == [
        "a <unknown>", "a dog", "the red <unknown> runs"]  # fmt: skip
    said = capsys.readouterr().out
    assert (
        "captions of 'test' of captioned: 2 of 10 words are not in the vocabulary of 8 words" in said
        and "'cat'" in said
    )
    assert "'train'" not in said
    assert opened(folder, caption_min_count=2).vocabulary[4:] == ("a", "dog", "ball", "red")


def test_captions_with_numbers_beside_them_as_in_coco(tmp_path):
    data = opened(written(tmp_path, nested=True))
    assert set(data.splits["train"].spec) == {"image", "captions"}  # not captions/id, of varying length
    assert data.splits["train"].batch(np.asarray([0]))["captions"][0, 1].tolist() == [1, 4, 7, 5, 10, 2, 0]


def test_a_set_with_one_caption_of_each_image():
    """The entry "caption" of shapes, signs and all: one row an image, the text again."""
    name = "shapes(size=32, objects=2, train=6, validation=2, test=2)"
    train = load(name, features=("image",), caption_length=14).splits["train"]
    assert train.spec["captions"].shape == (1, 14)
    words, ids = train.stage.captions["words"], train.batch(np.arange(6))["captions"]
    for i, said in enumerate(row["caption"].decode() for row in train.source.read_entries(range(6), ["caption"])):
        assert captions.decode(ids[i, 0], words) == said


def test_streamed_and_resident_captions_are_the_same(folder):
    kept, streamed = (opened(folder, resident=how).splits["test"].batch(np.arange(3)) for how in ("always", "never"))
    np.testing.assert_array_equal(kept["captions"], streamed["captions"])


def test_a_long_caption_is_refused_naming_it_and_the_length_that_fits_all(folder):
    with pytest.raises(DataError, match=r"example train/1 of captioned: the caption \"a dog's ball, red\" has 5 "
                       r"words, 7 with its begin and end, and config.data.caption_length=5; set .*=7"):  # fmt: skip
        opened(folder, caption_length=5)


@pytest.mark.parametrize("bad, what", [(["a dog", " "], "a caption without a word"), ([], "no caption")])
def test_empty_captions_are_refused_naming_the_example(tmp_path, bad, what):
    with pytest.raises(DataError, match=f"example test/1 of captioned has {what}"):
        opened(written(tmp_path, test=[["a dog"], bad]))


def test_a_vocabulary_from_a_file(folder, tmp_path, capsys):
    file = tmp_path / "words.txt"
    file.write_text("dog\na\n")
    data = opened(folder, vocabulary=str(file))
    assert data.vocabulary[4:] == ("dog", "a")
    assert data.splits["train"].batch(np.asarray([0]))["captions"][0].tolist() == [
        [1, 5, 4, 2, 0, 0, 0],
        [1, 5, 3, 4, 3, 2, 0],
    ]
    assert "captions of 'train'" in capsys.readouterr().out
    assert data.known_as(data.fingerprint)
    assert not data.known_as(opened(folder).fingerprint)  # a run does not go on with other words
    for text, what in (
        ("", "is empty"),
        ("a\na\n", "line 2: 'a' stands there twice"),
        ("Dog\n", "line 1: 'Dog' is not one"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=what):
            opened(folder, vocabulary=str(file))


def test_settings_without_effect_are_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"caption_min_count=2 has no effect without config.data.caption_length"):
        opened(folder, caption_length=0, caption_min_count=2)
    with pytest.raises(ConfigError, match=r"config\.data\.train, which is empty"):
        load("captioned", data_dir=folder, train="", test="test", caption_length=9)
    with pytest.raises(
        ConfigError, match=r"caption_entry='label' is no text of captioned; it has \['captions', 'image/"
    ):
        opened(folder, caption_entry="label")
    with pytest.raises(ConfigError, match=r"'captions' is text; leave it out, config.data.caption_length delivers it"):
        opened(folder, features=("image", "captions"))
    with pytest.raises(ConfigError, match="which has the texts none; name a set with captions"):
        load("spirals", train="train", caption_length=9)


def test_words_travel_with_the_description_of_the_data(folder, capsys):
    data = opened(folder)
    known = json.loads(json.dumps(described.facts(data)))
    again = described.described(known)
    assert again.vocabulary == data.vocabulary and again.splits["test"].spec == data.splits["test"].spec
    other = opened(folder, caption_min_count=2)  # as if words were counted otherwise now
    capsys.readouterr()
    matched = described.matched(other, known)
    said = capsys.readouterr().out
    assert "'test' of captioned: 2 of 10 words are not in the vocabulary of 8 words" in said and "'train'" not in said
    assert matched.vocabulary == data.vocabulary
    for split in ("train", "test"):
        np.testing.assert_array_equal(
            matched.splits[split].batch(np.arange(3))["captions"], data.splits[split].batch(np.arange(3))["captions"]
        )


def test_a_step_takes_each_caption_alike_and_never_padding():
    """Of 4000 rows with three captions each is taken about 1333 times; the choice depends on the key and the row."""
    one = np.zeros((4, 3), np.int32)
    one[:3] = [[1, 4, 2], [1, 5, 2], [1, 6, 2]]
    batch = {"captions": jnp.asarray(np.broadcast_to(one, (4000, 4, 3)))}
    _, new, sums = jax.jit(captions.choose)(None, batch, jax.random.key(0))
    words, counts = np.unique(np.asarray(new["caption"])[:, 1], return_counts=True)
    assert words.tolist() == [4, 5, 6] and (abs(counts - 4000 / 3) < 4 * np.sqrt(4000 * 2 / 9)).all() and not sums
    assert new["caption"].shape == (4000, 3) and new["captions"] is not None
    again, other = (
        captions.choose(None, {"captions": batch["captions"][:50]}, jax.random.key(k))[1]["caption"] for k in (0, 1)
    )
    np.testing.assert_array_equal(again, new["caption"][:50])
    assert (np.asarray(other) != np.asarray(again)).any()
