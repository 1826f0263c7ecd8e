"""`--mode explain`: maps of what a trained classifier looks at in a folder of images, as pictures and as arrays.

    python launch.py --mode explain --workdir RUN --method gradcam,ig --input photos/ --out maps/
    ... --method "lrp(rule='gamma'),gradcam(layer='conv1',target='7')"

`--out` gets a picture for each image, the image beside its maps, and `maps.npz`: "files", "classes" int [n], the class
of each image's largest score, "images" [n, h, w, c] as the model saw them, and each method's maps [n, h, w, channels]
under the text that asked for it. A method explains the class of the largest score, unless its `target` names another,
by number or by name.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.explain.methods import METHODS, OF_NO_CLASS
from cvdl_jax.analysis.logits import Logits
from cvdl_jax.cli.modes import predict
from cvdl_jax.config.binding import bind_calls, check_name
from cvdl_jax.data import stream
from cvdl_jax.data.load import Split
from cvdl_jax.data.readable import readable
from cvdl_jax.data.schema import allow_pixels
from cvdl_jax.engine import out_of_memory, runs
from cvdl_jax.engine.program import to_unit
from cvdl_jax.errors import ConfigError, DataError, UserError
from cvdl_jax.workdir.folder import write_whole

FLAGS = ("workdir", "method", "input", "out", "checkpoint", "weights")  # that it reads
Method = tuple[Callable[..., jax.Array], Mapping[str, Any]]


def run(args: Any) -> int:
    """Explains the images of `--input`; `--out` gets a picture for each and their maps."""
    if not args.input or not args.out or not args.method:
        raise UserError(
            f"--mode explain needs --method, --input FOLDER and --out FOLDER; methods: {', '.join(METHODS)}"
        )
    out, methods = Path(args.out), asked(args.method)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {args.out} is a file; name a folder for the maps")
    built, state, step = runs.load_built(args.workdir, args.checkpoint)
    state = predict.with_statistics(args, built, runs.with_weights(state, args.weights), step)
    if "image" not in built.info.spec:
        raise UserError(f"experiment {built.config.experiment!r} was trained on no images; use the run of a classifier")
    logits_fn = runs.logits_of(built, state)
    methods = {text: (fn, with_class(more, logits_fn, text)) for text, (fn, more) in methods.items()}
    allow_pixels(built.config.data.get("max_pixels", 0))
    source, unread = readable(predict.files(built, args.input))
    split = predict.as_trained(built, source)
    with out_of_memory.explained(built.config):
        arrays = explained(logits_fn, methods, split)
    write(out, arrays, list(methods), logits_fn)
    without = f"; {len(unread)} could not be read and have none" if unread else ""
    print(f"maps of {split.size} images by step {step} of {args.workdir}{without}; written to {out}")
    return 0


def asked(text: str) -> dict[str, Method]:
    """The methods of `--method`, by the text of each: calls separated by commas.

    Raises:
        ConfigError: for a method that does not exist, with the nearest, or wrong arguments.
    """
    calls, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter in ",|" and depth == 0:
            calls.append(text[start:i])
            start = i + 1
    calls = [call.strip() for call in [*calls, text[start:]]]
    if not all(calls) or len(set(calls)) < len(calls):
        raise ConfigError(f"--method={text!r}: name each method once, as in --method gradcam,ig(steps=100)")
    bound = {call: bind_calls(call, METHODS, "--method", logits_fn=None, x=None)[0] for call in calls}
    return {call: (fn, {k: v for k, v in more.items() if k not in ("logits_fn", "x")})
            for call, (fn, more) in bound.items()}  # fmt: skip


def with_class(more: Mapping[str, Any], logits_fn: Logits, call: str) -> dict[str, Any]:
    """A method's arguments, its `target` as a number.

    Raises:
        ConfigError: for a class that does not exist, with the nearest, or a method of no class.
    """
    target = more.get("target")
    if target is not None and call.split("(")[0] in OF_NO_CLASS:
        raise ConfigError(f"--method {call}: this method's maps are the same for all classes; leave target out")
    if isinstance(target, str):
        check_name(target, logits_fn.class_names, f"--method {call}: there is no class {target!r}")
        target = logits_fn.class_names.index(target)
    return {**more, "target": target}


def explained(logits_fn: Logits, methods: Mapping[str, Method], split: Split) -> dict[str, np.ndarray]:
    """The arrays of `maps.npz`, computed in batches of one compiled shape."""
    parts: list[dict[str, np.ndarray]] = []
    for batch in stream.eval_batches(split, min(logits_fn.batch_size, split.size)):
        real = np.asarray(batch["mask"]) > 0
        x = to_unit({"image": jnp.asarray(batch["image"])})["image"]
        scores = logits_fn(x)
        part = {"images": x, "scores": scores, "classes": scores.argmax(-1)}
        part |= {text: fn(logits_fn=logits_fn, x=x, **more) for text, (fn, more) in methods.items()}
        parts.append({name: np.asarray(a)[real] for name, a in part.items()})
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    bad = [name for name, a in arrays.items() if not np.isfinite(a).all()]
    if bad:
        raise DataError(
            f"{bad[0]!r} has numbers that are not finite; the run may have diverged: use another checkpoint"
        )
    return {"files": np.asarray(split.ids), **arrays}


def write(out: Path, arrays: Mapping[str, np.ndarray], methods: list[str], logits_fn: Logits) -> None:
    """Writes a picture for each image, and all arrays; each file appears whole or not at all."""
    from cvdl_jax.analysis.figures.explanations import beside

    names = logits_fn.class_names
    p = np.asarray(logits_fn.probabilities(jnp.asarray(arrays["scores"])))
    try:
        for i, file in enumerate(arrays["files"]):
            c = int(arrays["classes"][i])
            title = f"{names[c] if names else c}, {100 * p[i, c]:.1f} %"
            figure = beside(arrays["images"][i], title, {text: arrays[text][i] for text in methods})
            picture, path = io.BytesIO(), out / f"{file}.png"
            figure.savefig(picture, format="png", dpi=110)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, picture.getvalue())
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)
        write_whole(out / "maps.npz", packed.getvalue())
    except OSError as error:
        raise DataError(f"--out {out} cannot be written: {error.strerror}") from error
