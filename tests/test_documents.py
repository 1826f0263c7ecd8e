"""What README, CONTRIBUTING, docs/ and docstrings mention exists, and what they print is run."""

import ast
import re
import shlex
import textwrap
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.cli.modes import describe as describe_mode
from cvdl_jax.cli.sweeps import spec as sweeps
from cvdl_jax.cli.tables import spec as tables
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import create_state, step_function
from cvdl_jax.data.augment import policy
from cvdl_jax.engine import finish
from cvdl_jax.metrics.stats.intervals import with_wilson
from cvdl_jax.models import registry

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ("CURRICULUM.md", "settings.md")
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/curriculum.csv")]
DOCUMENTS += [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED]
FOLDERS = ("cvdl_jax", "experiments", "configs", "tests", "benchmarks", "docs")
FILES = {path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
FILES |= {path.name for path in ROOT.glob("*.py")}
# A path that ends in .py, with the name of a definition in that file if it has one; `<name>.py` is a pattern, no path.
MENTION = re.compile(r"(?<![\w/>.-])((?:[\w.-]+/)*\w+\.py)\b(?::(\w+)(?![\w=]))?")
FOLDER = re.compile(r"`(cvdl_jax/[\w/]+)`")
EXAMPLES = {"mynet.py", "mine.py", "name.py", "path.py", "__init__.py"}  # files that a reader writes, and no one file


def resolved(path):
    """The files that a mention means: by their path from the root or the package, or, with a folder, by its end."""
    whole = (path, f"cvdl_jax/{path}")
    return [file for file in FILES if file in whole or ("/" in path and file.endswith("/" + path))]


@cache
def definitions(file):
    """The names that a file defines at its top level."""
    names = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        names |= {getattr(node, "name", None), *(getattr(target, "id", None) for target in targets)}
    return names


def unresolved(text):
    """The mentions of a text that do not exist."""
    wrong = []
    for match in MENTION.finditer(text):
        path, name = match.groups()
        if path.rpartition("/")[2] in EXAMPLES or path.startswith("extensions/"):
            continue
        files = resolved(path)
        in_package = any(file.startswith("cvdl_jax/") for file in files)  # after a config, a colon begins its arguments
        if not files or (name and in_package and not any(name in definitions(file) for file in files)):
            wrong.append(match[0])
    return wrong + [path for path in FOLDER.findall(text) if not (ROOT / path).is_dir()]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_what_a_document_mentions_exists(page):
    assert unresolved(page.read_text(encoding="utf-8")) == []


def test_mentions_of_what_is_not_there_are_seen():
    text = (
        "`cvdl_jax/ops/normalise.py:normalise(x, axes)` and `core/task.py` exist, `configs/tables/mnist_headline.py:x` "
        "has an argument, `experiments/<name>.py` is a pattern, `tests/mine.py` an example; these do not exist: "
        "`cvdl_jax/ops/normalize.py`, `task.py`, `core/tusk.py`, `ops/normalise.py:normalize`, `cvdl_jax/opps/`"
    )
    assert unresolved(text) == [
        "cvdl_jax/ops/normalize.py", "task.py", "core/tusk.py", "ops/normalise.py:normalize", "cvdl_jax/opps/",
    ]  # fmt: skip


# What they print is run -----------------------------------------------------------------------------------------------

PAGES = [page for page in DOCUMENTS if page.suffix == ".md"]
SOURCES = [path for folder in ("configs", "experiments", "cvdl_jax") for path in sorted((ROOT / folder).rglob("*.py"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(path):
    """The lines `python launch.py ...` of a page or of the docstring of a module, without their remarks."""
    text = path.read_text(encoding="utf-8")
    text = text if path.suffix == ".md" else ast.get_docstring(ast.parse(text)) or ""
    indent = r"^    " if path.suffix == ".md" else r"^\s+"
    lines = [line.strip() for line in re.findall(indent + r"(python launch\.py .*)$", text.replace("\\\n", " "), re.M)]
    return [shlex.split(line, comments=True) for line in lines if " ... " not in line]


COMMANDS = {" ".join(words): words for path in (*PAGES, *SOURCES) for words in commands(path)}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_printed_command_is_one(words):
    """Its flags are those of its mode, its file is read, its overrides and its policies are possible."""
    args = launch.parse([word for word in words[2:] if word not in ("NAME", "DIR")])
    if args.mode in ("table", "sweep"):
        assert {"table": tables.load, "sweep": sweeps.load}[args.mode](getattr(args, args.mode)).title
    elif args.config is not None and describe_mode._is_file(args.config):
        config = configs.load(args.config, args.overrides)
        policy.build(config.augment, 10)
    elif args.config is not None:
        assert args.config in registry.variants()


def test_there_are_commands_to_look_at():
    first = "python launch.py --config configs/classify/lenet5.py --workdir runs/digits_lenet5"
    assert len(COMMANDS) > 60 and first in COMMANDS


def test_the_targets_of_make_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for page in PAGES:
        named = re.findall(r"(?:`|^    )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M)
        assert [name for name in named if name not in targets] == [], page


def settings(text):
    """(dotted key, value) of every `config.KEY = LITERAL` in a text."""
    for key, value in re.findall(r"config\.([\w.]+) = ((?:\"[^\"]*\"|\{[^{}]*\}))", text):
        yield key, ast.literal_eval(" ".join(value.split()))


def test_the_settings_that_pages_print_are_possible():
    shown = [pair for page in PAGES for pair in settings(page.read_text(encoding="utf-8"))]
    assert {"augment", "data.split", "normalise", "class_weights", "data.resample"} <= {key for key, _ in shown}
    for key, value in shown:
        config = configs.base()
        if key.partition(".")[0] not in config:
            continue
        config.update({"total_epochs": 1, "data": {"name": "digits", "train": "train"}, "optim": {"lr": 0.1}})
        section, _, leaf = key.rpartition(".")
        (config[section] if section else config)[leaf] = value
        configs.check(configs.from_plain(configs.to_plain(config)))
        if key == "augment":
            policy.build(value, 10)


def block(first):
    """The indented block of README whose first line starts so, without the indent."""
    lines = README.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"    {first}"))
    end = next(i for i in range(start, len(lines)) if lines[i] and not lines[i].startswith("    "))
    return textwrap.dedent("\n".join(lines[start:end]))


def test_the_config_of_readme_is_the_file():
    shown = ast.parse(block("RATES ="))
    file = ast.parse((ROOT / "configs" / "classify" / "mlp.py").read_text(encoding="utf-8"))
    (get_config,) = (node for node in file.body if isinstance(node, ast.FunctionDef))
    get_config.body = get_config.body[1:]  # without its docstring
    whole = [node for node in file.body if isinstance(node, ast.Assign | ast.FunctionDef)]
    assert [ast.dump(node) for node in shown.body] == [ast.dump(node) for node in whole]


def test_the_experiment_of_readme_trains():
    missing = """
        from functools import partial
        import jax
        from cvdl_jax.core.task import Eval, Task, chain
        from cvdl_jax.engine import recipe
        from cvdl_jax.models import registry
        from cvdl_jax.nn.apply import apply_train, initialise
        from cvdl_jax.ops.losses.classification import softmax_cross_entropy
    """
    in_make = """
        model = registry.create(config.model, "config.model", num_classes=info.num_classes)
        def init(key, batch):
            params, stats = initialise(model, key, batch["image"], False)
            return {"params": params, "extra": {"batch_stats": stats}}

        step = lambda state, batch, key: {}
    """
    source = textwrap.dedent(missing) + block("def training_loss").replace(
        "    ...\n", textwrap.indent(textwrap.dedent(in_make), "    ")
    )
    namespace = {}
    exec(compile(source, "README.md", "exec"), namespace)
    spec = {"image": jax.ShapeDtypeStruct((4, 8, 8, 1), "float32"), "label": jax.ShapeDtypeStruct((4,), "int32")}
    overrides = ["config.augment=padded_crop(padding=1)", "config.ema.decay=0.9"]
    config = configs.load("configs/classify/mlp.py:smoke", overrides)
    info = Info(10, (), spec, {"train": 8, "validation": 4, "test": 4}, 4, 2, 2.0, 0)
    task = namespace["make"](config, info)
    assert task.evals.keys() == {"validation", "test"} and task.evals["test"].final
    batch = {"image": jnp.ones((4, 8, 8, 1)), "label": jnp.arange(4)}
    state = jax.eval_shape(partial(create_state, task), jax.random.key(0), batch)
    after, sums = jax.eval_shape(step_function(task, seed=0), state, batch)
    assert "ema" in after.extra and "loss" in sums


def test_the_results_of_readme_are_printed_so(capsys):
    shown = block("selected step ")
    step, steps, by = re.search(r"selected step (\d+) of (\d+) \(by (.+)\)", shown).groups()
    metrics = with_wilson({"accuracy": 357 / 359}, 359, ["accuracy"])
    metrics = {f"test/{key}": value for key, value in metrics.items()} | {"test/examples": 359}
    results = {"selected_step": int(step), "step": int(steps), "selected_by": by, "metrics": metrics}
    finish.print_results(SimpleNamespace(results="runs/digits_lenet5/results.json"), results)
    assert capsys.readouterr().out == shown.rstrip() + "\n"


@pytest.mark.filterwarnings("ignore:.*statistics of batch normalisation of their own")
def test_a_run_is_trained_and_loaded_as_readme_says(monkeypatch):
    from cvdl_jax.engine import runs

    asked = []
    monkeypatch.setattr(runs, "train", lambda *args: asked.append(args))
    stored = ROOT / "tests" / "stored" / "runs_before_the_rooms" / "whole"
    source = block("from cvdl_jax.engine import runs").replace("runs/digits_lenet5", str(stored))
    namespace = {"images": np.zeros((2, 8, 8, 1), np.float32)}
    exec(compile(source, "README.md", "exec"), namespace)
    assert namespace["scores"].shape == (2, 10)
    [(config, _, overrides)] = asked
    assert configs.load(config, overrides).optim.lr == 0.001
