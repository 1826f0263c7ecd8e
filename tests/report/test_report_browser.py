"""Pages in a browser: headless Chromium draws, sorts, smooths and switches themes; it fetches and reports nothing."""

import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from reports_for_tests import Tree, classifier, failed, table

from cvdl_jax.report.pages import page, run_page, table_page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is on the PATH"),
]
# Runs after the page's own scripts; what `found` says is read from the dumped page.
PROBE = """<script>
"use strict";
const all = (selector) => [...document.querySelectorAll(selector)];
const one = (selector) => document.querySelector(selector);
const found = (() => { %s })();
const out = document.createElement("pre");
out.id = "found-by-test";
out.textContent = JSON.stringify(found ?? null);
document.body.append(out);
</script></body>"""


class Visit(NamedTuple):
    """What a browser made of a page: its elements, what the probe found, the console's lines, addresses asked for."""

    tree: Tree
    found: object
    console: list[str]
    requests: list[str]


def visit(path: Path, scratch: Path, probe: str = "return null", options: str = "", flags=()) -> Visit:
    """Opens a copy of a page with a script added that looks at it.

    Args:
        path: of the page.
        scratch: an empty or missing folder of this visit.
        probe: the body of a function whose result is `found`.
        options: after the # of the address.
        flags: of the browser.
    """
    scratch.mkdir(exist_ok=True)
    copy, log = scratch / "page.html", scratch / "net.json"
    copy.write_text(path.read_text().replace("</body>", PROBE % probe))
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", f"--log-net-log={log}",
        f"--user-data-dir={scratch / 'profile'}", "--window-size=1280,900", "--virtual-time-budget=3000", *flags,
        "--dump-dom", f"file://{copy}{options and '#'}{options}",
    ]  # fmt: skip
    environment = {**os.environ, "HOME": str(scratch)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0 and "found-by-test" in done.stdout, done.stderr[-2000:]
    found = re.search(r'<pre id="found-by-test">(.*?)</pre>', done.stdout, re.S)[1]
    for escaped, plain in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        found = found.replace(escaped, plain)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Visit(Tree(done.stdout), json.loads(found), console, requests(log))


def requests(log: Path) -> list[str]:
    """Addresses that a page, not the browser for its own ends, asked of the network."""
    asked = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    by_pages = [p["url"] for p in asked if p.get("initiator", "not an origin") != "not an origin"]
    return [url for url in by_pages if not url.startswith(("file:", "data:"))]


def assert_quiet(visited: Visit) -> None:
    """Nothing failed, nothing was refused, nothing was asked of the network."""
    assert visited.console == [] and visited.requests == []


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    table_page.write(table(), folder / "table.html")
    return {
        "run": run_page.write(classifier(folder / "run", bad=True)),
        "failed": run_page.write(failed(folder / "failed")),
        "table": folder / "table.html",
    }


# The checks themselves can fail ---------------------------------------------------------------------------------------


def test_a_mistake_in_a_script_is_noticed(pages, tmp_path):
    mistaken = visit(pages["table"], tmp_path, "setTimeout(() => nothing())")
    assert any("nothing is not defined" in line for line in mistaken.console)


def test_a_request_is_refused_by_the_page_and_noticed_without_its_policy(pages, tmp_path):
    fetch = "const i = new Image(); i.src = 'http://192.0.2.1/x.png'; document.body.append(i); return 1"
    refused = visit(pages["table"], tmp_path / "with", fetch)
    assert any("Content Security Policy" in line for line in refused.console) and refused.requests == []
    bare = tmp_path / "bare.html"
    bare.write_text(pages["table"].read_text().replace(page.POLICY.replace("'", "&#x27;"), "img-src *"))
    assert visit(bare, tmp_path / "without", fetch).requests[0] == "http://192.0.2.1/x.png"


# Pages ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run", "failed", "table"])
def test_pages_are_quiet(pages, tmp_path, name):
    shown = visit(pages[name], tmp_path, "return [document.title, all('main h2').length]")
    assert_quiet(shown)
    assert shown.found == [{"run": "run: done", "failed": "failed: failed", "table": "Seven <rows>"}[name],
                           {"run": 12, "failed": 7, "table": 3}[name]]  # fmt: skip


def test_the_script_draws_every_curve(pages, tmp_path):
    look = """
        return all("figure.plot").map((figure) => ({
            title: figure.querySelector(".plot-title").textContent,
            curves: [...figure.querySelectorAll("path.curve:not(.nonfinite)")].map((p) => p.getAttribute("d")),
            bands: [...figure.querySelectorAll("path.band")].map((p) => p.getAttribute("d")),
            crosses: figure.querySelectorAll("path.nonfinite").length,
            selected: [...figure.querySelectorAll("line.selected")].map((l) => Number(l.getAttribute("x1"))),
            width: figure.querySelector("svg").clientWidth,
        }));"""
    shown = visit(pages["run"], tmp_path, look)
    assert_quiet(shown)
    loss, accuracy, speed = shown.found
    assert [p["title"] for p in shown.found] == [
        "loss", "validation/accuracy (%)", "time/images_per_second (images/s)",
    ]  # fmt: skip
    train, validation = ([segment.count("L") + 1 for segment in d.split("M")[1:]] for d in loss["curves"])
    assert train == [3, 26] and validation == [2, 12]  # broken at the NaN of step 40 and the infinity of step 60
    assert loss["crosses"] == 2 and accuracy["crosses"] == 0
    assert len(accuracy["bands"]) == 1 and accuracy["bands"][0].count("L") == 2 * 15 - 1
    points = [tuple(map(float, p.split())) for p in re.split("[ML]", speed["curves"][0])[1:]]
    steps = np.arange(10, 301, 10)
    x, y = np.asarray(points).T
    np.testing.assert_allclose(x, np.interp(steps, [10, 300], [x[0], x[-1]]), atol=0.06)
    np.testing.assert_allclose(
        y, np.interp(steps, [10, 300], [y[0], y[-1]]), atol=0.06
    )  # the speed grows with the step
    assert y[0] > y[-1] and 0 < x[0] and x[-1] < speed["width"]
    assert loss["selected"] == pytest.approx(np.interp([100], steps, x), abs=0.06)


def test_the_x_axis_is_the_step_or_the_epoch(pages, tmp_path):
    look = """
        const plot = one("figure.plot"), button = one("#x-axis");
        const seen = () => [plot.querySelector("text.axis").textContent, button.textContent,
            [...plot.querySelectorAll("text[text-anchor=middle]:not(.axis)")].map((t) => t.textContent),
            plot.querySelector("path.curve").getAttribute("d")];
        const first = seen();
        button.click();
        return [first, seen()];"""
    shown = visit(pages["run"], tmp_path / "step", look)
    assert_quiet(shown)
    step, epoch = shown.found
    assert step[:3] == ["step", "x: step", ["100", "200", "300"]]
    assert epoch[:3] == ["epoch", "x: epoch", ["5", "10", "15"]]
    assert step[3] == epoch[3]  # 20 steps are an epoch: the curve itself stays where it is
    assert visit(pages["run"], tmp_path / "epoch", look, "x=epoch").found == [epoch, step]


def test_figures_follow_the_theme(tmp_path):
    folder = classifier(tmp_path / "run")
    (folder / "figures" / "dark").mkdir()
    for place in ("", "dark"):
        Image.new("RGB", (20, 10)).save(folder / "figures" / place / "curves.png")
    Image.new("RGB", (20, 10)).save(folder / "figures" / "old.png")  # of a run from before there were two
    page = run_page.write(folder)
    look = 'return all("#figures img").map((i) => [i.alt, i.className, i.offsetParent !== null])'
    for theme in ("light", "dark"):
        found = visit(page, tmp_path / theme, look, f"theme={theme}").found
        assert found == [["curves", "on-light", theme == "light"], ["curves", "on-dark", theme == "dark"],
                         ["old", "on-any", True]]  # fmt: skip


def tensorboard_average(values: list[float], weight: float) -> list[float]:
    """TensorBoard's smoothing, written again from its description: an average without bias, others pass by."""
    found, last, n = [], 0.0, 0
    for v in values:
        if math.isfinite(v):
            last, n = last * weight + (1 - weight) * v, n + 1
            v = last / (1 - weight**n)
        found.append(v)
    return found


def test_smoothing_is_that_of_tensorboard(pages, tmp_path):
    look = """
        const plot = one("figure.plot"), svg = plot.querySelector("svg"), seen = [];
        for (let i = 0; i < 30; i += 1) {
            svg.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
            seen.push(plot.querySelector(".tip").textContent);
        }
        const [tip, drawn] = [plot.querySelector(".tip"), svg].map((e) => e.getBoundingClientRect());
        const inside = tip.top >= drawn.top && tip.bottom <= drawn.bottom && tip.right <= drawn.right;
        const raw = plot.querySelectorAll("path.raw").length;
        return { seen, value: one("#smoothing-value").textContent, raw, inside };"""
    shown = visit(pages["run"], tmp_path, look, "smooth=0.6")
    assert_quiet(shown)
    assert shown.found["value"] == "0.6" and shown.found["raw"] == 2 and shown.found["inside"]
    values = [math.nan if step == 40 else 3 / step for step in range(10, 301, 10)]
    expected = tensorboard_average(values, 0.6)
    for i, text in enumerate(shown.found["seen"]):
        said = re.match(rf"step {10 * (i + 1)}, epoch [\d.]+train(NaN|[\d.]+) \((NaN|[\d.]+)\)", text)
        assert said, text
        smoothed, raw = (math.nan if x == "NaN" else float(x) for x in said.groups())
        np.testing.assert_allclose([smoothed, raw], [expected[i], values[i]], rtol=1e-3)


def test_logarithmic_axis_and_legend(pages, tmp_path):
    look = """
        const plot = one("figure.plot"), log = plot.querySelector(".log");
        const legend = plot.querySelectorAll(".legend button");
        const ticks = () => [...plot.querySelectorAll("text[text-anchor=end]")].map((t) => t.textContent);
        const curves = () => plot.querySelectorAll("path.curve:not(.nonfinite)").length;
        const before = [ticks(), curves(), log.getAttribute("aria-pressed")];
        log.click();
        legend[1].click();
        const after = [ticks(), curves(), log.getAttribute("aria-pressed"), legend[1].getAttribute("aria-pressed")];
        legend[0].click();
        const none = plot.querySelector("svg").textContent;
        legend[0].click();
        return { before, after, none, again: curves() };"""
    found = visit(pages["run"], tmp_path, look).found
    assert found["before"] == [["0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"], 2, "false"]
    assert found["after"][1:] == [1, "true", "false"]
    assert set(found["after"][0]) >= {"0.01", "0.1"} and "0" not in found["after"][0]
    assert found["none"] == "no curve chosen" and found["again"] == 1


def test_tables_are_sorted(pages, tmp_path):
    look = """
        const rows = () => all("#results > tbody > tr");
        const more = (row) => row.classList.contains("more");
        const names = () => rows().filter((r) => !more(r)).map((r) => r.cells[0].textContent.trim());
        const head = (name) => all("#results thead th").find((h) => h.textContent.trim() === name);
        const click = (name) => { head(name).querySelector("button").click(); return [head(name).ariaSort, names()]; };
        const above = (row) => row.previousSibling.querySelector("button").getAttribute("aria-controls");
        const kept = () => rows().every((r, i) => more(r) === (i % 2 === 1) && (!more(r) || r.id === above(r)));
        const start = names();
        const accuracy = [click("test accuracy (%)"), click("test accuracy (%)")];
        const row = click("row"), published = click("published");
        return { start, accuracy, row, published, kept: kept(), sorted: all("th[aria-sort]").length,
                 said: one("#said").textContent };"""
    shown = visit(pages["table"], tmp_path, look)
    assert_quiet(shown)
    found, names = shown.found, ["linear", "<softmax>", "svm", "mlp", "lenet5", "resnet20", "vit"]
    assert found["start"] == names
    assert found["accuracy"] == [
        ["ascending", names[:4] + ["resnet20", "lenet5", "vit"]],
        ["descending", ["lenet5", "resnet20", *names[3::-1], "vit"]],  # what was not run stays last
    ]
    assert found["row"] == ["ascending", ["<softmax>", "lenet5", "linear", "mlp", "resnet20", "svm", "vit"]]
    assert found["published"] == ["ascending", ["linear", "mlp", "<softmax>", "lenet5", "resnet20", "svm", "vit"]]
    assert found["kept"] and found["sorted"] == 1 and found["said"] == "sorted by published, ascending"


def test_options_of_the_address_and_rows_that_unfold(pages, tmp_path):
    look = """
        const more = () => all("tr.more").map((r) => r.hidden);
        const first = [all("#results > tbody > tr")[0].cells[0].textContent.trim(), more()];
        all("button.expand")[1].click();
        return { first, more: more(), expanded: all("button.expand").map((b) => b.ariaExpanded) };"""
    found = visit(pages["table"], tmp_path, look, "sort=results.params.descending").found
    assert found["first"] == ["resnet20", [True] * 7]
    assert found["more"] == [True, False] + [True] * 5
    assert found["expanded"] == ["false", "true"] + ["false"] * 5


def test_themes(pages, tmp_path):
    look = """
        const colour = () => getComputedStyle(document.body).backgroundColor;
        const seen = [colour()];
        for (let i = 0; i < 3; i += 1) { one("#theme").click(); seen.push(one("#theme").textContent, colour()); }
        return seen;"""
    light, dark = "rgb(246, 247, 249)", "rgb(16, 20, 24)"
    clicked = ["theme: dark", dark, "theme: light", light, "theme: system"]
    for options, flags, first in (("", (), light), ("", ("--blink-settings=preferredColorScheme=0",), dark)):
        shown = visit(pages["run"], tmp_path / (flags[0][2:7] if flags else "plain"), look, options, flags)
        assert_quiet(shown)
        assert shown.found == [first, *clicked, first]
    assert visit(pages["run"], tmp_path / "hash", look, "theme=dark").found[0] == dark


MEASURE = """
    for (const each of all("details")) each.open = true;
    const scrolled = ".scroll, .scatters figure, nav, pre, .unseen, .skip";  // scroll by themselves
    const wide = all("body *").filter((e) => e.offsetParent !== null && !e.parentElement.closest(scrolled))
        .filter((e) => e.getBoundingClientRect().right > innerWidth + 1);
    const report = { width: innerWidth, page: document.documentElement.scrollWidth,
                     wide: wide.map((e) => `${e.tagName}.${e.className}`).slice(0, 5) };
    const theme = one("#theme").getBoundingClientRect();  // a button that stays must not lie over a link
    report.covered = all("nav a").filter((a) => {
        const box = a.getBoundingClientRect();
        return box.left < theme.right && theme.left < box.right && box.top < theme.bottom && theme.top < box.bottom;
    }).map((a) => a.textContent);
    if (parent !== window) parent.postMessage(report, "*");
    return report;"""


def test_what_is_too_wide_is_noticed(pages, tmp_path):
    widen = """
        const box = document.createElement("div");
        box.textContent = "wide";
        box.style.width = "1500px";
        one("main").append(box);"""
    found = visit(pages["table"], tmp_path, widen + MEASURE).found
    assert found["page"] > found["width"] and found["wide"] == ["DIV."]


@pytest.mark.parametrize("name", ["run", "failed", "table"])
def test_nothing_is_wider_than_the_window(pages, tmp_path, name):
    found = visit(pages[name], tmp_path / "wide", MEASURE, "open=all").found
    assert found["page"] <= found["width"] and found["wide"] == []
    inner = tmp_path / "inner.html"  # a window cannot be made as narrow as a telephone, a frame can
    inner.write_text(pages[name].read_text().replace("</body>", PROBE % MEASURE))
    outer = tmp_path / "outer.html"
    outer.write_text(f'<!doctype html><body><iframe src="{inner}#open=all" width="400" height="900"></iframe></body>')
    listen = """
        const box = { };
        addEventListener("message", (event) => { one("#found-by-test").textContent = JSON.stringify(event.data); });
        return box;"""
    narrow = visit(outer, tmp_path / "narrow", listen).found
    assert narrow.pop("covered") == []
    assert narrow["width"] == 400 and narrow["page"] <= 400 and narrow["wide"] == []
