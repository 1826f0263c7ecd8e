"""Sections as calls: names, types, the "a | b(1)" language, and durations in units."""

import types
from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.config import configs
from cvdl_jax.config.binding import POSITIVE, Count, Positive, Share, call, functions
from cvdl_jax.errors import ConfigError


def refusal(fn, *args, **kwargs) -> str:
    with pytest.raises(ConfigError) as error:
        fn(*args, **kwargs)
    return str(error.value)


def head(
    width: int,
    *,
    scale: float = 1.0,
    shape: tuple = (1,),
    kind: Literal["mean", "max"] = "mean",
    limit: int | None = None,
    bias: bool = True,
    options: Mapping = {},
    sizes: tuple[int, ...] = (),
    classes: int = 0,
):
    return locals()


def test_call_converts_to_the_annotated_types():
    section = configs.from_plain(
        {"width": 4.0, "scale": 2, "shape": [3, 4], "limit": 5, "options": {"a": 1}, "sizes": [1, 2]}
    )
    result = configs.call(head, section, "config.model", classes=10)
    assert result == dict(
        width=4, scale=2.0, shape=(3, 4), kind="mean", limit=5, bias=True, options={"a": 1}, sizes=(1, 2), classes=10
    )
    assert isinstance(result["width"], int) and isinstance(result["scale"], float) and type(result["options"]) is dict


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, ["config.model.width is missing", "int"]),
        ({"width": 1, "scael": 1}, ["config.model.scael", "head", "did you mean 'scale'"]),
        ({"width": "a"}, ["config.model.width='a'", "expected int"]),
        ({"width": 1.5}, ["config.model.width=1.5", "expected int"]),
        ({"width": True}, ["config.model.width=True", "expected int"]),
        ({"width": 1, "scale": "x"}, ["config.model.scale='x'", "expected float"]),
        ({"width": 1, "bias": 1}, ["config.model.bias=1", "expected bool"]),
        ({"width": 1, "shape": 3}, ["config.model.shape=3", "expected tuple"]),
        ({"width": 1, "sizes": (1, "a")}, ["config.model.sizes", "tuple[int, ...]"]),
        ({"width": 1, "kind": "meen"}, ["config.model.kind='meen'", "did you mean 'mean'"]),
        ({"width": 1, "limit": "a"}, ["config.model.limit='a'", "int or None"]),
        ({"width": 1, "options": 3}, ["config.model.options=3", "Mapping"]),
        ({"width": 1, "classes": 3}, ["config.model.classes", "set by the program"]),
    ],
)
def test_call_refuses_by_name(section, words):
    message = refusal(configs.call, head, section, "config.model", classes=10)
    assert all(word in message for word in words), message


def test_an_annotation_may_carry_a_range():
    def fn(share: Share = 0.0, limit: Annotated[float | None, POSITIVE] = None, n: Count = 1):
        return share, limit, n

    assert call(fn, {"share": 0, "limit": None, "n": 2.0}, "config.s") == (0.0, None, 2)
    for section, words in (
        ({"share": 1.0}, r"^config\.s\.share=1\.0 must be in \[0, 1\)$"),
        ({"share": float("nan")}, r"^config\.s\.share=nan must be in"),
        ({"limit": 0}, r"^config\.s\.limit=0\.0 must be positive and finite$"),
        ({"n": 0}, r"^config\.s\.n=0 must be 1 or more$"),
        ({"share": "a"}, r"^config\.s\.share='a' is of type str; expected float$"),
        ({"limit": "a"}, r"expected float or None$"),
    ):
        with pytest.raises(ConfigError, match=words):
            call(fn, section, "config.s")


def test_known_is_said_once():
    message = refusal(configs.check_name, "zzzzz", ("a", "b"), "config.loss.name='zzzzz' is not known")
    assert message == "config.loss.name='zzzzz' is not known; known: a, b"


def test_ranges_hold_inside_tuples_and_in_one_of_several_types():
    def fn(rates: tuple[Share, ...] = (), size: tuple[Count, Positive] = (1, 1.0), lr: Positive | Literal["auto"] = 1):
        return rates, size, lr

    assert call(fn, {"rates": (0, 0.5), "size": (2, 3), "lr": "auto"}, "config.s") == ((0.0, 0.5), (2, 3.0), "auto")
    for section, words in (
        ({"rates": (0, 1)}, r"^config\.s\.rates\[1\]=1\.0 must be in \[0, 1\)$"),
        ({"size": (0, 1)}, r"^config\.s\.size\[0\]=0 must be 1 or more$"),
        ({"size": (1, 0)}, r"^config\.s\.size\[1\]=0\.0 must be positive and finite$"),
        ({"lr": -1}, r"^config\.s\.lr=-1\.0 must be positive and finite$"),
        ({"size": (1, "a")}, r"expected tuple\[int, float\]$"),
    ):
        with pytest.raises(ConfigError, match=words):
            call(fn, section, "config.s")


