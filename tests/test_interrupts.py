"""Ctrl-C, SIGTERM and SIGKILL at any time: a clean message, no worker left, nothing half-written."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sidcurate.synthetic.dng import DngTags, write_dng

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted in /proc")

HANGING = """
import sys, time
from tests.test_interrupts import hang
from sidcurate.isolation import crew, map_isolated
with crew(2) as workers:
    list(map_isolated(hang, [sys.argv[1]] * 2, workers))
"""


def hang(folder: str) -> None:
    """Say who works, then never come back; not even a signal handler of Python's runs while native code does."""
    Path(folder, str(os.getpid())).touch()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    while True:
        time.sleep(1)


def group(leader: int) -> set[int]:
    """The living processes of a process group."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = status.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == leader and state != "Z":
                found.add(int(status.parent.name))
    return found


def is_held(number: int, process: int) -> bool:
    """Whether a signal to a process waits until it is let through."""
    (held,) = (line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("SigBlk:"))
    return bool(int(held.split()[1], 16) >> number - 1 & 1)


def until(done, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def start(*command: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        start_new_session=True,
    )


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with two workers that hang."""
    with start("-c", HANGING, tmp_path) as parent:
        until(lambda: len(list(tmp_path.iterdir())) == 2)
        yield parent
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def test_workers_that_hang_die_with_a_parent_that_is_killed(crowd: subprocess.Popen[str]) -> None:
    crowd.kill()
    crowd.wait()
    until(lambda: group(crowd.pid) == set())


def test_a_worker_whose_parent_is_gone_already_does_not_start() -> None:
    orphan = "import os; from sidcurate.isolation import _prepare_worker; _prepare_worker(1 << 33, 1 + os.getppid())"
    assert subprocess.run([sys.executable, "-c", orphan], check=False).returncode == 1


def test_workers_that_are_ended_from_outside_end_the_run_instead_of_costing_rows(
    crowd: subprocess.Popen[str], tmp_path: Path
) -> None:
    for worker in tmp_path.iterdir():
        os.kill(int(worker.name), signal.SIGTERM)
    _, talk = crowd.communicate(timeout=60)
    assert talk.strip().endswith("sidcurate.errors.Terminated")
    until(lambda: group(crowd.pid) == set())


@pytest.fixture(scope="module")
def raws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames under a thousand names: to read them takes longer than to see that they are being read."""
    folder = tmp_path_factory.mktemp("raws")
    pixels = np.random.default_rng(0).integers(500, 4000, (600, 800), np.uint16)
    for number in range(10):
        write_dng(folder / f"IMG_{number:04d}.dng", pixels + np.uint16(number), DngTags())
    for number in range(10, 1000):
        (folder / f"IMG_{number:04d}.dng").hardlink_to(folder / f"IMG_{number % 10:04d}.dng")
    return folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("processes", [1, 2, 3, 4, "working"])
def test_a_signal_to_all_of_an_ingest_ends_it_with_one_line(
    raws: Path, tmp_path: Path, number: int, code: int, processes: int | str
) -> None:
    """It comes as soon as there are so many processes (the last of which is just starting), or while they read."""
    with start("-m", "sidcurate", "ingest", raws, "--manifests", tmp_path, "--device", "cam", "--jobs", 2) as ingest:
        if processes == 1:
            until(lambda: is_held(signal.SIGTERM, ingest.pid))  # Python itself is up, the modules are being loaded.
        elif processes == "working":
            until(lambda: len(list(tmp_path.glob("cam/traces/*"))) > 5)
        else:
            until(lambda: len(group(ingest.pid)) >= processes)
        os.killpg(ingest.pid, number)
        _, talk = ingest.communicate(timeout=60)
    assert ingest.returncode == code
    assert talk == "sidcurate: interrupted; what was finished is kept\n"
    assert not (tmp_path / "cam/SHA256SUMS").exists()
    until(lambda: group(ingest.pid) == set())
