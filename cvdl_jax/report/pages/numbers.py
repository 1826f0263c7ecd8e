"""How numbers are shown on a page: as everywhere else, with a typographic minus, and "not run" where there is none."""

import math
from typing import Any

from cvdl_jax.core import formatting
from cvdl_jax.metrics.stats.paired_tests import format_p
from cvdl_jax.report.pages.markup import Cell, el

NOT_RUN = "not run"
NO_NUMBER = Cell(formatting.NO_VALUE)


def minus(text: str) -> str:
    """A number as text, with the sign that typography knows."""
    return text.replace("-", "−")


def value(x: Any, digits: int = 4) -> str:
    """A number with so many significant digits; text and truth values as they are."""
    if x is None or isinstance(x, bool | str):
        return NOT_RUN if x is None else str(x)
    return minus(formatting.significant(x, digits))


def count(n: Any) -> str:
    """A whole number with separators, 1,234,567."""
    return NOT_RUN if n is None else formatting.count(n)


def short(n: float) -> str:
    """Three digits at most and a prefix: 1.23 M, 50 k."""
    return minus(formatting.scaled(n, zeros=False))


def percent(fraction: float, decimals: int = 2) -> str:
    """A fraction in percent."""
    return minus(formatting.percent(fraction, decimals))


def interval(low: float, high: float, as_percent: bool) -> str:
    """The ends of an interval, as `formatting.interval`."""
    return minus(formatting.interval(low, high, as_percent))


def proportion(fraction: float | None, low: float | None, high: float | None) -> Cell:
    """A fraction in percent, small behind it its interval."""
    if fraction is None:
        return NO_NUMBER
    ends = el("small", interval(low, high, True)) if low is not None else None
    return Cell([percent(fraction), " ", ends], fraction)


def p_value(p: float | None) -> Cell:
    """The p value of a test."""
    return NO_NUMBER if p is None else Cell(format_p(p).removeprefix("p = "), p)


def encode(x: float, digits: int = 6) -> float | str:
    """A number for JSON; "nan", "inf" and "-inf" for those it does not know."""
    x = float(x)
    return float(f"{x:.{digits}g}") if math.isfinite(x) else repr(x)
