"""The feed: the same numbers whoever converts them, in the order of the steps, and never far ahead."""

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from test_patches import entry, scenes

from sidcurate.errors import UsageError
from sidtrain.data import feed, patches
from sidtrain.data.patches import Cut
from sidtrain.recipe import Recipe

CPU = torch.device("cpu")
RECIPE = Recipe(patch=8, offset_draw="inclusive")
GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])


def cuts(count: int, first: int = 0) -> list[Cut]:
    return [patches.cut(scenes(RECIPE, 4), RECIPE, 8, number) for number in range(first, first + count)]


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_the_device_makes_of_the_windows_what_the_cpu_makes(device: str) -> None:
    """Over 40 draws every one of the eight turns comes up."""
    drawn = cuts(40)
    there = feed.windows(drawn, pinned=device == "cuda").to(torch.device(device))
    here = feed.converted(drawn)
    assert there.input.device.type == device
    np.testing.assert_allclose(there.input.cpu(), here.input, atol=1e-6, rtol=0)
    np.testing.assert_allclose(there.target.cpu(), here.target, atol=1e-6, rtol=0)
    assert there.pair_ids == here.pair_ids == tuple(cut.pair_id for cut in drawn)


def test_windows_lie_as_in_the_store_whatever_their_turn() -> None:
    """No pixel moves on the host: the rows of the buffer are rows of the frame."""
    whole = entry()
    for cut in [patches.cut([[whole]], RECIPE, 8, number) for number in range(40)]:
        row = feed.windows([cut]).target.numpy()[0, 0]  # (2p, 3), G is the column of the frame
        assert row.shape == (16, 3)
        assert np.array_equal(np.diff(row[:, 1].astype(int)), np.ones(15))


@pytest.mark.parametrize("count", [1, 3])
def test_converted_patches_are_those_of_the_cuts_and_contiguous(count: int) -> None:
    for first in range(20):
        drawn = cuts(count, first)
        batch = feed.converted(drawn)
        assert batch.input.is_contiguous()
        assert batch.target.is_contiguous()
        assert np.array_equal(batch.input, np.stack([cut.patch.input for cut in drawn]))
        assert np.array_equal(batch.target, np.stack([cut.patch.target for cut in drawn]))


def test_batches_come_in_order_though_threads_finish_in_any() -> None:
    last = threading.Event()

    def first_after_last(step: int) -> Sequence[Cut]:
        if step == 3:
            assert last.wait(60)
        elif step == 7:  # As far as they are made ahead.
            last.set()
        return cuts(2, 2 * step)

    with feed.batches(first_after_last, range(3, 15), CPU) as batches:
        given = list(batches)
    assert len(given) == 12
    for step, batch in zip(range(3, 15), given, strict=True):
        assert torch.equal(batch.input, feed.converted(cuts(2, 2 * step)).input)


def test_only_a_few_batches_are_made_ahead() -> None:
    made: list[int] = []

    def count(step: int) -> Sequence[Cut]:
        made.append(step)
        return cuts(1, step)

    with feed.batches(count, range(1000), CPU) as batches:
        for taken in range(1, 4):
            next(batches)
            until(lambda taken=taken: len(made) == feed.AHEAD + taken)
        time.sleep(0.1)  # Another one would come now.
    assert len(made) == feed.AHEAD + 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("feed")]


def until(done: Callable[[], bool]) -> None:
    for _ in range(6000):
        if done():
            return
        time.sleep(0.01)
    pytest.fail("it never comes")


def test_the_wait_for_data_is_measured() -> None:
    def slow(step: int) -> Sequence[Cut]:
        time.sleep(0.1)
        return cuts(1, step)

    with feed.batches(slow, range(1), CPU) as batches:
        assert next(batches).waited_s >= 0.09


def test_a_fault_in_a_thread_reaches_the_step_that_it_concerns() -> None:
    unknown = [[entry(ratio=None)]]
    with (
        feed.batches(lambda step: [patches.cut(unknown, RECIPE, 8, step)], range(5), CPU) as batches,
        pytest.raises(UsageError, match="00000_00: its exposure ratio is unknown"),
    ):
        next(batches)
