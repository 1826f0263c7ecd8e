"""`--mode augment`: a picture of what `config.augment` makes of the first training images."""

from pathlib import Path
from typing import Any

from cvdl_jax.errors import ConfigError, DataError, UserError

FLAGS = ("config", "overrides", "workdir", "out")  # that it reads
IMAGES, DRAWS = 12, 6  # so that pairs, and groups of 3, 4 or 6 rows, are whole


def run(args: Any) -> int:
    """Writes `--out`, a row for each of twelve images: as it is, then changed six times."""
    import jax.numpy as jnp

    from cvdl_jax.analysis.figures import augmented
    from cvdl_jax.cli.modes.train import load_config
    from cvdl_jax.data.augment import policy
    from cvdl_jax.engine.build import build
    from cvdl_jax.engine.program import to_unit

    if not args.out or Path(args.out).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UserError("--mode augment needs --out FILE.png (or .pdf, .svg)")
    config = load_config(args)
    if not config.augment:
        raise ConfigError(
            "config.augment is empty, so there is nothing to show; for example --config.augment='flip | rotate(15)'"
        )
    built = build(config)
    transform = policy.build(config.augment, built.info.num_classes)
    split = built.data.splits.get("train") if built.data is not None else None
    if split is None or "image" not in split.spec:
        raise ConfigError("config.data has no training images to show; set config.data.name and config.data.train")
    examples = [split.example(i) for i in range(min(IMAGES, split.size))]
    batch = to_unit({name: jnp.stack([jnp.asarray(e[name]) for e in examples]) for name in examples[0]})
    figure = augmented.grid(augmented.draws(transform, batch, DRAWS, config.seed), built.info.class_names)
    try:
        figure.savefig(args.out, dpi=120, bbox_inches="tight")
    except OSError as error:
        raise DataError(f"--out {args.out} cannot be written: {error.strerror}") from error
    print(f"{len(examples)} images, {DRAWS} draws of {config.augment!r}; written to {args.out}")
    return 0
