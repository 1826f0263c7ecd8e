"""Captions as ids: words by the vocabulary of the training split, several captions of an image side by side.

`config.data.caption_length` asks for them: the entry with the texts, of any name, becomes "captions", int32 [k, t].
Each of the k rows is BEGIN, the words of one caption, END, and PADDING; where an image has fewer captions than another,
the rest of its rows are PADDING throughout, see `real`. A training step takes one by `choose`: "caption" [b, t].

A word is a run of letters and digits in lower case, or a sign by itself. The vocabulary is that of the training split,
the most frequent first, or a file. A word that is not in it is UNKNOWN and is counted aloud. The words travel with a
run as names of classes do, in the settings of its host stage: a run is evaluated with those that it was trained with.
"""

import contextlib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import paths
from cvdl_jax.config.configs import cache_folder
from cvdl_jax.core.parallel import row_random
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Source
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.ops.tokens import BEGIN, END, PADDING, UNKNOWN

NAME = "captions"  # as the entry is delivered
SPECIAL = ("<padding>", "<begin>", "<end>", "<unknown>")
LENGTH = "config.data.caption_length"
_CHUNK = 256  # examples read at a time
_FORMAT = 1  # of what is kept of a split, and of how a caption is cut into words
_USUAL = ("captions", "caption", "captions/text", "captions/caption", "caption/text")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_")


class Counted(NamedTuple):
    """What the captions of a split hold.

    Attributes:
        words: {word: how often}.
        most: captions of one example, at most.
        longest: words of the longest caption.
        where: the example that has it.
    """

    words: dict[str, int]
    most: int
    longest: int
    where: int


def words_of(caption: str) -> list[str]:
    """The words of a caption: "A dog's ball, red." is a, dog's, ball, the comma, red, and the full stop."""
    return _WORD.findall(caption.lower())


def vocabulary(counts: Mapping[str, int], least: int = 1) -> tuple[str, ...]:
    """The words by their ids: the special ones, then the most frequent first, and equally frequent ones in order.

    Args:
        counts: {word: how often}.
        least: rarer words are left out, and become UNKNOWN.
    """
    kept = [word for word, n in counts.items() if n >= least]
    return (*SPECIAL, *sorted(kept, key=lambda word: (-counts[word], word)))


def read_vocabulary(file: str) -> tuple[str, ...]:
    """The words of a file, one a line, as ids from 4 on: the special ones stand before them.

    Raises:
        DataError: for a file that is missing or empty, and a line that is empty, stands twice or is no single word.
    """
    path = paths.local(file, "config.data.vocabulary")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"config.data.vocabulary={file!r} cannot be read ({error}); name a text file with a word a line"
        ) from error
    if not lines:
        raise DataError(f"config.data.vocabulary={file!r} is empty; it needs a word a line")
    first: dict[str, int] = {}
    for i, line in enumerate(lines):
        if words_of(line) != [line]:
            raise DataError(
                f"config.data.vocabulary={file!r}, line {i + 1}: {line!r} is not one word in lower case; captions are "
                f"cut into {words_of(line)}"
            )
        if first.setdefault(line, i) != i:
            raise DataError(f"config.data.vocabulary={file!r}, line {i + 1}: {line!r} stands there twice")
    return (*SPECIAL, *lines)


@lru_cache(maxsize=4)
def _places(words: tuple[str, ...]) -> dict[str, int]:
    return {word: i for i, word in enumerate(words)}


def encode(caption: str, words: Sequence[str], length: int) -> np.ndarray:
    """The ids of one caption between BEGIN and END, with PADDING after them: int32 [length].

    Args:
        caption: a text.
        words: the vocabulary.
        length: t.

    Raises:
        DataError: for a caption without words, or with too many.
    """
    places, spoken = _places(tuple(words)), words_of(caption)
    if not spoken:
        raise DataError(f"a caption is empty, {caption!r}; mend it, or leave its example out of the set")
    if len(spoken) + 2 > length:
        raise DataError(
            f"the caption {caption!r} has {len(spoken)} words, {len(spoken) + 2} with its begin and end, and "
            f"{LENGTH}={length}; set {LENGTH}={len(spoken) + 2} or more"
        )
    ids = np.full(length, PADDING, np.int32)
    ids[: len(spoken) + 2] = [BEGIN, *(places.get(word, UNKNOWN) for word in spoken), END]
    return ids


