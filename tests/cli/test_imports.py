"""What is imported, and when: nothing heavy before it is needed, TensorFlow and torch never."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "jax", "flax", "optax", "orbax", "tensorflow_datasets", "matplotlib", "tensorboardX", "grain", "sklearn", "scipy",
)  # fmt: skip

HELP = f"""
import sys
import launch
try:
    launch.main(["--help"])
except SystemExit as leave:
    assert leave.code == 0
for flags in (["--workdir=/nowhere"], ["--confg=x"], ["--mode=trian"], ["--mode=predict", "--workdir=/nowhere"]):
    assert launch.main(flags) == 2, flags
    if flags[0] != "--mode=predict":
        loaded = sorted(set({HEAVY!r}) & set(sys.modules))
        assert not loaded, (flags, loaded)
# a mistake in a config is reported before JAX is imported too
assert launch.main(["--workdir=/nowhere", "--config=configs/classify/mlp.py", "--config.batch_sise=3"]) == 2
"""

RUN = """
import sys
import cvdl_jax.engine.train
loaded = {"flax", "rich", "matplotlib", "sklearn", "scipy.stats", "tensorflow_datasets"} & set(sys.modules)
assert not loaded, loaded  # the loop needs none of them
import launch
workdir = f"--workdir={sys.argv[1]}"
assert launch.main(["--config=configs/classify/mlp.py:smoke", workdir]) == 0
for flags in (["--mode=eval"], ["--mode=profile", "--steps=1"]):
    assert launch.main([*flags, workdir]) == 0, flags
models = sorted(m for m in sys.modules if m.startswith("cvdl_jax.models.") and m.count(".") > 2)  # families
assert models == ["cvdl_jax.models.backbones.mlp"], models
assert "grain" not in sys.modules, "a resident set needs no Grain"
assert "tensorboardX" in sys.modules and "matplotlib" in sys.modules  # they were used, so this test looked at them
loaded = {m.partition(".")[0] for m in sys.modules} & {"tensorflow", "torch", "clu", "distrax"}
assert not loaded, loaded
"""
# Stands where the package would be installed, so that it is found; says who imported it, and fails as if it were not.
STAND_IN = """
import os, traceback
with open(os.environ["CVDL_TEST_ASKED"], "a") as file:
    file.write(__name__ + "\\n" + "".join(traceback.format_stack(limit=20)))
raise ImportError(__name__)
"""


def python(script: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    """Runs a script in the root of the repository."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_help_and_mistakes_import_nothing_heavy(clean_environment):
    done = python(HELP, clean_environment)
    assert done.returncode == 0, done.stderr


def test_a_run_never_imports_tensorflow_or_torch(clean_environment, tmp_path):
    """On a machine that has them too: another package may import them where it can, as tensorboardX does."""
    for name in ("tensorflow", "torch"):
        (tmp_path / "installed" / name).mkdir(parents=True)
        (tmp_path / "installed" / name / "__init__.py").write_text(STAND_IN)
    asked = tmp_path / "asked"
    places = {"PYTHONPATH": str(tmp_path / "installed"), "CVDL_TEST_ASKED": str(asked)}
    done = python(RUN, {**clean_environment, **places}, str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert not asked.exists(), asked.read_text()
