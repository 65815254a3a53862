"""Run one function over many items in worker processes that may crash, hang or eat memory without harm to the rest.

LibRaw is native code fed with foreign files. A worker that dies costs its own item; pebble starts another one.
"""

import collections
import itertools
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from sidcurate.errors import SidcurateError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why an item has no result, in words."""

    reason: str


@dataclass(frozen=True)
class Crew:
    """Worker processes, started when the first item comes and kept for all that follow."""

    pool: ProcessPool
    count: int


@contextmanager
def crew(jobs: int | None = None, memory_bytes: int = 8 << 30) -> Iterator[Crew]:
    """Yield workers for any number of calls of `map_isolated`: to start one costs about a second.

    Args:
        jobs: worker processes; one a core by default.
        memory_bytes: address space that a worker may use; an allocation beyond it fails inside the worker.
    """
    count = jobs or os.cpu_count() or 1
    # Spawned, because forking a process that runs OpenMP can deadlock.
    context = multiprocessing.get_context("spawn")
    with ProcessPool(count, context=context, initializer=_prepare_worker, initargs=(memory_bytes,)) as pool:
        yield Crew(pool, count)


def map_isolated(
    function: Callable[[Item], Result], items: Iterable[Item], workers: Crew, timeout_s: float = 120.0
) -> Iterator[tuple[Item, Result | Failure]]:
    """Yield each item with its result, in the order of the items.

    Args:
        function: importable by name.
        items: what to work on; read as far ahead as keeps the workers busy, no further.
        workers: who works.
        timeout_s: a worker that takes longer over one item is killed.
    """
    remaining = iter(items)
    running: collections.deque[tuple[Item, Future[Any]]] = collections.deque()
    try:
        while True:
            for item in itertools.islice(remaining, 4 * workers.count - len(running)):
                running.append((item, workers.pool.schedule(function, (item,), timeout=timeout_s)))
            if not running:
                return
            item, future = running.popleft()
            yield item, _outcome(future, timeout_s)
    finally:
        for _, future in running:
            future.cancel()


def _outcome(future: Future[Result], timeout_s: float) -> Result | Failure:
    try:
        return future.result()
    except FutureTimeoutError:
        return Failure(f"the reader took longer than {timeout_s:g} s and was stopped")
    except ProcessExpired as error:
        return Failure(f"the reader crashed ({_exit_in_words(error.exitcode)})")
    except MemoryError:
        return Failure("the reader ran out of the memory that it is allowed")
    except SidcurateError:
        raise
    except Exception as error:  # noqa: BLE001 - foreign files make the readers raise anything; the reason is kept
        return Failure(f"the reader failed ({type(error).__name__}: {error})")


def _exit_in_words(exitcode: int) -> str:
    return signal.Signals(-exitcode).name if exitcode < 0 else f"exit status {exitcode}"


def _prepare_worker(memory_bytes: int) -> None:
    # One thread a process: the files are the parallelism. Ctrl-C is the parent's to handle. LibRaw writes to stderr
    # what it raises too; between the parent's lines it would only confuse.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
