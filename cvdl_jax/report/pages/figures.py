"""What a run drew and wrote at its end: `figures/*.png` and `figures/*.txt`."""

import base64
import io
from pathlib import Path

from cvdl_jax.report.pages import numbers
from cvdl_jax.report.pages.markup import Markup, code_block, details, el, image, section

MOST_BYTES = 1 << 20  # of an image within the page; a larger one is scaled down
MOST_TEXT = 20_000  # characters of a text within the page


def show(folder: Path) -> Markup | None:
    """The section of a run's figures and texts; None if it has none.

    A figure whose texts are there too (`samples.png`, `samples_*.txt`) is folded.
    """
    pictures, texts = (sorted(folder.glob(f"*.{kind}")) if folder.is_dir() else [] for kind in ("png", "txt"))
    if not pictures and not texts:
        return None
    parts = [_text(path) for path in texts]
    for path in pictures:
        as_text = any(text.stem == path.stem or text.stem.startswith(f"{path.stem}_") for text in texts)
        shown = _picture(path)
        parts.append(details(f"{_name(path)}, as an image", shown) if as_text else shown)
    return section("figures", "Samples and figures", parts)


def _name(path: Path) -> str:
    return path.stem.replace("_", " ")


def _text(path: Path) -> Markup:
    content = path.read_text(encoding="utf-8", errors="replace")
    rest = len(content) - MOST_TEXT
    note = f"the first {numbers.count(MOST_TEXT)} characters; {numbers.count(rest)} more are in figures/{path.name}"
    return Markup(el("h3", _name(path)) + code_block(content[:MOST_TEXT], _name(path), class_="wrap sample") +
                  (el("p", note, class_="note") if rest > 0 else ""))  # fmt: skip


def _picture(path: Path) -> Markup:
    from PIL import Image

    whole = path.read_bytes()  # Pillow keeps the file of an animated picture open
    data, note = _fitting(whole)
    of = Image.open(io.BytesIO(whole)).info.get("Description")  # of which split the examples are
    name = f"{_name(path)}: {of}" if of else _name(path)
    said = f"{name}, {note}; whole in figures/{path.name}" if note else name
    dark = path.parent / "dark" / path.name
    shown = [image(base64.b64encode(data).decode(), name, class_="on-light" if dark.is_file() else "on-any")]
    if dark.is_file():
        shown.append(image(base64.b64encode(_fitting(dark.read_bytes())[0]).decode(), name, class_="on-dark"))
    return el("figure", shown, el("figcaption", said), class_="wide")


def _fitting(data: bytes) -> tuple[bytes, str]:
    """A PNG that is small enough, and how it was made so ("" if it was before)."""
    if len(data) <= MOST_BYTES:
        return data, ""
    from PIL import Image

    picture = Image.open(io.BytesIO(data)).convert("RGB")
    before = "×".join(map(str, picture.size))
    while len(data) > MOST_BYTES:
        picture = picture.resize((max(picture.width // 2, 1), max(picture.height // 2, 1)))
        out = io.BytesIO()
        picture.save(out, "png", optimize=True)
        data = out.getvalue()
    return data, f"scaled down from {before} to {'×'.join(map(str, picture.size))}"
