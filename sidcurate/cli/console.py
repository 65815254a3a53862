"""Talk to the person at the terminal: on stderr, so that stdout holds results only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


def say(message: str) -> None:
    """Print one line of talk."""
    click.echo(message, err=True)


@contextmanager
def progress(what: str) -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """Show a bar with count, rate and time left; yield (set the total, advance by one)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, rate="")

        def announce(total: int) -> None:
            bar.update(task, total=total)

        def advance() -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:.1f}/s" if speed else "")

        yield announce, advance
