"""Texts as numbers: characters become ids by the vocabulary of the training split, and streams read a text.

A text is one long sequence, not a set of examples, so nothing is shuffled. Training reads it in parallel streams, each
of which continues where it stopped. Evaluation predicts every character once.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Probability, Size
from cvdl_jax.data import opened
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.errors import ConfigError, DataError, nearest

_NEAR = 20  # characters shown before an unknown one


class Text(NamedTuple):
    """The texts of a data set as ids.

    Attributes:
        vocabulary: the characters of the training text, sorted; an id is a place in it.
        splits: {"train", "validation", "test": int32 [n]}, those asked for; `Unread` where only the model is needed.
        name: of the data set.
        fingerprint: a hash of the texts.
    """

    vocabulary: str
    splits: Mapping[str, Any]
    name: str
    fingerprint: str


class Unread:
    """A text of which only the length is known: a step that reads it can be traced, and is an error when it runs.

    Args:
        size: n, in characters.
        name: of the data set.
    """

    def __init__(self, size: int, name: str):
        self.size, self.name = size, name

    def __len__(self) -> int:
        return self.size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise DataError(f"the text of {self.name} is not opened by what needs only the run's model")


class StreamSettings(NamedTuple):
    """The arguments of `config.streams`.

    Attributes:
        length: characters that a stream reads in one step, and through which the gradient flows.
        evaluation: parts of a text that an evaluation reads side by side; see `evaluation_chunks`, and of a model that
            sees so many characters alone, `evaluation_windows`.
        reset: probability that the state of a stream is set to zero at a step. With 0 a network may come to rely on a
            state gathered over thousands of characters, and predict badly at the beginning of a text.
    """

    length: Size = 64
    evaluation: Size = 1
    reset: Probability = 0.0


def load(
    name: str, data_dir: str = "", train: str = "train", validation: str = "validation", test: str = "test"
) -> Text:
    """Reads the texts of a data set; the examples of a split are joined in their order.

    Args:
        name: a TFDS data set with a feature `text`, for example tiny_shakespeare, or a generated text, `additions`.
        data_dir: the TFDS data folder; by default TFDS_DATA_DIR, or ~/tensorflow_datasets.
        train: a split in TFDS's syntax.
        validation: likewise; empty for none.
        test: likewise.

    Raises:
        DataError: if the data set is missing, has no text, or has a character that is not in the training text.
    """
    if not train:
        raise ConfigError("config.text.train is empty; the vocabulary is that of the training split, train='train'")
    wanted = {key: split for key, split in (("train", train), ("validation", validation), ("test", test)) if split}
    kept = opened.remembered(name)
    if kept and kept["sizes"].keys() == wanted.keys():
        unread = {key: Unread(size, name) for key, size in kept["sizes"].items()}
        opened.note(name, **kept)
        return Text(kept["vocabulary"], unread, name, kept["fingerprint"])
    if name in GENERATED:
        texts = {key: _generated(name, split) for key, split in wanted.items()}
    else:
        texts = {key: _read(name, split, data_dir) for key, split in wanted.items()}
    vocabulary = "".join(sorted(set(texts["train"])))
    splits = {key: encode(text, vocabulary, f"the {key} text of {name}") for key, text in texts.items()}
    digest = hashlib.sha256("\0".join(f"{key}\0{text}" for key, text in texts.items()).encode()).hexdigest()
    opened.note(name, digest, vocabulary=vocabulary, sizes={key: len(text) for key, text in texts.items()})
    return Text(vocabulary, splits, name, digest)


def _read(name: str, split: str, data_dir: str) -> str:
    source = open_source(name, split, data_dir)
    if "text" not in source.features or source.features["text"].kind != "text":
        raise DataError(f"config.text.name={name!r} has no feature 'text', but {sorted(source.features)}")
    return "".join(source[i]["text"].decode() for i in range(len(source)))


def additions(words: np.ndarray) -> str:
    """Sums of two numbers below 100, one a line: `17+5=22`. Args: words uint64 [n], random."""
    first, second = words % np.uint64(100), words // np.uint64(100) % np.uint64(100)
    return "".join(f"{a}+{b}={a + b}\n" for a, b in zip(first.tolist(), second.tolist(), strict=True))


GENERATED: dict[str, Callable[[np.ndarray], str]] = {"additions": additions}
_LINES = {"train": 2000, "validation": 200, "test": 200}


def _generated(name: str, split: str) -> str:
    """A generated text, the same on every machine."""
    if split not in _LINES:
        raise DataError(f"{name} has no split {split!r}; {nearest(split, _LINES)}")
    generator = np.random.Philox(key=[0, list(_LINES).index(split)])
    return GENERATED[name](generator.random_raw(_LINES[split]))


def encode(text: str, vocabulary: str, what: str = "the text") -> np.ndarray:
    """The ids of characters, int32 [n].

    Args:
        text: n characters.
        vocabulary: sorted characters.
        what: names the text in the message.

    Raises:
        DataError: naming the first character that is not in the vocabulary, and where it is.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    known = np.frombuffer(vocabulary.encode("utf-32-le"), np.uint32)
    if not len(codes):
        raise DataError(f"{what} is empty")
    ids = np.minimum(np.searchsorted(known, codes), max(len(known) - 1, 0))
    unknown = np.flatnonzero(known[ids] != codes) if len(known) else np.zeros(1, int)
    if unknown.size:
        at = int(unknown[0])
        raise DataError(
            f"{what} has {text[at]!r} at character {at} (after {text[max(at - _NEAR, 0) : at]!r}), which the training "
            f"text does not have; its {len(vocabulary)} characters are {vocabulary!r}"
        )
    return ids.astype(np.int32)


