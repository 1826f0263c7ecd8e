"""`--mode check`: is the config sound, are the data there, does the step compile, does it fit? Nothing is trained.

With `--topology v5e:4x4` the step is compiled for a TPU pod that one need not have; with several of them, separated by
commas, they are compared.
"""

from typing import Any

from cvdl_jax.cli.check import topology
from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError

FLAGS = ("config", "overrides", "workdir", "topology")  # that it reads


def run(args: Any) -> int:
    """Checks and prints; 1 if the step does not fit somewhere."""
    names = topology.names(args.topology)
    if args.config is None and args.workdir is None:
        raise ConfigError("--mode check needs --config; for example --config configs/classify/lenet5.py")
    if names:
        topology.prepare()
    from cvdl_jax.cli.modes.train import load_config

    config = load_config(args)
    from cvdl_jax.cli.check import report

    print(f"config {args.config or args.workdir}: experiment {config.experiment}, digest {configs.digest(config)}")
    return report.run(config, names, lambda text: print(text, flush=True))
