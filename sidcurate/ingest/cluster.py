"""Raws read by the workers of a Dask cluster.

No raw kills a worker of the cluster: it is decoded in a process beside it (see `station`). So whatever was lost with a
worker is innocent, and is given out again. A row comes back with its trace; who collects them holds one at a time.

A worker that stands still is given up by the scheduler itself (`worker-ttl`: within 10 minutes, where nobody has set it
otherwise), and what it had goes to others. What nobody gives up, `Waits` does.
"""

import logging
import queue
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Future
from distributed.comm.core import CommClosedError

from sidcurate import __version__
from sidcurate.errors import MissingResourceError, SidcurateError, UsageError
from sidcurate.ingest import reading, station
from sidcurate.ingest.station import Read, Station, Task
from sidcurate.pairs import traces
from sidcurate.places.place import Folder, Place
from sidcurate.places.scan import RawFile
from sidcurate.schemas import Capture
from sidcurate.storage.durable import write_whole

_ADDRESS = re.compile(r"(tcp|tls)://[^\s/]+:\d+")
_LOOK_EVERY_S = 1.0
_TASKS_A_THREAD = 4
_MOST_LOSSES = 3
_AGAIN = "then ingest again: what was read is kept"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Waits:
    """How long to wait: for the scheduler, while there are no workers, for what all of them are asked, for a raw.

    `silence_s` counts while nothing at all comes back. It is more than a raw may take (600 s from a bucket), and more
    than the scheduler takes to give up a worker that it hears nothing of.
    """

    connect_s: float = 10.0
    workers_s: float = 60.0
    answer_s: float = 60.0
    silence_s: float = 900.0


@contextmanager
def joined(scheduler: str, waits: Waits = Waits()) -> Iterator["Cluster"]:
    """Yield the cluster of a scheduler.

    Args:
        scheduler: its address, such as tcp://10.0.0.1:8786.
        waits: how long to wait, and for what.

    Raises:
        UsageError: that is no address.
        MissingResourceError: no scheduler answers there.
    """
    if not _ADDRESS.fullmatch(scheduler):
        raise UsageError(f"{scheduler!r} is no address of a scheduler; write it like tcp://10.0.0.1:8786")
    # What it says of lost connections would stand between our own lines; what is lost for good is an error of ours.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(scheduler, timeout=waits.connect_s, set_as_default=False)
    except OSError as error:
        raise MissingResourceError(
            f"no scheduler of Dask answers at {scheduler} ({error}); start one with `dask scheduler`, and its workers "
            "with `dask worker`, or mend --scheduler"
        ) from error
    with client:
        cluster = Cluster(client, waits)
        try:
            yield cluster
        finally:
            cluster.leave()


