"""Progress: every stage is seen, on a terminal of any width and in a log, and costs next to nothing."""

import io
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from sidcurate.cli import console
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


def test_a_log_gets_a_line_a_minute_with_what_a_bar_would_show(capsys, monkeypatch) -> None:
    with console.progress() as report:
        report("reading raws", 1, 20)
    assert capsys.readouterr().err == "", "a short stage is silent"
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(console, "_SHOWN_EVERY_S", 0.0)
    with console.progress() as report:
        report("training", 3, 20, "loss 0.0432, 0.61 GB", "patches", 4)
        report("training", 4, 20, "loss 0.0431, 0.61 GB", "patches", 4)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "training: 3 of 20, loss 0.0432, 0.61 GB"
    assert second.startswith("training: 4 of 20, ")
    assert "loss 0.0431" in second


@pytest.mark.parametrize(("width", "has_bar"), [(40, False), (80, True)])
def test_a_narrow_terminal_shows_the_count_rather_than_a_bar(width: int, has_bar: bool) -> None:
    terminal = Console(width=width, file=io.StringIO())
    bars = Progress(*console._columns(width), console=terminal)
    bars.add_task("looking at the raws", total=2000, completed=1500, note="53.3/s")
    terminal.print(bars.get_renderable())
    shown = terminal.file.getvalue()
    assert ("1500/2000" in shown, "━" in shown) == (True, has_bar)
