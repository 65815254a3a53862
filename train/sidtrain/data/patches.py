"""From the store to the network: the amplified input, and aligned random patches. No torch.

Every draw is a function of the recipe's seed and the number of the patch alone, so that a run can stop anywhere, go on
and see the patches that it would have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt16

from sidcurate import cfa
from sidcurate.errors import UsageError
from sidtrain.data.store import Entry
from sidtrain.normalization import PlaneLevels
from sidtrain.recipe import Recipe

# Which of the independent random streams of a seed a number belongs to.
_ORDER, _PATCH, _SIDE, _RATIO = 0, 1, 2, 3

# Row and column of each plane's site in a packed px of a Bayer mosaic.
_RGGB_SITES = tuple(site for (site,) in cfa.layout("RGGB").sites)

_LINES_AT_ONCE = 64  # of a target: 0.4 MB for the widest patch in use

# Planes and target, and which plane of the entry each plane comes from.
Windows = tuple[UInt16[np.ndarray, "c p p"], UInt16[np.ndarray, "k ps ps"], list[int]]


@dataclass(frozen=True)
class Window:
    """A square of packed px."""

    top: int
    left: int
    side: int

    def slices(self, down: int = 0, right: int = 0) -> tuple[slice, slice]:
        """Return its rows and columns, moved by some packed px."""
        top, left = self.top + down, self.left + right
        return slice(top, top + self.side), slice(left, left + self.side)


@dataclass(frozen=True)
class Cut:
    """One aligned pair of windows of the store, turned but not yet converted: to take it costs its own bytes only.

    Attributes:
        planes: packed short in DN, a view.
        target: rendering of the long frame in 16 bit, or its planes in DN; a view, except of phase-true planes.
        black: DN that becomes 0, by plane.
        scale: what a DN above black is multiplied by, by plane: amplification / (white - black).
        clip: upper limit of the product.
        pair_id: where it comes from.
        target_levels: black and white of a target of planes, in DN; None for a rendering.
    """

    planes: UInt16[np.ndarray, "c p p"]
    target: UInt16[np.ndarray, "k ps ps"]
    black: Float32[np.ndarray, "c"]
    scale: Float32[np.ndarray, "c"]
    clip: float
    pair_id: str
    target_levels: PlaneLevels | None = None

    @property
    def patch(self) -> "Patch":
        """The same in single precision, as the network takes it."""
        levels, given = self.target_levels, _scaled(self.planes, self.black, self.scale, self.clip)
        return Patch(given, unit_planes(self.target, *levels) if levels else unit_target(self.target), self.pair_id)


@dataclass(frozen=True)
class Patch:
    """One aligned pair of patches, and where it comes from."""

    input: Float32[np.ndarray, "c p p"]
    target: Float32[np.ndarray, "k ps ps"]
    pair_id: str


def amplification_ratio(entry: Entry, recipe: Recipe, number: int | None = None) -> float:
    """Return what the short of a pair is multiplied by, by the recipe's policy.

    Args:
        entry: the pair and what its files are called.
        recipe: its policy, and the seed of a random ratio.
        number: the patch that a random ratio is drawn for; None for a whole frame, which takes the exposure ratio.

    Raises:
        UsageError: the policy asks for a ratio that is unknown.
    """
    policy = recipe.ratio_policy
    place = None
    if policy.kind == "random" and number is not None:
        place = np.random.default_rng((recipe.seed, _RATIO, number)).random()
    ratio = policy.ratio(entry.pair.exposure_ratio, entry.name_ratio, place)
    if ratio is None:
        what = "names state no exposure times" if policy.kind == "name" else "exposure ratio is unknown"
        raise UsageError(
            f'{entry.pair.pair_id}: its {what}, and the recipe says ratio = "{recipe.ratio}"; leave the pair out, or '
            "choose another ratio"
        )
    return ratio


def network_input(
    planes: UInt16[np.ndarray, "c h w"],
    black: Float32[np.ndarray, "c"],
    white: Float32[np.ndarray, "c"],
    amplification: float,
    clip: float = 1.0,
) -> Float32[np.ndarray, "c h w"]:
    """Return what the network sees: black at 0, white at 1, amplified, clipped above.

    Args:
        planes: packed mosaic in DN.
        black: black level by plane in DN.
        white: white level by plane in DN.
        amplification: factor after the levels.
        clip: upper limit; the lower one, 0, is applied before the amplification.
    """
    return _scaled(planes, black, np.float32(amplification) / (white - black), clip)


def frame_input(entry: Entry, recipe: Recipe) -> Float32[np.ndarray, "c h w"]:
    """Return the network's input of a whole short frame under a recipe."""
    ratio = amplification_ratio(entry, recipe)
    return network_input(entry.planes, entry.black, entry.white, ratio, recipe.input_clip)


