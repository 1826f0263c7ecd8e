"""From a configuration to what runs: which experiment, and which sections it reads."""

import ast
import re

import pytest

from cvdl_jax.config import configs
from cvdl_jax.config.defaults import DEFAULTS
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


# What the functions of `engine/recipe.py` read of the config that they are given whole.
OF_RECIPE = {
    "augmentation": {"augment"}, "descend": {"optim", "grad"}, "average": {"ema"}, "normalisation": {"normalise"},
    "feedback": {"plateau", "early_stopping"}, "players": {"optim", "grad"}, "critic_steps": {"critic_steps"},
}  # fmt: skip
# What other functions read of the config that they are given whole.
OF_OTHERS = {
    "segmenter": {"model", "method", "loss", "match", "boxes", "nms"},
    "make_autoencoder": {"model", "loss", "latent", "corruption", "bound_samples", "compute_dtype", "remat"},
    "from_run.judgements": {"judge"},
    "self_supervised.make_method": {"model", "normalise", "probe", "compute_dtype", "remat"},
    "self_supervised.projecting": {"model", "projection", "normalise", "probe", "compute_dtype", "remat"},
    "shared_trunk.make_model": {"model", "compute_dtype", "remat"},
    "target_images": {"target"},
    "adversarial.training": {"adversary"},
    "adversarial.evaluation": {"robust"},
    "reinforce.players": {"model", "compute_dtype", "remat"},
    "reinforce.make": {
        "model",
        "grad",
        "optim",
        "plateau",
        "early_stopping",
        "compute_dtype",
        "remat",
        "environment",
        "agent",
    },
}
STORED = ("spec", "sizes", "class_names")  # of `info`: an experiment that looks at these reads the data set


