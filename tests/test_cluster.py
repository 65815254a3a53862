"""A real scheduler and its workers on loopback: the manifest of one machine, whatever dies meanwhile."""

import hashlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="the extra cluster is not installed")

from click.testing import CliRunner, Result
from distributed import Client, Worker

from sidcurate import source
from sidcurate.cli import main
from sidcurate.errors import MissingResourceError
from sidcurate.ingest import reading
from sidcurate.ingest.cluster import Waits, joined
from sidcurate.ingest.folder import Ingested, ingest
from sidcurate.ingest.station import Station, Task, fault_here, read
from sidcurate.places.bucket import Bucket
from sidcurate.places.place import Folder
from sidcurate.places.scan import scan
from tests.fuzz import seeds
from tests.object_store import Store, serving
from tests.small_session import write_session

ROOT = Path(__file__).parents[1]
# As at a cluster that gives up a task with its first worker: nothing innocent may get lost by it.
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
    "PYTHONPATH": str(ROOT),
}

# Seconds after which a test has failed; what works takes a few, at a busy machine many.
LONG_S = 120
WAITS = Waits()
WORKER = ROOT / "tests/dask_worker.py"
WITHOUT_US = "import sys; sys.modules['sidcurate'] = None; from distributed.cli.dask_{} import main; main()"


@contextmanager
def process(*command: object, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python program, and whatever it starts, for as long as the block lasts."""
    settings = {**os.environ, **SETTINGS, **environment}
    line = [sys.executable, *map(str, command)]
    running = subprocess.Popen(line, env=settings, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@contextmanager
def scheduler(folder: Path, program: tuple[object, ...] = ("-m", "distributed.cli.dask_scheduler")) -> Iterator[str]:
    """Yield the address of a scheduler."""
    file = folder / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file)
    with process(*program, *options):
        end = time.monotonic() + LONG_S
        while not file.exists() or not file.read_text().endswith("}"):
            assert time.monotonic() < end, "no scheduler came"
            time.sleep(0.01)
        yield json.loads(file.read_text())["address"]


@contextmanager
def worker(
    address: str, folder: Path, nanny: str = "--no-nanny", program: tuple[object, ...] = (WORKER,), **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker with one thread."""
    here = ("--host", "127.0.0.1", "--no-dashboard", "--nthreads", "1", "--local-directory", folder)
    with process(*program, address, *here, nanny, **environment) as running:
        yield running


def wait_for(address: str, count: int) -> None:
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=LONG_S)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with serving() as store:
        yield store


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[str]:
    """A scheduler with two workers, one of them with a nanny."""
    folder = tmp_path_factory.mktemp("cluster")
    with scheduler(folder) as found, worker(found, folder), worker(found, folder, "--nanny"):
        wait_for(found, 2)
        yield found


