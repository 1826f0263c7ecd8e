"""Writes docs/settings.md: every key of a configuration, a table and a sweep, from the annotations that check it.

python docs/make_settings.py            writes the page
python docs/make_settings.py --check    exits 1 if the page is not what would be written
"""

import ast
import importlib
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cvdl_jax.cli.sweeps import halving, kfold  # noqa: E402
from cvdl_jax.cli.sweeps import spec as sweeps  # noqa: E402
from cvdl_jax.cli.tables import spec as tables  # noqa: E402
from cvdl_jax.config import binding, defaults, validation  # noqa: E402
from cvdl_jax.data.augment import policy  # noqa: E402

PAGE = ROOT / "docs" / "settings.md"
VALUES = (int, float, bool, str, tuple, dict, types.NoneType)  # what a config can hold
HEAD = """# Every setting

Written by `docs/make_settings.py` from the annotations that check a configuration. A key is set in a config file, or by
`--config.KEY=VALUE`; a section is a dict of keys, `{}` switches it off, and a word alone is its name
(`--config.optim.schedule=cosine`). Another key, type or number is refused, and so is a key that the experiment does not
read. The operations of `config.augment` check their ranges themselves; `--mode augment` shows what they do.
"""
# The keys of the sections that the loop itself reads.
EVERY = "how often; one of the four"
MEANING = {
    "mean": "of each channel, of pixels in 0..1", "std": "of each channel, of pixels in 0..1; as many as `mean`",
    "fit": "computes both on the training split instead, such as `standardise`; see `data/scaling.py`",
    "per_image": "mean and deviation of each image itself; mean, std and fit are left out",
    "decay": "d of `a <- d a + (1 - d) w`; without it there is no average", "keep": "how many of the newest to keep",
    "warmup": "a smaller d at first, `(1 + k) / (10 + k)` at step k", "tensorboard": "write `tb/` in the run's folder",
    "wandb": "name of a project; empty for off", "metric": "such as `validation/accuracy`; empty for the newest step",
    "mode": "which is better, or how a step is spread over devices", "fsdp": "devices that parameters are split over",
    "entries": "of the data set: a class, a text or a whole number of each example, whose groups the report compares",
    "positive": "the class whose parity between groups is measured too",
}  # fmt: skip
# Sections that functions of the library take: (title, "module:function", or "module" for all its public functions).
# The arguments that the program gives are left out.
FUNCTIONS = [
    ("config.data", "data.load:load", ()),
    ("config.data.split", "data.subset:Cut", ()),
    ("config.data.episodes", "data.episodes:EpisodeSettings", ()),
    ("config.optim", "optim.optimizer:optimizer", ("total_steps", "steps_per_epoch", "batch_size", "path")),
    ("config.optim, by name", "optim.update_rules", ()),
    ("config.optim.schedule, by name", "optim.schedules", ("steps",)),
    ("config.optim.gradient_noise", "optim.regularisers:gradient_noise", ()),
    ("config.plateau", "optim.plateau:plateau", ()),
    ("config.early_stopping", "optim.plateau:early_stopping", ()),
    ("config.adversary", "analysis.attacks.pgd:pgd", ("scale",)),
    ("config.robust", "analysis.attacks.pgd:pgd", ("share", "scale")),
    ("config.test_time", "data.test_time:averaged", ()),
    ("config.diagnostics", "analysis.diagnostics:diagnosed", ()),
    ("config.loss of classify and studies, by name", "ops.losses.classification", ()),
    ("config.loss of detect, by name", "ops.losses.detection", ()),
    ("config.loss of detect with yolo_v1", "ops.losses.yolo:cells", ()),
    ("config.loss of detect with yolo_anchors", "ops.losses.yolo:anchored_cells", ()),
    ("config.match of detect with anchors", "ops.anchors:match", ()),
    ("config.match of detect with fcos", "ops.points:point_targets", ()),
    ("config.boxes of detect, by name", "ops.losses.boxes", ()),
    ("config.loss of depth, by name", "ops.losses.depth", ("log_predictions", "depths", "known")),
    ("config.loss of gan, by name", "ops.losses.adversarial", ()),
    ("config.loss of metric_learning, by name", "ops.losses.metric", ("rows",)),
    ("config.loss of qlearn, by name", "ops.losses.td", ()),
    ("config.tasks.NAME of multi_task, by name", "models.task_heads", ("shape",)),
    ("config.exploration of qlearn, by name", "rl.policies", ()),
]


