"""Run one function over many items in worker processes that may crash, hang or eat memory without harm to the rest.

LibRaw is native code fed with foreign files. A worker that dies costs its own item; pebble starts another one.
"""

import ctypes
import itertools
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import multiprocessing.resource_tracker
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool
from pebble.pool.process import PoolManager

from sidcurate import cores, memory
from sidcurate.errors import MissingResourceError, SidcurateError, Terminated

# Of <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_LONGEST_REASON = 300
# So many starts for each worker, and nothing came of any: the next ones will end the same way.
_MOST_STARTS = 3
_LOOKED_AFTER_S = 1.0

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why an item has no result, in words."""

    reason: str


class _Worker(multiprocessing.context.SpawnProcess):
    """Computes by one thread: the files are the parallelism."""

    def start(self) -> None:
        # Libraries read this as they are loaded, and a worker first loads those of the script that started it.
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"
        try:
            super().start()
        finally:
            del os.environ["OMP_NUM_THREADS"]
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before


class _Recruiting(multiprocessing.context.SpawnContext):
    """Starts workers, and counts the starts since an item last came back: pebble replaces the dead without end.

    Spawned, because forking a process that runs OpenMP can deadlock.
    """

    in_vain = 0

    def Process(  # type: ignore[override]  # noqa: N802 - the name that multiprocessing asks for
        self,
        target: Callable[..., None],
        name: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> multiprocessing.context.SpawnProcess:
        """Return a new worker."""
        self.in_vain += 1
        return _Worker(None, target, name, args, kwargs)


class _Manager(PoolManager):
    """Gives the death of a worker to the item that it had taken, even where its word that it takes it is read later.

    Pebble takes a death without an item for the end of all workers. That of one between two items costs nothing.
    """

    def __init__(self, context: Any, recruiting: _Recruiting) -> None:  # noqa: ANN401 - a type of pebble's own
        super().__init__(context, recruiting)
        self._unclaimed: list[tuple[int, int]] = []

    def update_workers(self) -> None:
        # The system may give the number of a dead worker to a new one.
        unclaimed = [death for death in self._unclaimed if death[0] not in self.worker_manager.workers]
        self._unclaimed = []
        for death in unclaimed:
            self.handle_worker_expiration(death)
        super().update_workers()  # type: ignore[no-untyped-call]

    def handle_worker_expiration(self, expiration: tuple[int, int]) -> None:
        try:
            self.find_expired_task(expiration[0])
        except (LookupError, BrokenProcessPool):
            self._unclaimed.append(expiration)
        else:
            super().handle_worker_expiration(expiration)


class _Pool(ProcessPool):
    """Ends its workers at once: one that is still starting would complain that the pool has closed its channel."""

    def __init__(self, count: int, recruiting: _Recruiting, limits: tuple[int, int]) -> None:
        super().__init__(count, initializer=_prepare_worker, initargs=limits)
        self._pool_manager = _Manager(self._context, recruiting)

    def _stop_pool(self) -> None:
        if self._pool_manager_loop is not None:
            self._pool_manager_loop.join()  # Once it is gone nobody starts another worker.
        for worker in self._pool_manager.worker_manager.workers.values():
            worker.kill()
        super()._stop_pool()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Crew:
    """Worker processes, started when the first item comes and kept for all that follow."""

    pool: ProcessPool
    count: int
    recruiting: _Recruiting


@contextmanager
def crew(jobs: int | None = None, memory_bytes: int = 8 << 30) -> Iterator[Crew]:
    """Yield workers for any number of calls of `map_isolated`: to start one costs about a second.

    The workers end with this process, however that ends; on Linux also with the thread that gives the first item.

    Args:
        jobs: worker processes; one a core of this process by default.
        memory_bytes: address space that a worker may use, at most that of this process; an allocation beyond it fails
            inside the worker.
    """
    count = jobs or cores.allotted()
    recruiting, limits = _Recruiting(), (memory_bytes, os.getpid())
    pool = _Pool(count, recruiting, limits)
    try:
        yield Crew(pool, count, recruiting)
        pool.close()  # type: ignore[no-untyped-call]
    except BaseException:
        pool.stop()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.join()


def map_isolated(
    function: Callable[[Item], Result], items: Iterable[Item], workers: Crew, timeout_s: float = 120.0
) -> Iterator[tuple[Item, Result | Failure]]:
    """Yield each item with its result, as they come: one that takes its time keeps none of the others waiting.

    Args:
        function: importable by name.
        items: what to work on; read as far ahead as keeps the workers busy, no further.
        workers: who works.
        timeout_s: a worker that takes longer over one item is killed.

    Raises:
        MissingResourceError: workers end before they do anything.
    """
    remaining = iter(items)
    running: dict[Future[Any], Item] = {}
    try:
        while True:
            for item in itertools.islice(remaining, 4 * workers.count - len(running)):
                with _held_interrupts():
                    running[_scheduled(function, item, workers, timeout_s)] = item
            if not running:
                return
            future = _first_done(running, workers)
            yield running.pop(future), _outcome(future, timeout_s)
    finally:
        for future in running:
            future.cancel()


def _scheduled(function: Callable[[Item], Result], item: Item, workers: Crew, timeout_s: float) -> Future[Result]:
    try:
        future: Future[Result] = workers.pool.schedule(function, (item,), timeout=timeout_s)
    except RuntimeError as error:  # The pool has given up, or this is itself a worker that runs a script again.
        raise _without_workers() from error
    future.add_done_callback(lambda _: setattr(workers.recruiting, "in_vain", 0))
    return future


def _first_done(running: Iterable[Future[Any]], workers: Crew) -> Future[Any]:
    """Return an item that is done, the one that was given out first; wait as long as workers may bring one."""
    while not (done := wait(running, _LOOKED_AFTER_S, FIRST_COMPLETED).done):
        if workers.recruiting.in_vain > _MOST_STARTS * workers.count:
            raise _without_workers()
    return next(future for future in running if future in done)


def _without_workers() -> MissingResourceError:
    return MissingResourceError(
        "the worker processes end before they do anything. Each first runs the script that started it: that must be a "
        'file, and do its work below `if __name__ == "__main__":`. If it does, memory may be short, or something kills '
        "them: run again with --jobs 1"
    )


@contextmanager
def _held_interrupts() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM for the end of the block.

    The first item starts the workers. An interrupt between two of them would leave one without its orders; and they
    inherit the mask, so that a Ctrl-C, which the terminal sends to them too, does not reach one that is still starting.
    """
    multiprocessing.resource_tracker.ensure_running()  # Started within the block, it would lift the mask.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _outcome(future: Future[Result], timeout_s: float) -> Result | Failure:
    try:
        return future.result()
    except FutureTimeoutError:
        return Failure(f"the reader took longer than {timeout_s:g} s and was stopped")
    except BrokenProcessPool as error:
        raise _without_workers() from error
    except ProcessExpired as error:
        if error.exitcode == -signal.SIGTERM:  # No file does that: somebody is ending this run, workers first.
            raise Terminated from error
        return Failure(f"the reader crashed ({_exit_in_words(error.exitcode)})")
    except MemoryError:
        return Failure("the reader ran out of the memory that it is allowed")
    except SidcurateError:
        raise
    except Exception as error:  # noqa: BLE001 - foreign files make the readers raise anything; the reason is kept
        return Failure(f"the reader failed ({type(error).__name__}: {error})"[:_LONGEST_REASON])