@pytest.fixture(scope="module")
def raws(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Path:
    """Four scenes and a raw that ends early."""
    folder = tmp_path_factory.mktemp("session")
    write_session(folder, size=(64, 64))
    content = seeds.synthetic()["RGGB.dng"]
    (folder / "raws/torn.dng").write_bytes(content[: len(content) // 2])
    store.put(folder / "raws", "night/cam")
    return folder / "raws"


@pytest.fixture(scope="module")
def here(raws: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What this machine alone makes of them."""
    directory = tmp_path_factory.mktemp("here") / "cam"
    ingest(raws, directory, jobs=1)
    return sums(directory)


def sums(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != source.FILE)
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def spread(place: Path | Bucket, directory: Path, address: str, waits: Waits = WAITS, **how) -> Ingested:
    with joined(address, waits) as cluster:
        return ingest(place, directory, jobs=1, read_captures=cluster.read_captures, **how)


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_a_cluster_makes_the_bytes_of_one_machine(
    raws: Path, here: dict[str, str], address: str, tmp_path: Path, where: str
) -> None:
    place = raws if where == "folder" else Bucket("night", "cam/")
    found = spread(place, tmp_path / "cam", address)
    assert (found.read, len(found.pairs)) == (9, 4)
    assert sums(tmp_path / "cam") == here
    assert spread(place, tmp_path / "cam", address).read == 0
    assert sums(tmp_path / "cam") == here


def test_the_verb_gives_the_engine_and_counts_what_cannot_be_read(
    here: dict[str, str], address: str, store: Store, tmp_path: Path
) -> None:
    done = verb("s3://night/cam", "--manifests", tmp_path, "--engine", "dask", "--scheduler", address)
    assert done.exit_code == 3, done.stderr
    assert "9 raws, 9 of them read now" in done.stdout
    assert sums(tmp_path / "cam") == here


def verb(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["ingest", *map(str, arguments)], catch_exceptions=False)


WITNESS = """
import sys

def look(event, given):
    if event in ("socket.connect", "socket.sendto") and given[1][0] not in ("127.0.0.1", "::1"):
        print("elsewhere:", given[1])
    elif event == "socket.connect":
        print("here:", given[1])

sys.addaudithook(look)
from sidcurate.cli import main
main(sys.argv[1:])
"""


def test_nobody_is_asked_but_the_store_and_the_scheduler(address: str, store: Store, tmp_path: Path) -> None:
    store.put(crowd(tmp_path / "raws", "good", 2), "few/cam")
    line = ("ingest", "s3://few/cam", "--manifests", tmp_path, "--engine", "dask", "--scheduler", address)
    command = [sys.executable, "-c", WITNESS, *map(str, line)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "elsewhere" not in done.stdout
    ports = {int(url.rpartition(":")[2]) for url in (address, store.url)}
    assert {int(port) for port in re.findall(r"here: \('127.0.0.1', (\d+)", done.stdout)} == ports


def crowd(folder: Path, name: str, count: int = 12) -> Path:
    """Raws of the same pixels under names that say what happens to them."""
    folder.mkdir()
    content = seeds.synthetic()["RGGB.dng"]
    for number in range(count):
        (folder / f"{name}{number:02d}.dng").write_bytes(content + bytes(number))
    return folder


def pids(address: str) -> dict[str, int]:
    """The processes of the workers by address."""
    with Client(address, set_as_default=False) as client:
        return client.run(os.getpid)


def test_a_worker_that_is_killed_costs_no_row(address: str, tmp_path: Path) -> None:
    folder = crowd(tmp_path / "raws", "slow")
    ingest(folder, tmp_path / "one/cam", jobs=1)
    before = pids(address)
    with worker(address, tmp_path / "third"):
        wait_for(address, 3)
        ((victim, pid),) = pids(address).items() - before.items()

        def kill(stage: str, done: int, total: int) -> None:
            if (stage, done) == ("reading raws", 3):
                os.kill(pid, signal.SIGKILL)

        assert spread(folder, tmp_path / "cam", address, progress=kill).unreadable == []
    assert victim not in pids(address)
    assert sums(tmp_path / "cam") == sums(tmp_path / "one/cam")


def test_a_raw_that_kills_what_reads_it_costs_its_own_row_and_no_worker(address: str, tmp_path: Path) -> None:
    folder = crowd(tmp_path / "raws", "good")
    (folder / "good05.dng").rename(folder / "killer.dng")
    before = pids(address)
    found = spread(folder, tmp_path / "cam", address)
    reasons = {row.path: (row.sha256, row.status_reason) for row in found.unreadable}
    assert reasons == {"killer.dng": (None, "the reader crashed (SIGSEGV)")}
    assert found.captures.records()[-1].exposure_time_s is not None, "its header was read all the same"
    assert pids(address) == before


def test_what_the_cluster_loses_again_and_again_costs_one_row(address: str, tmp_path: Path) -> None:
    folder = crowd(tmp_path / "raws", "good", 2)
    (folder / "good00.dng").rename(folder / "cursed.dng")
    found = spread(folder, tmp_path / "cam", address)
    reasons = {row.path: (row.sha256, row.status_reason) for row in found.unreadable}
    assert reasons == {"cursed.dng": (None, "the cluster lost it 3 times (RuntimeError: out of luck)")}


def test_a_store_that_fails_a_worker_costs_one_row(
    store: Store, address: str, here: dict[str, str], tmp_path: Path
) -> None:
    refused = (403, "AccessDenied", "Access Denied")
    store.spoil("/night/cam/torn.dng", [refused] * 9)
    found = spread(Bucket("night", "cam/"), tmp_path / "cam", address)
    assert [row.status_reason for row in found.unreadable] == [
        "the store did not give it (AccessDenied: Access Denied); ingest again"
    ]
    store.faults.clear()
    assert spread(Bucket("night", "cam/"), tmp_path / "cam", address).read == 1
    assert sums(tmp_path / "cam") == here


def left_at(dask_worker: Worker) -> int:
    """How much of our runs is at a worker: what keeps processes, and those that decode."""
    children = multiprocessing.active_children()
    return len(children) + sum(name.startswith("sidcurate") for name in dask_worker.plugins)


def test_a_run_leaves_nothing_at_the_workers(address: str, tmp_path: Path) -> None:
    folder = crowd(tmp_path / "raws", "slow", 16)
    line = [
        "ingest",
        folder,
        "--manifests",
        tmp_path / "m",
        "--device",
        "cam",
        "--engine",
        "dask",
        "--scheduler",
        address,
    ]
    with process("-m", "sidcurate", *line) as running:
        journal = tmp_path / "m/cam/.unfinished.jsonl"
        end = time.monotonic() + LONG_S
        while not (journal.exists() and journal.stat().st_size):
            assert time.monotonic() < end, "it read nothing"
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        assert running.wait(LONG_S) == 130
    with Client(address, set_as_default=False) as client:
        while max(client.run(left_at).values()):
            assert time.monotonic() < end + LONG_S, "something of the run is left"
            time.sleep(0.05)
    assert 0 < spread(folder, tmp_path / "m/cam", address).read < 16


def test_a_worker_that_reads_otherwise_is_named(address: str, raws: Path, tmp_path: Path) -> None:
    with worker(address, tmp_path / "other", OTHER_READER="1"):
        wait_for(address, 3)
        with pytest.raises(
            MissingResourceError, match=r"the worker tcp://\S+ reads otherwise .*install the same sidcurate"
        ):
            spread(raws, tmp_path / "cam", address)
    assert not (tmp_path / "cam/SHA256SUMS").exists()


def test_a_worker_that_joins_later_and_reads_otherwise_ends_the_run_too(address: str, raws: Path) -> None:
    file = scan(raws).raws[0]
    with Client(address, set_as_default=False) as client:
        client.register_plugin(Station(Folder(raws), "another reader"), name="sidcurate-other")
        task = Task("sidcurate-other", Folder(raws), file, "cam", keeps_trace=False)
        with pytest.raises(MissingResourceError, match=r"the worker reads otherwise .* \(at tcp://127"):
            client.submit(read, task).result(timeout=LONG_S)
        client.unregister_worker_plugin("sidcurate-other")


def test_a_worker_without_this_package_is_named(address: str, raws: Path, tmp_path: Path) -> None:
    with worker(address, tmp_path / "other", program=("-c", WITHOUT_US.format("worker"))):
        wait_for(address, 3)
        with pytest.raises(
            MissingResourceError, match=r"the worker tcp://\S+ cannot run sidcurate .*install sidcurate"
        ):
            spread(raws, tmp_path / "cam", address)


def test_a_worker_that_may_start_no_process_is_told_how(address: str, raws: Path, tmp_path: Path) -> None:
    with worker(address, tmp_path / "other", "--nanny", DASK_DISTRIBUTED__WORKER__DAEMON="True"):
        wait_for(address, 3)
        with pytest.raises(MissingResourceError, match="start it with DASK_DISTRIBUTED__WORKER__DAEMON=False"):
            spread(raws, tmp_path / "cam", address)


def test_a_scheduler_without_this_package_is_said(raws: Path, tmp_path: Path) -> None:
    with scheduler(tmp_path, ("-c", WITHOUT_US.format("scheduler"))) as own, worker(own, tmp_path):
        wait_for(own, 1)
        with pytest.raises(MissingResourceError, match=r"the scheduler cannot run sidcurate .*install sidcurate"):
            spread(raws, tmp_path / "cam", own)


def test_a_cluster_without_workers_or_scheduler_ends_the_run_which_goes_on_with_others(
    address: str, tmp_path: Path
) -> None:
    folder = crowd(tmp_path / "raws", "slow", 8)
    (tmp_path / "own").mkdir()
    with scheduler(tmp_path / "own") as own, worker(own, tmp_path) as only:
        wait_for(own, 1)

        def kill(stage: str, done: int, total: int | None) -> None:
            if (stage, done) == ("reading raws", 3):
                only.kill()

        with pytest.raises(MissingResourceError, match=r"no workers for 0\.5 s; start some with `dask worker`"):
            spread(folder, tmp_path / "cam", own, Waits(workers_s=0.5), progress=kill)
        with pytest.raises(MissingResourceError, match=r"no workers for 0\.5 s"):
            spread(folder, tmp_path / "cam", own, Waits(workers_s=0.5))
    assert 0 < spread(folder, tmp_path / "cam", address).read <= 5


def test_a_worker_that_stands_still_ends_the_run_which_goes_on_without_it(address: str, tmp_path: Path) -> None:
    folder = crowd(tmp_path / "raws", "slow")
    (tmp_path / "own").mkdir()
    with scheduler(tmp_path / "own") as own, worker(own, tmp_path), worker(own, tmp_path):
        wait_for(own, 2)
        frozen, pid = min(pids(own).items())

        def freeze(stage: str, done: int, total: int) -> None:
            """Once something has come back, for that may take long, and from then on have little patience."""
            if (stage, done) == ("reading raws", 1):
                os.kill(pid, signal.SIGSTOP)
                cluster._waits = Waits(answer_s=2, silence_s=4)

        words = rf"nothing has come back from .*{frozen}.* for 4 s, .* then ingest again"
        with pytest.raises(MissingResourceError, match=words), joined(own) as cluster:
            ingest(folder, tmp_path / "cam", jobs=1, read_captures=cluster.read_captures, progress=freeze)
        with pytest.raises(MissingResourceError, match=rf"{frozen}.* does not answer: .* end or restart it"):
            spread(folder, tmp_path / "cam", own, Waits(answer_s=2))
        os.kill(pid, signal.SIGKILL)
        with Client(own, set_as_default=False) as client:
            end = time.monotonic() + LONG_S
            while frozen in client.nthreads():
                assert time.monotonic() < end, "the scheduler does not notice"
        left = spread(folder, tmp_path / "cam", own).read
    assert 0 < left < 12, "the other worker went on"


def test_a_worker_that_lives_and_brings_nothing_is_named(tmp_path: Path) -> None:
    folder = crowd(tmp_path / "raws", "stuck", 1)
    with scheduler(tmp_path) as own, worker(own, tmp_path):
        wait_for(own, 1)
        (address,) = pids(own)
        with pytest.raises(MissingResourceError, match=rf"nothing has come back from {address} for 2 s"):
            spread(folder, tmp_path / "cam", own, Waits(silence_s=2))


@pytest.mark.parametrize(("when", "count"), [("listing raws", 8), ("reading raws", 3)])
def test_a_scheduler_that_goes_away_ends_the_run(tmp_path: Path, when: str, count: int) -> None:
    folder = crowd(tmp_path / "raws", "slow", 8)
    with scheduler(tmp_path) as own, worker(own, tmp_path):
        wait_for(own, 1)
        with Client(own, set_as_default=False) as client:
            pid = client.run_on_scheduler(os.getpid)

        def kill(stage: str, done: int, total: int | None) -> None:
            if (stage, done, total) == (when, count, 8):
                os.kill(pid, signal.SIGKILL)

        with pytest.raises(MissingResourceError, match="the scheduler of Dask went away"):
            spread(folder, tmp_path / "cam", own, progress=kill)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "dask"), "--engine dask and --scheduler ADDRESS go together"),
        (("--scheduler", "tcp://127.0.0.1:9"), "--engine dask and --scheduler ADDRESS go together"),
        (
            ("--engine", "dask", "--scheduler", "tcp://127.0.0.1:9", "--shard", "1/2"),
            "leave --shard and --headers-only out",
        ),
        (
            ("--engine", "dask", "--scheduler", "tcp://127.0.0.1:9", "--headers-only"),
            "leave --shard and --headers-only",
        ),
        (("--engine", "dask", "--scheduler", "here and there"), "'here and there' is no address of a scheduler"),
    ],
)
def test_an_engine_that_cannot_be_is_a_message(
    raws: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    done = verb(raws, "--manifests", tmp_path / "m", *options)
    assert (done.exit_code, words in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "m").exists()


def test_a_scheduler_that_is_not_there_is_said_with_what_to_start() -> None:
    words = "no scheduler of Dask answers at tcp://127.0.0.1:9 .*start one with `dask scheduler`"
    with pytest.raises(MissingResourceError, match=words), joined("tcp://127.0.0.1:9", Waits(connect_s=0.2)):
        pass


def test_a_worker_that_does_not_see_the_folder_is_told(tmp_path: Path) -> None:
    assert fault_here(Folder(tmp_path), reading.reader()) is None
    words = "mount it there under the same path"
    assert words in (fault_here(Folder(tmp_path / "not mounted"), reading.reader()) or "")


def test_without_the_extra_the_verb_says_what_to_install(raws: Path, tmp_path: Path) -> None:
    program = "import sys; sys.modules['distributed'] = None; from sidcurate.cli import main; main(sys.argv[1:])"
    options = ("--manifests", tmp_path, "--engine", "dask", "--scheduler", "tcp://127.0.0.1:9")
    line = [sys.executable, "-c", program, "ingest", *map(str, (raws, *options))]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 4
    assert "pip install 'sidcurate[cluster]'" in done.stderr
