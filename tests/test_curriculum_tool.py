"""The index from lecture to code: what is recorded, what counts, what is refused."""

import ast
import csv
import importlib.util
import json
from pathlib import Path

import curriculum_plugin
import pytest

ROOT = Path(__file__).resolve().parent.parent
SIZES = (19, 31, 19, 29, 14, 38, 17, 58, 22, 30, 14, 31, 20, 35, 27, 23, 10, 39, 9, 16, 13, 9, 20, 22)
GROUP_SIZES = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWX", SIZES, strict=True))


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("make_curriculum", ROOT / "docs" / "make_curriculum.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The index --------------------------------------------------------------------------------------------------------


def test_index_has_every_row_once_in_order(tool):
    ids = [row["id"] for row in tool.read_index()]
    assert ids == [f"{letter}{n}" for letter, size in GROUP_SIZES.items() for n in range(1, size + 1)]
    assert list(tool.GROUPS) == list(GROUP_SIZES)
    assert all(row["name"].strip() == row["name"] != "" for row in tool.read_index())


def test_index_names_only_what_exists(tool):
    assert tool.missing_places(tool.read_index()) == []


def test_the_configs_of_the_index_load(tool):
    """With their arguments, which `missing_places` does not read."""
    from cvdl_jax.config import configs

    named = {place for row in tool.read_index() for place in tool.places(row["config"])}
    assert all(configs.load(place).experiment for place in named if "/tables/" not in place and "/sweeps/" not in place)


def test_rows_with_a_config_say_where(tool):
    assert [row["id"] for row in tool.read_index() if row["config"] and not row["where"]] == []


def test_rows_that_tests_prove_say_where(tool):
    """The same question that the tool asks after the tests, here before them, from the marks in the text."""
    calls = [
        node for path in Path(__file__).parent.rglob("test_*.py") for node in ast.walk(ast.parse(path.read_text()))
    ]
    marks = [c for c in calls if isinstance(c, ast.Call) and getattr(c.func, "attr", "") == "curriculum"]
    ids = {argument.value for mark in marks for argument in mark.args if isinstance(argument, ast.Constant)}
    assert sorted(ids & {row["id"] for row in tool.read_index() if not tool.places(row["where"])}) == []


def test_missing_files_and_names_are_found(tool, tmp_path):
    (tmp_path / "a.py").write_text("x: int = 1\ny = z = 2\nclass C:\n    def f(self): ...\ndef g(): ...\n")
    rows = [{"id": "A1", "where": "a.py; a.py:x; a.py:z; a.py:C.f; a.py:g; a.py:h; b.py", "config": "a.py:x=1; c.py"}]
    problems = tool.missing_places(rows, tmp_path)
    assert [problem.split("names ")[1] for problem in problems] == [
        "h, which a.py does not define",
        "b.py, which does not exist",
        "c.py, which does not exist",
    ]


# What counts ------------------------------------------------------------------------------------------------------


def test_a_row_counts_when_a_test_passed_and_none_failed(tool):
    tests = {
        "t.py::a": {"A1": "passed", "A2": "passed"},
        "t.py::b": {"A2": "failed", "A3": "failed"},
        "t.py::c": {"A1": "skipped", "A4": "skipped"},
    }
    assert tool.proofs(tests) == {"A1": ["t.py::a"]}


def test_a_skipped_test_keeps_the_place_it_has(tool):
    tests = {"t.py::a": {"A1": "skipped", "A3": "skipped"}, "t.py::ab": {"A1": "skipped", "A2": "skipped"}}
    assert tool.proofs(tests, "| A1 | ... | `t.py::a` |") == {"A1": ["t.py::a"]}
    assert tool.proofs({}, "| A1 | ... | `t.py::a` |") == {}  # a test that is gone proves nothing


def test_page_lists_proved_rows_by_group(tool):
    rows = [
        {"id": "A1", "name": "Risk", "where": "cvdl_jax/a.py:risk; cvdl_jax/b.py", "config": "configs/c.py"},
        {"id": "A2", "name": "Not proved", "where": "", "config": ""},
        {"id": "C1", "name": "P(y|x)", "where": "cvdl_jax/c.py", "config": ""},
    ]
    page = tool.render(rows, {"A1": ["t.py::a", "t.py::b"], "C1": ["t.py::c"]})
    assert "## A. Linear models and basic machine learning\n" in page and "## B." not in page
    assert (
        "| A1 | Risk | [`cvdl_jax/a.py:risk`](../cvdl_jax/a.py), [`cvdl_jax/b.py`](../cvdl_jax/b.py) "
        "| [`configs/c.py`](../configs/c.py) | `t.py::a`, `t.py::b` |\n"
    ) in page
    assert "| C1 | P(y\\|x) | [`cvdl_jax/c.py`](../cvdl_jax/c.py) |  | `t.py::c` |\n" in page
    assert "Not proved" not in page


@pytest.fixture
def small(tool, tmp_path, monkeypatch):
    """A tree of its own with two rows and the results of one run."""
    (tmp_path / "a.py").write_text("def f(): ...\n")
    (tmp_path / "index.csv").write_text("id,name,where,config\nA1,Risk,a.py:f,\nA2,Scores,,\n")
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "PAGE", tmp_path / "CURRICULUM.md")
    rows = tool.read_index(tmp_path / "index.csv")
    monkeypatch.setattr(tool, "read_index", lambda: rows)
    monkeypatch.setattr(tool.missing_places, "__defaults__", (tmp_path,))
    results = tmp_path / "quick.json"
    results.write_text(json.dumps({"t.py::a": {"A1": "passed"}}))
    return results


