"""`--mode predict`: what a trained run says of a folder of images, as CSV: probabilities, labels, objects, new images.

What an image becomes, a translation of it, is a PNG file of the size of the network's images, in a folder beside the
CSV: `predictions_forward/` for `predictions.csv` and the generator `forward`. Masks are PNG files in
`predictions_masks/`, of the size of the images: a pixel's value is the class of a semantic mask, as the data set
numbers them, or the number of an object, 0 for none.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.figures.segmentation import palette_of
from cvdl_jax.core.parallel import padded
from cvdl_jax.core.task import State
from cvdl_jax.data import stream
from cvdl_jax.data.folder import FlatSource
from cvdl_jax.data.host import fitting
from cvdl_jax.data.load import Split
from cvdl_jax.data.readable import readable
from cvdl_jax.data.schema import allow_pixels
from cvdl_jax.data.sources import Source
from cvdl_jax.engine import external, kept, out_of_memory, runs
from cvdl_jax.engine.build import Run, make_program
from cvdl_jax.engine.evaluate import prepare
from cvdl_jax.engine.program import to_unit
from cvdl_jax.errors import DataError, UserError
from cvdl_jax.ops.images import palettes
from cvdl_jax.ops.images.watershed import boxes_of
from cvdl_jax.workdir.folder import write_whole

IMAGES = "images/"  # begins the names of outputs that are images in 0..1
FLAGS = ("workdir", "input", "out", "checkpoint", "weights")  # that it reads


def run(args: Any) -> int:
    """Predicts the images of `--input`; `--out` has a row for each image or detection, in the order of the names."""
    if not args.input or not args.out:
        raise UserError("--mode predict needs --input FOLDER and --out FILE.csv")
    if Path(args.out).is_dir():
        raise UserError(f"--out {args.out} is a folder; name a file in it, --out {Path(args.out) / 'predictions.csv'}")
    built, state, step = runs.load_built(args.workdir, args.checkpoint)
    state = runs.with_weights(state, args.weights)
    if built.task.predict is None or "image" not in built.info.spec:
        raise UserError(f"experiment {built.config.experiment!r} does not predict from images; use another run")
    allow_pixels(built.config.data.get("max_pixels", 0))
    source, unread = readable(files(built, args.input))
    split, state = as_trained(built, source), with_statistics(args, built, state, step)
    with out_of_memory.explained(built.config):
        outputs = predict(built, state, split)
    refuse_undefined(split.ids, outputs)
    outputs = without_borders(split, outputs)
    made = {name.removeprefix(IMAGES): x for name, x in outputs.items() if name.startswith(IMAGES)}
    rows = translations(split.ids, made, Path(args.out)) if made else table(built, split.ids, outputs)
    masks = outputs.get("ids", outputs.get("segmentation"))
    also = "" if masks is None else f", {write_masks(built, split, masks, Path(args.out))}"
    also += f", the images to {', '.join(map(str, folders_of(made, Path(args.out)).values()))}" if made else ""
    write(Path(args.out), rows)
    without = f"; {len(unread)} could not be read and have no row" if unread else ""
    print(f"{split.size} images predicted by step {step} of {args.workdir}{without}; written to {args.out}{also}")
    return 0


def refuse_undefined(files: Sequence[str], outputs: dict[str, np.ndarray]) -> None:
    """Raises DataError for images of which a mask or objects were predicted from scores that are no numbers."""
    undefined = outputs.pop("undefined", np.zeros(len(files), bool))
    if "mask" in outputs:
        undefined = undefined | (np.isnan(outputs["scores"]) & (outputs["mask"] > 0)).any(1)
    _refuse_undefined(files, np.where(undefined, np.nan, 0.0)[:, None])


def without_borders(split: Split, outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """The outputs, masks without the border that `config.data.crop="pad"` puts around an image: n of [h, w] each."""
    if split.stage.crop != "pad":
        return outputs

    def inner(i: int, mask: np.ndarray) -> np.ndarray:
        (h, w), (top, left) = _within(split, i, mask.shape)
        return mask[top : top + h, left : left + w]

    return {
        name: [inner(i, mask) for i, mask in enumerate(x)] if name in ("segmentation", "ids") else x
        for name, x in outputs.items()
    }


def _within(split: Split, i: int, window: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size of an image in a window with a border, and where it begins."""
    h, w = fitting(*split.source.read([i])[0]["image"].shape[:2], *window)
    return (h, w), ((window[0] - h) // 2, (window[1] - w) // 2)


def table(built: Run, ids: Sequence[str], outputs: dict[str, np.ndarray]) -> list[list[Any]]:
    """The rows of the CSV file. Raises UserError for a run that predicts no classes."""
    answers = outputs.get("scores", outputs.get("probabilities"))
    if answers is None and "segmentation" not in outputs:
        raise UserError(
            f"experiment {built.config.experiment!r} predicts {sorted(outputs)}, no classes; use another run"
        )
    names = built.info.class_names
    if "segmentation" in outputs:
        return shares(ids, outputs["segmentation"], names)
    names = names or tuple(str(c) for c in range(int(outputs["classes"].max()) + 1 if "classes" in outputs
                                                 else answers.shape[-1]))  # fmt: skip
    if "ids" in outputs:
        return segments(ids, outputs, names)
    if "boxes" in outputs:
        return detections(ids, outputs, names)
    return (probabilities if "scores" in outputs else several_labels)(ids, answers, names)


def with_statistics(args: Any, built: Run, state: State, step: int) -> State:
    """The state that evaluations see: after their pass over a split, where `config.batch_stats` asks for one.

    The end of a run keeps what the pass gave for its selected step; for others, the data are opened.
    """
    name = next((name for name, evaluation in built.task.evals.items() if evaluation.before is not None), None)
    if name is None:
        return state
    saved = kept.with_statistics(args.workdir, state, step) if args.weights == "auto" else None
    if saved is not None:
        return saved
    built = kept.open_run(args.workdir)
    kept.refuse_absent(built, [name])
    with out_of_memory.explained(built.config):
        program = make_program(built, reading=True)
        runs.compile_functions(program, [f"eval {name}"])
        return prepare(program, name, state, step)


def files(built: Run, paths: Sequence[str]) -> Source:
    """The images of files, with the channels that the run was trained on.

    Raises:
        DataError: for a run of images that no image file holds, or folders without images.
    """
    channels = built.info.spec["image"].shape[-1]
    if channels not in (1, 3, 4):
        raise DataError(
            f"the run was trained on images with {channels} channels, image files have 1, 3 or 4; predict from arrays: "
            "cvdl_jax.engine.runs.load(WORKDIR)"
        )
    return FlatSource(paths, 4 if channels == 4 else 3)


def as_trained(built: Run, source: Source) -> Split:
    """Images of files, resized and converted to what the run was trained on."""
    return Split("predict", source, external.stage_as_trained(built), source.features)


def predict(built: Run, state: Any, split: Split) -> dict[str, np.ndarray]:
    """What the task predicts of all images, {name: [n, ...]}, in batches of one compiled shape."""
    size = min(built.config.eval_batch_size or built.config.batch_size, split.size)

    @jax.jit
    def function(state: State, batch: dict, mask: jax.Array) -> dict[str, jax.Array]:
        with padded(mask):
            return dict(built.task.predict(state, to_unit(batch)))

    parts = []
    for batch in stream.eval_batches(split, size):
        mask = batch.pop("mask")
        outputs = function(state, jax.tree.map(jnp.asarray, batch), jnp.asarray(mask))
        parts.append({name: np.asarray(x)[mask > 0] for name, x in outputs.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def probabilities(files: Sequence[str], scores: np.ndarray, names: Sequence[str]) -> list[list[Any]]:
    """A heading, then of each image its class, the class's name and probability, and every class's probability.

    Args:
        files: n names.
        scores: float [n, num_classes]; their softmax is the probabilities.
        names: of the classes.

    Raises:
        DataError: for scores that are not numbers.
    """
    all_p = np.asarray(jax.nn.softmax(scores))  # [n, num_classes]
    _refuse_undefined(files, all_p)
    rows: list[list[Any]] = [["file", "label", "name", "probability", *(f"p({name})" for name in names)]]
    for file, p in zip(files, all_p, strict=True):
        label = int(p.argmax())
        rows.append([file, label, names[label], f"{p[label]:.6f}", *(f"{x:.6f}" for x in p)])
    return rows


def several_labels(files: Sequence[str], p: np.ndarray, names: Sequence[str]) -> list[list[Any]]:
    """A heading, then of each image the names of the classes that it has, and the probability of every class.

    Args:
        files: n names.
        p: float [n, num_classes], the probability of each class by itself; one above 1/2 is said to be there.
        names: of the classes; joined by a vertical bar.

    Raises:
        DataError: for probabilities that are not numbers.
    """
    _refuse_undefined(files, p)
    rows: list[list[Any]] = [["file", "names", *(f"p({name})" for name in names)]]
    for file, one in zip(files, p, strict=True):
        there = "|".join(name for name, x in zip(names, one, strict=True) if x > 0.5)
        rows.append([file, there, *(f"{x:.6f}" for x in one)])
    return rows


def detections(files: Sequence[str], boxes: dict[str, np.ndarray], names: Sequence[str]) -> list[list[Any]]:
    """A heading, then of each detected object its image, class, score and box in 0..1; an image may have none.

    Args:
        files: n names.
        boxes: boxes [n, d, 4], classes int [n, d], scores [n, d], mask [n, d], 1 where there is a detection.
        names: of the classes.
    """
    rows: list[list[Any]] = [["file", "label", "name", "score", "ymin", "xmin", "ymax", "xmax"]]
    for i, file in enumerate(files):
        for k in np.flatnonzero(boxes["mask"][i] > 0):
            label, numbers = int(boxes["classes"][i, k]), (boxes["scores"][i, k], *boxes["boxes"][i, k])
            rows.append([file, label, names[label], *(f"{x:.6f}" for x in numbers)])
    return rows


def segments(files: Sequence[str], objects: dict[str, np.ndarray], names: Sequence[str]) -> list[list[Any]]:
    """A heading, then of each object its image, value in the mask, class, score, share of pixels and tight box in 0..1.

    Args:
        files: n names.
        objects: ids, n of int [h, w], classes int [n, d], scores [n, d]; an object without a pixel is left out.
        names: of the classes.
    """
    rows: list[list[Any]] = [["file", "id", "label", "name", "score", "share", "ymin", "xmin", "ymax", "xmax"]]
    most = objects["scores"].shape[1]
    for i, file in enumerate(files):
        ids = objects["ids"][i]
        boxes, pixels = boxes_of(ids, most), np.bincount(ids.reshape(-1), minlength=most + 1)
        for k in np.flatnonzero(pixels[1:]):
            label, numbers = int(objects["classes"][i, k]), (objects["scores"][i, k], *boxes[k])
            score, *box = (f"{x:.6f}" for x in numbers)
            rows.append([file, k + 1, label, names[label], score, f"{pixels[k + 1] / ids.size:.6f}", *box])
    return rows


def shares(files: Sequence[str], labels: Sequence[np.ndarray], names: Sequence[str]) -> list[list[Any]]:
    """A heading, then of each image the part of its pixels of every class.

    Args:
        files: n names.
        labels: n of int [h, w].
        names: of the classes.
    """
    rows: list[list[Any]] = [["file", *names]]
    for file, mask in zip(files, labels, strict=True):
        part = np.bincount(mask.reshape(-1), minlength=len(names)) / mask.size
        rows.append([file, *(f"{x:.6f}" for x in part)])
    return rows


def write_masks(built: Run, split: Split, masks: Sequence[np.ndarray], out: Path) -> str:
    """Writes the masks [h, w] of images as PNG files; returns where they are, and of which size.

    Where the whole image was resized for the network, with a border or without, its mask is resized back by the nearest
    pixel; a window of it has no place in the image, so that its mask stays as it is.
    """
    from PIL import Image

    folder = out.with_name(f"{out.stem}_masks")
    whole = split.stage.crop in ("none", "pad")
    palette = _colours(built, int(max(mask.max() for mask in masks)) + 1)
    for i, (file, mask) in enumerate(zip(split.ids, masks, strict=True)):
        small = int(mask.max()) < 256
        picture = Image.fromarray(mask.astype(np.uint8 if small else np.uint16))
        if small:
            picture.putpalette(palette[:256].tobytes())
        if whole:
            h, w = split.source.read([i])[0]["image"].shape[:2]
            picture = picture.resize((w, h), Image.Resampling.NEAREST)
        _save(picture, folder / f"{file}.png")
    h, w = masks[0].shape
    size = "of the size of the images" if whole else f"of {h}x{w} pixels, the network's window"
    return f"masks {size} to {folder}"


def folders_of(made: Iterable[str], out: Path) -> dict[str, Path]:
    """{name of an output: the folder of its images}."""
    return {name: out.with_name(f"{out.stem}_{name}") for name in made}


def translations(files: Sequence[str], made: dict[str, np.ndarray], out: Path) -> list[list[Any]]:
    """Writes images [n, h, w, c] in 0..1 as PNG files; a heading, then of each image the files that it became.

    Args:
        files: n names.
        made: {name: the images}.
        out: of the CSV.

    Raises:
        DataError: for images that are not numbers, or files that cannot be written.
    """
    from PIL import Image

    folders = folders_of(made, out)
    for name, images in made.items():
        broken = np.flatnonzero(~np.isfinite(images).all((1, 2, 3)))
        if len(broken):
            raise DataError(
                f"{name!r} of {len(broken)} of {len(files)} images is no image, {files[broken[0]]} first: the run "
                "diverged; use an earlier step of it, --checkpoint STEP"
            )
        for file, x in zip(files, images, strict=True):
            x = np.round(255 * np.clip(x, 0, 1)).astype(np.uint8)
            _save(Image.fromarray(x[..., 0] if x.shape[-1] == 1 else x), folders[name] / f"{file}.png")
    return [["file", *folders], *([file, *(str(folder / f"{file}.png") for folder in folders.values())]
                                  for file in files)]  # fmt: skip


def _save(picture: Any, path: Path) -> None:
    """Writes a Pillow image as PNG; the file appears whole or not at all."""
    data = io.BytesIO()
    picture.save(data, format="PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data.getvalue())
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error


def _colours(built: Run, most: int) -> np.ndarray:
    """Colours of the values 0 ... most - 1 of masks, uint8 [k, 3]: those of the report where they are classes."""
    names, ignore = built.info.class_names, built.config.get("ignore", ())
    if "palette" not in built.config:
        return palettes.voc(max(most, 256))
    kept = [k for k, name in enumerate(names) if name not in ignore]
    colours = np.zeros((max(len(names), 256), 3), np.uint8)
    colours[kept] = palette_of(built.config.palette, len(kept))
    return colours


def _refuse_undefined(files: Sequence[str], p: np.ndarray) -> None:
    undefined = np.flatnonzero(np.isnan(p).any(1))
    if len(undefined):
        raise DataError(
            f"{len(undefined)} of {len(files)} images have no probabilities, {files[undefined[0]]} first: the run "
            "diverged, or it normalises by the batch, and a batch holds one image; give it one image more or less"
        )


def write(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Writes rows as CSV; the file appears whole or not at all."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    try:
        write_whole(path, text.getvalue().encode("utf-8", "surrogateescape"))  # names of files may be any bytes
    except OSError as error:
        raise DataError(f"--out {path} cannot be written: {error.strerror}") from error