def _exit_in_words(exitcode: int) -> str:
    return signal.Signals(-exitcode).name if exitcode < 0 else f"exit status {exitcode}"


def _prepare_worker(memory_bytes: int, parent: int) -> None:
    _end_with(parent)
    # LibRaw writes to stderr what it raises too; between the parent's lines it would only confuse.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    memory.keep_freed()
    # Of a header that counts seconds (CRW) LibRaw would say another hour in each zone; the camera's clock knows none.
    os.environ["TZ"] = "UTC"
    time.tzset()
    _limit_memory(memory_bytes)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # A crash would drop a core where the person stands: the raws.
    # Ctrl-C is the parent's to handle and stays blocked. SIGTERM ends a worker that is busy in native code at once only
    # when no handler of Python's waits for that code to return.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _limit_memory(most_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:  # A batch system allows less already, and nobody may raise that.
        most_bytes = min(most_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


def _end_with(parent: int) -> None:
    """See to it that this process ends when its parent does, even while native code runs for ever.

    Raises:
        OSError: the kernel refuses.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=_wait_for_the_end_of_the_parent, daemon=True).start()
    if os.getppid() != parent:  # It died before it could be watched.
        os._exit(1)


def _wait_for_the_end_of_the_parent() -> None:
    if parent := multiprocessing.parent_process():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