def central(entry: Entry, side: int) -> Entry:
    """Return the central crop of an entry, at most so many packed px on a side."""
    _, height, width = entry.planes.shape
    rows, columns = (slice((size - min(size, side)) // 2, (size + min(size, side)) // 2) for size in (height, width))
    return replace(
        entry,
        planes=entry.planes[:, rows, columns],
        target=entry.target[tuple(_enlarged(side, entry.enlargement) for side in (rows, columns))],
    )


def target_picture(entry: Entry) -> Float32[np.ndarray, "hs ws c"]:
    """Return what the network shall put out for a whole frame, in 0..1: a rendering, or planes side by side."""
    if entry.target_levels is None:
        return unit_target(entry.target)
    return unit_planes(entry.target.transpose(2, 0, 1), *entry.target_levels).transpose(1, 2, 0)


def by_scene(entries: Sequence[Entry], recipe: Recipe) -> list[list[Entry]]:
    """Return the entries of the bursts that the recipe asks for, one list a scene, in the order of their names."""
    scenes: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.pair.scene_id, entry.pair.pair_id)):
        if recipe.bursts == "all" or entry.pair.burst_index == 0:
            scenes.setdefault(entry.pair.scene_id, []).append(entry)
    return list(scenes.values())


def drawn(scenes: Sequence[list[Entry]], recipe: Recipe) -> list[list[Entry]]:
    """Return the shorts of each scene that `cut` may draw: all of them, or all but the last.

    Raises:
        UsageError: without its last short, a scene has none.
    """
    if recipe.short_draw == "all":
        return list(scenes)
    for shorts in scenes:
        if len(shorts) == 1:
            raise UsageError(
                f'{shorts[0].pair.scene_id}: the scene has one short, and short_draw = "exclude-last" never draws '
                'the last: that leaves none; set short_draw = "all" in the recipe, or bursts = "all"'
            )
    return [shorts[:-1] for shorts in scenes]


