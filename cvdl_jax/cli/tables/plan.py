"""The runs of a table or a sweep: each an ordinary run, in a folder that is named by what it computes."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from cvdl_jax.config import configs, places
from cvdl_jax.errors import ConfigError

SEED = "--config.seed"


class Planned(NamedTuple):
    """One run of a table or a sweep.

    Attributes:
        label: what people read, such as "LeNet-5".
        row: name of the row or trial that it belongs to.
        spec: what follows --config.
        overrides: ("--config.optim.lr=0.1", ...), the seed's included.
        seed: of the run.
        workdir: ROOT/<slug of the label>-seed<N>-<first 8 digits of the configuration's digest>.
        config: resolved and checked.
    """

    label: str
    row: str
    spec: str
    overrides: tuple[str, ...]
    seed: int
    workdir: Path
    config: Any

    @property
    def name(self) -> str:
        """The run in messages."""
        return f"{self.label}, seed {self.seed}"


def make(label: str, row: str, spec: str, overrides: Iterable[str], seed: int, root: str | Path) -> Planned:
    """Plans one run; nothing is written.

    Args:
        label: what people read.
        row: name of the row or trial.
        spec: a config file and its arguments, as in "configs/classify/lenet5.py:smoke".
        overrides: "--config.key=value" without the seed.
        seed: of the run.
        root: folder of the table or sweep.

    Raises:
        ConfigError: for a wrong configuration, or one whose overrides set the seed.
    """
    overrides = tuple(overrides)
    if any(override.partition("=")[0].lstrip("-") == SEED.lstrip("-") for override in overrides):
        raise ConfigError(f"{label}: config.seed is set by the seeds of the file; leave the override {SEED} out")
    overrides = (*overrides, f"{SEED}={seed}")
    config = load_config(label, spec, overrides)
    folder = Path(root) / f"{slug(label)}-seed{seed}-{configs.digest(config)[:8]}"
    return Planned(label, row, spec, overrides, seed, folder, config)


def load_config(label: str, spec: str, overrides: Iterable[str]) -> Any:
    """The configuration of a run; errors name the run."""
    try:
        return configs.load(spec, overrides)
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}") from error


def slug(label: str) -> str:
    """A label as part of a file name: "LeNet-5 (ReLU)" is "lenet-5_relu"."""
    return re.sub(r"[^a-z0-9.-]+", "_", label.lower()).strip("_.") or "run"


def command(planned: Planned) -> str:
    """The one command that makes, continues or repeats this run, as typed in the repository."""
    return shlex.join([*places.command().split(), *arguments(planned)])


def arguments(planned: Planned) -> list[str]:
    """The arguments of launch.py for a run."""
    return ["--config", planned.spec, *planned.overrides, "--workdir", str(planned.workdir)]


def launcher() -> str:
    """The path of launch.py, as short as a person would type it: every run keeps its command line."""
    path = configs.ROOT / "launch.py"
    return path.name if Path.cwd() == configs.ROOT else str(path)
