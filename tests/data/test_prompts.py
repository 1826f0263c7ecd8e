"""Prompts: every class in every template, and templates that are no sentences about a label."""

import pytest

from cvdl_jax.data import captions, prompts
from cvdl_jax.errors import ConfigError, DataError

WORDS = captions.vocabulary({"a": 9, "photo": 8, "of": 7, "red": 6, "circle": 5, "big": 4})


@pytest.mark.curriculum("J25")
def test_every_class_in_every_template(capsys):
    tokens = prompts.prompts(("a photo of a {label}", "big {label}"), ("red_circle", "zebra"), WORDS, 9)
    assert tokens.shape == (2, 2, 9)
    said = [[captions.decode(text, WORDS) for text in of_class] for of_class in tokens]
    assert said == [["a photo of a red circle", "big red circle"], ["a photo of a <unknown>", "big <unknown>"]]
    assert "the names of classes: 1 of 3 words are not in the vocabulary of 6 words" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ((), r"templates=\(\) is empty"),
        (("a photo of a {name}",), r"'a photo of a \{name\}' has \{name\}, where \{label\} is to stand once"),
        (("a photo",), r"'a photo' has no placeholder, where \{label\} is"),
        (("{label} of {label}",), r"has \{label\}, \{label\}, where \{label\} is to stand once"),
        (("a {label:>20}",), r"where \{label\} is to stand once"),
        (("a {label",), r"'a \{label' cannot be read"),
        (("a drawing of a {label}",), r"'drawing' of 'a drawing of a \{label\}' is not among the 6 words"),
    ],
)
def test_a_template_that_says_nothing_of_a_label_is_refused(templates, message):
    with pytest.raises(ConfigError, match=message):
        prompts.prompts(templates, ("red",), WORDS, 9)


def test_a_prompt_that_is_too_long_is_refused():
    with pytest.raises(DataError, match="'a photo of a red circle' has 6 words, 8 with its begin and end"):
        prompts.prompts(("a photo of a {label}",), ("red circle",), WORDS, 7)
