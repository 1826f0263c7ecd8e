"""Records which rows of the curriculum each test proves, and how the test ended.

`@pytest.mark.curriculum("A2", "B14")` on a test says: it would fail if what rows A2 and B14 describe did not work.
`pytest --curriculum-json=FILE` writes {test: {id: "passed" | "failed" | "skipped"}}, from which
`docs/make_curriculum.py` writes docs/CURRICULUM.md. A parameter may carry its own mark; "test" is the function.
"""

import csv
import json
from pathlib import Path

import pytest

INDEX = Path(__file__).resolve().parent.parent / "docs" / "curriculum.csv"
MOST_IDS = 3
_ORDER = ("skipped", "passed", "failed")  # over the parameters of one test function the last of these counts


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--curriculum-json", default="", metavar="FILE", help="write the curriculum ids and outcomes here")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--curriculum-json")
    if path and not hasattr(config, "workerinput"):  # xdist workers send their reports to the controller
        config.pluginmanager.register(Recorder(Path(path)), "curriculum_recorder")


def known_ids(index: Path = INDEX) -> set[str]:
    """The ids of docs/curriculum.csv."""
    with index.open(newline="", encoding="utf-8") as file:
        return {row["id"] for row in csv.DictReader(file)}


def problem(ids: tuple, known: set[str]) -> str:
    """What is wrong with the arguments of one test's marks; empty when nothing is."""
    if not ids:
        return "names no id; write curriculum('A2')"
    if len(ids) > MOST_IDS:
        return f"names {len(ids)} ids; at most {MOST_IDS} a test, so split the test"
    if len(set(ids)) < len(ids):
        return f"names an id twice: {', '.join(map(str, ids))}"
    wrong = [str(i) for i in ids if i not in known]
    return f"names unknown ids {', '.join(wrong)}; the known ones are in docs/curriculum.csv" if wrong else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known, errors = None, []
    for item in items:
        marks = list(item.iter_markers("curriculum"))
        if not marks:
            continue
        known = known_ids() if known is None else known
        ids = tuple(i for mark in marks for i in mark.args)
        wrong = problem(ids, known)
        if wrong:
            errors.append(f"{item.nodeid}: @pytest.mark.curriculum {wrong}")
        item.user_properties.append(("curriculum", list(ids)))
    if errors:
        raise pytest.UsageError("\n".join(errors))


class Recorder:
    """Collects outcomes from the reports, which under xdist arrive at the controller, and writes them at the end."""

    def __init__(self, path: Path):
        self.path = path
        self.tests: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        ids = dict(report.user_properties).get("curriculum")
        if ids is None or (report.when != "call" and report.outcome == "passed"):
            return
        outcome = "skipped" if hasattr(report, "wasxfail") else report.outcome  # an expected failure proves nothing
        test = self.tests.setdefault(report.nodeid.split("[")[0], {})
        for row in ids:
            test[row] = max(test.get(row, outcome), outcome, key=_ORDER.index)

    def pytest_sessionfinish(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.tests, indent=1, sort_keys=True)
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(self.path)
