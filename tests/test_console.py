"""Progress: every stage is seen on a terminal, from its first step to its last, and costs next to nothing between."""

import io
import sys

import pytest
from rich.progress import Progress

from sidcurate.cli.console import progress


class Terminal(io.StringIO):
    """A terminal that keeps what it is shown."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the counts that a bar was made to show."""
    update, counts = Progress.update, []

    def counted(*arguments: object, **values: object) -> None:
        counts.append(values["completed"])
        update(*arguments, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(Progress, "update", counted)
    return counts  # type: ignore[return-value]


def test_of_many_steps_the_first_the_last_and_few_between_are_shown(shown: list[int]) -> None:
    with progress() as report:
        for done in range(1, 100_001):
            report("reading raws", done, 100_000)
    assert (shown[0], shown[-1]) == (1, 100_000)
    assert len(shown) < 1000


def test_each_stage_is_shown_at_once(shown: list[int]) -> None:
    with progress() as report:
        for stage in range(20):
            report(f"stage {stage}", stage, 1000)
    assert shown == list(range(20))


def test_a_count_whose_end_nobody_knows_is_shown_too(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)  # Not in a fixture: pytest sets its own between that and the test.
    with progress() as report:
        report("listing raws", 7, None)
    assert "listing raws" in terminal.getvalue()
    assert "7/?" in terminal.getvalue()