def main(argv: list[str]) -> int:
    """Writes the page, or says whether it is current."""
    text = page()
    if argv == ["--check"]:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        print("current" if current else f"{PAGE} is not current; run: python docs/make_settings.py")
        return int(not current)
    PAGE.write_text(text, encoding="utf-8")
    print(f"written to {PAGE}")
    return 0


def page() -> str:
    """The page as text."""
    parts = [HEAD, "## Top level\n", table(top_level())]
    for name, keys in validation.CLOSED.items():
        rows = ((key, kind, defaults.DEFAULTS[name].get(key), MEANING.get(key, EVERY)) for key, kind in keys.items())
        parts += [f"## config.{name}\n", table(rows)]
    for title, place, given in FUNCTIONS:
        parts += [f"## {title}\n", of_functions(place, given)]
    operations = {name: policy.find(name) for name in policy.operations()}
    parts += ["## config.augment, operations by name\n", of_known(operations, ("num_classes",))]
    parts += ["## config.model, by name\n", models(), "## Own sections of experiments\n", *experiments()]
    parts += [
        "## A table: the keys of `get_table`\n",
        *of_tables(),
        "## A sweep: the keys of `get_sweep`\n",
        *of_sweeps(),
    ]
    return "\n".join(parts).rstrip() + "\n"


# Rows: (key, annotation, default, meaning) ----------------------------------------------------------------------------


def table(rows: Iterable[tuple[str, Any, Any, str]]) -> str:
    """Rows as a Markdown table."""
    lines = ["| key | type | range | default | meaning |", "| --- | --- | --- | --- | --- |"]
    for key, annotation, default, meaning in rows:
        shown = "needed" if default is ... else f"`{default!r}`" if default is not None else "`None`"
        cells = (f"`{key}`", binding.describe(annotation), "; ".join(ranges(annotation)), shown, meaning)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def ranges(annotation: Any) -> list[str]:
    """The ranges of numbers that an annotation carries, in words."""
    own = [part.words for part in get_args(annotation)[1:]] if get_origin(annotation) is Annotated else []
    inner = get_args(annotation)[:1] if own else get_args(annotation)
    inner = () if get_origin(annotation) is Literal else inner
    return list(dict.fromkeys([*(word for part in inner for word in ranges(part)), *own]))


def _is_value(annotation: Any) -> bool:
    """Whether a config can hold what an annotation asks for."""
    origin = get_origin(annotation) or annotation
    if origin is Annotated:
        return _is_value(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return any(_is_value(part) for part in get_args(annotation))
    return (
        origin is Literal or origin is Mapping or (isinstance(origin, type) and issubclass(origin, (*VALUES, Mapping)))
    )


def of_signature(fn: Callable, given: Iterable[str] = ()) -> list[tuple[str, Any, Any, str]]:
    """The rows of what a function or class takes from a config."""
    meaning = {**comments(fn), **described(fn)}
    rows = []
    for name, p in inspect.signature(fn, eval_str=True).parameters.items():
        if name not in given and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and _is_value(p.annotation):
            rows.append((name, p.annotation, ... if p.default is p.empty else p.default, meaning.get(name, "")))
    return rows


def described(fn: Callable) -> dict[str, str]:
    """{argument: its description} from "Args:" or "Attributes:" of a docstring."""
    doc = inspect.getdoc(fn) or ""
    block = re.search(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)*)", doc + "\n", re.MULTILINE)
    entries = re.findall(r"^    (\w+): ((?:.*\n?)(?:^     .*\n?)*)", block[1], re.MULTILINE) if block else []
    return {name: " ".join(text.split()) for name, text in entries}


def comments(fn: Callable) -> dict[str, str]:
    """{field: the comment at the end of its line} of a NamedTuple or a Flax module."""
    source = inspect.getsource(fn) if inspect.isclass(fn) else ""
    return dict(re.findall(r"^    (\w+): [^#\n]*  # (.+)$", source, re.MULTILINE))


