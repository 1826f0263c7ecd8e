"""Where files are found: ours in a checkout or an installed package, a user's own in the current folder."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cvdl_jax.config import configs, places
from cvdl_jax.engine import build
from cvdl_jax.errors import ConfigError

MAKE = """
from cvdl_jax.core.task import Task
from experiments.classify import inputs

def make(config, info):
    return Task(lambda key, batch: {"params": {}}, None)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder of a user's, which is the current one; `write(path, text)` puts a file there."""
    monkeypatch.chdir(tmp_path)

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    return write


def test_an_experiment_in_the_current_folder_is_found_by_its_name(project):
    file = project("experiments/vision/mine.py", MAKE)
    project("experiments/__init__.py", "")
    project("experiments/notes.py", "raise SystemExit('a script that is no experiment')")
    module = build.load_experiment("vision.mine")
    assert Path(module.__file__) == file and module.inputs.__module__ == "experiments.classify"
    assert build.load_experiment("gan").__name__ == "experiments.gan"  # ours are found as before
    with pytest.raises(ConfigError, match=r"^config.experiment='vision.mime' is not in experiments/.*'vision.mine'"):
        build.load_experiment("vision.mime")
    with pytest.raises(ConfigError, match=r"^config.experiment='notes' is not in experiments/"):
        build.load_experiment("notes")


def test_an_experiment_with_the_name_of_one_of_ours_is_refused_unless_it_is_a_copy(project):
    ours = (places.ROOT / "experiments" / "classify.py").read_text()
    project("experiments/classify.py", ours)
    assert build.load_experiment("classify").__name__ == "experiments.classify"
    file = project("experiments/classify.py", MAKE)
    with pytest.raises(ConfigError) as refused:
        build.load_experiment("classify")
    assert str(refused.value) == (
        f"{file} has 'classify', which is the name of one of ours (experiments/classify.py); rename yours"
    )


def test_a_config_means_its_own_folder_then_ours_and_the_users_packages_stay(project, monkeypatch):
    project("configs/__init__.py", "")
    project("configs/own_helper.py", "EPOCHS = 3")
    project(
        "configs/mine.py",
        """
        from configs import datasets, own_helper
        from cvdl_jax.config import configs

        def get_config(arg=None):
            config = configs.base()
            datasets.classification(config, "digits", True)
            config.total_epochs = own_helper.EPOCHS
            return config
        """,
    )
    before = {name: sys.modules.get(name) for name in ("configs", "configs.datasets", "experiments")}
    config = configs.load("configs/mine.py")
    assert config.total_epochs == 3 and config.data.name == "digits"
    assert {name: sys.modules.get(name) for name in before} == before and "configs.own_helper" not in sys.modules
    # A program that has imported packages of these names of its own: ours are used inside, theirs are left.
    theirs = type(sys)("configs")
    theirs.__path__ = []
    monkeypatch.setitem(sys.modules, "configs", theirs)
    monkeypatch.delitem(sys.modules, "configs.datasets", raising=False)
    assert configs.load("configs/classify/mlp.py:smoke").model.name == "mlp"
    assert sys.modules["configs"] is theirs and "configs.datasets" not in sys.modules


def test_modules_of_a_folder_are_loaded_once(project):
    project("experiments/first.py", MAKE + "\nfrom experiments import second\n")
    project("experiments/second.py", MAKE)
    first = build.load_experiment("first")
    assert first.second.inputs is first.inputs


# Installed ------------------------------------------------------------------------------------------------------------

BUILT_FROM = ("cvdl_jax", "configs", "experiments")
FILES = ("launch.py", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the wheel of this tree is installed, without what it needs."""
    folder = tmp_path_factory.mktemp("installed")
    for name in BUILT_FROM:
        shutil.copytree(places.ROOT / name, folder / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(places.ROOT / name, folder / "tree")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder / "site", folder / "tree"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("pip cannot get setuptools, which builds the wheel")
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.mark.long
def test_the_installed_package_has_one_name_and_a_command(installed, project):
    assert {path.name for path in installed.iterdir()} - {"bin"} == {"cvdl_jax", "cvdl_jax-0.1.0.dist-info"}
    project("experiments/__init__.py", "raise SystemExit('the experiments of the user were imported')")
    project("configs/__init__.py", "raise SystemExit('the configs of the user were imported')")
    file = project("experiments/mine.py", MAKE)

    def run(*words):
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(installed), "HOME": str(file.parent)}
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=environment)
        return done.returncode, done.stdout + done.stderr

    code, said = run(installed / "bin" / "cvdl", "--help")
    assert code == 0 and said.startswith("usage: cvdl ")
    code, said = run(installed / "bin" / "cvdl", "--mode", "table")
    assert (code, said) == (2, "error: --mode table needs its file; type: cvdl --table configs/tables/NAME.py\n")
    code, said = run("-c", """if True:
        from cvdl_jax.config import configs, places
        from cvdl_jax.engine import build
        from cvdl_jax.workdir import folder
        assert places.ROOT.name == "shipped", places.ROOT
        assert configs.load("configs/generate/wgan_gp.py:smoke").model.generator.name
        assert build.load_experiment("studies.perceptrons").__name__ == "experiments.studies.perceptrons"
        assert build.load_experiment("mine").__name__ == "file_mine"
        assert folder._git("rev-parse", "HEAD") is None
        print("fine")
        """)  # fmt: skip
    assert (code, said) == (0, "fine\n"), said
