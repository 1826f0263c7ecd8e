"""`--mode describe`: every model variant; with a config, or a variant's name, the layers of its models."""

from functools import partial
from pathlib import Path
from typing import Any

from cvdl_jax.cli.describe import variants

FLAGS = ("config", "overrides", "workdir")  # that it reads


def run(args: Any) -> int:
    """Prints the tables."""

    def say(text: str) -> None:
        print(text, flush=True)

    if args.config is None and args.workdir is None:
        variants.overview(say)
        return 0
    import jax

    from cvdl_jax.cli.describe import layers as layer_table
    from cvdl_jax.optim import param_groups

    trained = None
    if args.config is not None and not _is_file(args.config):
        variant = variants.find(args.config)
        init, shape = variants.initialiser(variant)
        source = variants.source(variant)
        say(f"{variant.name} ({variants.path_of(variant)}), input {shape}")
        say(f"{source}\n" if source else "")
        layers = layer_table.trace(init, jax.random.key(0))
    else:
        built = _build(args)
        shapes = ", ".join(f"{name} {s.dtype}{list(s.shape[1:])}" for name, s in built.info.spec.items())
        say(f"{args.config or args.workdir}: experiment {built.config.experiment}, {shapes or 'no data'}\n")
        init = partial(built.task.init, jax.random.key(0))
        layers = layer_table.trace(init, dict(built.info.spec))
        if built.config.optim and built.task.train is not None:
            trained = param_groups.describe(built.config.optim, jax.eval_shape(init, dict(built.info.spec))["params"])
    say("\n".join(layer_table.format_table(layers)) if layers else "there are no modules, so there are no layers")
    if trained is not None:
        say(f"\n{trained}")
    return 0


def _is_file(config: str) -> bool:
    """Whether `--config` names a file rather than a variant: what ends in .py, has arguments, or lies in a folder."""
    return Path(config.partition(":")[0]).suffix == ".py" or "/" in config or ":" in config


def _build(args: Any) -> Any:
    from cvdl_jax.cli.modes.train import load_config
    from cvdl_jax.engine.build import build

    return build(load_config(args))
