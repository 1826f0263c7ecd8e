"""`--mode export`: a trained run for use elsewhere, as a program of StableHLO or as a file of weights.

`--out model.stablehlo` holds the whole prediction: from images as the data set stores them, in batches of any size, to
scores, with normalisation, averaged weights and batch statistics inside. It needs JAX alone (and flatbuffers, which JAX
reads it with):

    from jax import export
    model = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
    scores = model.call(images)["scores"]

`--out weights.safetensors` holds the weights that evaluations use: by the names of torchvision or timm where the model
is theirs, so that their `load_state_dict` takes it, else by our own names.
"""

import json
from pathlib import Path
from typing import Any

import jax
from jax import export

from cvdl_jax.cli.modes.predict import with_statistics
from cvdl_jax.core.task import State
from cvdl_jax.core.trees import path_name
from cvdl_jax.engine import classifiers, runs
from cvdl_jax.engine.build import Run
from cvdl_jax.engine.entries import INPUTS
from cvdl_jax.engine.program import to_unit
from cvdl_jax.errors import ConfigError, DataError, UserError
from cvdl_jax.models import pretrained, tensor_files
from cvdl_jax.workdir.folder import write_whole

FLAGS = ("workdir", "out", "checkpoint", "weights")  # that it reads
PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIXES = (".stablehlo", ".safetensors")


def run(args: Any) -> int:
    """Writes `--out`, whole or not at all."""
    out = Path(args.out or "")
    if out.suffix not in SUFFIXES:
        raise UserError(f"--out={args.out or ''}: export writes model.stablehlo or weights.safetensors; name one")
    built, state, step = runs.load_built(args.workdir, args.checkpoint)
    state = runs.with_weights(state, args.weights)
    state = with_statistics(args, built, state, step)
    content, what = (program if out.suffix == ".stablehlo" else weights)(built, state)
    try:
        write_whole(out, content)
    except OSError as error:
        raise DataError(f"--out {out} cannot be written: {error.strerror}") from error
    print(f"step {step} of {args.workdir}, {what}; {len(content):,} bytes written to {out}")
    return 0


def program(built: Run, state: State) -> tuple[bytes, str]:
    """The serialised prediction, and what it is.

    Args:
        built: the run.
        state: to predict with.

    Raises:
        UserError: for a run that predicts nothing from a data set.
    """
    splits = built.data.splits if built.data is not None else {}
    stored = next(iter(splits.values())).spec if splits else {}
    names = [name for name in INPUTS if name in stored]
    if built.task.predict is None or not names:
        raise UserError(f"experiment {built.config.experiment!r} predicts nothing from a data set; use another run")
    spec = stored[names[0]]
    shape = export.symbolic_shape(", ".join(["b", *map(str, spec.shape)]))
    host = jax.device_get(state)

    def predict(x: jax.Array) -> dict[str, jax.Array]:
        return dict(built.task.predict(host, to_unit({names[0]: x})))

    try:
        exported = export.export(jax.jit(predict), platforms=PLATFORMS)(jax.ShapeDtypeStruct(shape, spec.dtype))
    except KeyError as error:
        raise UserError(
            f"this model predicts from more than {names[0]!r}: it takes {error} of the data set, too; use another run"
        ) from error
    except Exception as error:  # shapes that cannot be free, operations without a portable form: JAX raises many kinds
        reason = str(error).splitlines()[0]
        raise UserError(f"this model cannot be exported for batches of any size ({reason}); use another run") from error
    outputs = ", ".join(f"{name} {x.dtype}" for name, x in predict_spec(exported).items())
    return bytes(exported.serialize()), f"{names[0]} {spec.dtype}[b, {', '.join(map(str, spec.shape))}] to {outputs}"


def predict_spec(exported: export.Exported) -> dict[str, Any]:
    """{name: shape and dtype} of what an exported prediction returns."""
    return jax.tree.unflatten(exported.out_tree, exported.out_avals)


def weights(built: Run, state: State) -> tuple[bytes, str]:
    """A file of the weights and statistics that evaluations use, and by whose names.

    Args:
        built: the run.
        state: of it.
    """
    tree = classifiers.weights(state)
    arrays = {path_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}
    image = built.info.spec.get("image")
    metadata = pretrained.preprocessing(built.fitted.normalise, image.shape[1:3] if image is not None else ())
    about = classifiers.described(built, jax.device_get(state))
    metadata |= {classifiers.ENTRY: json.dumps(about)} if about else {}  # so that it can judge samples
    try:
        arrays, names = pretrained.exported(arrays, built.config.model), "the names of torchvision or timm"
    except (ConfigError, DataError, KeyError) as error:
        names = f"our own names ({error})"
    return tensor_files.to_bytes(arrays, metadata), f"weights by {names}"