def decode(ids: Any, words: Sequence[str]) -> str:
    """The words of ids [t] up to the first END, with spaces between them; BEGIN and PADDING are no words."""
    out: list[str] = []
    for i in np.asarray(ids).tolist():
        if i == END:
            break
        if i not in (BEGIN, PADDING):
            out.append(words[i])
    return " ".join(out)


def rows(texts: Any, settings: Mapping[str, Any]) -> np.ndarray:
    """All captions of one example, int32 [count, length].

    Args:
        texts: bytes, or a sequence of them.
        settings: of the host stage, from `prepared`.

    Raises:
        DataError: see `encode`; also for an example without captions, or with more than there are rows.
    """
    captions = as_texts(texts)
    if not 0 < len(captions) <= settings["count"]:
        raise DataError(f"an example has {len(captions)} captions, expected 1 to {settings['count']}")
    out = np.full((settings["count"], settings["length"]), PADDING, np.int32)
    for row, caption in zip(out, captions, strict=False):
        row[:] = encode(caption, settings["words"], settings["length"])
    return out


def as_texts(texts: Any) -> list[str]:
    """The captions of one example, stored as one text or as several."""
    single = isinstance(texts, bytes | str)
    several = [texts] if single else np.asarray(texts, object).reshape(-1).tolist()
    return [text.decode("utf-8") if isinstance(text, bytes) else text for text in several]


def real(captions: Any) -> Any:
    """Which rows hold a caption: int [..., k, t] -> bool [..., k]."""
    return captions[..., 0] != PADDING


def choose(state: Any, batch: Mapping[str, Any], key: jax.Array) -> tuple[Any, dict[str, Any], dict]:
    """The transform that gives each row of a batch one of its captions at random, "caption" int32 [b, t].

    Which one is a function of the step's key and of the row, so that it is the same on every layout, and of a run that
    goes on; over the epochs each caption of an example is as frequent as another.
    """
    captions = batch[NAME]  # [b, k, t]
    unit = row_random(jax.random.uniform, key, captions.shape[:1])
    count = real(captions).sum(1)  # [b]
    chosen = jnp.minimum(jnp.floor(unit * count).astype(jnp.int32), count - 1)  # a product may round up to the count
    caption = jnp.take_along_axis(captions, chosen[:, None, None], axis=1)[:, 0]
    return state, {**batch, "caption": caption}, {}


def entry_of(source: Source, name: str = "") -> str:
    """The entry of a source that holds captions.

    Args:
        source: of examples.
        name: as the config says; "" for the only one with a usual name, or the only text.

    Raises:
        ConfigError: if there is none, or several.
    """
    texts = [entry for entry, f in source.features.items() if f.kind == "text" and len(f.shape) <= 1]
    if name and name not in texts:
        raise ConfigError(f"config.data.caption_entry={name!r} is no text of {source.name}; it has {texts or 'none'}")
    usual = [entry for entry in texts if entry in _USUAL]
    able = [name] if name else usual or texts
    if len(able) != 1:
        raise ConfigError(
            f"{LENGTH} asks for the captions of {source.name}, which has the texts {texts or 'none'}; "
            + ("name one of them with config.data.caption_entry" if able else "name a set with captions")
        )
    return able[0]


def kept(features: Mapping[str, Feature], chosen: Mapping[str, Feature], entry: str) -> dict[str, Feature]:
    """The entries that are kept with the captions: not what stands beside them, such as their numbers in a database.

    Args:
        features: of the source.
        chosen: those that are kept without captions.
        entry: of the captions.
    """
    prefix = entry.rpartition("/")[0]
    beside = {k for k, f in features.items() if prefix and k.startswith(f"{prefix}/") and f.shape[:1] == (None,)}
    return dict(sorted({**{k: f for k, f in chosen.items() if k not in beside}, entry: features[entry]}.items()))