class Cluster:
    """Reads raws on the workers of a scheduler."""

    def __init__(self, client: Client, waits: Waits) -> None:
        self._client = client
        self._waits = waits
        self._looked_at, self._threads = 0.0, 0
        self._stations: list[str] = []

    def read_captures(
        self, place: Place, files: Sequence[RawFile], device: str, manifest: Path | None = None
    ) -> Iterator[tuple[RawFile, Capture]]:
        """Yield each file with its capture, as they come.

        Args:
            place: where the files are; a folder must stand under the same path at every worker.
            files: what to read.
            device: slug of the camera.
            manifest: folder of the manifest, beside which the traces are kept; none are without.

        Raises:
            MissingResourceError: there are no workers, one cannot read what is asked or brings nothing, a trace cannot
                be written, or the scheduler goes away.
        """
        if not files:
            return
        place = Folder(Path(place.name)) if isinstance(place, Folder) else place
        self._check_workers(place)
        name = f"sidcurate-{secrets.token_hex(4)}"
        self._stations.append(name)
        self._asked(lambda: self._client.register_plugin(Station(place, reading.reader()), name=name))
        for task, read in self._results(Task(name, place, file, device, manifest is not None) for file in files):
            if read.trace is not None and manifest is not None:
                write_whole(traces.path(manifest, read.capture.sha256 or ""), read.trace)
            yield task.file, read.capture

    def leave(self) -> None:
        """Leave nothing at the workers."""
        while self._stations and self._client.status == "running":
            with suppress(MissingResourceError):  # Who does not answer, or has gone away, has nothing to leave.
                self._asked(partial(self._client.unregister_worker_plugin, self._stations.pop()))

    def _check_workers(self, place: Place) -> None:
        try:
            with self._talking():
                self._client.run_on_scheduler(reading.reader)
        except MissingResourceError:
            raise
        except Exception as error:  # whatever comes back from there
            raise _without_us("the scheduler", error) from error
        since = time.monotonic()
        while not self._has_workers(since):
            time.sleep(_LOOK_EVERY_S / 10)
        ask = partial(self._client.run, station.fault_here, place, reading.reader(), on_error="return")
        for worker, fault in self._asked(ask).items():
            if isinstance(fault, OSError):
                raise _no_answer([worker]) from fault
            if isinstance(fault, Exception):
                raise _without_us(f"the worker {worker}", fault) from fault
            if fault is not None:
                raise MissingResourceError(f"the worker {worker} {fault}; {_AGAIN}")

    def _results(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Read]]:
        """Yield each task with its result; one that was lost is given out again."""
        done: queue.SimpleQueue[Future[Read]] = queue.SimpleQueue()
        running: dict[Future[Read], Task] = {}
        losses: Counter[Task] = Counter()
        try:
            while True:
                for task in islice(tasks, max(0, self._most_at_once() - len(running))):
                    self._give_out(task, running, done)
                if not running:
                    return
                future = self._next(done, running)
                task = running.pop(future)
                read = self._outcome(future)
                if isinstance(read, Read):
                    yield task, read
                    continue
                losses[task] += 1
                if losses[task] < _MOST_LOSSES:
                    self._give_out(task, running, done)
                else:
                    yield task, Read(reading.unread(task.place, task.file, task.device, read))
        finally:
            if self._client.status == "running":
                with self._talking():
                    self._client.cancel(list(running))

    def _give_out(
        self, task: Task, running: "dict[Future[Read], Task]", done: "queue.SimpleQueue[Future[Read]]"
    ) -> None:
        key = f"{task.station}-{secrets.token_hex(8)}"
        with self._talking():
            future = self._client.submit(station.read, task, key=key, pure=False)
        running[future] = task
        future.add_done_callback(done.put)

    def _next(self, done: "queue.SimpleQueue[Future[Read]]", running: "dict[Future[Read], Task]") -> "Future[Read]":
        """Return what is done next; wait no longer than there is somebody to do it, who may be doing it."""
        begun = since = time.monotonic()
        while True:
            try:
                return done.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                since = time.monotonic() if self._has_workers(since) else since
            if time.monotonic() - begun > self._waits.silence_s:
                raise self._silence({future.key for future in running})

    def _silence(self, keys: set[Any]) -> MissingResourceError:
        """Return who has some tasks and brings none of them back."""
        with self._talking():
            holders = [worker for worker, theirs in self._client.processing().items() if keys.intersection(theirs)]
        who = ", ".join(sorted(holders)) or "the cluster (no worker took anything)"
        return MissingResourceError(
            f"nothing has come back from {who} for {self._waits.silence_s:g} s, longer than a raw may take; see the "
            f"log there, end or restart what stands still, {_AGAIN}"
        )

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        """Return what all workers answer; the client would wait for ever for one that stands still.

        Raises:
            MissingResourceError: one does not answer, or the scheduler goes away.
        """
        answer: futures.Future[Answer] = futures.Future()
        since = time.monotonic()
        threading.Thread(target=_answer, args=(answer, ask), daemon=True).start()
        with self._talking():
            try:
                return answer.result(self._waits.answer_s)
            except TimeoutError as error:
                raise _no_answer(self._unheard_for(time.monotonic() - since)) from error
            except OSError as error:
                raise _no_answer([f"a worker ({error})"]) from error

    def _unheard_for(self, seconds: float) -> list[str]:
        """Return the workers that the scheduler has not heard of for some time."""
        now = self._client.run_on_scheduler(time.time)
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return [address for address, worker in workers.items() if now - worker["last_seen"] > seconds]

    def _outcome(self, future: "Future[Read]") -> Read | str:
        """Return a result, or in words how it was lost."""
        try:
            return future.result(timeout=self._waits.answer_s)
        except SidcurateError:
            raise
        except futures.CancelledError as error:
            raise _went_away() from error
        except Exception as error:  # noqa: BLE001 - of a worker that is lost anything may come back
            return f"the cluster lost it {_MOST_LOSSES} times ({type(error).__name__}: {error})"

    def _most_at_once(self) -> int:
        if time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._look()
        return _TASKS_A_THREAD * max(self._threads, 1)

    def _has_workers(self, since: float) -> bool:
        """Return whether there are any.

        Raises:
            MissingResourceError: there have been none for too long.
        """
        self._look()
        patience_s = self._waits.workers_s
        if not self._threads and time.monotonic() - since > patience_s:
            raise MissingResourceError(
                f"the scheduler has had no workers for {patience_s:g} s; start some with `dask worker`, {_AGAIN}"
            )
        return self._threads > 0

    def _look(self) -> None:
        with self._talking():
            self._threads = sum(self._client.nthreads().values())
        self._looked_at = time.monotonic()

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Turn whatever talk with a scheduler that is not there ends in into an error of ours.

        The client would try to find it again; but it has given up its tasks with the first break of the line.
        """
        if self._client.status != "running":
            raise _went_away()
        try:
            yield
        except Exception as error:
            if self._client.status == "running" and not isinstance(error, OSError | CommClosedError):
                raise
            raise _went_away() from error


def _went_away() -> MissingResourceError:
    return MissingResourceError(f"the scheduler of Dask went away; start it again, {_AGAIN}")


def _answer(answer: "futures.Future[Answer]", ask: Callable[[], Answer]) -> None:
    try:
        answer.set_result(ask())
    except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
        answer.set_exception(error)


def _no_answer(workers: Sequence[str]) -> MissingResourceError:
    who = ", ".join(sorted(workers)) or "a worker"
    return MissingResourceError(
        f"{who} does not answer: it stands still, or the line to it is cut; end or restart it, {_AGAIN}"
    )


def _without_us(who: str, error: Exception) -> MissingResourceError:
    return MissingResourceError(
        f"{who} cannot run sidcurate ({error!r}): install sidcurate {__version__} there; {_AGAIN}"
    )
