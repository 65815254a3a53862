"""From the store to the network: the amplified input, and aligned random patches. No torch.

Every draw is a function of the recipe's seed and the number of the patch alone, so that a run can stop anywhere, go on
and see the patches that it would have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Shaped, UInt16

from sidcurate.errors import UsageError
from sidcurate.schemas import Pair
from sidtrain.recipe import Recipe
from sidtrain.store import Entry

# Which of the independent random streams of a seed a number belongs to.
_ORDER, _PATCH, _SIDE = 0, 1, 2


@dataclass(frozen=True)
class Cut:
    """One aligned pair of windows of the store, turned but not yet converted: to take it costs its own bytes only.

    Attributes:
        planes: packed short in DN, a view.
        target: rendering of the long frame in 16 bit, a view.
        black: DN that becomes 0, by plane.
        scale: what a DN above black is multiplied by, by plane: amplification / (white - black).
        clip: upper limit of the product.
        pair_id: where it comes from.
    """

    planes: UInt16[np.ndarray, "4 p p"]
    target: UInt16[np.ndarray, "3 p2 p2"]
    black: Float32[np.ndarray, "4"]
    scale: Float32[np.ndarray, "4"]
    clip: float
    pair_id: str

    @property
    def patch(self) -> "Patch":
        """The same in single precision, as the network takes it."""
        return Patch(_scaled(self.planes, self.black, self.scale, self.clip), unit_target(self.target), self.pair_id)


@dataclass(frozen=True)
class Patch:
    """One aligned pair of patches, and where it comes from."""

    input: Float32[np.ndarray, "4 p p"]
    target: Float32[np.ndarray, "3 p2 p2"]
    pair_id: str


def amplification_ratio(pair: Pair, recipe: Recipe) -> float:
    """Return what the short of a pair is multiplied by: min(exposure ratio, cap).

    Raises:
        UsageError: the exposure ratio of the pair is unknown.
    """
    if pair.exposure_ratio is None:
        raise UsageError(f"{pair.pair_id}: the exposure ratio is unknown; run `sidcurate validate` and leave it out")
    return min(pair.exposure_ratio, recipe.amplification_cap)


def network_input(
    planes: UInt16[np.ndarray, "4 h w"],
    black: Float32[np.ndarray, "4"],
    white: Float32[np.ndarray, "4"],
    amplification: float,
    clip: float = 1.0,
) -> Float32[np.ndarray, "4 h w"]:
    """Return what the network sees: black at 0, white at 1, amplified, clipped above.

    Args:
        planes: packed mosaic in DN.
        black: black level by plane in DN.
        white: white level by plane in DN.
        amplification: factor after the levels.
        clip: upper limit; the lower one, 0, is applied before the amplification.
    """
    return _scaled(planes, black, np.float32(amplification) / (white - black), clip)


def frame_input(entry: Entry, recipe: Recipe) -> Float32[np.ndarray, "4 h w"]:
    """Return the network's input of a whole short frame under a recipe."""
    amplification = amplification_ratio(entry.pair, recipe)
    return network_input(entry.planes, entry.black, entry.white, amplification, recipe.input_clip)


def central(entry: Entry, side: int) -> Entry:
    """Return the central crop of an entry, at most so many packed px on a side."""
    _, height, width = entry.planes.shape
    rows, columns = (slice((size - min(size, side)) // 2, (size + min(size, side)) // 2) for size in (height, width))
    return replace(
        entry,
        planes=entry.planes[:, rows, columns],
        target=entry.target[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop],
    )


def by_scene(entries: Sequence[Entry], recipe: Recipe) -> list[list[Entry]]:
    """Return the entries that the recipe draws from, one list a scene, in the order of their names."""
    scenes: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.pair.scene_id, entry.pair.pair_id)):
        if recipe.bursts == "all" or entry.pair.burst_index == 0:
            scenes.setdefault(entry.pair.scene_id, []).append(entry)
    return list(scenes.values())


