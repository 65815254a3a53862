"""A worker may crash, hang or eat memory: the other items come through."""

import os
import signal
import time

import numpy as np

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


def test_each_kind_of_death_costs_one_item() -> None:
    items = ["a", "segfault", "b", "exit", "c", "hang", "d", "memory", "e", "raise"]
    with crew(2, memory_bytes=6 << 30) as workers:
        results = dict(map_isolated(misbehave, items, workers, timeout_s=3))
    assert list(results) == items
    assert {item: results[item] for item in "abcde"} == {item: item.upper() for item in "abcde"}
    reasons = {item: result.reason for item, result in results.items() if isinstance(result, Failure)}
    assert reasons == {
        "segfault": "the reader crashed (SIGSEGV)",
        "exit": "the reader crashed (exit status 7)",
        "hang": "the reader took longer than 3 s and was stopped",
        "raise": "the reader failed (NotImplementedError: filters: 4)",
        "memory": "the reader ran out of the memory that it is allowed",
    }


def test_items_are_read_only_as_far_ahead_as_keeps_the_workers_busy() -> None:
    taken = []
    items = (taken.append(number) or str(number) for number in range(1000))
    with crew(1) as workers:
        stream = map_isolated(misbehave, items, workers)
        next(stream)
        stream.close()
    assert len(taken) <= 8
