"""The three trivial pictures: made as they say, and tuned on what they are given."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import small_session

from sidcurate import source
from sidcurate.cfa import layout
from sidcurate.errors import IntegrityError
from sidcurate.manifests import Manifest, sha256_of
from sidcurate.raws import raw
from sidcurate.schemas import Pair
from sidcurate.synthetic.dng import DngTags, write_dng
from sidtrain.data import store
from sidtrain.data.store import Entry, StoreSettings
from sidtrain.evaluation import baselines
from sidtrain.evaluation.baselines import SIGMAS_PX, Raws
from sidtrain.evaluation.metrics import psnr_db
from sidtrain.normalization import Levels
from sidtrain.recipe import Recipe

RECIPE = Recipe(adjust_maximum_thr=0.0)


def raws_of(manifest: Manifest) -> Raws:
    captures = {capture.path: capture for capture in manifest.captures}
    return Raws(source.raw_root(manifest.directory), captures, RECIPE, StoreSettings(0.0))


def entries_of(manifest: Manifest, folder: Path) -> list[Entry]:
    raws = raws_of(manifest)
    return store.build(manifest.pairs, raws.captures, raws.root, folder / "store", StoreSettings(0.0), jobs=1)


def overwritten(raws: Raws, path: str, mosaic: np.ndarray) -> Raws:
    """Put other pixels into a raw of a session, its levels and phase kept, and say that this is what was ingested."""
    capture = raws.captures[path]
    tags = DngTags(
        cfa=capture.cfa,
        black_level=capture.black_level,
        white_level=small_session.WHITE,
        exposure_time_s=Fraction(1),
    )
    write_dng(raws.root / path, mosaic.astype(np.uint16), tags)
    changed = capture.model_copy(update={"sha256": sha256_of(raws.root / path)})
    return replace(raws, captures={**raws.captures, path: changed})


DECLARED = Levels((64.0, 65.5, 66.0, 67.0), (1023.0,) * 4, "declared")


def test_the_signal_is_multiplied_above_the_black_of_its_own_site():
    mosaic = np.array([[70, 70], [60, 1000]], np.uint16)
    result = baselines.amplified_mosaic(mosaic, DECLARED, ratio=10)
    assert result.tolist() == [[64 + 60, round(65.5 + 45)], [66, 1023]]
    assert result.dtype == np.uint16


@pytest.mark.parametrize("cfa", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_a_noiseless_short_amplified_is_its_target(tmp_path: Path, cfa: str):
    manifest = small_session.write_session(tmp_path, ["train"], cfa=cfa)
    (pair,), raws = manifest.pairs, raws_of(manifest)
    black = np.tile(np.reshape(raws.captures[pair.short_path].black_level, (2, 2)), (25, 33))
    signal = np.random.default_rng(0).integers(0, 9, black.shape)
    raws = overwritten(raws, pair.short_path, black + signal)
    raws = overwritten(raws, pair.long_path, black + 100 * signal)
    target = raw.render(raws.root / pair.long_path, adjust_maximum_thr=0.0).image
    picture = baselines.amplified(pair, raws, ratio=100)
    assert np.array_equal(picture * 65535, layout(cfa).crop(target).astype(np.float32))


def test_a_raw_that_changed_since_ingest_is_no_trivial_picture(tmp_path: Path):
    manifest = small_session.write_session(tmp_path, ["train"])
    (pair,), raws = manifest.pairs, raws_of(manifest)
    overwritten(raws, pair.short_path, np.full((50, 66), 500))
    with pytest.raises(IntegrityError, match=r"SET305.*sidcurate ingest"):
        baselines.amplified(pair, raws, ratio=100)


def test_the_white_balance_is_the_target_s(tmp_path: Path):
    manifest = small_session.write_session(tmp_path, ["train"])
    (pair,), raws = manifest.pairs, raws_of(manifest)
    before = baselines.amplified(pair, raws, ratio=100)
    long = raws.captures[pair.long_path]
    warm_long = long.model_copy(update={"white_balance": (3.0, 1.0, 1.0)})
    warm = replace(raws, captures={**raws.captures, pair.long_path: warm_long})
    change = baselines.amplified(pair, warm, ratio=100).mean(axis=(0, 1)) / before.mean(axis=(0, 1))
    assert change[0] > 1.1
    assert change[2] < 0.9


def test_a_ratio_of_one_shows_the_short_as_it_was_shot(tmp_path: Path):
    manifest = small_session.write_session(tmp_path, ["train"])
    (pair,), raws = manifest.pairs, raws_of(manifest)
    shot = raw.render(raws.root / pair.short_path, adjust_maximum_thr=0.0).image
    assert np.array_equal(baselines.amplified(pair, raws, ratio=1) * 65535, layout("BGGR").crop(shot))


def test_the_blur_is_the_one_with_the_best_mean_psnr_on_the_training_frames(tmp_path: Path):
    manifest = small_session.write_session(tmp_path, ["train", "train"])
    raws, entries = raws_of(manifest), entries_of(manifest, tmp_path)
    pictures = [baselines.amplified(entry.pair, raws, small_session.RATIO) for entry in entries]
    means = {
        sigma: np.mean([
            psnr_db(baselines.blurred(picture, sigma), entry.target / np.float32(65535))
            for picture, entry in zip(pictures, entries, strict=True)
        ])
        for sigma in SIGMAS_PX
    }  # fmt: skip
    learned = baselines.learn(entries, raws)
    assert learned.sigma_px == max(means, key=means.__getitem__)
    assert learned.sigma_px > SIGMAS_PX[2]  # shot noise of a few electrons asks for a wide one


def test_a_noiseless_short_asks_for_no_blur(tmp_path: Path):
    manifest = small_session.write_session(tmp_path, ["train"])
    (pair,), raws = manifest.pairs, raws_of(manifest)
    black = np.tile(np.reshape(manifest.captures[1].black_level, (2, 2)), (25, 33))
    signal = np.random.default_rng(0).integers(0, 9, black.shape)
    (entry,) = entries_of(manifest, tmp_path)
    raws = overwritten(raws, pair.short_path, black + signal)
    raws = overwritten(raws, pair.long_path, black + 100 * signal)
    target = layout("BGGR").crop(raw.render(raws.root / pair.long_path, adjust_maximum_thr=0.0).image)
    learned = baselines.learn([replace(entry, target=target)], raws)
    assert learned.sigma_px == SIGMAS_PX[0]


@pytest.mark.parametrize(("scenes", "shorts"), [(2, 5), (40, 1), (40, 10)])
def test_of_many_training_pairs_no_more_are_learned_from_than_the_blur_and_the_color_need(scenes: int, shorts: int):
    pairs = [
        Pair(
            device="phone",
            pair_id=f"{scene:05d}_{burst:02d}",
            scene_id=f"{scene:05d}",
            burst_index=burst,
            short_path=f"{scene}-{burst}",
            long_path=f"{scene}",
            reason="made here",
        )
        for scene in range(scenes)
        for burst in range(shorts)
    ]
    needed = baselines.lessons(pairs)
    assert len(needed) == len({pair.pair_id for pair in needed}) <= 24 + scenes
    assert {pair.long_path for pair in needed} == {pair.long_path for pair in pairs}
    places = [pairs.index(pair) for pair in needed[:24]]
    assert {places[0], max(places)} == {0, len(pairs) - 1}
    assert np.ptp(np.diff(places[: min(24, len(pairs))])) <= 1, "evenly spaced"


def test_the_mean_color_counts_each_long_frame_once(tmp_path: Path):
    manifest = small_session.write_session(tmp_path, ["train", "train"], shorts=2)
    first, again, second, _ = entries_of(manifest, tmp_path)
    expected = np.stack([first.target, second.target]).mean(axis=(0, 1, 2)) / 65535
    assert baselines.mean_color([first, again, second]) == pytest.approx(tuple(expected))


def test_the_pictures_have_the_size_of_the_target(tmp_path: Path):
    manifest = small_session.write_session(tmp_path, ["train"], cfa="GRBG", size=(34, 44))
    entries = entries_of(manifest, tmp_path)
    pictures = baselines.learn(entries, raws_of(manifest)).pictures(entries[0])
    assert list(pictures) == ["amplified", "gaussian", "mean-color"]
    assert {picture.shape for picture in pictures.values()} == {entries[0].target.shape}
    assert np.ptp(pictures["mean-color"], axis=(0, 1)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("size", "corner"), [((1030, 1026), (3, 1)), ((20, 1025), (0, 0)), ((1024, 20), (0, 0))])
def test_the_blur_is_chosen_on_the_middle_of_large_frames(size: tuple[int, int], corner: tuple[int, int]) -> None:
    places = np.stack(np.indices(size), axis=-1)
    middle = baselines._center(places)
    assert middle.shape[:2] == tuple(min(side, 1024) for side in size)
    assert tuple(middle[0, 0]) == corner
