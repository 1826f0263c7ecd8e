"""Flags that a mode would not read are refused, not ignored. Imports no JAX."""

from typing import Any

from cvdl_jax.errors import ConfigError


def refuse_config(args: Any, overrides: bool = True) -> None:
    """For modes that take the configuration of a finished run.

    Args:
        args: the flags.
        overrides: whether to refuse `--config.KEY=VALUE` too.

    Raises:
        ConfigError: naming the flag to leave out.
    """
    if args.config is not None:
        raise ConfigError(f"--mode {args.mode} takes the configuration of --workdir; leave out --config={args.config}")
    if overrides and args.overrides:
        raise ConfigError(f"--mode {args.mode} takes a run as it is; leave out {args.overrides[0]}")
