"""Studies of zero steps: what they measure lands in the results, what they draw in the report."""

import json

import pytest

import launch
from cvdl_jax.core import studies
from cvdl_jax.engine import build
from cvdl_jax.errors import ConfigError

STUDY = """
from cvdl_jax.analysis.figures import images as figures
from cvdl_jax.core import studies

def make(config, info):
    def measure():
        return {"twice": 2 * config.study.x}, [1, 2]

    def draw(line):
        figure, axes = figures.new_figure(1, 1)
        axes[0, 0].plot(line)
        return {"line": figure, "words": "two points"}

    return studies.measured(config, measure, draw)
"""


def test_a_study_writes_its_numbers_and_figures(tmp_path):
    (tmp_path / "topic.py").write_text(STUDY)
    (tmp_path / "config.py").write_text(
        "from cvdl_jax.core import studies\n"
        "def get_config(arg=None):\n"
        "    config = studies.base('topic', x=1.5)\n"
        f"    config.experiment = {str(tmp_path / 'topic.py')!r}\n"
        "    return config\n"
    )
    workdir = tmp_path / "run"
    assert launch.main([f"--config={tmp_path / 'config.py'}", f"--workdir={workdir}", "--config.study.x=2.5"]) == 0
    assert json.loads((workdir / "results.json").read_text())["metrics"] == {"study/twice": 5.0}
    assert (workdir / "figures" / "line.png").exists() and "two points" in (workdir / "report.html").read_text()


def test_a_study_that_only_measures_takes_no_steps():
    config = studies.base("topic")
    config.total_steps = 3
    with pytest.raises(ConfigError, match=r"takes no steps; set config\.total_steps=0"):
        studies.measured(config, dict)


def test_an_unknown_study_gets_the_nearest_name():
    with pytest.raises(ConfigError, match="classify"):
        build.load_experiment("clasify")
