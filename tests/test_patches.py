"""Patches: equal to the naive slice, aligned, and a function of seed and number alone."""

import dataclasses

import numpy as np
import pytest

from sidcurate import cfa
from sidcurate.errors import UsageError
from sidcurate.schemas import Pair
from sidtrain.data import patches
from sidtrain.data.store import Entry
from sidtrain.recipe import Recipe

BLACK = np.array([64, 66, 67, 65], np.float32)
WHITE = np.array([1023, 1000, 1001, 1002], np.float32)


def entry(scene: int = 0, burst: int = 0, size: tuple[int, int] = (20, 24), ratio: float | None = 100.0) -> Entry:
    """An entry whose target says, in R and G, at which mosaic row and column each of its pixels is."""
    height, width = size
    rng = np.random.default_rng((scene, burst))
    target = np.zeros((2 * height, 2 * width, 3), np.uint16)
    target[..., 0] = np.arange(2 * height)[:, None]
    target[..., 1] = np.arange(2 * width)
    target[..., 2] = 2 * scene
    pair = Pair(
        device="phone",
        pair_id=f"{scene:05d}_{burst:02d}",
        scene_id=f"{scene:05d}",
        burst_index=burst,
        short_path="short",
        long_path="long",
        reason="made here",
        exposure_ratio=ratio,
    )
    return Entry(pair, rng.integers(0, 1023, (4, height, width), np.uint16), BLACK, WHITE, target)


def scenes(recipe: Recipe, count: int = 3, bursts: int = 1) -> list[list[Entry]]:
    return patches.by_scene([entry(scene, burst) for scene in range(count) for burst in range(bursts)], recipe)


def naive_input(planes: np.ndarray, ratio: float, clip: float = 1.0) -> np.ndarray:
    signal = np.maximum(planes.astype(np.float64) - BLACK[:, None, None], 0)
    return np.minimum(signal / (WHITE - BLACK)[:, None, None] * ratio, clip)


@pytest.mark.parametrize(("ratio", "clip"), [(1.0, 1.0), (250.0, 1.0), (100.0, 0.5)])
def test_the_network_input_is_sids(ratio: float, clip: float) -> None:
    planes = entry().planes
    ours = patches.network_input(planes, BLACK, WHITE, ratio, clip)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, naive_input(planes, ratio, clip), atol=1e-6)
    assert ours.min() == 0


def test_the_amplification_is_the_ratio_up_to_the_cap() -> None:
    assert patches.amplification_ratio(entry(ratio=250.0), Recipe()) == 250
    assert patches.amplification_ratio(entry(ratio=303.03), Recipe()) == 300
    assert patches.amplification_ratio(entry(ratio=303.03), Recipe(ratio="none")) == 1
    assert patches.amplification_ratio(entry(ratio=303.03), Recipe(ratio="exif")) == 303.03
    with pytest.raises(UsageError, match=r"00000_00.*ratio is unknown.*cap 300"):
        patches.amplification_ratio(entry(ratio=None), Recipe())


def test_the_amplification_by_name_is_that_of_the_names_and_asks_for_them() -> None:
    named = dataclasses.replace(entry(ratio=300.0), name_ratio=30 / 0.033)
    assert patches.amplification_ratio(named, Recipe(ratio="name")) == 30 / 0.033
    with pytest.raises(UsageError, match=r"00000_00.*names state no exposure times"):
        patches.amplification_ratio(entry(), Recipe(ratio="name"))


def test_a_random_ratio_is_a_function_of_seed_and_patch_and_moves_no_other_draw() -> None:
    recipe = Recipe(patch=8, seed=3, ratio="random 100-300")
    cuts = [patches.cut([[entry()]], recipe, 8, number) for number in range(400)]
    ratios = np.array([cut.scale[0] * (WHITE - BLACK)[0] for cut in cuts])
    assert 100 <= ratios.min() < 110
    assert 290 < ratios.max() <= 300.001
    assert abs(ratios.mean() - 200) < 12
    again = patches.cut([[entry()]], recipe, 8, 17)
    assert np.array_equal(again.scale, cuts[17].scale)
    other_seed = patches.cut([[entry()]], Recipe(patch=8, seed=4, ratio="random 100-300"), 8, 17)
    assert not np.array_equal(other_seed.scale, cuts[17].scale)
    fixed = patches.cut([[entry()]], Recipe(patch=8, seed=3), 8, 17)
    assert np.array_equal(fixed.target, again.target)


