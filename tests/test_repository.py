"""Rules for the tree as a whole, read from the files without importing them."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES, MOST_FUNCTION_LINES, MOST_EXPERIMENT_LINES = 400, 60, 150
PARTS = [ROOT / part for part in ("cvdl_jax", "experiments", "configs", "launch.py")]
CODE = sorted(path for part in PARTS for path in [part, *part.rglob("*.py")] if path.suffix == ".py" and path.is_file())
MODULES = [path for path in CODE if path.name != "__init__.py"]
FORBIDDEN = {"tensorflow", "torch", "clu", "distrax", "pickle", "cPickle", "cloudpickle", "dill"}
FORBIDDEN_MEMBERS = {"flax.jax_utils", "flax.training.checkpoints", "jax.device_put_replicated"}
TORCH_ALLOWED = ("cvdl_jax/models/pretrained/",)  # reads and writes other libraries' weights
# Text of these kinds is read whole; binary files and other people's texts are not ours to check.
TEXT = {".py", ".md", ".toml", ".txt", ".cff", ".csv", ".yml", ".yaml", ".json", ""}


def name(path):
    return path.relative_to(ROOT).as_posix()


def failing(paths, check):
    """{file: what `check` finds wrong in it}, without the files in which it finds nothing."""
    problems = {name(path): check(path) for path in paths}
    return {file: wrong for file, wrong in problems.items() if wrong}


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def tracked():
    """The files that git keeps or would keep."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / path for path in done.stdout.split("\0") if path and (ROOT / path).is_file()]


def functions(path):
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_there_is_something_to_check():
    assert len(MODULES) > 5 and ROOT / "cvdl_jax" / "core" / "task.py" in MODULES


# Imports ----------------------------------------------------------------------------------------------------------


