"""Aligned columns of text, as every table on the console is printed."""

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], align: str, indent: int = 0) -> list[str]:
    """One line a row, columns two spaces apart.

    Args:
        rows: cells; a row may be shorter than others.
        align: "l" or "r" for each column.
        indent: spaces before each line.

    Returns:
        Lines without spaces at their ends.
    """
    widths = [max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(len(align))]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, align, strict=False)
        return "  ".join(cell.rjust(width) if side == "r" else cell.ljust(width) for cell, width, side in cells)

    return [" " * indent + line(row).rstrip() for row in rows]


def scaled(value: float, unit: str = "") -> str:
    """A number with three significant digits and a decimal prefix: 1.23 G, 45.6 M, 789."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:
            return f"{_three_digits(value / size)} {prefix}{unit}"
    return f"{_three_digits(value)} {unit}".strip() if value != int(value) else f"{int(value)} {unit}".strip()


def _three_digits(value: float) -> str:
    size = abs(value)
    return f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"


def seconds(value: float) -> str:
    """A short time: 1.23 s, 4.56 ms, 789 us."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= 0.9995 * size:
            return f"{_three_digits(value / size)} {unit}"
    return f"{_three_digits(value / 1e-6)} us"


def binary(n: float) -> str:
    """Bytes of memory: 1.23 GiB, 45.6 KiB, 12 B."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= size:
            return f"{n / size:.2f} {unit}"
    return f"{n:.0f} B"
