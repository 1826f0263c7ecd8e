"""Changes a function in small ways, one at a time, and runs tests: a change that no test notices is a survivor.

    python -m benchmarks.mutate cvdl_jax/rl/mdp.py:greedy tests/rl/test_rl.py -k greedy

Signs flip, factors and terms are dropped, comparisons are swapped, numbers and switches change. What follows the
function goes to pytest. It works in a copy of the repository, and exits with 1 if there are survivors: write a test
that fails for each, or see that the change is none (a bound that is never reached, a message).
"""

import argparse
import ast
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("cvdl_jax", "experiments", "configs", "tests", "docs", "benchmarks", "launch.py", "pyproject.toml")
OTHER = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.Pow: "*", ast.FloorDiv: "*", ast.Mod: "//",
    ast.BitAnd: "|", ast.BitOr: "&", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=",
    ast.NotEq: "==", ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip


def variants(node: ast.AST) -> Iterator[str]:
    """The texts that may stand in place of a node."""
    text = ast.unparse
    if isinstance(node, ast.BinOp):
        if type(node.op) in OTHER:
            yield f"({text(node.left)}) {OTHER[type(node.op)]} ({text(node.right)})"
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
            yield f"({text(node.left)})"
        if isinstance(node.op, ast.Add | ast.Mult):
            yield f"({text(node.right)})"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OTHER:
        yield f"({text(node.left)}) {OTHER[type(node.ops[0])]} ({text(node.comparators[0])})"
    elif isinstance(node, ast.UnaryOp):
        yield f"({text(node.operand)})"
    elif isinstance(node, ast.BoolOp):
        yield from (f"({text(value)})" for value in node.values)
    elif isinstance(node, ast.IfExp):
        yield from (f"({text(branch)})" for branch in (node.body, node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield repr(node.value + 1)


def mutants(source: str, name: str) -> Iterator[tuple[int, str, str, str]]:
    """(line, what stood there, what stands there, the whole changed source) of every change of a function."""
    found = [
        node for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
    ]  # fmt: skip
    if len(found) != 1:
        sys.exit(f"error: there are {len(found)} functions {name!r}; write FILE.py:FUNCTION")
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    data = source.encode()  # ast counts columns in bytes
    for statement in found[0].body:
        for node in ast.walk(statement):
            if isinstance(node, ast.expr):
                begin, end = (
                    starts[node.lineno - 1] + node.col_offset,
                    starts[node.end_lineno - 1] + node.end_col_offset,
                )
                for new in variants(node):
                    changed = data[:begin] + f"({new})".encode() + data[end:]
                    yield node.lineno, data[begin:end].decode(), new, changed.decode()


def main() -> int:
    """Tries every change of the named function."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("place", metavar="FILE.py:FUNCTION")
    place, tests = parser.parse_known_args()
    file, _, name = place.place.partition(":")
    if not (ROOT / file).is_file():
        sys.exit(f"error: there is no file {file!r} below {ROOT}; write FILE.py:FUNCTION, then the tests")
    survivors = tried = 0
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, Path(folder) / part)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]

        def passes() -> bool:
            try:  # a change may never end
                return not subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=900).returncode
            except subprocess.TimeoutExpired:
                return False

        if not passes():
            sys.exit(f"error: the tests fail, or none is chosen, without any change: {' '.join(command[2:])}")
        source = (ROOT / file).read_text(encoding="utf-8")
        for line, old, new, changed in mutants(source, name):
            (Path(folder) / file).write_text(changed, encoding="utf-8")
            survived = passes()
            tried, survivors = tried + 1, survivors + survived
            print(f"{'SURVIVED' if survived else 'caught  '} {file}:{line}: {old} -> {new}", flush=True)
    print(f"{survivors} of {tried} changes survived")
    return bool(survivors)


if __name__ == "__main__":
    raise SystemExit(main())
