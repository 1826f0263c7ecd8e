"""The page of applications: every row names recipes, and every recipe can be loaded."""

import re
from pathlib import Path

import pytest

from cvdl_jax.config import configs

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "applications.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and "`configs/" in line]


@pytest.mark.curriculum("X21")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:30])
def test_an_application_has_recipes_that_load(row):
    recipes = re.findall(r"`(configs/[^`]+)`", row.split("|")[4])
    assert len(row.split("|")) == 6 and recipes
    for recipe in recipes:
        if recipe.startswith("configs/tables/"):
            assert (ROOT / recipe).is_file()
        else:
            assert configs.load(recipe).experiment


def test_the_applications_of_the_lecture_are_there():
    text = " ".join(ROWS).lower()
    assert len(ROWS) >= 10 and all(word in text for word in ("crops", "roofs", "out of stock", "blind", "surgeons"))