def patch_sides(entries: Sequence[Entry], recipe: Recipe) -> tuple[int, ...]:
    """Return the sides of a patch in packed px that `side_at` draws from, after checking that every frame holds them.

    Raises:
        UsageError: a frame is smaller than a patch, or, with SID's exclusive draw or phase-true turns, not larger.
    """
    spare = 1 - _reach(recipe)
    smallest = min(entries, key=lambda entry: min(entry.planes.shape[1:]))
    height, width = smallest.planes.shape[1:]
    room = min(height, width) - spare
    sides = recipe.sides or (room,)
    side = max(sides)
    if not 0 < side <= room:
        raise UsageError(
            f"{smallest.pair.pair_id}: a patch of {side}x{side} packed px with the {recipe.offset_draw} draw and "
            f"{recipe.augmentation} augmentation does not fit in its frame of {height}x{width} packed px; "
            f'set patch = "fit" or at most {room} in the recipe'
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
        scenes: what `drawn` returned.
        recipe: seed, draw, augmentation, amplification.
        side: what `side_at` returned for the step, in packed px.
        number: step * batch + place in the batch.
    """
    epoch, place = divmod(number, len(scenes))
    order = np.random.default_rng((recipe.seed, _ORDER, epoch)).permutation(len(scenes))
    random = np.random.default_rng((recipe.seed, _PATCH, number))
    shorts = scenes[int(order[place])]
    entry = shorts[int(random.integers(len(shorts)))]
    top, left = (int(random.integers(size - side + _reach(recipe))) for size in entry.planes.shape[1:])
    turns = np.zeros(3, bool) if recipe.augmentation == "none" else random.random(3) < 0.5
    window = _phase_true if recipe.augmentation == "phase-true" else _as_packed
    planes, target, sources = window(entry, Window(top, left, side), turns)
    scale = np.float32(amplification_ratio(entry, recipe, number)) / (entry.white - entry.black)
    return Cut(
        planes=planes,
        target=target,
        black=entry.black[sources],
        scale=scale[sources],
        clip=recipe.input_clip,
        pair_id=entry.pair.pair_id,
        target_levels=_taken(entry.target_levels, sources),
    )


def unit_target(target: UInt16[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Return a 16-bit rendering in 0..1, contiguous.

    Some lines of memory at a time, whichever way a window is turned: the colors lie side by side there and apart in
    the result, and what is read for the first is still in the cache for the third.
    """
    x = np.empty(target.shape, np.float32)
    lines = max(range(target.ndim), key=lambda axis: abs(target.strides[axis]))
    source, result = np.moveaxis(target, lines, 0), np.moveaxis(x, lines, 0)
    for first in range(0, len(source), _LINES_AT_ONCE):
        result[first : first + _LINES_AT_ONCE] = source[first : first + _LINES_AT_ONCE]
    x /= np.float32(65535)
    return x


def unit_planes(
    planes: UInt16[np.ndarray, "c h w"], black: Float32[np.ndarray, "c"], white: Float32[np.ndarray, "c"]
) -> Float32[np.ndarray, "c h w"]:
    """Return planes with black at 0 and white at 1, clipped to 0..1, contiguous; white is 1 to the last bit.

    The lower clip is that of ELD, PMN and LED, of the network's input and of every metric here. It raises what is black
    by 0.4 of the frame's own read noise, which of a long frame is nothing.
    """
    x = planes.astype(np.float32, order="C")
    x -= black[:, None, None]
    x /= (white - black)[:, None, None]
    return np.clip(x, 0, 1, out=x)


def _taken(levels: PlaneLevels | None, sources: Sequence[int]) -> PlaneLevels | None:
    """Return the levels of a target whose planes were taken from these; a rendering has none."""
    if levels is None:
        return None
    black, white = levels
    return black[list(sources)], white[list(sources)]


def _scaled(
    planes: UInt16[np.ndarray, "c h w"], black: Float32[np.ndarray, "c"], scale: Float32[np.ndarray, "c"], clip: float
) -> Float32[np.ndarray, "c h w"]:
    x = planes.astype(np.float32, order="C")  # Turned windows too: the default keeps the order of their memory.
    x -= black[:, None, None]
    x *= scale[:, None, None]
    return np.clip(x, 0, np.float32(clip), out=x)


def _reach(recipe: Recipe) -> int:
    """Return whether the last offset can be drawn; a phase-true flip needs the row or column beyond the patch."""
    return int(recipe.offset_draw == "inclusive" and recipe.augmentation != "phase-true")


def _as_packed(entry: Entry, window: Window, turns: Bool[np.ndarray, "3"]) -> Windows:
    """Return views of planes and target, turned as SID does.

    The planes are not re-ordered: the Bayer phase changes against a rendering. A target of planes is turned alike.
    """
    rows, columns = window.slices()
    target = entry.target[_enlarged(rows, entry.enlargement), _enlarged(columns, entry.enlargement)]
    planes = entry.planes[:, rows, columns]
    return _turned(planes, turns), _turned(target.transpose(2, 0, 1), turns), list(range(len(planes)))


def _phase_true(entry: Entry, window: Window, turns: Bool[np.ndarray, "3"]) -> Windows:
    """Return planes (a copy) and target (of a rendering a view) as if the mosaic had been turned and packed anew.

    A flipped RGGB mosaic starts with another phase; one site further on it is RGGB again. So where rows or columns are
    flipped, the window of the mosaic and of the target moves by one site, which for the planes on the even sites means
    by one packed px. Transposed, the two greens change places, each with its levels.
    """
    down, right, transpose = (int(turn) for turn in turns)
    sources = [0, 3, 2, 1] if transpose else [0, 1, 2, 3]

    def moved(packed: UInt16[np.ndarray, "4 h w"]) -> UInt16[np.ndarray, "4 p p"]:
        slices = [window.slices(down * (1 - row), right * (1 - column)) for row, column in _RGGB_SITES]
        return np.stack([packed[source][slices[source]] for source in sources])

    planes = _turned(moved(entry.planes), turns)
    if entry.target_levels is not None:
        return planes, _turned(moved(entry.target.transpose(2, 0, 1)), turns), sources
    top, left = 2 * window.top + down, 2 * window.left + right
    target = entry.target[top : top + 2 * window.side, left : left + 2 * window.side]
    return planes, _turned(target.transpose(2, 0, 1), turns), sources


def _enlarged(packed: slice, times: int) -> slice:
    """Return the rows or columns of the target that some of the planes show."""
    return slice(times * packed.start, times * packed.stop)


def _turned(image: Shaped[np.ndarray, "c h w"], turns: Bool[np.ndarray, "3"]) -> Shaped[np.ndarray, "c H W"]:
    """Return a view: rows flipped, columns flipped, transposed, each where its flag says so."""
    if turns[0]:
        image = image[:, ::-1]
    if turns[1]:
        image = image[:, :, ::-1]
    return image.transpose(0, 2, 1) if turns[2] else image