def prepared(
    sources: Mapping[str, Source], length: int, entry: str, file: str, least: int, cache: bool
) -> dict[str, Any]:
    """The settings of the host stage that turn captions into ids; all captions of all splits are looked at.

    Args:
        sources: {"train", "validation", "test": Source}, those that are read.
        length: t, with begin and end.
        entry: see `entry_of`.
        file: with the vocabulary; "" for that of the training split.
        least: see `vocabulary`.
        cache: keep what was counted for the next start.

    Returns:
        {"entry", "length", "count": captions of one example at most, "words": the vocabulary}.

    Raises:
        ConfigError: for a setting without effect, or without a training split to take words from.
        DataError: for a caption that is empty or too long, naming its example.
    """
    if not length:
        settings = {"caption_entry": entry, "vocabulary": file, "caption_min_count": least if least > 1 else 0}
        for key, value in settings.items():
            if value:
                raise ConfigError(
                    f"config.data.{key}={value!r} has no effect without {LENGTH}; set it, or leave it out"
                )
        return {}
    if not file and "train" not in sources:
        raise ConfigError("the words of captions are those of config.data.train, which is empty; name a vocabulary")
    if file and least > 1:
        raise ConfigError(
            f"config.data.caption_min_count={least} has no effect on config.data.vocabulary; leave it out"
        )
    entry = entry_of(next(iter(sources.values())), entry)
    counted = {key: _counted(source, entry, cache) for key, source in sources.items()}
    longest = max(counted.values(), key=lambda split: split.longest).longest
    for key, split in counted.items():
        if split.longest + 2 > length:
            source = sources[key]
            texts = as_texts(source.read_entries([split.where], [entry])[0][entry])
            text = max(texts, key=lambda text: len(words_of(text)))
            raise DataError(
                f"example {source.identify(split.where)} of {source.name}: the caption {text!r} has {split.longest} "
                f"words, {split.longest + 2} with its begin and end, and {LENGTH}={length}; set {LENGTH}={longest + 2}"
            )
    words = read_vocabulary(file) if file else vocabulary(counted["train"].words, least)
    for key, split in counted.items():
        say_unknown(f"{sources[key].split!r} of {sources[key].name}", split.words, words)
    return {"entry": entry, "length": length, "count": max(s.most for s in counted.values()), "words": words}


def look(source: Source, settings: Mapping[str, Any]) -> None:
    """Says which words of another source the vocabulary of a run lacks; nothing without captions.

    Args:
        source: of examples with the run's entries.
        settings: of the run's host stage.
    """
    if settings:
        words = _counted(source, settings["entry"], cache=True).words
        say_unknown(f"{source.split!r} of {source.name}", words, settings["words"])


def say_unknown(what: str, counts: Mapping[str, int], words: Sequence[str]) -> int:
    """How many words of captions are not in the vocabulary; prints it, with the most frequent, where there are any."""
    unknown = Counter({word: n for word, n in counts.items() if word not in _places(tuple(words))})
    if unknown:
        first = ", ".join(repr(word) for word, _ in sorted(unknown.items(), key=lambda x: (-x[1], x[0]))[:5])
        print(
            f"captions of {what}: {sum(unknown.values())} of {sum(counts.values())} words are not in the vocabulary of "
            f"{len(words) - len(SPECIAL)} words and become {SPECIAL[UNKNOWN]} ({first})",
            flush=True,
        )
    return sum(unknown.values())


def _counted(source: Source, entry: str, cache: bool) -> Counted:
    """What the captions of a split hold, kept in the cache folder under the fingerprint of the data."""
    key = json.dumps([_FORMAT, source.cache_key(), source.intervals, entry]) if cache and source.location else ""
    file = cache_folder() / "captions" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        if key:
            return Counted(*json.loads(file.read_text(encoding="utf-8")))
    counted = _count(source, entry)
    with contextlib.suppress(OSError):
        if key:
            _keep(file, counted)
    return counted


def _count(source: Source, entry: str) -> Counted:
    words: Counter[str] = Counter()
    most = longest = where = 0
    for start in range(0, len(source), _CHUNK):
        places = range(start, min(start + _CHUNK, len(source)))
        for index, row in zip(places, source.read_entries(places, [entry]), strict=True):
            captions = [words_of(text) for text in as_texts(row[entry])]
            if not captions or not all(captions):
                what = "a caption without a word" if captions else "no caption"
                raise DataError(
                    f"example {source.identify(index)} of {source.name} has {what} under {entry!r}; mend it, or leave "
                    "it out with another split"
                )
            for caption in captions:
                words.update(caption)
                if len(caption) > longest:
                    longest, where = len(caption), index
            most = max(most, len(captions))
    return Counted(dict(words), most, longest, where)


def _keep(file: Path, counted: Counted) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(counted), encoding="utf-8")
    os.replace(temporary, file)
