"""From the store to the device: batches in order, made ahead of the step by threads of this process.

Every draw is a function of seed and number, so that what was made ahead and is thrown away at a stop is made again. On
a CPU the threads convert to single precision themselves. A CUDA device gets the 16-bit windows as they lie in the
store, half of the bytes and copied row by row; it turns, levels and amplifies them there.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt16
from torch import Tensor

from sidtrain.data.patches import Cut

# Two threads that copy windows feed the fastest GPU of today; more only hold memory.
THREADS, AHEAD = 2, 4


@dataclass(frozen=True)
class Batch:
    """What a step takes, in single precision, the pairs that it comes from, and how long the step waited for it."""

    input: Float[Tensor, "n c p p"]
    target: Float[Tensor, "n k ps ps"]
    pair_ids: tuple[str, ...]
    waited_s: float = 0.0


@dataclass(frozen=True)
class Turn:
    """How a window was turned: flip these axes of what lies in memory, then take its axes in this order."""

    flipped: tuple[int, ...]
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """A batch as it lies in the store: 16 bit, not turned, not leveled; pinned where a CUDA device will take it."""

    planes: UInt16[Tensor, "n a b c"]
    target: UInt16[Tensor, "n d e f"]
    cuts: tuple[Cut, ...]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device, where everything that touches a pixel happens; the host does not wait."""
        x = _turned(self.planes, [cut.planes for cut in self.cuts], device)  # (n, 4, p, p)
        black = _by_plane([cut.black for cut in self.cuts], device)
        scale = _by_plane([cut.scale for cut in self.cuts], device)
        clip = _by_plane([np.array([cut.clip], np.float32) for cut in self.cuts], device)
        x.sub_(black).clamp_(min=0).mul_(scale).clamp_(max=clip)
        y = _turned(self.target, [cut.target for cut in self.cuts], device)  # (n, 3, 2p, 2p), of planes (n, 4, p, p)
        return Batch(x, self._unit(y), tuple(cut.pair_id for cut in self.cuts))

    def _unit(self, target: Float[Tensor, "n k ps ps"]) -> Float[Tensor, "n k ps ps"]:
        levels = [cut.target_levels for cut in self.cuts if cut.target_levels is not None]
        if not levels:
            return target.div_(65535)
        black, white = (_by_plane(of_cuts, target.device) for of_cuts in zip(*levels, strict=True))
        return target.sub_(black).div_(white - black).clamp_(0, 1)


def windows(cuts: Sequence[Cut], *, pinned: bool = False) -> Windows:
    """Return the windows of a batch, copied out of the store row by row."""
    return Windows(
        _gathered([cut.planes for cut in cuts], pinned), _gathered([cut.target for cut in cuts], pinned), tuple(cuts)
    )


def converted(cuts: Sequence[Cut]) -> Batch:
    """Return the batch in single precision, converted here: what a CPU takes, and the reference for `Windows.to`."""
    made = [cut.patch for cut in cuts]
    return Batch(
        torch.from_numpy(_stacked([patch.input for patch in made])),
        torch.from_numpy(_stacked([patch.target for patch in made])),
        tuple(patch.pair_id for patch in made),
    )


@contextmanager
def batches(
    cuts: Callable[[int], Sequence[Cut]], steps: range, device: torch.device, *, threads: int = THREADS
) -> Iterator[Iterator[Batch]]:
    """Yield the batches of some steps, in order, a few of them made ahead.

    Args:
        cuts: the cuts of a step.
        steps: numbers of the steps.
        device: where the batches go; only CUDA converts by itself.
        threads: how many make batches. NumPy copies and converts outside Python's lock.
    """

    def make(step: int) -> Windows | Batch:
        return windows(cuts(step), pinned=True) if device.type == "cuda" else converted(cuts(step))

    pool = ThreadPoolExecutor(threads, thread_name_prefix="feed")
    try:
        yield _timed(_on(made, device) for made in _ahead(pool, make, steps))
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, make: Callable[[int], Windows | Batch], steps: range) -> Iterator[Windows | Batch]:
    waiting: deque[Future[Windows | Batch]] = deque()
    for step in steps:
        waiting.append(pool.submit(make, step))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _timed(batches: Iterator[Batch]) -> Iterator[Batch]:
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield replace(batch, waited_s=time.perf_counter() - start)


def _on(made: Windows | Batch, device: torch.device) -> Batch:
    if isinstance(made, Windows):
        return made.to(device)
    return Batch(made.input.to(device), made.target.to(device), made.pair_ids)


def _stacked(images: Sequence[Shaped[np.ndarray, "..."]]) -> Shaped[np.ndarray, "n ..."]:
    return images[0][None] if len(images) == 1 else np.stack(images)  # One patch a step, as SID has it, is not copied.


def _by_plane(values: Sequence[Float32[np.ndarray, "c"]], device: torch.device) -> Float[Tensor, "n c 1 1"]:
    # Not pinned: the driver has taken these few bytes when the call returns, but waits for no kernel to take them.
    return torch.from_numpy(np.stack(values)).to(device, non_blocking=True)[..., None, None]


def _gathered(views: Sequence[UInt16[np.ndarray, "..."]], pinned: bool) -> UInt16[Tensor, "n ..."]:
    plain = [_as_it_lies(view)[0] for view in views]
    gathered = torch.empty((len(plain), *plain[0].shape), dtype=torch.uint16, pin_memory=pinned)
    np.stack(plain, out=gathered.numpy())
    return gathered


def _turned(
    gathered: UInt16[Tensor, "n ..."], views: Sequence[UInt16[np.ndarray, "c h w"]], device: torch.device
) -> Float[Tensor, "n c h w"]:
    there = gathered.to(device, non_blocking=True)
    turned = torch.empty((len(views), *views[0].shape), device=device)
    for image, view, out in zip(there, views, turned, strict=True):
        turn = _as_it_lies(view)[1]
        out.copy_(image.to(torch.float32).flip(turn.flipped).permute(turn.axes))
    return turned


def _as_it_lies(view: UInt16[np.ndarray, "..."]) -> tuple[UInt16[np.ndarray, "..."], Turn]:
    """Return the pixels of a view in the order of the memory, and what turns them into the view: strides tell both."""
    order = sorted(range(view.ndim), key=lambda axis: -abs(view.strides[axis]))
    lying = view.transpose(order)
    flipped = tuple(axis for axis, stride in enumerate(lying.strides) if stride < 0)
    plain = np.flip(lying, flipped)
    return plain, Turn(flipped, tuple(int(axis) for axis in np.argsort(order)))