def patch_sides(entries: Sequence[Entry], recipe: Recipe) -> tuple[int, ...]:
    """Return the sides of a patch in packed px that `side_at` draws from, after checking that every frame holds them.

    Raises:
        UsageError: a frame is smaller than a patch, or, with SID's exclusive draw, not larger.
    """
    spare = 1 if recipe.offset_draw == "sid-exclusive" else 0
    smallest = min(entries, key=lambda entry: min(entry.planes.shape[1:]))
    height, width = smallest.planes.shape[1:]
    room = min(height, width) - spare
    sides = recipe.sides or (room,)
    side = max(sides)
    if not 0 < side <= room:
        raise UsageError(
            f"{smallest.pair.pair_id}: a patch of {side}x{side} packed px with the {recipe.offset_draw} draw does not "
            f'fit in its frame of {height}x{width} packed px; set patch = "fit" or at most {room} in the recipe'
        )
    return sides


def side_at(sides: Sequence[int], recipe: Recipe, step: int) -> int:
    """Return the side of all patches of a step, counted from 0: patches of one batch have one size.

    Args:
        sides: what `patch_sides` returned, in packed px.
        recipe: seed of the draw.
        step: number of the step.
    """
    return sides[int(np.random.default_rng((recipe.seed, _SIDE, step)).integers(len(sides)))]


def cut(scenes: Sequence[Sequence[Entry]], recipe: Recipe, side: int, number: int) -> Cut:
    """Return the windows of a number, counted from 0 over the whole training.

    An epoch visits each scene once in a new order, with one random short of the scene, as SID does.

    Args:
        scenes: what `by_scene` returned.
        recipe: seed, draw, augmentation, amplification.
        side: what `side_at` returned for the step, in packed px.
        number: step * batch + place in the batch.
    """
    epoch, place = divmod(number, len(scenes))
    order = np.random.default_rng((recipe.seed, _ORDER, epoch)).permutation(len(scenes))
    random = np.random.default_rng((recipe.seed, _PATCH, number))
    shorts = scenes[int(order[place])]
    entry = shorts[int(random.integers(len(shorts)))]
    _, height, width = entry.planes.shape
    reach = 1 if recipe.offset_draw == "inclusive" else 0
    top, left = (int(random.integers(size - side + reach)) for size in (height, width))
    planes = entry.planes[:, top : top + side, left : left + side]  # (4, p, p)
    target = entry.target[2 * top : 2 * (top + side), 2 * left : 2 * (left + side)].transpose(2, 0, 1)  # (3, 2p, 2p)
    if recipe.augmentation == "sid":
        flips = random.random(3) < 0.5
        planes, target = _flipped(planes, flips), _flipped(target, flips)
    return Cut(
        planes=planes,
        target=target,
        black=entry.black,
        scale=np.float32(amplification_ratio(entry.pair, recipe)) / (entry.white - entry.black),
        clip=recipe.input_clip,
        pair_id=entry.pair.pair_id,
    )


def unit_target(target: UInt16[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Return a 16-bit rendering in 0..1, contiguous."""
    return np.ascontiguousarray(target, np.float32) / np.float32(65535)


def _scaled(
    planes: UInt16[np.ndarray, "4 h w"], black: Float32[np.ndarray, "4"], scale: Float32[np.ndarray, "4"], clip: float
) -> Float32[np.ndarray, "4 h w"]:
    x = planes.astype(np.float32, order="C")  # Turned windows too: the default keeps the order of their memory.
    x -= black[:, None, None]
    np.maximum(x, 0, out=x)
    x *= scale[:, None, None]
    return np.minimum(x, np.float32(clip), out=x)


def _flipped(image: Shaped[np.ndarray, "c h w"], flips: Shaped[np.ndarray, "3"]) -> Shaped[np.ndarray, "c H W"]:
    """Return a view: rows flipped, columns flipped, transposed, each where its flag says so.

    SID does this on the packed planes and does not re-order them: the Bayer phase changes against the target.
    """
    if flips[0]:
        image = image[:, ::-1]
    if flips[1]:
        image = image[:, :, ::-1]
    return image.transpose(0, 2, 1) if flips[2] else image
