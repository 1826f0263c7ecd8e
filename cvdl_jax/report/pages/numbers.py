"""How numbers are shown: short for people, the same everywhere."""

import math
from typing import Any

NOT_RUN = "not run"
_PREFIXES = ("", " k", " M", " G", " T", " P", " E")


def value(x: Any, digits: int = 4) -> str:
    """A number with so many significant digits; None is "not run"."""
    if x is None:
        return NOT_RUN
    if isinstance(x, bool | str):
        return str(x)
    if not math.isfinite(x):
        return "NaN" if math.isnan(x) else "∞" if x > 0 else "−∞"
    if x == int(x) and abs(x) < 10**7:
        return f"{int(x):,}".replace("-", "−")
    if 10 ** (digits - 1) <= abs(x) < 10**7:
        return f"{x:,.0f}".replace("-", "−")
    shown = f"{x:.{digits}g}"
    if "e" in shown:
        mantissa, _, exponent = shown.partition("e")
        shown = f"{mantissa}e{int(exponent)}"
    return shown.replace("-", "−")


def count(n: Any) -> str:
    """A whole number with separators, 1,234,567."""
    return NOT_RUN if n is None else f"{int(n):,}"


def short(n: float | None) -> str:
    """Three digits and a prefix: 1.23 M."""
    if n is None:
        return NOT_RUN
    magnitude, size = 0, abs(float(n))
    while size >= 999.5 and magnitude < len(_PREFIXES) - 1:
        size, magnitude = size / 1000, magnitude + 1
    return f"{'−' if n < 0 else ''}{size:.3g}{_PREFIXES[magnitude]}"


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction as percent; NaN stays what it is."""
    return f"{100 * fraction:.{digits}f} %" if math.isfinite(fraction) else value(fraction)


def seconds(s: float | None) -> str:
    """A duration: 850 ms, 12.3 s, 4 min 05 s, 3 h 07 min, 2 d 03 h."""
    if s is None or not math.isfinite(s):
        return NOT_RUN if s is None else value(s)
    if s < 1:
        return f"{1000 * s:.0f} ms"
    if s < 59.95:
        return f"{s:.1f} s"
    s = round(s)
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    if s < 86400:
        return f"{s // 3600} h {s % 3600 // 60:02d} min"
    return f"{s // 86400} d {s % 86400 // 3600:02d} h"


def size(n: int) -> str:
    """Bytes: 512 B, 1.5 KiB, 3.2 MiB."""
    amount, unit = float(n), 0
    while amount >= 1024 and unit < 4:
        amount, unit = amount / 1024, unit + 1
    return f"{n} B" if unit == 0 else f"{amount:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[unit - 1]}"


def encode(x: float, digits: int = 6) -> float | str:
    """A number for JSON; "nan", "inf" and "-inf" for those it does not know."""
    x = float(x)
    return float(f"{x:.{digits}g}") if math.isfinite(x) else repr(x)
