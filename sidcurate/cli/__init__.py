"""The command line: one thin verb a file, loaded only when it is asked for.

A verb parses, calls one function, prints, sets the exit code: 0 clean, 1 findings of severity error, 2 usage, 3 some
inputs could not be read, 4 environment, 5 integrity, 130 interrupted (SIGINT), 141 nobody reads on (SIGPIPE), 143 ended
(SIGTERM). Results go to stdout, progress and talk to stderr.
"""

import difflib
import importlib
import io
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

import click

from sidcurate import __version__, memory
from sidcurate.errors import MissingResourceError, SidcurateError, Terminated

# In the order in which a person meets them.
VERBS = (
    "ingest",
    "pair",
    "manifest",
    "validate",
    "split",
    "finetune",
    "evaluate",
    "enhance",
    "weights",
    "runs",
    "report",
    "fsck",
    "rules",
    "schema",
    "simulate",
    "benchmark-rules",
    "demo",
)

# What is added to the number of the signal that ended a verb, as shells do.
SIGNALED = 128


class Verbs(click.Group):
    """A group whose verbs live in modules of their own name, and whose errors are one message, never a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb, importing its module."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"sidcurate.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that was asked for; name those that are close to one that does not exist."""
        if args[0] not in VERBS and (close := difflib.get_close_matches(args[0], VERBS)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(map(repr, close))}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run a verb; turn an error of ours into its message and exit code."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # A terminal without "×" shows "?" instead of a traceback.
        try:
            with _interruptible(), _flushed():
                return super().invoke(ctx)
        except SidcurateError as error:
            click.echo(f"sidcurate: {error}", err=True)
            ctx.exit(error.exit_code)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _silenced():
                ctx.exit(SIGNALED + signal.SIGPIPE)
            if (lacking := _lacking(error)) is None:
                raise
            click.echo(f"sidcurate: {lacking}", err=True)
            _drop_what_cannot_be_printed()
            ctx.exit(MissingResourceError.exit_code)
        except KeyboardInterrupt as interrupt:
            click.echo("sidcurate: interrupted; what was finished is kept", err=True)
            ctx.exit(SIGNALED + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM in, the one as `KeyboardInterrupt`, the other as `Terminated`.

    Whoever starts the program blocks them until its modules are loaded: one that came meanwhile arrives here.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals are handled in the main thread only.
        return
    handler = signal.signal(signal.SIGTERM, _raise_terminated)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _flushed() -> Iterator[None]:
    """Print all before the verb ends: to who reads no more, or a full disk, the interpreter answers with code 120."""
    try:
        yield
    except click.exceptions.Exit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def _silenced() -> bool:
    """Return whether nobody reads what is printed any more, as after `| head`; then it goes nowhere from now on."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _is_cut(stream)]
    for stream in gone:
        _turn_away(stream)
    return bool(gone)


def _drop_what_cannot_be_printed() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _turn_away(sys.stdout)


def _turn_away(stream: TextIO) -> None:
    """Let a stream go nowhere: what is left in its buffer would be complained about when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_cut(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream, 0)
    return bool(poll.poll(0))


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _lacking(error: Exception) -> str | None:
    """Return what this machine lacks by an error, and what to do; None where the error tells of a fault of ours."""
    if package := _broken_package(error):
        return (
            f"{package} is installed, but cannot be loaded ({type(error).__name__}: {error}): install it again, "
            f"`pip install --force-reinstall {package}`"
        )
    if memory.ran_out(error):
        return f"the memory is not enough ({error}); end other programs, then run again"
    if isinstance(error, OSError):
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return f"{said}; free space, permit it, or name another place"
    return None


def _broken_package(error: Exception) -> str | None:
    """Return the package of others that raised an error while it was imported, the innermost; None where none did."""
    known = {"sidcurate", "sidtrain", *sys.stdlib_module_names}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name == "<module>"]
    packages = [str(frame.f_globals["__name__"]).partition(".")[0] for frame in frames]
    return next((package for package in reversed(packages) if package not in known), None)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sidcurate")
def main() -> None:
    """Curate raw pairs of a camera, and fine-tune a See-in-the-Dark network on those that hold up."""