def test_a_whole_frame_takes_the_exposure_ratio_where_patches_take_a_random_one() -> None:
    recipe = Recipe(ratio="random 1-2")
    np.testing.assert_allclose(patches.frame_input(entry(), recipe), naive_input(entry().planes, 100), atol=1e-6)


def test_the_whole_frame_goes_in_as_its_patches_do() -> None:
    short = entry(ratio=150.0)
    np.testing.assert_allclose(patches.frame_input(short, Recipe()), naive_input(short.planes, 150), atol=1e-6)


def test_a_patch_equals_the_naive_slice() -> None:
    recipe = Recipe(patch=8, offset_draw="inclusive", augmentation="none")
    drawn = scenes(recipe)
    for number in range(30):
        patch = patches.cut(drawn, recipe, 8, number).patch
        top, left, scene = (round(float(value) * 65535) // 2 for value in patch.target[:, 0, 0])
        source = drawn[scene][0]
        assert patch.pair_id == source.pair.pair_id
        planes = source.planes[:, top : top + 8, left : left + 8]
        np.testing.assert_allclose(patch.input, naive_input(planes, 100), atol=1e-6)
        rgb = source.target[2 * top : 2 * top + 16, 2 * left : 2 * left + 16] / 65535
        np.testing.assert_allclose(patch.target, rgb.transpose(2, 0, 1), atol=1e-7)


def test_input_and_target_are_turned_alike() -> None:
    """Each plane holds its own row and column: wherever a value of the input lands, the target says the same."""
    plain = entry()
    rows, columns = np.mgrid[:20, :24].astype(np.uint16)
    marked = Entry(plain.pair, np.stack([rows, columns, rows, columns]), np.zeros(4, np.float32), WHITE, plain.target)
    recipe = Recipe(patch=8, offset_draw="inclusive", ratio="none")
    turns = set()
    for number in range(60):
        patch = patches.cut([[marked]], recipe, 8, number).patch
        row, column = np.rint(patch.input[:2] * WHITE[:2, None, None])
        target_row, target_column = np.rint(patch.target[:2] * 65535) // 2
        assert np.array_equal(row, target_row[::2, ::2])
        assert np.array_equal(column, target_column[::2, ::2])
        turns.add((row[0, 0] < row[-1, -1], column[0, 0] < column[-1, -1], row[0, 0] != row[0, -1]))
    assert len(turns) == 8


COLORS = np.array([[0, 1], [2, 3]])  # of the sites of RGGB: R, G on its row, G on the blue row, B
PLANES = cfa.layout("RGGB")


def coded(height: int, width: int) -> Entry:
    """An entry whose mosaic and target say at each site its row, its column and its color."""
    rows, columns = np.mgrid[: 2 * height, : 2 * width]
    mosaic = (rows * 64 + columns) * 4 + np.tile(COLORS, (height, width))
    target = np.stack([rows, columns, mosaic % 4], axis=-1).astype(np.uint16)
    levels = np.zeros(4, np.float32), np.full(4, 65535, np.float32)
    return Entry(entry().pair, PLANES.pack(mosaic.astype(np.uint16)), *levels, target)


def test_phase_true_turns_keep_the_color_of_each_plane_and_the_place_of_each_site() -> None:
    recipe = Recipe(patch=5, offset_draw="inclusive", augmentation="phase-true")
    turns = set()
    for number in range(200):
        cut = patches.cut([[coded(9, 8)]], recipe, 5, number)
        mosaic = PLANES.unpack(cut.planes)
        row, column, color = cut.target
        assert np.array_equal(mosaic % 4, np.tile(COLORS, (5, 5))) or np.array_equal(
            mosaic % 4, np.tile(COLORS.T, (5, 5))
        )
        assert np.array_equal(mosaic, (row * 64 + column) * 4 + color)
        turned = row[0, 0] != row[0, -1]
        assert turned == np.array_equal(mosaic % 4, np.tile(COLORS.T, (5, 5)))
        turns.add((bool(turned), row[0, 0] > row[-1, -1], column[0, 0] > column[-1, -1]))
    assert len(turns) == 8


def test_a_phase_true_turn_takes_the_levels_of_each_plane_along() -> None:
    """A frame at its black is black however it is turned, though the two greens have other levels."""
    plain = entry()
    dark = np.broadcast_to(BLACK[:, None, None], plain.planes.shape).astype(np.uint16)
    recipe = Recipe(patch=8, offset_draw="inclusive", augmentation="phase-true")
    for planes, value in ((dark, 0.0), (dark + 3, 300 / (WHITE - BLACK))):
        still = dataclasses.replace(plain, planes=planes)
        inputs = np.array([patches.cut([[still]], recipe, 8, number).patch.input[:, 0, 0] for number in range(30)])
        np.testing.assert_allclose(np.sort(inputs), np.sort(np.broadcast_to(value, inputs.shape)), atol=1e-6)


def test_sids_turns_do_change_the_phase() -> None:
    recipe = Recipe(patch=5, offset_draw="inclusive", augmentation="sid")
    cuts = [patches.cut([[coded(9, 8)]], recipe, 5, number) for number in range(50)]
    true = [np.array_equal(PLANES.unpack(cut.planes) // 4, cut.target[0] * 64 + cut.target[1]) for cut in cuts]
    assert 0 < sum(true) < 25  # Only an eighth of the patches is not turned.


def test_phase_true_reaches_every_offset_that_leaves_a_site_to_move_by() -> None:
    recipe = Recipe(patch=5, offset_draw="inclusive", augmentation="phase-true")
    cuts = [patches.cut([[coded(7, 9)]], recipe, 5, number) for number in range(300)]
    assert {int(cut.target[0].min()) for cut in cuts} == {0, 1, 2, 3}
    with pytest.raises(UsageError, match=r"phase-true.*at most 6"):
        patches.patch_sides([coded(7, 9)], Recipe(patch=7, augmentation="phase-true", offset_draw="inclusive"))


def test_each_flip_happens_half_of_the_time() -> None:
    recipe = Recipe(patch=4, offset_draw="inclusive")
    drawn = [[entry()]]
    flipped = [patch.target[0, 0, 0] > patch.target[0, -1, -1] for patch in draws(drawn, recipe, 4, 800)]
    assert abs(np.mean(flipped) - 0.5) < 0.06


def draws(drawn: list[list[Entry]], recipe: Recipe, side: int, count: int) -> list[patches.Patch]:
    return [patches.cut(drawn, recipe, side, number).patch for number in range(count)]


def test_a_patch_depends_on_seed_and_number_alone() -> None:
    recipe = Recipe(patch=8, seed=3)
    drawn = scenes(recipe)
    first = patches.cut(drawn, recipe, 8, 17).patch
    draws(drawn, recipe, 8, 5)
    again = patches.cut(drawn, recipe, 8, 17).patch
    assert np.array_equal(first.input, again.input)
    assert np.array_equal(first.target, again.target)
    other = patches.cut(drawn, Recipe(patch=8, seed=4), 8, 17).patch
    assert not np.array_equal(first.target, other.target)


def test_an_epoch_visits_each_scene_once_in_a_new_order() -> None:
    recipe = Recipe(patch=8)
    drawn = scenes(recipe, count=6)
    ids = [patch.pair_id for patch in draws(drawn, recipe, 8, 60)]
    epochs = [ids[start : start + 6] for start in range(0, 60, 6)]
    assert all(sorted(epoch) == sorted(ids[:6]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 5


def test_the_last_short_of_a_scene_is_drawn_too() -> None:
    recipe = Recipe(patch=8, bursts="all")
    ids = {patch.pair_id for patch in draws(scenes(recipe, count=1, bursts=3), recipe, 8, 60)}
    assert ids == {"00000_00", "00000_01", "00000_02"}


def test_the_last_short_is_never_drawn_where_the_ported_bug_is_asked_for() -> None:
    recipe = Recipe(patch=8, bursts="all", short_draw="exclude-last")
    allowed = patches.drawn(scenes(recipe, count=1, bursts=3), recipe)
    ids = {patch.pair_id for patch in draws(allowed, recipe, 8, 60)}
    assert ids == {"00000_00", "00000_01"}


def test_a_scene_with_one_short_and_no_last_one_is_an_error_with_its_name() -> None:
    recipe = Recipe(short_draw="exclude-last")
    with pytest.raises(UsageError, match=r"00000: the scene has one short.*short_draw"):
        patches.drawn(scenes(recipe, bursts=3), recipe)


def test_sid_draws_only_the_first_of_a_burst() -> None:
    assert [[e.pair.burst_index for e in shorts] for shorts in scenes(Recipe(), bursts=3)] == [[0], [0], [0]]


@pytest.mark.parametrize(("draw", "last"), [("inclusive", 4), ("sid-exclusive", 3)])
def test_the_offset_draw_reaches_the_edge_only_when_inclusive(draw: str, last: int) -> None:
    recipe = Recipe(patch=8, offset_draw=draw, augmentation="none")
    drawn = [[entry(size=(12, 20))]]
    tops = {round(float(patch.target[0, 0, 0]) * 65535) // 2 for patch in draws(drawn, recipe, 8, 200)}
    assert tops == set(range(last + 1))


def test_a_patch_larger_than_the_frame_names_both_sizes() -> None:
    with pytest.raises(UsageError, match=r'512x512.*20x24.*patch = "fit"'):
        patches.patch_sides([entry()], Recipe())


def test_sids_draw_needs_a_frame_larger_than_the_patch() -> None:
    with pytest.raises(UsageError, match=r"sid-exclusive.*at most 19"):
        patches.patch_sides([entry()], Recipe(patch=20))
    assert patches.patch_sides([entry()], Recipe(patch=20, offset_draw="inclusive")) == (20,)


def test_fit_is_the_largest_square_of_the_smallest_frame() -> None:
    entries = [entry(size=(20, 24)), entry(size=(30, 18))]
    assert patches.patch_sides(entries, Recipe(patch="fit", offset_draw="inclusive")) == (18,)
    assert patches.patch_sides(entries, Recipe(patch="fit")) == (17,)


def test_the_largest_of_several_sides_must_fit() -> None:
    with pytest.raises(UsageError, match=r"32x32.*at most 19"):
        patches.patch_sides([entry()], Recipe(patch=(8, 32, 16)))


def test_each_step_draws_its_side_from_seed_and_step_alone() -> None:
    sides = patches.patch_sides([entry()], Recipe(patch=(1, 8, 16)))
    drawn = [patches.side_at(sides, Recipe(), step) for step in range(300)]
    assert drawn[::-1] == [patches.side_at(sides, Recipe(), step) for step in reversed(range(300))]
    assert all(80 < drawn.count(side) < 120 for side in (1, 8, 16))
    assert drawn != [patches.side_at(sides, Recipe(seed=1), step) for step in range(300)]


def test_an_xtrans_patch_has_a_target_of_three_times_its_side() -> None:
    mosaic = np.arange(36 * 48, dtype=np.uint16).reshape(36, 48)
    layout = cfa.layout("RBGBRGGGRGGBGGBGGRBRGRBGGGBGGRGGRGGB")
    levels = np.zeros(9, np.float32), np.full(9, 65535, np.float32)
    xtrans = Entry(entry().pair, layout.pack(mosaic), *levels, np.repeat(mosaic[..., None], 3, axis=2))
    recipe = Recipe(architecture="xtrans", patch=5, ratio="none", augmentation="none")
    for number in range(10):
        cut = patches.cut([[xtrans]], recipe, 5, number)
        assert (cut.planes.shape, cut.target.shape) == ((9, 5, 5), (3, 15, 15))
        assert np.array_equal(cut.planes[5], cut.target[0][1::3, 0::3])  # of one color at one site of each block
        assert cut.patch.input.shape == (9, 5, 5)
    crop = patches.central(xtrans, 6)
    assert (crop.planes.shape, crop.target.shape) == ((9, 6, 6), (18, 18, 3))
    assert np.array_equal(crop.planes[8], crop.target[2::3, 1::3, 0])


def test_the_central_crop_is_aligned_and_never_larger_than_the_frame() -> None:
    crop = patches.central(entry(size=(20, 25)), 10)
    assert crop.planes.shape == (4, 10, 10)
    assert (crop.target[0, 0, 0], crop.target[0, 0, 1]) == (2 * 5, 2 * 7)
    assert np.array_equal(crop.planes, entry(size=(20, 25)).planes[:, 5:15, 7:17])
    assert patches.central(entry(), 1024).target.shape == entry().target.shape
