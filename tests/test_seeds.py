"""Every run of the two reports is a recipe: the tables of the reports, row by row, against what the recipes do."""

import re
from pathlib import Path

import pytest

from sidtrain import recipe
from sidtrain.recipe import Recipe
from sidtrain.weights.unet import architecture_of

FOLDER = Path(__file__).parents[1] / "train" / "recipes" / "seeds"
SID_S_CODE = {"up_bias": False, "packing": "by-position", "levels": "override", "bits_override": 14}
REPORT_1 = {**SID_S_CODE, "black_override": 512.0}
REPORT_2 = {**SID_S_CODE, "short_draw": "exclude-last", "crop": (2800, 4000)}

# Row of a report: the recipe, what was reported, how far its settings are determined, and what its recipe must change
# of the report's base.
LR0 = ((0, 1e-4), (2001, 1e-5))
ROWS: dict[str, tuple[str, str, str, dict[str, object]]] = {
    "1.0": ("seed1-l1", "", "E", {}),
    "1.1": ("seed1-l2", "perform fairly equally", "E", {"loss": "l2_half_sum"}),
    "1.2": ("seed1-ablation", "slightly larger loss", "E", {"architecture": "seed1-ablation"}),
    "1.3": ("seed1-nikon", "green and purple", "E", {"ratio": "fixed 60", "black_override": 400.0}),
    "2.C1.1": ("seed2-c1-1", "pictures only", "E", {"ratio": "name"}),
    "2.C1.2": ("seed2-c1-2", "28.61/.45", "E", {}),
    "2.C1.3": ("seed2-c1-3", "worse, pictures only", "U", {}),
    "2.C1.4": ("seed2-c1-4", "29.20/.48", "E", {"ratio": "fixed 100"}),
    "2.P2.1": ("seed2-p2-1", "pictures only", "E", {"ratio": "name", "bits_override": 10}),
    "2.P2.2": ("seed2-p2-2", "better, pictures only", "E", {"bits_override": 10}),
    "2.P2.3": ("seed2-p2-3", "significantly worse", "E", {"bits_override": 8}),
    "(S,S)": ("seed2-a0", "30.43/.83", "E", {}),
    "(P1,P1)": ("seed2-p1", "(P1,P1) 30.65/.70", "E", {"bits_override": 10}),
    "(P1,S)": ("seed2-p1", "(P1,S) 28.61/.59", "E", {"bits_override": 10}),
    "(P1,P3)": ("seed2-p1", "(P1,P3) 28.02/.57", "E", {"bits_override": 10}),
    "(P1,C1)": ("seed2-p1", "(P1,C1) 28.07/.39", "E", {"bits_override": 10}),
    "(S,P1)": ("seed2-a0", "(S,P1) and (S,C1)", "E", {}),
    "(S,C1)": ("seed2-a0", "planned, not run", "E", {}),
    "(C1,S)": ("seed2-c1", "(C1,S)", "E", {}),
    "(C1,P1)": ("seed2-c1", "(C1,P1)", "E", {}),
    "(C1,C1)": ("seed2-c1", "(C1,C1) were planned, not run", "E", {}),
    "14 bits read as 10": ("seed2-bits-10", "pictures only", "U", {"bits_override": 10}),
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
    "amplification min(ratio, 300)": ("seed2-a0", "30.43/.83", "E", {"ratio": "cap 300"}),
    "amplification 1": ("seed2-ratio-1", "28.75/.73", "E", {"ratio": "fixed 1"}),
    "amplification 100": ("seed2-ratio-100", "29.43/.75", "E", {"ratio": "fixed 100"}),
    "amplification 250": ("seed2-ratio-250", "29.32/.74", "E", {"ratio": "fixed 250"}),
    "amplification 300": ("seed2-ratio-300", "28.75/.72", "E", {"ratio": "fixed 300"}),
    "amplification 600": ("seed2-ratio-600", "29.58/.76", "E", {"ratio": "fixed 600"}),
    "amplification no max": ("seed2-ratio-no-max", "29.97/.79", "E", {"ratio": "name"}),
    "amplification random": ("seed2-ratio-random", "29.05/.72", "U", {"ratio": "random 1-300"}),
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
