"""`--mode predict`: class probabilities of a folder of images, by a trained run, as CSV."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax import exhausted, external, runs
from cvdl_jax.build import Run, make_program
from cvdl_jax.data import stream
from cvdl_jax.data.folder import FlatSource
from cvdl_jax.data.load import Split
from cvdl_jax.errors import DataError, UserError
from cvdl_jax.evaluate import prepare
from cvdl_jax.padding import padded
from cvdl_jax.program import to_unit
from cvdl_jax.refuse import refuse_config
from cvdl_jax.task import State


def run(args: Any) -> int:
    """Predicts every image of `--input` and writes `--out`, one row an image, in the order of their names."""
    refuse_config(args)
    if not args.input or not args.out:
        raise UserError("--mode predict needs --input FOLDER and --out FILE.csv")
    built, state, step = runs.load_built(args.workdir, args.checkpoint)
    state = with_statistics(built, runs.with_weights(state, args.weights))
    if built.task.predict is None or "image" not in built.info.spec:
        raise UserError(f"experiment {built.config.experiment!r} on {built.data.name!r} does not predict from images")
    split = as_trained(built, args.input)
    with exhausted.explained(built.config):
        scores = predict(built, state, split)
    write(Path(args.out), split.ids, scores, built.info.class_names)
    print(f"{split.size} images predicted by step {step} of {args.workdir}; written to {args.out}")
    return 0


def with_statistics(built: Run, state: State) -> State:
    """The state that evaluations see: after their pass over a split, where `config.batch_stats` asks for one."""
    name = next((name for name, each in built.task.evals.items() if each.before is not None), None)
    if name is None:
        return state
    with exhausted.explained(built.config):
        program = make_program(built)
        runs.compile_functions(program, [f"eval {name}"])
        return prepare(program, name, state, int(state.step))


def as_trained(built: Run, folder: str) -> Split:
    """The images of a folder, resized and converted to what the run was trained on."""
    source = FlatSource(folder)
    return Split("predict", source, external.stage_as_trained(built), source.features)


def predict(built: Run, state: Any, split: Split) -> np.ndarray:
    """Softmax probabilities [n, num_classes] of images, in batches of one compiled shape."""
    size = min(built.config.eval_batch_size or built.config.batch_size, split.size)

    @jax.jit
    def function(state: State, batch: dict, mask: jax.Array) -> jax.Array:
        with padded(mask):
            return jax.nn.softmax(built.task.predict(state, to_unit(batch))["scores"])

    parts = []
    for batch in stream.eval_batches(split, size):
        mask = batch.pop("mask")
        parts.append(np.asarray(function(state, jax.tree.map(jnp.asarray, batch), jnp.asarray(mask)))[mask > 0])
    return np.concatenate(parts)


def write(path: Path, files: Sequence[str], probabilities: np.ndarray, class_names: tuple[str, ...]) -> None:
    """Writes file, predicted label, its name, and every class's probability; the file appears whole or not at all."""
    names = class_names or tuple(str(c) for c in range(probabilities.shape[1]))
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["file", "label", "name", "probability", *(f"p({name})" for name in names)])
            for source, p in zip(files, probabilities, strict=True):
                label = int(p.argmax())
                rows.writerow([source, label, names[label], f"{p[label]:.6f}", *(f"{x:.6f}" for x in p)])
    except OSError as error:
        raise DataError(f"--out {path} cannot be written: {error.strerror}") from error
    os.replace(temporary, path)
