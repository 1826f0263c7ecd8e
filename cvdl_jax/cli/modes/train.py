"""`--mode train`: trains a run, or continues it."""

from pathlib import Path
from typing import Any

from cvdl_jax.config import configs, places
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir.folder import Workdir, read_json

FLAGS = ("config", "overrides", "workdir", "replicas", "launcher")  # that it reads


def run(args: Any) -> int:
    """Loads the configuration (the run's own if none is given) and trains."""
    config = load_config(args)
    from cvdl_jax.engine import out_of_memory, replicas
    from cvdl_jax.engine.train import train

    if args.replicas:
        config = replicas.parent(config, args.replicas)
    argv = places.argv()
    with out_of_memory.explained(config):
        code = train(config, args.workdir, argv, write_page)
    if code == 0 and config.experiment == replicas.EXPERIMENT:
        replicas.export(args.workdir, argv, write_page)
    return code


def write_page(folder: Path) -> None:
    """Writes the report.html of a run's folder."""
    from cvdl_jax.report.pages import run_page  # only when a run ends; its first step does not wait for it

    run_page.write(folder)


def load_config(args: Any) -> Any:
    """The configuration of the command line, or that of the workdir.

    Raises:
        ConfigError: if there is neither.
    """
    if args.config is not None:
        return configs.load(args.config, args.overrides)
    saved = Workdir(args.workdir).config if args.workdir is not None else None
    if saved is None or not saved.exists():
        raise ConfigError("--config is missing; for example --config configs/classify/lenet5.py")
    return configs.apply_overrides(configs.from_plain(configs.completed(read_json(saved))), args.overrides)
