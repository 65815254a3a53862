"""A whole frame through the network in tiles: the picture is that of the frame in one piece, the memory is not.

A tile is computed with a halo as wide as the network's reach and starts on the grid of the lowest resolution, so that
it pools the same blocks as the whole frame. Only the frame's own edges are padded, by each layer as it always does:
sides that the grid does not divide pool by ceiling there.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from sidtrain.weights.unet import Unet

# Packed px of the largest tile with its halo: about 0.7 GB at width 32. Half of it costs a third more time.
BUDGET_PX = 768 * 1024


@dataclass(frozen=True)
class Span:
    """Lines of one axis: those to be shown, and those to be computed for them."""

    shown: slice
    computed: slice


@dataclass(frozen=True)
class _Plan:
    """One way to cut an axis."""

    spans: tuple[Span, ...]
    total: int  # computed lines of all spans
    longest: int  # computed lines of the longest


def picture(
    model: Unet,
    planes: Float32[np.ndarray, "p h w"],
    progress: Callable[[int, int], None] = lambda done, total: None,
    budget_px: int = BUDGET_PX,
) -> Float32[np.ndarray, "sh sw c"]:
    """Return the network's picture of a whole frame, or its planes side by side, not clipped.

    On a CPU, in contiguous layout, it is that of the whole frame to the last bit; elsewhere kernels are chosen by size,
    and it differs by rounding (1e-5).

    Args:
        model: the network, on the device that it shall run on.
        planes: packed input of any size.
        progress: called with the count of tiles done and of tiles to do.
        budget_px: packed px that one tile may have, its halo included; exceeded only where the halo alone needs more.
    """
    _, height, width = planes.shape
    tiles = list(grid(height, width, halo(model), alignment(model), budget_px))
    times, device = int(model.shuffle.upscale_factor), next(model.parameters()).device
    result = np.empty((times * height, times * width, model.last.out_channels // times**2), np.float32)
    for done, (rows, columns) in enumerate(tiles):
        progress(done, len(tiles))
        tile = torch.from_numpy(planes[:, rows.computed, columns.computed])[None].to(device)  # (1, p, th, tw)
        with torch.inference_mode():
            output = model(tile)[0].permute(1, 2, 0)  # (s th, s tw, 3), of planes (th, tw, p)
        inner = output[_inside(rows, times), _inside(columns, times)]
        result[_scaled(rows.shown, times), _scaled(columns.shown, times)] = inner.cpu().numpy()
    progress(len(tiles), len(tiles))
    return result


def alignment(model: Unet) -> int:
    """Return the packed px that one pixel of the lowest resolution covers: tiles start at multiples of it."""
    return 1 << (len(model.down) - 1)


def halo(model: Unet) -> int:
    """Return how many packed px beyond an aligned tile its picture depends on, up to the next multiple of the grid.

    Followed backward from the tile's edge: each convolution reaches half its kernel further, each way down to a lower
    resolution ends at the pixel that covers the place.
    """
    down, merge = [_reach(block) for block in model.down], [_reach(block) for block in model.merge]
    edge = 0
    for reach in reversed(merge):  # from the picture to the lowest resolution
        edge = (edge - reach) // 2
    edge -= down[-1]
    for reach in down[-2::-1]:  # and up again to the input
        edge = 2 * edge - reach
    grid_px = alignment(model)
    return -(edge // grid_px) * grid_px


def grid(height: int, width: int, halo_px: int, aligned: int, budget_px: int) -> Iterator[tuple[Span, Span]]:
    """Yield the rows and columns of each tile, of the cutting that computes least within the budget.

    Args:
        height: of the frame, in packed px.
        width: of the frame, in packed px.
        halo_px: what `halo` returned.
        aligned: what `alignment` returned.
        budget_px: packed px of the largest tile, halo included.
    """
    plans = itertools.product(_plans(height, halo_px, aligned), _plans(width, halo_px, aligned))
    rows, columns = min(
        plans,
        key=lambda both: (max(both[0].longest * both[1].longest, budget_px), both[0].total * both[1].total),
    )
    yield from itertools.product(rows.spans, columns.spans)


def _plans(length: int, halo_px: int, aligned: int) -> list[_Plan]:
    sizes = {-(-length // (count * aligned)) * aligned for count in range(1, -(-length // aligned) + 1)}
    return [_plan(length, size, halo_px) for size in sorted(sizes)]


def _plan(length: int, size: int, halo_px: int) -> _Plan:
    spans = tuple(
        Span(
            slice(start, min(start + size, length)), slice(max(0, start - halo_px), min(start + size + halo_px, length))
        )
        for start in range(0, length, size)
    )
    lines = [span.computed.stop - span.computed.start for span in spans]
    return _Plan(spans, sum(lines), max(lines))


def _reach(block: nn.Module) -> int:
    return sum(layer.kernel_size[0] // 2 for layer in block.modules() if isinstance(layer, nn.Conv2d))


def _scaled(lines: slice, times: int) -> slice:
    return slice(times * lines.start, times * lines.stop)


def _inside(span: Span, times: int) -> slice:
    """Return the shown lines as lines of the computed ones."""
    first = span.computed.start
    return _scaled(slice(span.shown.start - first, span.shown.stop - first), times)