@cache
def imports(path):
    """Full names of everything that a file imports: (a, a.b) for `from a import b`."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def forbidden(path):
    allowed = {"torch"} if name(path).startswith(TORCH_ALLOWED) else set()
    return [full for full in imports(path) if full.split(".")[0] in FORBIDDEN - allowed or full in FORBIDDEN_MEMBERS]


def test_no_forbidden_import():
    assert failing(CODE, forbidden) == {}


def test_forbidden_imports_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "a.py"
    path.write_text(
        "import numpy\ndef f():\n    import torch.nn\n    from flax import jax_utils\nfrom clu import metrics\n"
    )
    assert forbidden(path) == ["clu", "clu.metrics", "torch.nn", "flax.jax_utils"]


def test_init_files_are_empty():
    inits = [path for path in CODE if path.name == "__init__.py"]
    assert len(inits) > 20 and failing(inits, lambda path: path.read_text(encoding="utf-8")) == {}


def test_packages_have_an_init_file():
    folders = sorted({folder for path in CODE for folder in path.parents if ROOT in folder.parents})
    assert len(folders) > 20 and [name(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


# Rooms before a `<` may be imported by those after it; rooms between two `<` do not import each other.
ORDER = """errors < config < ops < core < optim, nn, metrics, data, rl, workdir < models, analysis, report < engine
    < cli, experiments < launch"""
FLOORS = {
    room.strip(): floor for floor, rooms in enumerate(ORDER.split("<")) for room in rooms.replace("\n", " ").split(",")
}
PACKAGE = [path for path in MODULES if name(path).startswith(("cvdl_jax/", "experiments/")) or path.name == "launch.py"]


def room_of(module):
    """The room of "cvdl_jax.nn.conv", "experiments.gan" or "launch"; None for other packages."""
    root, *rest = module.split(".")
    if root == "cvdl_jax":
        return rest[0] if rest else None
    return root if root in ("experiments", "launch") else None


def module_of(path):
    return name(path).removesuffix(".py").replace("/", ".")


def against_the_order(path):
    """The imports of a file, also those inside functions, of rooms that it may not know."""
    here = room_of(module_of(path))
    others = {full: room_of(full) for full in imports(path)}
    return sorted(full for full, room in others.items() if room not in (None, here) and FLOORS[room] >= FLOORS[here])


def test_the_rooms_are_those_of_the_order():
    folders = {path.name for path in (ROOT / "cvdl_jax").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == FLOORS.keys() - {"errors", "experiments", "launch"}


def test_the_package_root_has_no_module_but_errors():
    assert sorted(path.name for path in (ROOT / "cvdl_jax").glob("*.py")) == ["__init__.py", "errors.py"]


def test_imports_follow_the_order_of_rooms():
    """The library knows no experiment and no config: an experiment is found through the path that a config names."""
    assert failing(PACKAGE, against_the_order) == {}
    library = [path for path in PACKAGE if room_of(module_of(path)) != "experiments"]
    assert failing(library, lambda path: [full for full in imports(path) if full.split(".")[0] == "configs"]) == {}


def test_imports_against_the_order_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "cvdl_jax" / "nn" / "a.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import jax\nfrom cvdl_jax.ops import boxes\nfrom cvdl_jax.nn import conv\nfrom cvdl_jax import data\n"
        "def f():\n    from cvdl_jax.models import registry\n    import experiments.gan\n"
    )
    assert against_the_order(path) == [
        "cvdl_jax.data", "cvdl_jax.models", "cvdl_jax.models.registry", "experiments.gan"
    ]  # fmt: skip


def test_imports_inside_a_room_make_no_circle():
    files = {module_of(path): path for path in PACKAGE}
    graph = {module: [full for full in imports(path) if full in files] for module, path in files.items()}
    done, open_ = set(), []

    def visit(module):
        assert module not in open_, " -> ".join([*open_[open_.index(module) :], module])
        if module not in done:
            open_.append(module)
            for other in graph[module]:
                visit(other)
            open_.pop()
            done.add(module)

    for module in graph:
        visit(module)


# Size and documentation -------------------------------------------------------------------------------------------


def too_long(path):
    """The number of lines of a file, where it is beyond the limit."""
    limit = MOST_EXPERIMENT_LINES if name(path).startswith("experiments/") else MOST_LINES
    lines = len(path.read_text(encoding="utf-8").splitlines())
    return lines if lines > limit else 0


def test_files_are_short():
    assert failing(MODULES, too_long) == {}


def length(function):
    """Lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    return lines - (function.body[0].end_lineno - function.body[0].lineno + 1)


def long_functions(path):
    return [f"{f.name}: {length(f)}" for f in functions(path) if length(f) >= MOST_FUNCTION_LINES]


def test_functions_are_short():
    assert failing(MODULES, long_functions) == {}


def test_long_files_and_functions_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "a.py"
    path.write_text("def f():\n" + "    x = 1\n" * MOST_FUNCTION_LINES + "\n" * MOST_LINES)
    assert long_functions(path) == [f"f: {MOST_FUNCTION_LINES + 1}"]
    assert too_long(path) == 1 + MOST_FUNCTION_LINES + MOST_LINES


