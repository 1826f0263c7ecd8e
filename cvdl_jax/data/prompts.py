"""Prompts: names of classes in sentences, "a photo of a {label}", as ids of a vocabulary."""

from collections import Counter
from collections.abc import Sequence
from string import Formatter

import numpy as np

from cvdl_jax.data import captions
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