# Parts ----------------------------------------------------------------------------------------------------------------


def top_level() -> list[tuple[str, Any, Any, str]]:
    """Every key of `configs.base()`, with the comment of its line."""
    source = Path(defaults.__file__).read_text(encoding="utf-8")
    meaning = dict(re.findall(r'^    "(\w+)": .*?,  # (.+)$', source, re.MULTILINE))
    return [(key, validation.TYPES[key], default, meaning.get(key, "")) for key, default in defaults.DEFAULTS.items()]


def of_functions(place: str, given: Iterable[str]) -> str:
    """One function, or all public functions of a module, each after its first line."""
    path, _, name = place.partition(":")
    module = importlib.import_module(f"cvdl_jax.{path}")
    if name:
        return table(of_signature(getattr(module, name), given))
    known = binding.functions(module, getattr(module, "Rule", None))
    return of_known(module.known() if hasattr(module, "known") else known, given)


def of_known(known: Mapping[str, Callable], given: Iterable[str]) -> str:
    """Functions by their names, each after its first line."""
    parts = []
    for title, fn in known.items():
        rows = of_signature(fn, given)
        parts.append(f"`{title}`: {inspect.getdoc(fn).splitlines()[0]}\n")
        parts += [table(rows)] if rows else []
    return "\n".join(parts)


def models() -> str:
    """The fields of each family that a config may change."""
    from cvdl_jax.models import registry

    parts, seen = [], set()
    for variant in registry.variants().values():
        if (variant.module, variant.kind) in seen:
            continue
        seen.add((variant.module, variant.kind))
        model, _ = registry.example(variant.name)
        names = [v.name for v in registry.variants().values() if (v.module, v.kind) == (variant.module, variant.kind)]
        rows = of_signature(type(model), ("name", "parent", "remat", "dtype", *variant.context))
        parts += [f"`{'`, `'.join(names)}` (defaults of the first):\n"] if rows else []
        values = {key: getattr(model, key) for key, *_ in rows}
        parts += [table((key, kind, values[key], text) for key, kind, _, text in rows)] if rows else []
    return "\n".join(parts)


def experiments() -> list[str]:
    """What each experiment reads, and its own sections: the calls that hand `config.NAME` to an annotated function."""
    parts = []
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / "experiments").with_suffix("").parts)
        module = importlib.import_module(f"experiments.{name}") if path.stem != "__init__" else None
        if not getattr(module, "READS", None):
            continue
        keys = ", ".join(f"`{key}`" for key in module.READS)
        parts.append(f"### {name}\n\n{module.__doc__.splitlines()[0]} Reads {keys}.\n")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            words = [ast.unparse(argument) for argument in node.args] if isinstance(node, ast.Call) else []
            key = words[1].removeprefix("config.") if len(words) > 2 and words[1].startswith("config.") else ""
            if key and key not in defaults.DEFAULTS and ast.unparse(node.func).startswith("configs."):
                fn = eval(words[0], vars(module)) if words[0] != "read" else None
                parts += [f"`config.{key}`:\n\n{table(of_signature(fn))}"] if callable(fn) and of_signature(fn) else []
    return parts


def of_tables() -> list[str]:
    """The keys of a table's file, of its metrics, rows, recipes, published numbers and runs that it needs."""
    parts = []
    for title in ("TABLE", "METRIC", "COLUMN", "ROW", "RECIPE", "PUBLISHED", "NEEDS"):
        keys = getattr(tables, title)
        rows = ((k, kind, ... if default is tables.REQUIRED else default, "") for k, (kind, default) in keys.items())
        parts.append(f"{title.lower()}:\n\n{table(rows)}")
    return parts


def of_sweeps() -> list[str]:
    """The keys of a sweep's file and of its parts."""
    parts = {"sweep": sweeps._sweep, "objective": sweeps.Objective, "kfold": kfold.KFold, "halving": halving.Halving}
    return [f"{title}:\n\n{table(of_signature(fn, ('named',)))}" for title, fn in parts.items()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
