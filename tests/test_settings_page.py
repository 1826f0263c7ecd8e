"""docs/settings.md is what docs/make_settings.py writes, and it holds every key."""

import importlib.util
import re
from pathlib import Path

import pytest

from cvdl_jax.config.defaults import DEFAULTS

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_settings", ROOT / "docs" / "make_settings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(script):
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run: python docs/make_settings.py"


def test_the_page_has_every_key_with_type_range_default_and_meaning(script):
    text = script.PAGE.read_text(encoding="utf-8")
    top = text.partition("## config.")[0]
    assert re.findall(r"^\| `(\w+)` \|", top, re.MULTILINE) == [
        "experiment",
        *(k for k in DEFAULTS if k != "experiment"),
    ]
    assert not re.findall(r"^\| `\w+` \|.*\|  \|$", top, re.MULTILINE)  # none without a meaning
    for row in (
        "| `weight_decay` | float | 0 or more, and finite | `0.0` | lambda. |",
        "| `decay` | float | in [0, 1) | `None` | d of `a <- d a + (1 - d) w`; without it there is no average |",
        "| `discount` | float | in [0, 1] | `0.99` | gamma |",
        "| `hidden` | tuple[int, ...] | from 1 to 1,048,576 | `(300, 100)` |",
        "| `start` | int |  | needed | its value in the first rung. |",
        "`focal`: Sigmoid focal loss",
        "`padded_crop`: ",
        "| `smoothing` | float |  | `0.1` | 0..1. |",
    ):
        assert row in text, row


def test_ranges_are_read_at_any_depth(script):
    from cvdl_jax.config.binding import Count, Positive

    assert script.ranges(tuple[Count, ...] | Positive | None) == ["1 or more", "positive and finite"]
    assert script.ranges(int) == []