@pytest.mark.parametrize("section", [3, "tiny", 0.5, None, (1, 2), True])
def test_a_value_in_the_place_of_a_section_is_one_sentence(section):
    message = refusal(call, head, section, "config.model")
    assert message.startswith(f"config.model={section!r} is a value, not a section; set keys of it, config.model.KEY=")
    assert "not a section" in refusal(configs.named, types.ModuleType("losses"), section, "config.loss")


def test_a_name_alone_is_a_section():
    assert configs.bind(head, {"width": 1, "options": "cosine"}, "config.model")["options"] == {"name": "cosine"}
    assert "expected Mapping" in refusal(call, head, {"width": 1, "options": "two words"}, "config.model")


def test_the_public_functions_of_a_file_are_its_registry():
    module = types.ModuleType("rules")
    source = "def a() -> float: ...\ndef b() -> str: ...\ndef _c() -> float: ...\nfrom math import floor\nD = 1\n"
    exec(source, vars(module))
    assert list(functions(module)) == ["a", "b"] and list(functions(module, float)) == ["a"]


def test_parse_calls():
    assert configs.parse_calls("") == []
    assert configs.parse_calls("flip") == [("flip", (), {})]
    text = "flip | crop(4, size=(2, 3)) |\n mixup(alpha=-0.2, on=True) | last('a | b')"
    assert configs.parse_calls(text) == [
        ("flip", (), {}), ("crop", (4,), {"size": (2, 3)}), ("mixup", (), {"alpha": -0.2, "on": True}),
        ("last", ("a | b",), {}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a |", ["position"]),
        ("a | b(", ["position 6"]),
        ("a + b", ["position 1", "expected a name"]),
        ("a | 3", ["position 5", "expected a name"]),
        ("a(b)", ["position 3", "expected a number"]),
        ("a(__import__('os'))", ["position 3", "expected a number"]),
        ("a.b(1)", ["expected a name"]),
        ("a(**{'x': 1})", ["'**'"]),
        ("a(*[1])", ["expected a number"]),
    ],
)
def test_parse_calls_says_where(text, words):
    message = refusal(configs.parse_calls, text, "config.augment")
    assert "config.augment" in message and all(word in message for word in words), message


def scale(by: float, *, num_classes: int | None = None):
    return ("scale", by, num_classes)


def test_build_calls_checks_names_and_types_and_offers_the_programs_arguments():
    factories = {"scale": scale, "flip": lambda: "flip"}
    assert configs.build_calls("flip | scale(2)", factories, "config.augment", num_classes=10) == [
        "flip",
        ("scale", 2.0, 10),
    ]
    assert configs.build_calls("scale(2, num_classes=3)", factories, "config.augment", num_classes=10) == [
        ("scale", 2.0, 3)
    ]
    assert configs.build_calls("scale(by=1)", lambda name: scale, "config.augment") == [("scale", 1.0, None)]
    for text, words in {
        "flop": ["config.augment", "'flop'", "did you mean 'flip'"],
        "scale('a')": ["config.augment: scale.by='a'", "expected float"],
        "scale()": ["scale.by is missing"],
        "scale(1, 2)": ["at most 1"],
        "scale(1, by=2)": ["'by' twice"],
        "scale(1, bi=2)": ["scale.bi", "did you mean 'by'"],
    }.items():
        message = refusal(configs.build_calls, text, factories, "config.augment")
        assert all(word in message for word in words), message


def duration(section, **units):
    return configs.duration(section, "every", path="config.eval", **units)


def test_durations_round_up():
    assert duration({"every_steps": 7}) == 7
    assert duration({"every_epochs": 1.5}, steps_per_epoch=25) == 38
    assert (
        duration({"every_epochs": 0.1}, steps_per_epoch=30) == 3
    )  # 0.1 * 30 is a little more than 3 in floating point
    assert duration({"every_epochs": 40}, steps_per_epoch=1149 / 64) == 719  # 718.1
    assert duration({"every_percent": 5}, total_steps=1000) == 50
    assert duration({"every_percent": 100}, total_steps=3) == 3
    assert duration({"every_examples": 1000}, batch_size=128) == 8
    assert duration({"every_epochs": None, "every_steps": 0}) == 0
    assert duration({}, required=False) is None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, ["config.eval.every_steps", "config.eval.every_epochs"]),
        ({"every_steps": 1, "every_epochs": 1}, ["config.eval.every_steps and config.eval.every_epochs"]),
        ({"every_percent": 5}, ["config.eval.every_percent", "every_steps"]),
        ({"every_epochs": 5}, ["config.eval.every_epochs", "every_steps"]),
        ({"every_steps": -1}, ["config.eval.every_steps=-1"]),
        ({"every_steps": 1.5}, ["config.eval.every_steps=1.5", "int"]),
        ({"every_steps": "a"}, ["config.eval.every_steps='a'"]),
    ],
)
def test_durations_that_mean_nothing_are_refused(section, words):
    message = refusal(duration, section)
    assert all(word in message for word in words), message


@given(st.integers(1, 10**6), st.integers(1, 10**5), st.integers(1, 4096))
def test_whole_epochs_cover_every_example(epochs, examples, batch):
    steps = duration({"every_epochs": epochs}, steps_per_epoch=examples / batch)
    assert steps == -(-epochs * examples // batch)
