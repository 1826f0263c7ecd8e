"""Prompts: names of classes in sentences, "a photo of a {label}", as ids of a vocabulary."""

from collections import Counter
from collections.abc import Sequence
from string import Formatter

import numpy as np

from cvdl_jax.core.info import Info
from cvdl_jax.data import captions, scene_parser
from cvdl_jax.errors import ConfigError

TEMPLATES = "config.zero_shot.templates"


def check(templates: Sequence[str], words: Sequence[str]) -> None:
    """Refuses templates that are no sentences about a label.

    Args:
        templates: "a photo of a {label}".
        words: the vocabulary.

    Raises:
        ConfigError: for no template, another placeholder than {label}, none, or a word that is not in the vocabulary.
    """
    if not templates:
        raise ConfigError(f"{TEMPLATES}=() is empty; write for example ('a photo of a {{label}}',)")
    for template in templates:
        try:
            parts = list(Formatter().parse(template))
        except ValueError as error:
            raise ConfigError(f"{TEMPLATES}: {template!r} cannot be read ({error}); write {{label}} once") from error
        fields = [field for _, field, _, _ in parts if field is not None]
        plain = all(not form and not conversion for _, field, form, conversion in parts if field is not None)
        if fields != ["label"] or not plain:
            has = ", ".join(f"{{{field}}}" for field in fields) or "no placeholder"
            raise ConfigError(
                f"{TEMPLATES}: {template!r} has {has}, where {{label}} is to stand once; "
                "write for example 'a photo of a {label}'"
            )
        unknown = [word for text, *_ in parts for word in captions.words_of(text) if word not in words]
        if unknown:
            raise ConfigError(
                f"{TEMPLATES}: {unknown[0]!r} of {template!r} is not among the {len(words) - len(captions.SPECIAL)} "
                "words of the training captions, so that nothing is known of it; use other words"
            )


def prompts(templates: Sequence[str], names: Sequence[str], words: Sequence[str], length: int) -> np.ndarray:
    """Every class in every template; words of names that are not in the vocabulary are unknown, and counted aloud.

    Args:
        templates: m of them.
        names: of c classes; "_" is read as a space.
        words: the vocabulary.
        length: t, of a text with its begin and end.

    Returns:
        int32 [c, m, t].

    Raises:
        ConfigError: see `check`.
        DataError: for a text that is too long.
    """
    check(templates, words)
    spoken = [name.replace("_", " ") for name in names]
    captions.say_unknown("the names of classes", Counter(w for name in spoken for w in captions.words_of(name)), words)
    texts = [[template.format(label=name) for template in templates] for name in spoken]
    return np.asarray([[captions.encode(text, words, length) for text in of_class] for of_class in texts])


def sentences(texts: Sequence[str], words: Sequence[str], length: int, path: str) -> np.ndarray:
    """Captions that a user writes, as ids.

    Args:
        texts: m captions.
        words: the vocabulary.
        length: t, of a caption with its begin and end.
        path: of the setting, for messages.

    Returns:
        int32 [m, t].

    Raises:
        ConfigError: for none, one that is too long, or a word that is not in the vocabulary.
    """
    if not texts:
        raise ConfigError(f"{path}=() is empty; write for example ('a large red circle',)")
    for text in texts:
        spoken = captions.words_of(text)
        unknown = [word for word in spoken if word not in words]
        if unknown:
            raise ConfigError(
                f"{path}: {unknown[0]!r} of {text!r} is not among the {len(words) - len(captions.SPECIAL)} words of "
                "the training captions, so that nothing is known of it; use other words"
            )
        if not 0 < len(spoken) <= length - 2:
            raise ConfigError(f"{path}: {text!r} has {len(spoken)} words, expected 1 to {length - 2}")
    return np.stack([captions.encode(text, words, length) for text in texts])


def of_captions(texts: Sequence[str], grammar: str, info: Info) -> tuple[dict[str, int], np.ndarray | None]:
    """What a model that is told captions is made for, and the prompts that its samples show.

    Args:
        texts: `config.prompts`.
        grammar: `config.grammar`, "" or "scenes".
        info: of the run.

    Returns:
        {"vocabulary": number of words}, ids int32 [m, t]; {} and None of data without captions.

    Raises:
        ConfigError: for settings without captions, no prompts, or prompts of different lengths.
        DataError: for prompts, or words of the data, that are not of the grammar.
    """
    if grammar not in ("", "scenes"):
        raise ConfigError(f"config.grammar={grammar!r} must be '' or 'scenes'")
    if "captions" not in info.spec:
        if texts or grammar:
            key = "prompts" if texts else "grammar"
            raise ConfigError(f"config.{key} is of data with captions; set config.data.caption_length, or remove it")
        return {}, None
    ids = sentences(texts, info.vocabulary, info.spec["captions"].shape[-1], "config.prompts")
    if len({len(captions.words_of(text)) for text in texts}) > 1:
        raise ConfigError(
            f"config.prompts={tuple(texts)} must have as many words each, for there is a walk from each to the next"
        )
    if grammar:
        scene_parser.check_words(info.vocabulary[len(captions.SPECIAL) :])
        for text in texts:
            scene_parser.said(text)
    return {"vocabulary": len(info.vocabulary)}, ids
