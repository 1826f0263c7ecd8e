"""From a configuration to what runs: which experiment, and which sections it reads."""

import pytest

from cvdl_jax.core import studies
from cvdl_jax.engine import build
from cvdl_jax.errors import ConfigError

OWN = """
from cvdl_jax.core.task import Task

def make(config, info):
    return Task(lambda key, batch: {"params": {}}, None)
"""


def config_of(experiment, **sections):
    """A configuration of no data and no steps."""
    config = studies.base("topic")
    config.experiment = str(experiment)
    config.update(sections)
    return config


@pytest.fixture
def own(tmp_path):
    """Writes an experiment of a user, with these lines in front."""

    def write(first=""):
        path = tmp_path / "own.py"
        path.write_text(first + OWN)
        return path

    return write


def test_an_experiment_says_which_optional_sections_it_reads():
    assert build.reads(build.load_experiment("classify")) == build.OPTIONAL
    assert build.reads(build.load_experiment("embed")) == ()


@pytest.mark.parametrize("section", [{"class_weights": (1.0, 2.0)}, {"test_time": {"views": "identity | flip"}}])
def test_a_section_that_an_experiment_does_not_read_is_refused(own, section):
    (name,) = section
    words = rf"experiment '.*' has no use for config\.{name}; leave it empty"
    with pytest.raises(ConfigError, match=words):
        build.build(config_of("embed", **section))
    other = next(key for key in build.OPTIONAL if key != name)
    with pytest.raises(ConfigError, match=words):
        build.build(config_of(own(f'READS = ("{other}",)\n'), **section))
    build.build(config_of(own(f'READS = ("{name}",)\n'), **section))
    build.build(config_of(own(), **section))  # a user's file that says nothing may read it


def test_the_engine_names_no_experiment_and_writes_no_page():
    """Experiments are reached by the path that the configuration names; the writer of pages is an argument."""
    names = {path.stem for path in build.EXPERIMENTS.rglob("*.py")} - {"__init__", "replicas"}
    assert {"classify", "gan", "normalisation"} <= names
    for path in sorted((build.configs.ROOT / "cvdl_jax" / "engine").glob("*.py")):
        code = path.read_text()
        if path.name != "runs.py":  # whose `train` is a command for notebooks, and brings the writer itself
            assert "cvdl_jax.report" not in code, path
        if path.name != "from_run.py":  # loads what a run has trained, and knows what a classifier is
            assert not [name for name in names if f'"{name}"' in code or f"experiments.{name}" in code], path


def test_a_file_without_make_or_no_file_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ConfigError, match=r"empty\.py' defines no make\(config, info\)"):
        build.find_experiment(str(tmp_path / "empty.py"))
    with pytest.raises(ConfigError, match=r"missing\.py': there is no such file"):
        build.find_experiment(str(tmp_path / "missing.py"))


def test_a_syntax_error_in_an_experiment_is_one_sentence(monkeypatch):
    def broken(name):
        compile("x = 1\ndef f(:\n", "experiments/classify.py", "exec")

    with monkeypatch.context() as patch:
        patch.setattr(build.places, "import_ours", broken)
        with pytest.raises(ConfigError, match=r"^experiments/classify\.py, line 2: invalid syntax$"):
            build.load_experiment("classify")
