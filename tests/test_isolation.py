"""A worker may crash, hang or eat memory: the other items come through."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pebble.pool.process import PoolManager

from sidcurate.isolation import Failure, crew, map_isolated


def misbehave(how: str) -> str:
    if how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        os._exit(7)
    if how == "hang":
        time.sleep(60)
    if how == "raise":
        raise NotImplementedError("filters: 4")
    if how == "memory":
        np.ones(1 << 34, np.uint8)
    return how.upper()


def process_id(nothing: int) -> int:
    return os.getpid()


def test_each_kind_of_death_costs_one_item() -> None:
    items = ["a", "segfault", "b", "exit", "c", "hang", "d", "memory", "e", "raise"]
    with crew(2, memory_bytes=6 << 30) as workers:
        results = dict(map_isolated(misbehave, items, workers, timeout_s=3))
    assert set(results) == set(items)
    assert {item: results[item] for item in "abcde"} == {item: item.upper() for item in "abcde"}
    reasons = {item: result.reason for item, result in results.items() if isinstance(result, Failure)}
    assert reasons == {
        "segfault": "the reader crashed (SIGSEGV)",
        "exit": "the reader crashed (exit status 7)",
        "hang": "the reader took longer than 3 s and was stopped",
        "raise": "the reader failed (NotImplementedError: filters: 4)",
        "memory": "the reader ran out of the memory that it is allowed",
    }


def wait_for(mark: Path | str) -> bool:
    """Return at once, but for the one item that names a file: when that is there."""
    while isinstance(mark, Path) and not mark.exists():
        time.sleep(0.01)
    return isinstance(mark, Path)


def test_an_item_that_takes_its_time_keeps_none_of_the_others_waiting(tmp_path: Path) -> None:
    others = [str(number) for number in range(30)]
    with crew(2) as workers:
        results = map_isolated(wait_for, [tmp_path / "done", *others], workers)
        assert [next(results) for _ in others] == [(other, False) for other in others]
        (tmp_path / "done").touch()
        assert list(results) == [(tmp_path / "done", True)]


def test_items_are_read_only_as_far_ahead_as_keeps_the_workers_busy() -> None:
    taken = []
    items = (taken.append(number) or str(number) for number in range(1000))
    with crew(1) as workers:
        stream = map_isolated(misbehave, items, workers)
        next(stream)
        stream.close()
    assert len(taken) <= 8


WORK = """
from sidcurate.isolation import crew, map_isolated
with crew(4) as workers:
    print(*sorted(result for _, result in map_isolated(abs, [-1, -2], workers)))
"""
GUARDED = "if __name__ == '__main__':" + WORK.replace("\n", "\n    ")
LEAVES = "import os, sys\nif 'AGAIN' in os.environ: sys.exit(0)\nos.environ['AGAIN'] = 'yes'\n" + GUARDED


def run_script(path: Path, script: str) -> subprocess.CompletedProcess[str]:
    path.write_text(script)
    return subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("script", [WORK, LEAVES], ids=["works-in-every-worker", "leaves-in-every-worker"])
def test_a_crew_whose_workers_never_come_to_work_gives_up_and_says_why(tmp_path: Path, script: str) -> None:
    ended = run_script(tmp_path / "script.py", script)
    assert ended.returncode == 1
    assert "MissingResourceError: the worker processes end before they do anything" in ended.stderr
    assert ended.stdout == ""


def test_a_script_that_keeps_its_work_to_itself_has_its_results(tmp_path: Path) -> None:
    ended = run_script(tmp_path / "script.py", GUARDED)
    assert (ended.returncode, ended.stdout) == (0, "1 2\n"), ended.stderr
    assert ended.stderr == "", "a worker that is still starting when the work is done says nothing of it"


def test_the_end_of_a_crew_leaves_the_workers_of_another_alone() -> None:
    with crew(1) as lasting:
        ((_, before),) = map_isolated(process_id, [0], lasting)
        with crew(1) as passing:
            ((_, other),) = map_isolated(process_id, [0], passing)
        ((_, after),) = map_isolated(process_id, [0], lasting)
    assert before == after != other


def test_a_crew_outlives_more_deaths_in_a_row_than_it_has_workers() -> None:
    with crew(1) as workers:
        results = [result for _, result in map_isolated(misbehave, ["exit"] * 8 + ["a"], workers)]
    assert results == [Failure("the reader crashed (exit status 7)")] * 8 + ["A"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="who waits is told by /proc")
def test_a_worker_that_is_killed_while_it_waits_costs_nothing() -> None:
    with crew(2) as workers:
        before = {process for _, process in map_isolated(process_id, range(20), workers)}
        time.sleep(0.2)  # It gives a lock back after its result has come.
        while not all("S (sleeping)" in Path(f"/proc/{process}/status").read_text() for process in before):
            time.sleep(0.1)
        for process in before:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.5)
        after = [process for _, process in map_isolated(process_id, range(20), workers)]
    assert all(isinstance(process, int) for process in after)
    assert before.isdisjoint(after)


def memory_limit(nothing: int) -> int:
    return resource.getrlimit(resource.RLIMIT_AS)[0]


LIMITED = """
if __name__ == "__main__":
    from tests.test_isolation import memory_limit
    from sidcurate.isolation import crew, map_isolated
    for memory_bytes in (5 << 30, 7 << 30):
        with crew(1, memory_bytes) as workers:
            ((_, limit),) = map_isolated(memory_limit, [0], workers)
            print(limit >> 30)
"""


def test_workers_do_not_ask_for_more_memory_than_a_batch_system_allows(tmp_path: Path) -> None:
    """Nobody but root may raise a hard limit, and root without that capability may not."""
    path = tmp_path / "script.py"
    path.write_text(LIMITED)
    command = [sys.executable, path]
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may raise its limits, and no setpriv is here to take that away")
        command = ["setpriv", "--bounding-set=-sys_resource", *command]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30)),
        timeout=60,
        check=False,
    )
    assert ended.stdout.split() == ["5", "6"], ended.stderr


def clock_at(seconds: int) -> str:
    return datetime.fromtimestamp(seconds).isoformat()  # As rawpy does.


def test_the_clock_of_a_worker_is_in_no_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    with crew(1) as workers:
        assert list(map_isolated(clock_at, [0], workers)) == [(0, "1970-01-01T00:00:00")]


def test_a_death_that_is_found_before_the_word_of_the_worker_is_read_costs_its_item(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = PoolManager.process_next_message

    def read_late(manager: PoolManager, timeout: float) -> None:
        time.sleep(0.3)  # As on a busy machine: pebble looks for the dead ten times a second.
        read(manager, timeout)

    monkeypatch.setattr(PoolManager, "process_next_message", read_late)
    with crew(1) as workers:
        results = dict(map_isolated(misbehave, ["segfault", "a"], workers))
    assert results == {"segfault": Failure("the reader crashed (SIGSEGV)"), "a": "A"}


THREADS = """
import os
from sidcurate.isolation import crew, map_isolated
as_loaded = os.environ.get("OMP_NUM_THREADS")
def in_worker(nothing):
    return as_loaded
if __name__ == "__main__":
    with crew(1) as workers:
        ((_, there),) = map_isolated(in_worker, [0], workers)
    print(there, as_loaded, os.environ.get("OMP_NUM_THREADS"))
"""


@pytest.mark.parametrize("threads", [None, "3"])
def test_what_a_script_loads_computes_by_one_thread_in_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: str | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    ended = run_script(tmp_path / "script.py", THREADS)
    assert ended.stdout == f"1 {threads} {threads}\n", ended.stderr
