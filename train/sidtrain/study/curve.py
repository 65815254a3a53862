"""The few-pair curve: what a network is worth by the count of pairs that it was trained on. No torch.

Two things vary: which scenes it is judged on, and which pairs (with which seed) it was trained on. The test scenes are
the same for every training, so that the two can be told apart.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, stdev
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from sidcurate.counted import counted
from sidcurate.schemas import Split, described
from sidtrain.evaluation.intervals import Estimate, estimate, paired_difference

Start = Literal["fine-tuned", "scratch"]
STARTS: Final[tuple[Start, ...]] = ("fine-tuned", "scratch")


class _Frozen(BaseModel):
    """Immutable, no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Dot(_Frozen):
    """One training of the curve, judged."""

    pairs: int = described("Pairs that it was trained on.", ge=1)
    start: Start = described("From the checkpoint of another camera, or from scratch.")
    repeat: int = described("Number of the repeat: its subset of pairs and its seed.", ge=0)
    pair_ids: tuple[str, ...] = described("The pairs.")
    run: str = described("Folder of the run.")
    step: int = described("Step whose weights were judged.", "step", ge=0)
    psnr_db: dict[str, float] = described("PSNR by test scene.", "dB")


class Level(_Frozen):
    """All repeats of one count of pairs and one start."""

    pairs: int = described("Pairs trained on.")
    start: Start = described("From the checkpoint of another camera, or from scratch.")
    repeats: int = described("Trainings, each on a subset of its own.")
    psnr_db: Estimate = described("Over the test scenes, of a scene's mean over the repeats.", "dB")
    by_repeat: tuple[float, ...] = described("Mean over the test scenes of each repeat.", "dB")
    subset_sd_db: float | None = described(
        "Standard deviation between the repeats on the same test scenes: what the choice of pairs and the seed do; "
        "null under two repeats.",
        "dB",
    )


class Gain(_Frozen):
    """What one kind of training is worth more than another: two intervals that overlap do not tell."""

    of: str = described("What is compared, in words.")
    psnr_db: Estimate = described("Over the test scenes, paired: of a scene's mean over the repeats.", "dB")
    by_repeat: tuple[float, ...] = described(
        "Mean over the test scenes, paired by repeat: the one subset lies in the other, or is the same.", "dB"
    )


class Curve(_Frozen):
    """The curve of a device, with its controls."""

    schema_version: Literal[2] = described("Version of this record.", default=2)
    device: str = described("Slug of the camera.")
    protocol: str = described("Protocol of every number.")
    split: Split = described("Part of the data set that is judged on.", default="test")
    recipe: str = described("The recipe as JSON, without its seed: the same steps for every training.")
    validation_pairs: int = described("Pairs that chose the step, where the recipe keeps the best: shot too.", ge=0)
    initial_weights: str | None = described("Checkpoint of the fine-tuned runs; null without.")
    zero_shot: Estimate | None = described("That checkpoint before any training, over the test scenes.", "dB")
    gaussian: Estimate = described("The best trivial picture: amplified and blurred.", "dB")
    dots: tuple[Dot, ...] = described("Every training.")
    levels: tuple[Level, ...] = described("By start and count of pairs.")
    gains: tuple[Gain, ...] = described("From each count to the next, then of the fine-tuned over the controls.")


def levels(dots: Sequence[Dot]) -> tuple[Level, ...]:
    """Return the levels of the trainings, fine-tuned ones first, by rising count of pairs."""
    kinds = sorted({(STARTS.index(dot.start), dot.pairs) for dot in dots})
    return tuple(
        _level([dot for dot in dots if (dot.start, dot.pairs) == (STARTS[start], pairs)]) for start, pairs in kinds
    )


def gains(levels: Sequence[Level], zero_shot: Estimate | None) -> tuple[Gain, ...]:
    """Return what more pairs bring, from each count to the next, then what the fine-tuned have over their controls.

    Args:
        levels: all levels, as `levels` returns them; each count has the same repeats.
        zero_shot: the checkpoint before any training, which the smallest count is compared with; None without.
    """
    tuned, scratch = ([level for level in levels if level.start == start] for start in STARTS)
    found = [
        _gain(f"{more.pairs} pairs less {fewer.pairs}, {more.start}", more, fewer.psnr_db, fewer.by_repeat)
        for line in (tuned, scratch)
        for fewer, more in pairwise(line)
    ]
    if zero_shot and tuned:
        of = f"{counted(tuned[0].pairs, 'pair')}, fine-tuned less zero-shot"
        found.append(_gain(of, tuned[0], zero_shot, [zero_shot.mean] * tuned[0].repeats))
    for ours, other in zip(tuned, scratch, strict=False):
        of = f"{counted(ours.pairs, 'pair')}, fine-tuned less scratch"
        found.append(_gain(of, ours, other.psnr_db, other.by_repeat))
    return tuple(found)


def _gain(of: str, ours: Level, other: Estimate, by_repeat: Sequence[float]) -> Gain:
    return Gain(
        of=of,
        psnr_db=paired_difference(ours.psnr_db.by_scene, other.by_scene),
        by_repeat=tuple(more - less for more, less in zip(ours.by_repeat, by_repeat, strict=True)),
    )


def _level(dots: Sequence[Dot]) -> Level:
    by_repeat = tuple(mean(dot.psnr_db.values()) for dot in sorted(dots, key=lambda dot: dot.repeat))
    return Level(
        pairs=dots[0].pairs,
        start=dots[0].start,
        repeats=len(dots),
        psnr_db=estimate({scene: mean(dot.psnr_db[scene] for dot in dots) for scene in dots[0].psnr_db}),
        by_repeat=by_repeat,
        subset_sd_db=stdev(by_repeat) if len(by_repeat) > 1 else None,
    )
