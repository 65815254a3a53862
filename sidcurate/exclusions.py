"""The scenes of See-in-the-Dark that its authors withdrew, and who says why."""

import csv
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Exclusion:
    """A scene of a folder that is left out, and who says why."""

    folder: str
    scene_id: str
    reason: str
    source: str


def exclusions() -> list[Exclusion]:
    """Return the scenes of SID that its authors withdrew."""
    table = resources.files("sidcurate").joinpath("sid_exclusions.csv").read_text(encoding="utf-8")
    return [Exclusion(**row) for row in csv.DictReader(table.splitlines())]
