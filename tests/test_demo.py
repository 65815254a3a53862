"""The demo's steps are commands that a person could type; its careless session is as careless as described."""

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidcurate.cli import main, options
from sidcurate.cli.demo import _STEPS

SIMULATED = [step for _, _, step in _STEPS if step.startswith("simulate")]


def shots(step: str) -> list[str]:
    result = CliRunner().invoke(main, [*shlex.split(step.format(out="nowhere")), "--dry-run"])
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()


def test_without_torch_it_stops_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "TRAIN_EXTRA", ("hollow_torch", "safetensors"))
    result = CliRunner().invoke(main, ["demo", str(tmp_path / "demo")])
    assert (result.exit_code, result.stdout, list(tmp_path.iterdir())) == (4, "", [])
    assert "hollow_torch is not installed: pip install 'sidcurate[train]'" in result.stderr


def test_the_canon_is_shot_as_the_second_seed_did() -> None:
    lines = shots(SIMULATED[0])
    faults = Counter(fault for line in lines for fault in re.findall(r"[a-z]+-?[a-z]+", line.split(" ", 2)[-1]))
    assert len(lines) == 20
    assert (faults["wrong-name"], faults["iso-changed"], faults["shifted"], faults["portrait"]) == (3, 2, 2, 1)


def test_the_oneplus_is_shot_with_care() -> None:
    lines = shots(SIMULATED[1])
    assert len(lines) >= 20
    assert all(re.fullmatch(r"\S+\s+(short|long)", line) for line in lines)
