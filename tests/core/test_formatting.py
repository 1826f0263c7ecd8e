"""Tables and numbers as people read them."""

import math

import pytest

from cvdl_jax.core.formatting import (
    binary,
    columns,
    count,
    duration,
    interval,
    percent,
    scaled,
    score,
    seconds,
    significant,
)


def test_columns():
    assert columns([("a", "1"), ("bbb", "22"), ("c",)], "lr", 2) == ["  a     1", "  bbb  22", "  c"]
    assert columns([], "lr") == [] and columns([]) == []


def test_columns_below_a_head_put_numbers_to_the_right():
    rows = [("mlp", "7.5", "x", ""), ("lenet", "−12", "7", "–")]
    assert columns(rows, head=("model", "n", "note", "left")) == [
        "model    n  note  left",
        "-----  ---  ----  ----",
        "mlp    7.5  x",
        "lenet  −12  7        –",
    ]
    assert columns([], head=("model", "runs")) == ["model  runs", "-----  ----"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 X"), (7, "7 X"), (999, "999 X"), (1000, "1.00 kX"), (12_345, "12.3 kX"), (416_520, "417 kX"),
     (999_600, "1.00 MX"), (1.5e9, "1.50 GX"), (1.97e14, "197 TX"), (2.5e15, "2.50 PX"), (0.5, "0.50 X"),
     (9.996, "10.0 X"), (99.96, "100 X"), (-2.5e6, "-2.50 MX")],
)  # fmt: skip
def test_scaled(value, text):
    assert scaled(value, "X") == text


def test_scaled_in_other_digits():
    assert [scaled(x, digits=4) for x in (640, 50_200, 416_520, 999_970, 4.09e9)] == [
        "640", "50.20 k", "416.5 k", "1.000 M", "4.090 G",
    ]  # fmt: skip
    assert [scaled(x, zeros=False) for x in (999, 999.6, 50_610, -2.5e6)] == ["999", "1 k", "50.6 k", "-2.5 M"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.061295, "0.0613"), (-3, "-3"), (-0.0, "0"), (1.25e-7, "1.25e-7"), (1_234_567, "1,234,567"),
     (12764.3, "12,764"), (0.123456, "0.1235"), (98.204, "98.2"), (1e9, "1e9"), (10**9, "1,000,000,000"),
     (math.nan, "NaN"),
     (math.inf, "∞"), (-math.inf, "-∞")],
)  # fmt: skip
def test_significant(value, text):
    assert significant(value) == text


def test_counts_and_fractions():
    assert [count(n) for n in (1234, 3.0, 12.5, 2.999)] == ["1,234", "3", "12.50", "3"]
    assert [percent(0.98051), percent(0.5, 0), percent(math.nan)] == ["98.05 %", "50 %", "NaN"]
    assert [score(0.98051, True), score(0.98051, False)] == ["98.05 %", "0.9805"]
    assert interval(0.97, 0.98765, True) == "[97.00, 98.77]" and interval(-1e-9, 0.5, False, 3) == "[0.000, 0.500]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (4.2e-5, "42.0 us"), (0.0123, "12.3 ms"), (0.85, "850 ms"), (2.5, "2.50 s"), (12.34, "12.3 s"),
     (59.97, "1 min 00 s"), (245, "4 min 05 s"), (math.nan, "NaN")],
)  # fmt: skip
def test_seconds(value, text):
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3599.9, "1 h 00 min"),
     (7620, "2 h 07 min"), (86400, "1 d 00 h"), (273600, "3 d 04 h")],
)  # fmt: skip
def test_duration(value, text):
    assert duration(value) == text


def test_bytes():
    assert [binary(x) for x in (12, 2048, 3 * 2**20, 1.5 * 2**30, 2**41)] == [
        "12 B", "2.00 KiB", "3.00 MiB", "1.50 GiB", "2.00 TiB",
    ]  # fmt: skip
    assert binary(1536, 1) == "1.5 KiB"
