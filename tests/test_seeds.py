"""Every run of the two reports is a recipe: the tables of the reports, row by row, against what the recipes do."""

import re
from pathlib import Path

import pytest

from sidtrain import recipe
from sidtrain.recipe import Recipe
from sidtrain.unet import architecture_of

FOLDER = Path(__file__).parents[1] / "train" / "recipes" / "seeds"
REPORT_1, REPORT_2 = {"up_bias": False}, {"up_bias": False}

# Row of a report: the recipe, what was reported, how far its settings are determined, and what its recipe must change
# of the report's base.
LR0 = ((0, 1e-4), (2001, 1e-5))
ROWS: dict[str, tuple[str, str, str, dict[str, object]]] = {
    "1.0": ("seed1-l1", "", "E", {}),
    "1.1": ("seed1-l2", "perform fairly equally", "E", {"loss": "l2_half_sum"}),
    "1.2": ("seed1-ablation", "slightly larger loss", "E", {"architecture": "seed1-ablation"}),
    "LR0": ("seed2-lr0", "30.10/.80", "E", {"seed": 1, "schedule": LR0}),
    "LR1": ("seed2-lr1", "28.22/.006", "E", {"schedule": ((0, 1e-3),)}),
    "LR2": ("seed2-lr2", "30.09/.80", "E", {"schedule": ((0, 1e-4),)}),
    "LR3": ("seed2-lr3", "29.85/.76", "E", {"schedule": ((0, 1e-5),)}),
    "LR4": ("seed2-lr4", "28.99/.70", "E", {"schedule": ((0, 1e-6),)}),
    "LR5": ("seed2-lr5", "28.23/.32", "E", {"schedule": ((0, 1e-7),)}),
    "LR6": ("seed2-lr6", "29.02/.60", "E", {"schedule": ((0, 1e-3), (100, 1e-4))}),
    "LR7": ("seed2-lr7", "28.20/.004", "E", {"schedule": ((0, 1e-3), (500, 1e-4))}),
    "LR8": ("seed2-lr8", "28.21/.007", "E", {"schedule": ((0, 1e-3), (1000, 1e-4))}),
    "LR9": ("seed2-lr9", "28.20/.007", "U", {"schedule": ((0, 1e-3), (1000, 1e-4), (2000, 1e-5), (3000, 1e-6))}),
    "PS0": ("seed2-lr0", "30.10/.80", "E", {"seed": 1, "patch": 512}),
    "PS1": ("seed2-ps1", "28.35/.25", "E", {"patch": 1}),
    "PS2": ("seed2-ps2", "29.66/.77", "E", {"patch": 64}),
    "PS3": ("seed2-ps3", "29.85/.78", "E", {"patch": 128}),
    "PS4": ("seed2-ps4", "30.01/.79", "E", {"patch": 256}),
    "PS5": ("seed2-ps5", "30.17/.80", "E", {"patch": 650}),
    "PS6": ("seed2-ps6", "29.82/.76", "R", {"patch": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)}),
    "PS7": ("seed2-ps7", "28.87/.74", "R", {"patch": (8, 16, 32, 64)}),
    "PS8": ("seed2-ps8", "28.90/.77", "R", {"patch": (16, 32, 64, 128, 256, 512)}),
    "PS9": ("seed2-ps9", "30.10/.79", "R", {"patch": (64, 128, 256, 512)}),
    "A0": ("seed2-a0", "30.43/.83", "E", {}),
    "A1": ("seed2-a1", "30.08/.79", "E", {"architecture": "a1"}),
    "A2": ("seed2-a2", "30.06/.80", "E", {"architecture": "a2"}),
    "A3": ("seed2-a3", "30.09/.77", "E", {"architecture": "a3"}),
    "A4": ("seed2-a4", "30.04/.79", "E", {"architecture": "a4"}),
    "A5": ("seed2-a5", "29.79/.73", "E", {"architecture": "a5"}),
    "A6": ("seed2-a6", "29.53/.67", "E", {"architecture": "a6"}),
    "A7": ("seed2-a7", "29.90/.73", "E", {"architecture": "a7"}),
    "A8": ("seed2-a8", "30.00/.78", "E", {"architecture": "a8"}),
    "A9": ("seed2-a9", "30.18/.79", "E", {"architecture": "a9"}),
    "A10": ("seed2-a10", "28.20/.39", "E", {"architecture": "a10"}),
    "A11": ("seed2-a11", "Not finished", "U", {"architecture": "a11"}),
    "10 epochs": ("seed2-epochs-10", "28.25/.65", "E", {"duration": 11}),
    "500 epochs": ("seed2-epochs-500", "29.42/.74", "E", {"duration": 501}),
    "4000 epochs": ("seed2-a0", "30.43/.83", "E", {"duration": 4001}),
    "8000 epochs": ("seed2-epochs-8000", "30.16/.81", "E", {"duration": 8001}),
}


def expected(name: str, changes: dict[str, object]) -> Recipe:
    """The whole recipe, so that a field that a file changes unasked shows."""
    return Recipe.model_validate((REPORT_1 if name.startswith("seed1") else REPORT_2) | changes)


def comment(name: str) -> str:
    lines = (FOLDER / f"{name}.toml").read_text().splitlines()
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))


@pytest.mark.parametrize("row", ROWS)
def test_the_recipe_of_a_row_does_what_the_report_did(row: str) -> None:
    name, _, _, changes = ROWS[row]
    assert recipe.load(name) == expected(name, changes)


@pytest.mark.parametrize("row", ROWS)
def test_the_recipe_of_a_row_says_what_was_reported_and_how_well_it_is_known(row: str) -> None:
    name, reported, status, _ = ROWS[row]
    said = comment(name)
    assert reported in said
    assert re.search(rf"\({status}[,;)]", said), said
    assert "wrapped" in said or not re.search(r"\d\d\.\d\d/", said)


def test_every_recipe_of_the_reports_is_a_row_of_theirs() -> None:
    bases = {"seed1", "seed2"}
    assert {path.stem for path in FOLDER.glob("*.toml")} == {name for name, *_ in ROWS.values()} | bases
    assert {name for name in recipe.known() if name.startswith("seed")} == {path.stem for path in FOLDER.glob("*")}


def test_every_network_of_the_reports_can_be_built_from_its_recipe() -> None:
    assert not any(architecture_of(recipe.load(name)).up_bias for name in recipe.known() if name.startswith("seed"))
