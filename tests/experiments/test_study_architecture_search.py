"""The study of architecture search: what each search may see and spend, at tiny size."""

import numpy as np
import pytest

from configs.studies import architecture_search as config_file
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.search_cell import CELLS
from experiments.studies import architecture_search as study_page
from experiments.studies.architecture_search import Study


class Recorder:
    """A trainer that trains nothing: a child's loss is the sum of its operations, 0.1 more on the test set."""

    def __init__(self, *arguments):
        self.steps, self.children, self.tested = 0, [], []

    def train(self, seed, cells):
        self.steps += len(cells)
        assert ({tuple(c) for c in cells.tolist()} <= set(CELLS)) and len(np.unique(cells, axis=0)) > 60
        return "shared", seed, None

    def child(self, seed, cell, times=1):
        self.children.append((seed, cell, times))
        return "child", seed, cell

    def judge(self, params, cell, split):
        kind, seed, own = params
        assert split == "validation" or (kind == "child" and seed >= 1000)
        if kind == "child":
            assert own == cell
        self.tested += [cell] if split == "test" else []
        return float(sum(cell)), 1 - sum(cell) / 20


@pytest.mark.curriculum("H54")
def test_searches_spend_the_same_and_test_once(monkeypatch):
    made = []
    monkeypatch.setattr(study_page, "CellTrainer", lambda *a: made.append(Recorder()) or made[0])
    data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    study = Study(data=data, repeats=3, budget=30, population=5, sample=3, steps=7, final=4)
    metrics, (accuracies, shared, whole, chosen) = study_page.measure(study, 10)
    (trainer,) = made
    assert trainer.steps == 3 * 30 * 7  # the shared weights of each repeat
    assert len(trainer.tested) == 9 == len(chosen) and all(len(of) == 3 for of in accuracies.values())
    finals = [child for child in trainer.children if child[2] == 4]
    assert [seed for seed, _, _ in finals] == [s for s in (1010, 1011, 1012) for _ in range(3)]
    children = [child for child in trainer.children if child[2] == 1]
    assert len(whole) == 125 and len(children) == len(set(children))  # none trained twice
    for seed in (11, 12):
        assert 30 < len([child for child in children if child[0] == seed]) <= 60
    assert accuracies["one_shot"] == [1.0] * 3 and metrics["one_shot_tau"] == pytest.approx(1)
    assert metrics["one_shot_rank"] == 1 <= metrics["random_rank"] and metrics["budget_steps"] == 210
    assert set(study_page.draw((accuracies, shared, whole, chosen))) == {"one_shot_scores", "searches", "chosen"}


def test_impossible_budgets_are_refused():
    info = Info(None, (), {}, {}, 1, 0, np.inf, 0)
    for key, value in {"budget": 126, "population": 17, "ranked": 1, "repeats": 21}.items():
        config = config_file.get_config()
        config.study[key] = value
        with pytest.raises(ConfigError, match=rf"config\.study\.{key}={value}"):
            study_page.make(configs.from_plain(configs.to_plain(config)), info)
