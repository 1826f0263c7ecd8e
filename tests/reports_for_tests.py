"""Run folders and tables made up for the tests of their pages, and a reader of HTML that is well-formed."""

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from cvdl_jax.config import configs
from cvdl_jax.report.pages import page
from cvdl_jax.workdir import report_facts

NASTY = ('<b>"zero"</b>', "one & only", "</script><script>alert(1)</script>")  # class names that must stay text
STEPS = 30
VOID = {"img", "input", "link", "meta", "br", "hr"}


class Tree(HTMLParser):
    """Elements of a page as [(name, attributes, text)]; every element that is opened must be closed in its turn."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict, list[str]]] = []
        self._open: list[int] = []
        self.feed(page)
        self.close()
        assert not self._open, [self.elements[i][0] for i in self._open]

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is there twice"
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self._open and self.elements[self._open[-1]][0] == tag, f"</{tag}> closes nothing that is open"
        self._open.pop()

    def handle_data(self, data):
        for i in self._open:
            self.elements[i][2].append(data)

    def find(self, name: str, **attributes) -> list[tuple[str, dict, str]]:
        """Elements by name and by attributes (class_: one of its classes), with all of their text."""
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}

        def fits(has: dict) -> bool:
            return all(v in (has.get(k) or "").split() if k == "class" else has.get(k) == v for k, v in wanted.items())

        return [(tag, has, "".join(text)) for tag, has, text in self.elements if tag == name and fits(has)]

    def text(self, name: str, **attributes) -> str:
        """The text of the only such element."""
        (found,) = self.find(name, **attributes)
        return found[2]


def checked(path: Path) -> Tree:
    """A page that is well-formed, names every id once, and asks nothing of anyone."""
    text = path.read_text(encoding="utf-8")
    tree = Tree(text)
    ids = [has["id"] for _, has, _ in tree.elements if "id" in has]
    assert len(set(ids)) == len(ids)
    for _, has, _ in tree.elements:
        for name in ("aria-controls", "aria-labelledby", "for"):
            assert name not in has or has[name] in ids
        assert not any(name.startswith("on") for name in has)
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert re.match(r"data:(image/png;base64,|,)|#[\w-]+$", has.get(name, "#a")), has
    assert tree.find("meta", http_equiv="Content-Security-Policy")[0][1]["content"] == page.POLICY
    for _, _, style in tree.find("style"):
        assert "url(" not in style and "@import" not in style
    assert len(tree.find("h1")) == 1 and tree.elements[0][1]["lang"] == "en"
    assert all(has.get("scope") for _, has, _ in tree.find("th"))
    assert all("alt" in has for _, has, _ in tree.find("img"))
    assert all(text.strip() or has.get("aria-label") for _, has, text in tree.find("button"))
    numbers = [text for tag in ("td", "strong", "small", "p") for _, _, text in tree.find(tag)]
    assert [text for text in numbers if re.search(r"(^|[\s\[(])-\d", text)] == []  # a minus is a minus
    return tree


def decoded(data: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def rows(steps: int = STEPS, bad: bool = False) -> list[dict]:
    """Rows of metrics.jsonl: losses, accuracies with intervals, a constant; with a NaN and an infinity if `bad`."""
    found = []
    for step in range(10, 10 * steps + 1, 10):
        row = {"step": step, "epoch": step / 20, "train/loss": 3 / step, "train/learning_rate": 0.01}
        row |= {"time/seconds": step / 10, "time/images_per_second": 1000.0 + step}
        if step % 20 == 0:
            accuracy = 1 - 1 / step
            row |= {"validation/loss": 4 / step, "validation/accuracy": accuracy}
            row |= {"validation/accuracy_low": accuracy - 0.05, "validation/accuracy_high": min(accuracy + 0.02, 1)}
        found.append(row)
    if bad:
        found[3]["train/loss"] = "nan"
        found[min(5, steps - 1)]["validation/loss"] = "inf"
    return found


def write_rows(folder: Path, found: list[dict]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


def start(folder: Path, **more) -> Path:
    """A folder with a configuration and provenance, as a run has it that was started."""
    folder.mkdir(parents=True)
    config = configs.to_plain(configs.load("configs/classify/mlp.py"))
    (folder / "config.json").write_text(json.dumps(config))
    meta = {
        "seed": 0,
        "config_digest": "0123456789abcdef",
        "steps_per_call": 50,
        "data": {"name": "digits", "version": "1.0.0", "fingerprint": "f" * 64},
        "model": {"parameters": 9, "macs": 6},
        "starts": [
            {
                "time": "2026-01-02T03:04:05Z", "argv": ["python", "launch.py", "--config", "a b.py"], "dirty": True,
                "commit": "c" * 40, "python": "3.11.7", "versions": {"jax": "0.10.2"}, "backend": "cpu",
                "devices": ["cpu", "cpu"], "processes": 1, "cpus": 2, "host": "here", "platform": "Linux",
            }
        ],
        **more,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def classifier(folder: Path, class_names=NASTY, n: int = 60, bad: bool = False) -> Path:
    """A finished run that classified `n` examples of each split."""
    start(folder)
    write_rows(folder, rows(bad=bad))
    (folder / "predictions").mkdir()
    (folder / "figures").mkdir()
    rng = np.random.default_rng(0)
    c = len(class_names)
    for name in ("test", "validation"):
        scores = rng.normal(size=(n, c)).astype(np.float32)
        ids = np.asarray([f"{name}/{i}" for i in range(n)])
        np.savez(folder / "predictions" / f"{name}.npz", ids=ids, label=rng.integers(0, c, n, np.int32), scores=scores)

    class State:
        params = {"dense": {"kernel": np.zeros((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}
        opt, extra, rows = {"model": np.zeros(9, np.float32)}, {}, {}

    images = rng.integers(0, 256, (n, 8, 8, 1), np.uint8)
    found = report_facts.collect(folder / "predictions", State, class_names, lambda name, i: {"image": images[i]})
    (folder / "figures" / "report.json").write_text(json.dumps(found))
    metrics = {"test/accuracy": 0.5, "test/accuracy_low": 0.37, "test/accuracy_high": 0.63, "test/examples": n}
    metrics |= {"test/loss": math.nan if bad else 0.25, "validation/loss": 0.5}
    split = {"train": 0.5, "data_wait": 0.0, "evaluate": 0.25, "save": 0.0, "compile": 0.25}
    results = {"step": 10 * STEPS, "selected_step": 100, "selected_by": "validation/accuracy", "metrics": metrics}
    (folder / "results.json").write_text(json.dumps({**results, "time_split": split}))
    (folder / "DONE").write_text("2026-01-02T03:05:05Z\n")
    return folder


def failed(folder: Path) -> Path:
    """A run that ended by an error."""
    start(folder)
    write_rows(folder, rows(4, bad=True))
    error = {"error": "NonFiniteLoss", "message": "not finite at step 21 <&>\nlower it", "step": 36, "time": "then"}
    (folder / "FAILED.json").write_text(json.dumps(error))
    (folder / "console.log").write_text("step 10\nerror: <it>\n")
    return folder


def table(missing: bool = False) -> dict:
    """Results of a table of seven rows; the last was not run. With `missing`, all that may be None is."""

    def row(name: str, values: list, parameters, macs, **more) -> dict:
        mean = sum(values) / len(values) if values else None
        runs = [
            {
                "seed": i, "workdir": f"runs/{name}-seed{i}", "state": "done" if i < len(values) else "not run",
                "value": values[i] if i < len(values) else None, "low": None, "high": None, "selected_step": 3,
                "seconds": 2.5, "command": f"python launch.py --config {name}.py --config.seed={i}",
            }
            for i in range(3)
        ]  # fmt: skip
        return {
            "name": name, "config": f"configs/{name}.py", "overrides": ["--config.optim.lr=0.05"], "seeds": [0, 1, 2],
            "n": len(values), "values": values, "mean": mean, "std": 0.5 if len(values) > 1 else None,
            "low": mean and mean - 1, "high": mean and mean + 1, "interval": "Student-t over 3 seeds",
            "parameters": parameters, "macs": macs, "epochs": 40.0, "steps": 719,
            "recipe": {"epochs": 40, "steps": None}, "seconds": 23.0 if values else None,
            "hardware": "2 CPU cores", "commit": "c" * 40, "dirty": False,
            "config_digest": "d" * 16, "data": {"name": "digits", "version": "1.0.0", "fingerprint": "e" * 64},
            "command": f"python launch.py --table t.py:rows={name}", "published": None, "comparison": "",
            "significance": "", "p": None, "runs": runs, **more,
        }  # fmt: skip

    published = {"value": 93.2, "source": "A & B 1998, table 1", "data": "MNIST", "metric": "accuracy"}
    found = [
        row("linear", [94.1, 94.2, 93.9], 650, 640, published={**published, "protocol": "", "memory": True}),
        row("<softmax>", [95.2, 95.3, 95.0], 650, 640, significance="p = 0.01", p=0.01),
        row("svm", [95.5], 650, 640),
        row("mlp", [98.1, 97.8, 98.3], 50610, 50200, published={**published, "memory": False}, comparison="+4.87"),
        row("lenet5", [98.6, 98.3, 98.9], 61706, 416520, recipe={"epochs": 20, "steps": None}),
        row("resnet20", [98.7, 98.6, 98.4], 269722, 40551936),
        row("vit", [], None, None),
    ]
    if missing:
        found = [dict.fromkeys(found[0], None), {}, found[-1]]
    return {
        "name": "t", "title": "Seven <rows>", "caption": "What they are.", "command": "python launch.py --table t.py",
        "generated": "2026-01-02T03:04:05Z", "interval": "95 % Student-t interval over 3 seeds", "rows": found,
        "metric": {"key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max", "digits": 2},
        "warnings": ["the runs were made at 2 commits"],
    }  # fmt: skip