@cache
def documented_methods():
    """{class: its methods with a docstring}, for classes that implement what a base class has described."""
    classes = [node for path in CODE for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    is_function = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {c.name: {f.name for f in c.body if isinstance(f, is_function) and ast.get_docstring(f)} for c in classes}


def undocumented(path):
    """Public functions, classes and methods without a docstring; what is inside a function is private."""
    found = [] if ast.get_docstring(tree(path)) else ["the module"]
    todo = [("", node, {"setup"}) for node in tree(path).body]  # `setup` of a Flax module: the class says what it does
    for prefix, node, described in todo:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and node.name not in described:
            found.append(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            inherited = {"setup"}.union(*(documented_methods().get(base, set()) for base in bases))
            todo += [(f"{node.name}.", child, inherited) for child in node.body]
    return found


def test_public_names_have_docstrings():
    assert failing(MODULES, undocumented) == {}


def test_missing_docstrings_are_found(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(
        '"""M."""\ndef f(): ...\ndef _g(): ...\nclass C:\n    """C."""\n    def m(self): ...\n'
        "    def setup(self): ...\n    def __call__(self): ...\nclass _D:\n    def m(self): ...\n"
    )
    assert undocumented(path) == ["f", "C.m"]


# Names ------------------------------------------------------------------------------------------------------------

VAGUE = {"found", "each"}  # names that say nothing of the thing


def vague_names(path):
    """Variables and arguments that are called by a name of VAGUE."""
    nodes = list(ast.walk(tree(path)))
    stored = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    names = [(node.id, node) for node in stored] + [(node.arg, node) for node in nodes if isinstance(node, ast.arg)]
    return [f"{word}, line {node.lineno}" for word, node in names if word in VAGUE]


def test_variables_are_called_what_they_are(tmp_path):
    assert failing(MODULES, vague_names) == {}
    path = tmp_path / "a.py"
    path.write_text("def f(found):\n    each = [1 for each in found]\n    return each\n")
    assert sorted(vague_names(path)) == ["each, line 2", "each, line 2", "found, line 1"]


# Text -------------------------------------------------------------------------------------------------------------


def test_no_path_of_one_machine():
    """Nothing that is only true on the machine where it was written."""
    here = re.compile(r"(?<![\w.])/(work|root|home/\w+|Users/\w+|tmp/venvs)(/|\b)")
    allowed = {".ci/run", "tests/test_repository.py"}
    found = []
    for path in tracked():
        if path.suffix not in TEXT or name(path) in allowed:
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [
            f"{name(path)}:{number}: {line.strip()[:80]}" for number, line in enumerate(lines, 1) if here.search(line)
        ]
    assert found == []


def test_no_large_file():
    assert [name(path) for path in tracked() if path.stat().st_size > 2**20] == []


# Installation -----------------------------------------------------------------------------------------------------


def pins(file):
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("-r ")]


def canonical(requirement):
    """The name of a requirement as package indexes compare them."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement).group()).lower()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-test.txt"])
def test_requirements_are_pinned(file):
    assert [line for line in pins(file) if not re.fullmatch(r"[\w.-]+==[\w.]+(; [^;]+)?", line)] == []
    names = [canonical(line) for line in pins(file)]
    assert len(set(names)) == len(names)
    assert not {"tensorflow", "tensorflow-cpu", "torch", "clu", "distrax"} & set(names)


def test_requirements_cover_the_project():
    """Whatever pyproject.toml asks for is pinned, so both ways of installing give the same packages."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run = {canonical(line) for line in pins("requirements.txt")}
    test = run | {canonical(line) for line in pins("requirements-test.txt")}
    assert {canonical(line) for line in project["dependencies"]} <= run
    assert {canonical(line) for line in project["optional-dependencies"]["test"]} <= test
    ruff = [line for line in project["optional-dependencies"]["dev"] if line.startswith("ruff")]
    assert ruff == [line for line in pins("requirements-test.txt") if line.startswith("ruff")]


def test_what_the_code_imports_is_required():
    """Every third-party package that the code imports is a dependency or an extra."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    required = {canonical(line) for line in [*project["dependencies"], *extras]}
    distributions = {
        "PIL": "pillow",
        "sklearn": "scikit-learn",
        "orbax": "orbax-checkpoint",
        "absl": "absl-py",
        "skimage": "scikit-image",
        "yaml": "PyYAML",
    }
    own = {"cvdl_jax", "experiments", "configs", "launch"} | set(sys.stdlib_module_names)
    # jaxlib comes with jax.
    roots = {full.split(".")[0] for path in CODE for full in imports(path)} - own - {"jaxlib"}
    assert sorted(root for root in roots if canonical(distributions.get(root, root)) not in required) == []


def test_continuous_integration_runs_everything():
    text = (ROOT / ".ci" / "run").read_text()
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    assert all(f"make {target}" in text for target in ("lint", "test", "test-all"))
    assert "set -euo pipefail" in text
