"""As many processes as this one has cores, not as many as the machine has."""

import os
from pathlib import Path

import pytest

from sidcurate import cores
from sidcurate.isolation import crew


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


def allotted(folder: Path, group: str, quotas: dict[str, str]) -> int:
    (folder / "self").write_text(f"4:memory:/other\n0::{group}\n")
    for name, quota in quotas.items():
        (folder / "groups" / name).mkdir(parents=True, exist_ok=True)
        (folder / "groups" / name / "cpu.max").write_text(quota)
    return cores.allotted(folder / "self", folder / "groups")


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("group", "quotas", "count"),
    [
        ("/", {}, 8),
        ("/job", {"job": "max 100000\n"}, 8),
        ("/job", {"job": "150000 100000\n"}, 2),
        ("/job", {"job": "5000 100000\n"}, 1),
        ("/", {"": "300000 100000\n"}, 3),
        ("/slurm/job/step", {"slurm/job": "400000 100000\n", "slurm/job/step": "max 100000\n"}, 4),
        ("/job", {"other": "100000 100000\n"}, 8),
        ("/job", {"job": "much"}, 8),
    ],
)
def test_affinity_and_quota_count(tmp_path: Path, group: str, quotas: dict[str, str], count: int) -> None:
    assert allotted(tmp_path, group, quotas) == count


@pytest.mark.usefixtures("eight")
def test_a_crew_has_a_worker_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    with crew() as workers:
        assert workers.count == 1
    with crew(5) as workers:
        assert workers.count == 5
