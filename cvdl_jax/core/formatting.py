"""How numbers and tables are shown to people: one set of functions for the console, the tables and the pages."""

import math
import re
from collections.abc import Sequence

NO_VALUE = "–"  # what a cell shows where there is no number
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def columns(
    rows: Sequence[Sequence[str]], align: str = "", indent: int = 0, head: Sequence[str] | None = None
) -> list[str]:
    """The lines of a table of text, its columns two spaces apart.

    Args:
        rows: cells; a row may be shorter than others.
        align: "l" or "r" for each column; "" puts columns of numbers to the right and all others to the left.
        indent: spaces before each line.
        head: names of the columns, printed first and underlined.

    Returns:
        One line a row, without spaces at their ends.
    """
    everything = [*rows] if head is None else [head, *rows]
    align = align or "".join("r" if _numeric(rows, i) else "l" for i in range(max(map(len, everything), default=0)))
    widths = [max((len(row[i]) for row in everything if i < len(row)), default=0) for i in range(len(align))]
    if head is not None:
        everything.insert(1, ["-" * width for width in widths])

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, align, strict=False)
        return "  ".join(cell.rjust(width) if side == "r" else cell.ljust(width) for cell, width, side in cells)

    return [" " * indent + line(row).rstrip() for row in everything]


def _numeric(rows: Sequence[Sequence[str]], column: int) -> bool:
    cells = (row[column] for row in rows if column < len(row))
    return all(cell in ("", NO_VALUE) or re.match(r"[-+−]?\d", cell) for cell in cells)


def count(n: float) -> str:
    """A number of things, its thousands apart, with two decimals where it is not whole: 1,234 or 12.50."""
    return f"{round(n):,}" if math.isclose(n, round(n), abs_tol=5e-3) else f"{n:,.2f}"


def significant(x: float, digits: int = 4) -> str:
    """A number with so many significant digits: 0.0613, 12,764, 1.25e-7; counts, and floats below 1e7, keep all."""
    if isinstance(x, int):
        return f"{x:,}"
    if not math.isfinite(x):
        return "NaN" if math.isnan(x) else "∞" if x > 0 else "-∞"
    if abs(x) < 10**7 and (x == int(x) or abs(x) >= 10 ** (digits - 1)):
        return f"{round(x):,}"
    mantissa, _, exponent = f"{x:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def scaled(x: float, unit: str = "", digits: int = 3, zeros: bool = True) -> str:
    """A number with a decimal prefix: 1.23 G, 45.6 M, 789.

    Args:
        x: the number; a whole one below a thousand is shown in full.
        unit: stands behind the prefix: "1.23 GB".
        digits: significant digits.
        zeros: whether zeros at the end stay, "1.00 k" rather than "1 k", so that figures below each other line up.
    """
    powers = range(len(_PREFIXES) - 1, 0, -1)
    power = next((p for p in powers if abs(x) >= (1 - 0.5 * 0.1**digits) * 1000**p), 0)
    shown = str(int(x)) if power == 0 and x == int(x) else _digits(x / 1000**power, digits, zeros)
    return f"{shown} {_PREFIXES[power]}{unit}".rstrip()


def _digits(x: float, digits: int, zeros: bool = True) -> str:
    if not zeros:
        return f"{x:.{digits}g}"
    return f"{x:#.{digits}g}".rstrip(".") if abs(x) >= 1 else f"{x:.{digits - 1}f}"


def percent(fraction: float, decimals: int = 2) -> str:
    """A fraction in percent: 98.05 %; one that is not finite as itself."""
    return f"{100 * fraction:.{decimals}f} %" if math.isfinite(fraction) else significant(fraction)


def score(value: float, as_percent: bool) -> str:
    """A measured value in the digits of every report: 98.05 % for a fraction shown in percent, else 0.1234."""
    return percent(value) if as_percent else f"{value:.4f}"


def interval(low: float, high: float, as_percent: bool, decimals: int | None = None) -> str:
    """The ends of an interval as they stand behind a `score`: [97.11, 98.70], without the sign of percent.

    Args:
        low: lower end.
        high: upper end.
        as_percent: whether the ends are fractions to be shown in percent.
        decimals: digits behind the point; None for those of `score`.
    """
    scale, digits = (100, 2) if as_percent else (1, 4)
    digits = digits if decimals is None else decimals
    return f"[{scale * low:z.{digits}f}, {scale * high:z.{digits}f}]"


def seconds(s: float) -> str:
    """A measured time in three digits: 789 us, 4.56 ms, 12.3 s; from a minute on as a `duration`."""
    if not math.isfinite(s):
        return significant(s)
    if s >= 59.95:
        return duration(s)
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if s >= 0.9995 * size:
            return f"{_digits(s / size, 3)} {unit}"
    return f"{_digits(s / 1e-6, 3)} us" if s else "0 s"


def duration(s: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 05 s, 2 h 07 min, 3 d 04 h."""
    whole = round(s)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24:02d} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def binary(n: float, decimals: int = 2) -> str:
    """Bytes: 12 B, 45.60 KiB, 1.23 GiB."""
    power = next((p for p in range(len(_BYTES) - 1, 0, -1) if n >= 1024**p), 0)
    return f"{n / 1024**power:.{decimals}f} {_BYTES[power]}" if power else f"{n:.0f} B"


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers in names by their size: block2 before block10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