def keys_of(tree):
    """The keys of `config` that a piece of code reads by name."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Call)]
    keys = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "config"}
    return keys | {
        node.args[0].value for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "config.get"
    }


def given_away(tree):
    """The functions of other experiments, and of what makes their models, that a piece of code gives its config."""
    for imported in [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]:
        if imported.module.startswith(("experiments.", "cvdl_jax.models.")):  # of files, not of folders
            file = build.EXPERIMENTS.parent.joinpath(*imported.module.split(".")).with_suffix(".py")
            body = ast.parse(file.read_text()).body if file.exists() else []
            functions = {n.name: n for n in body if isinstance(n, ast.FunctionDef)}
            for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
                name = ast.unparse(call.func)
                known = name in functions and name in {alias.name for alias in imported.names}
                if known and "config" in map(ast.unparse, call.args):
                    yield functions[name]


def reads_of(path):
    """The keys of the config that the text of an experiment reads, without those of the loop."""
    text = path.read_text()
    tree = ast.parse(text)
    keys = keys_of(tree).union(*map(keys_of, given_away(tree)))
    for name, sections in OF_RECIPE.items():
        keys |= sections if f"recipe.{name}(config" in text else set()
    for name, sections in OF_OTHERS.items():
        keys |= sections if f"{name}(config" in text else set()
    keys |= {"data"} if re.search(rf"(?<![.\w])info\.({'|'.join(STORED)})", text) else set()
    return keys - {*build.LOOP, "get"}


def experiments():
    return sorted(path for path in build.EXPERIMENTS.rglob("*.py") if path.stem not in ("__init__", "replicas"))


@pytest.mark.parametrize("path", experiments(), ids=lambda path: path.stem)
def test_an_experiment_says_what_it_reads(path):
    reads = build.load_experiment(".".join(path.relative_to(build.EXPERIMENTS).with_suffix("").parts)).READS
    assert len(set(reads)) == len(reads) and set(reads) == reads_of(path)


def test_every_key_is_read_by_somebody():
    modules = [build.load_experiment(f"{'studies.' * (p.parent.stem == 'studies')}{p.stem}") for p in experiments()]
    read = {*build.LOOP}.union(*(module.READS for module in modules))
    assert DEFAULTS.keys() <= read


@pytest.mark.parametrize(
    ("section", "shown"),
    [
        ({"class_weights": (1.0, 2.0)}, "empty"),
        ({"test_time": {"views": "identity | flip"}}, "empty"),
        ({"adversary": {"epsilon": 0.1, "nonsense": 3}}, "empty"),
        ({"loss": {"name": "focal"}}, "empty"),
        ({"grad": "sam(0.05)"}, "at 'plain'"),
        ({"remat": True}, "at False"),
        ({"compute_dtype": "bfloat16"}, "at 'float32'"),
    ],
)
def test_a_section_that_an_experiment_does_not_read_is_refused(own, section, shown):
    (name,) = section
    words = rf"experiment '.*' has no use for config\.{name}; leave it {re.escape(shown)}$"
    with pytest.raises(ConfigError, match=words):
        build.build(config_of("studies.learning_rate", **section))
    with pytest.raises(ConfigError, match=words):
        build.build(config_of(own('READS = ("study", "ema")\n'), **section))
    build.build(config_of(own(f'READS = ("study", "{name}")\n'), **section))
    build.build(config_of(own(), **section))  # a user's file that says nothing may read it


def test_what_had_no_effect_in_a_run_that_has_begun_is_a_word(own):
    config = config_of(own('READS = ("study",)\n'), adversary={"epsilon": 0.1})
    with pytest.warns(UserWarning, match=r"config\.adversary has no effect in experiment '.*own\.py'"):
        build.build(config, begun=True)


def test_a_section_of_another_experiment_or_one_that_lacks_is_refused():
    config = configs.load("configs/toy/mlp.py:smoke")
    config.experiment = "qlearn"
    with pytest.raises(ConfigError, match=r"has no use for config\.data"):
        build.build(config)
    config.data, config.select.metric = {}, ""
    with pytest.raises(ConfigError, match=r"reads config\.environment, .* configs\.base\(environment=\.\.\.\)"):
        build.build(config)
    config = configs.load("configs/rl/qlearn.py:smoke")
    config.experiment = "embed"
    with pytest.raises(ConfigError, match=r"experiment 'embed' has no use for config\.agent; leave it out$"):
        build.build(config)


def test_the_engine_names_no_experiment_and_writes_no_page():
    """Experiments are reached by the path that the configuration names; the writer of pages is an argument."""
    names = {path.stem for path in build.EXPERIMENTS.rglob("*.py")} - {"__init__", "replicas"}
    names -= DEFAULTS.keys()  # a section of every config, of which a study has the name, too
    assert {"classify", "gan", "normalisation"} <= names
    for path in sorted((build.configs.ROOT / "cvdl_jax" / "engine").glob("*.py")):
        code = path.read_text()
        if path.name != "runs.py":  # whose `train` is a command for notebooks, and brings the writer itself
            assert "cvdl_jax.report" not in code, path
        if path.name != "from_run.py":  # loads what a run has trained, and knows what it is
            assert not [name for name in names if f'"{name}"' in code or f"experiments.{name}" in code], path


def test_a_file_without_make_or_no_file_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ConfigError, match=r"empty\.py' defines no make\(config, info\)"):
        build.load_experiment(str(tmp_path / "empty.py"))
    with pytest.raises(ConfigError, match=r"missing\.py': there is no such file"):
        build.load_experiment(str(tmp_path / "missing.py"))


def test_a_syntax_error_in_an_experiment_is_one_sentence(monkeypatch):
    def broken(name):
        compile("x = 1\ndef f(:\n", "experiments/classify.py", "exec")

    with monkeypatch.context() as patch:
        patch.setattr(build.places, "import_ours", broken)
        with pytest.raises(ConfigError, match=r"^experiments/classify\.py, line 2: invalid syntax$"):
            build.load_experiment("classify")


SECTIONS = [
    ("configs/toy/logistic.py", "study"), ("configs/studies/batch_norm.py", "study"),
    ("configs/studies/dead_units.py", "study"), ("configs/studies/learning_rate.py", "study"),
    ("configs/studies/activations.py", "study"), ("configs/studies/autodiff.py", "study"),
    ("configs/detect/anchors.py", "match"), ("configs/detect/anchors.py", "nms"), ("configs/rl/dqn.py", "agent"),
    ("configs/rl/dqn.py", "environment"), ("configs/rl/dqn.py", "exploration"), ("configs/explain/pca.py", "embed"),
    ("configs/sequence/char_rnn.py", "text"), ("configs/sequence/char_rnn.py", "streams"),
    ("configs/generate/dcgan.py", "judge"), ("configs/generate/dcgan.py", "model"), ("configs/classify/mlp.py", "loss"),
    ("configs/classify/mlp.py", "data"), ("configs/classify/mlp.py", "ema"), ("configs/classify/mlp.py", "plateau"),
]  # fmt: skip


@pytest.mark.parametrize("value", [3, "some text"])
@pytest.mark.parametrize(("file", "section"), SECTIONS)
def test_a_number_or_a_text_in_the_place_of_a_section_is_one_sentence(file, section, value):
    config = configs.load(f"{file}:smoke")
    config[section] = value
    with pytest.raises(ConfigError, match=rf"^config\.{section}={value!r} is a value, not a section; set keys of it"):
        build.build(config)


@pytest.mark.parametrize(
    ("file", "inner"),
    [
        ("configs/studies/batch_norm.py", "study.cases.none_small"), ("configs/generate/dcgan.py", "model.generator"),
        ("configs/studies/dead_units.py", "study.models.relu"), ("configs/generate/dcgan.py", "optim.discriminator"),
    ],
)  # fmt: skip
def test_a_number_in_the_place_of_an_inner_section_is_one_sentence(file, inner):
    config = configs.load(f"{file}:smoke")
    outer, _, last = inner.rpartition(".")
    section = config
    for word in outer.split("."):
        section = section[word]
    section[last] = 3
    with pytest.raises(ConfigError, match=rf"^config\.{inner}=3 is a value, not a section"):
        build.build(config)
