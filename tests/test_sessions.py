"""The whole road on real scenes, briefly: from a folder of raws to a number beside the trivial pictures."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidcurate.cli import main

BRIEF = """
width = 16
resolutions = 3
patch = 64
batch = 2
unit = "steps"
duration = 300
schedule = [[0, 1e-3]]
validate_every = 100
keep = "best"
bursts = "all"
offset_draw = "inclusive"
adjust_maximum_thr = 0.0
"""


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.shared
def test_a_brief_training_beats_amplification_and_the_mean_color(shared: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "brief.toml"
    recipe.write_text(BRIEF)
    where = ("--device", "oneplus7", "--manifests", tmp_path / "m")
    run("ingest", shared / "sessions" / "oneplus7", *where)
    assert "10 of 10 pairs pass" in run("validate", *where)
    store = ("--store", tmp_path / "store")
    folder = run("finetune", *where, *store, "--recipe", recipe, "--runs", tmp_path / "runs").strip()
    run("evaluate", *where, *store, "--checkpoint", folder)
    evaluation = json.loads((Path(folder) / "evaluation.json").read_text())
    gains = {row["against"]: row["difference"] for row in evaluation["comparisons"] if row["metric"] == "psnr_db"}
    assert gains["amplified"]["low"] > 5, "better in every way that five scenes can show"
    assert gains["mean-color"]["mean"] > 1
    assert gains["mean-color"]["n"] == 5
