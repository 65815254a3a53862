"""The few-pair curve: what varies with the pairs and what with the scenes, in numbers and as a picture."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from sidcurate.cli import fewpairs
from sidtrain.evaluation.intervals import estimate
from sidtrain.recipe import Recipe
from sidtrain.study import curve, curveplot
from sidtrain.study.curve import Curve, Dot

SCENES = {"a": 20.0, "b": 22.0, "c": 24.0, "d": 26.0, "e": 28.0}


def dot(pairs: int = 2, start: str = "scratch", repeat: int = 0, more_db: float = 0.0) -> Dot:
    return Dot(
        pairs=pairs,
        start=start,  # type: ignore[arg-type]
        repeat=repeat,
        pair_ids=("one", "two"),
        run=f"runs/{start}-{pairs}-{repeat}",
        step=10,
        psnr_db={scene: value + more_db for scene, value in SCENES.items()},
    )


def test_the_spread_between_repeats_is_apart_from_that_between_scenes() -> None:
    (level,) = curve.levels([dot(repeat=repeat, more_db=more) for repeat, more in enumerate((-1.0, 0.0, 1.0))])
    assert level.repeats == 3
    assert level.by_repeat == (23.0, 24.0, 25.0)
    assert level.subset_sd_db == pytest.approx(1.0)
    assert level.psnr_db.mean == 24.0
    assert level.psnr_db.by_scene == SCENES, "a scene's mean over the repeats"
    half = 2.776445 * math.sqrt(10) / math.sqrt(5)
    assert level.psnr_db.high == pytest.approx(24 + half, abs=1e-4), "the interval is that of the scenes alone"


def test_one_repeat_tells_nothing_of_the_choice_of_pairs() -> None:
    assert curve.levels([dot()])[0].subset_sd_db is None


def test_levels_stand_by_start_and_rising_count() -> None:
    dots = [dot(pairs, start) for start in ("scratch", "fine-tuned") for pairs in (6, 2)]
    found = [(level.start, level.pairs) for level in curve.levels(dots)]
    assert found == [("fine-tuned", 2), ("fine-tuned", 6), ("scratch", 2), ("scratch", 6)]


def test_a_gain_is_paired_by_scene_and_by_repeat() -> None:
    """Every scene gains 1 dB, of scenes that differ by 8: no interval of a level would show it."""
    bonus = {"fine-tuned": 3.0, "scratch": 0.0}
    dots = [
        dot(pairs, start, repeat, pairs / 2 + more + repeat) for start, more in bonus.items() for pairs in (2, 4)
        for repeat in (0, 1)
    ]  # fmt: skip
    zero_shot = estimate({scene: value - 1 for scene, value in SCENES.items()})
    found = {gain.of: gain for gain in curve.gains(curve.levels(dots), zero_shot)}
    assert {name: gain.psnr_db.mean for name, gain in found.items()} == pytest.approx({
        "4 pairs less 2, fine-tuned": 1, "4 pairs less 2, scratch": 1, "2 pairs, fine-tuned less zero-shot": 5.5,
        "2 pairs, fine-tuned less scratch": 3, "4 pairs, fine-tuned less scratch": 3,
    })  # fmt: skip
    more = found["4 pairs less 2, scratch"]
    assert (more.psnr_db.low, more.psnr_db.high) == pytest.approx((1, 1))
    assert more.by_repeat == pytest.approx((1, 1))
    assert found["2 pairs, fine-tuned less zero-shot"].by_repeat == pytest.approx((5, 6))


def test_without_a_checkpoint_there_are_no_controls_to_gain_on() -> None:
    assert [gain.of for gain in curve.gains(curve.levels([dot(2), dot(4)]), None)] == ["4 pairs less 2, scratch"]
    assert curve.gains(curve.levels([dot(2)]), None) == ()


def drawn(zero_shot: float | None = None, repeats: int = 2, counts: tuple[int, ...] = (2, 4)) -> Curve:
    dots = tuple(dot(pairs, "scratch", repeat, repeat + pairs) for pairs in counts for repeat in range(repeats))
    return Curve(
        device="phone",
        protocol="some-protocol",
        recipe=Recipe(keep="best").model_dump_json(),
        validation_pairs=1,
        initial_weights=None,
        zero_shot=None if zero_shot is None else estimate({"a": zero_shot}),
        gaussian=estimate({"a": 18.0}),
        dots=dots,
        levels=curve.levels(dots),
        gains=curve.gains(curve.levels(dots), None),
    )


def picture(zero_shot: float | None) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(curveplot.png(drawn(zero_shot)))).convert("RGB"))


def test_the_picture_shows_the_mean_of_a_count_that_stands_alone() -> None:
    only = drawn(counts=(2,))
    shown = np.asarray(Image.open(io.BytesIO(curveplot.png(only))).convert("RGB"))
    row = round(curveplot._Axes(only).y(only.levels[0].psnr_db.mean))
    assert (shown[row] == (213, 94, 0)).all(axis=-1).sum() > 12, "between the two dots"


def test_the_table_has_every_repeat_whole_however_many(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    fewpairs._print(drawn(repeats=12))
    shown = capsys.readouterr().out
    assert "4 pairs less 2, scratch  +2.00 [+2.00, +2.00]  +2.00, +2.00" in shown
    assert ", ".join(f"{26 + repeat:.2f}" for repeat in range(12)) in shown
    assert "1 validation pair besides, the same for every training, chose the step that is kept" in shown


def test_the_picture_shows_every_dot_and_the_controls_that_there_are() -> None:
    vermilion, blue = (213, 94, 0), (0, 114, 178)
    plain, with_control = picture(None), picture(21.0)
    assert (plain == vermilion).all(axis=-1).sum() > 4 * 25
    assert not (plain == blue).all(axis=-1).any()
    assert (with_control == blue).all(axis=-1).sum() > 200