def test_check_fails_until_the_page_is_written(tool, small, capsys):
    assert tool.main(["--check", str(small)]) == 1
    assert "type: make curriculum" in capsys.readouterr().err
    assert tool.main([str(small)]) == 0
    assert tool.main(["--check", str(small)]) == 0
    small.write_text(json.dumps({"t.py::a": {"A1": "failed"}}))
    assert tool.main(["--check", str(small)]) == 1
    assert "-| A1 | Risk" in capsys.readouterr().err


def test_a_proved_row_must_say_where(tool, small, capsys):
    small.write_text(json.dumps({"t.py::a": {"A2": "passed"}}))
    assert tool.main([str(small)]) == 1
    assert "row A2 is proved and has no `where`" in capsys.readouterr().err


def test_missing_results_name_the_command(tool, tmp_path):
    with pytest.raises(SystemExit, match=r"quick\.json does not exist; it is written by `make test`"):
        tool.main([str(tmp_path / "quick.json")])


# What is recorded -------------------------------------------------------------------------------------------------

SUITE = """
import pytest

@pytest.mark.curriculum("A1")
def test_passes(): pass

@pytest.mark.curriculum("A2", "A3")
@pytest.mark.parametrize("x", [1, 0])
def test_fails_for_one(x): assert x

@pytest.mark.curriculum("A4")
@pytest.mark.parametrize("x", [1, 0])
def test_skips_for_one(x):
    if not x:
        pytest.skip("no data")

@pytest.mark.curriculum("A5")
@pytest.mark.skip(reason="always")
def test_skips(): pass

@pytest.fixture
def broken():
    yield
    raise ValueError

@pytest.mark.curriculum("A6")
def test_fails_in_teardown(broken): pass

@pytest.mark.curriculum("A7")
@pytest.mark.xfail
def test_fails_as_expected(): assert False

@pytest.mark.parametrize("x", [
    pytest.param(1, marks=pytest.mark.curriculum("B1")),
    pytest.param(0, marks=[pytest.mark.curriculum("B2"), pytest.mark.skip]),
])
def test_marks_on_parameters(x): pass

@pytest.mark.curriculum("A8")
class TestBoth:
    @pytest.mark.curriculum("A9")
    def test_in_class(self): pass

def test_without_mark(): pass
"""
OUTCOMES = {
    "test_passes": {"A1": "passed"},
    "test_fails_for_one": {"A2": "failed", "A3": "failed"},
    "test_skips_for_one": {"A4": "passed"},
    "test_skips": {"A5": "skipped"},
    "test_fails_in_teardown": {"A6": "failed"},
    "test_fails_as_expected": {"A7": "skipped"},
    "test_marks_on_parameters": {"B1": "passed", "B2": "skipped"},
    "TestBoth::test_in_class": {"A8": "passed", "A9": "passed"},
}


@pytest.fixture
def suite(pytester):
    # Only what the plugin needs: the repository's conftest and settings stay out of the inner runs.
    pytester.makeini(f"[pytest]\npythonpath = {ROOT / 'tests'}\nmarkers = curriculum(*ids): rows")
    pytester.makeconftest("pytest_plugins = ('curriculum_plugin',)")
    return pytester


def run(pytester, *arguments):
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.long)], ids=["one", "xdist"])
def test_outcomes_are_recorded(suite, workers):
    suite.makepyfile(test_it=SUITE)
    result = run(suite, "--curriculum-json=out/results.json", *workers)
    result.assert_outcomes(passed=7, failed=1, skipped=3, errors=1, xfailed=1)
    recorded = json.loads((suite.path / "out" / "results.json").read_text())
    assert recorded == {f"test_it.py::{name}": outcomes for name, outcomes in OUTCOMES.items()}


def test_nothing_is_written_unasked(suite):
    suite.makepyfile(test_it=SUITE)
    run(suite)
    assert not list(suite.path.glob("**/*.json"))


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("'A1', 'Q999'", "names unknown ids Q999; the known ones are in docs/curriculum.csv"),
        ("'A1', 'A2', 'A3', 'A4'", "names 4 ids; at most 3 a test, so split the test"),
        ("", "names no id"),
        ("'A1', 'A1'", "names an id twice: A1, A1"),
    ],
)
def test_wrong_marks_stop_the_collection(suite, mark, message):
    suite.makepyfile(f"import pytest\n@pytest.mark.curriculum({mark})\ndef test_it(): pass\n")
    result = run(suite)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*::test_it: @pytest.mark.curriculum {message}*"])


def test_known_ids_are_those_of_the_index():
    with (ROOT / "docs" / "curriculum.csv").open(newline="") as file:
        assert curriculum_plugin.known_ids() == {row["id"] for row in csv.DictReader(file)}