def decode(ids: Any, vocabulary: str) -> str:
    """The characters of ids [n]."""
    return "".join(vocabulary[i] for i in np.asarray(ids).tolist())


def stream_starts(size: int, streams: int) -> np.ndarray:
    """The evenly spaced positions at which streams begin in a text of `size` characters: int32 [streams].

    Raises:
        ConfigError: if there are more streams than characters.
    """
    if not 1 <= streams <= size:
        raise ConfigError(f"{streams} streams do not fit a text of {size} characters; set config.batch_size lower")
    return (np.arange(streams) * size // streams).astype(np.int32)


def cut(ids: jax.Array, starts: jax.Array, step: jax.Array, length: int) -> dict[str, jax.Array]:
    """The batch of a step: the characters that each stream reads, and those that it must predict.

    The text is a circle. Stream s predicts character `starts[s] + step * length` and the next `length - 1`, each from
    the one before. So every stream continues where it stopped and then reads the part of the next stream, and all
    streams together read the text in `size / (streams * length)` steps.

    Args:
        ids: [n].
        starts: int32 [b], see `stream_starts`.
        step: int32 [].
        length: of the cut, in characters.

    Returns:
        {"inputs", "targets": int32 [b, length]}.

    Raises:
        ConfigError: if positions would not fit 32 bits.
    """
    n = ids.shape[0]
    if length < 1 or n * (length + 1) >= 2**31:
        raise ConfigError(f"config.streams.length={length} must be at least 1, and below 2^31 / {n} characters")
    first = starts + (step % n) * length  # the place of step * length on the circle, without overflow
    places = first[:, None] + jnp.arange(-1, length, dtype=jnp.int32)[None]  # [b, length + 1]
    window = jnp.take(ids, places % n, axis=0).astype(jnp.int32)
    return {"inputs": window[:, :-1], "targets": window[:, 1:]}


def constant(ids: Any, vocabulary: str) -> jax.Array:
    """The ids as a constant of the step being traced, in bytes where the vocabulary allows it: [n]."""
    dtype = np.uint8 if len(vocabulary) <= 256 else np.int32
    if isinstance(ids, Unread):
        return jax.pure_callback(lambda: np.asarray(ids), jax.ShapeDtypeStruct((len(ids),), dtype))
    return jnp.asarray(ids.astype(dtype))


def evaluation_chunks(ids: np.ndarray, streams: int, length: int) -> dict[str, np.ndarray]:
    """A whole text, cut for one pass in which each character is predicted once.

    Stream s reads the s-th of equal parts, chunk after chunk. Its first input is the last character of the part before
    (-1, no character, at the beginning of the text), and its state starts from zero. With one stream the state is
    carried through the whole text; more are faster, but predict the first characters of a part from less context.

    Args:
        ids: int32 [n].
        streams: parts that are read side by side.
        length: of a chunk, in characters.

    Returns:
        {"inputs", "targets": int32 [chunks, streams, length], "mask": float32, 0 after the end of a part}.
    """
    starts = np.append(stream_starts(len(ids), streams), len(ids))
    ids = np.asarray(ids)
    chunks = -(-int(np.diff(starts).max()) // length)
    places = starts[:-1, None] + np.arange(chunks * length)  # [streams, chunks * length]
    mask = (places < starts[1:, None]).astype(np.float32)
    before = np.concatenate([np.int32([-1]), ids])
    places = np.minimum(places, len(ids) - 1)
    flat = {"inputs": before[places], "targets": ids[places], "mask": mask}
    return {name: np.ascontiguousarray(x.reshape(streams, chunks, length).swapaxes(0, 1)) for name, x in flat.items()}


def evaluation_windows(ids: np.ndarray, rows: int, length: int) -> dict[str, np.ndarray]:
    """A whole text in windows, for a model that begins anew with each; each character is predicted once.

    Windows begin half a length apart. The first one counts whole, of each other one the newer half, which no window
    before it reaches: behind the text's first window, every character is predicted from at least half a length before
    it. That is what a model with a carry that forgets the older half sees (`models/sequence/gpt.py`).

    Args:
        ids: int32 [n].
        rows: windows that are read side by side, which changes nothing but the speed.
        length: of a window, in characters.

    Returns:
        {"inputs", "targets": int32 [chunks, rows, length], "mask": float32, 1 where a prediction counts}. The first
        input is -1, no character.
    """
    ids, apart = np.asarray(ids), length - length // 2
    count = 1 + max(-(-(len(ids) - length) // apart), 0)
    padded = -(-count // rows) * rows
    begins = np.arange(padded)[:, None] * apart
    places = begins + np.arange(length)  # [padded, length]
    counts = (places < len(ids)) & ((begins == 0) | (places >= begins + length - apart))
    before = np.concatenate([np.int32([-1]), ids])
    places = np.minimum(places, len(ids) - 1)
    flat = {"inputs": before[places], "targets": ids[places], "mask": counts.astype(np.float32)}
    return {name: x.reshape(-1, rows, length) for name, x in flat.items()}
