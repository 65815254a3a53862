"""Talk to the person at the terminal on stderr, so that stdout holds results only; and the console of those."""

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from sidcurate.cli.options import naming

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn, Task
    from rich.table import Table


LINE_EVERY_S = 60.0
_SHOWN_EVERY_S = 0.1
_ROOM_FOR_A_BAR = 60  # Columns of the terminal.
_WIDEST = 10_000  # No table is as wide.


class Report(Protocol):
    """Takes how far a stage of the work is, as often as it likes: a person is shown no more than can be seen."""

    def __call__(self, stage: str, done: int, total: int | None, note: str = "", unit: str = "", each: int = 1) -> None:
        """Show `done` of `total`, None as long as nobody knows it; `note` is anything worth seeing beside it.

        The rate is told in `unit`, of which one of `total` holds `each`.
        """


def say(message: str) -> None:
    """Print one line of talk."""
    click.echo(message, err=True)


def say_next(*words: object) -> None:
    """Print the command to type next, quoted so that a shell takes it as it stands."""
    say(f"next: sidcurate {shlex.join(map(str, words))}")


def say_what_is_next(directory: Path, *, dry_run: bool) -> None:
    """Print how to judge a manifest that was written; that none was, after a dry run."""
    if dry_run:
        say("dry run: nothing was written")
    else:
        say_next("validate", *naming(directory.name, directory.parent))


def results() -> "Console":
    """Return the console of tables: names are printed as they are, whatever brackets and colons they hold."""
    from rich.console import Console

    class Results(Console):
        def on_broken_pipe(self) -> None:
            raise  # What rich has just caught: it would leave with exit code 1, which says that errors were found.

    return Results(highlight=False, markup=False, emoji=False)


def empty_table(title: str | None = None, caption: str | None = None) -> "Table":
    """Return a table of numbers without columns: edges and padding are saved, so that many fit 80 characters."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=title, caption=caption)
    table.title_justify = table.caption_justify = "left"
    return table


def make_room(console: "Console", *tables: "Table") -> None:
    """Let a console be as wide as the tables: a name or a number that is cut is none."""
    unbounded = console.options.update_width(_WIDEST)
    console.width = max(console.width, *(console.measure(table, options=unbounded).maximum for table in tables))


@contextmanager
def progress() -> Iterator[Report]:
    """Show a bar for each stage with count, rate and time left; where stderr is no terminal, a line a minute."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(*_columns(console.width), console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Task] = {}
        due, told = 0.0, time.monotonic()

        def report(stage: str, done: int, total: int | None, note: str = "", unit: str = "", each: int = 1) -> None:
            nonlocal due, told
            now = time.monotonic()
            if stage in tasks and done != total and now < due:
                return
            due = now + _SHOWN_EVERY_S
            if stage not in tasks:
                number = bars.add_task(stage, total=total, note="")
                tasks[stage] = next(task for task in bars.tasks if task.id == number)
            task = tasks[stage]
            rate = f"{each * task.speed:.3g}{unit and f' {unit}'}/s " if task.speed else ""
            bars.update(task.id, completed=done, total=total, note=rate + note)
            if bars.disable and now - told >= LINE_EVERY_S:
                told = now
                say(_line(task))

        yield report


def _columns(width: int) -> "Sequence[ProgressColumn]":
    """Return what a bar shows; on a narrow terminal the figures matter more than the bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    bar = (BarColumn(),) if width >= _ROOM_FOR_A_BAR else ()
    count = MofNCompleteColumn(table_column=Column(no_wrap=True))
    note = TextColumn("{task.fields[note]}")
    return TextColumn("{task.description}"), *bar, count, note, TimeRemainingColumn()


def _line(task: "Task") -> str:
    """Return what the bar of a stage would show, for a log."""
    left = "" if task.time_remaining is None else f"{timedelta(seconds=round(task.time_remaining))} left"
    of = "" if task.total is None else f" of {task.total:.0f}"
    facts = (f"{task.completed:.0f}{of}", task.fields["note"].strip(), left)
    return f"{task.description}: {', '.join(filter(None, facts))}"
