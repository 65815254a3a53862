"""What to shoot: a plan becomes the shots of a session, in the order and at the times of capture."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Literal

import numpy as np

from sidcurate.errors import UsageError
from sidcurate.raws.raw import LEAST_XTRANS_PX
from sidcurate.synthetic.bodies import Body
from sidcurate.synthetic.dng import DngTags
from sidcurate.synthetic.planting import Planted, plant
from sidcurate.synthetic.scenes import Scenery
from sidcurate.synthetic.sensor import NOMINAL_LONG_S, generator
from sidcurate.synthetic.shots import Role, Settings, Shot, sid_name

_FIRST_SCENE_AFTER = datetime.fromisoformat("2026-03-01T19:00:00")
_BETWEEN_FRAMES_S = 2
_SMALLEST_SIDE_PX = 32
# What a gray card reads (R, G, B) under daylight and under tungsten.
_DAYLIGHT, _TUNGSTEN = np.array([0.45, 1.0, 0.68]), np.array([0.76, 1.0, 0.36])
# The camera is set to one white balance for the whole session, half way: scenes keep the color of their light.
_AS_SHOT_NEUTRAL = (0.605, 1.0, 0.52)


@dataclass(frozen=True)
class Plan:
    """What to shoot: one long frame of 10 s a scene, then its short frames.

    Attributes:
        body: the camera.
        scenes: how many scenes, numbered from 1.
        size: height and width of a frame in px.
        ratios: exposure ratios, taken in turn from scene to scene.
        shorts: short frames a scene.
        seed: the same plan and seed give the same bytes.
        names: "sid" ("00001_00_0.04s.dng") or "camera" ("IMG_0001.dng").
        faults: what goes wrong, and where.
        scenery: what the scenes show.
    """

    body: Body
    scenes: int = 10
    size: tuple[int, int] = (768, 1024)
    ratios: tuple[Fraction, ...] = (Fraction(100), Fraction(250), Fraction(300))
    shorts: int = 1
    seed: int = 0
    names: Literal["sid", "camera"] = "sid"
    faults: tuple[Planted, ...] = ()
    scenery: Scenery = "leaves"

    def __post_init__(self) -> None:
        if min(self.scenes, self.shorts) < 1 or not self.ratios or min(self.ratios) <= 1:
            raise UsageError("a session needs a scene, a short frame and ratios above 1: raise what is too small")
        least = LEAST_XTRANS_PX if len(self.body.cfa or "") == 36 else _SMALLEST_SIDE_PX
        if min(self.size) < least:
            raise UsageError(
                f"frames of {self.size} px are too small for {self.body.slug}: take {least} px a side or more"
            )


def planned_shots(plan: Plan) -> list[Shot]:
    """Return every frame of a plan in the order of capture, faults planted; nothing is rendered yet.

    Raises:
        UsageError: a fault does not go with the plan, or gives two frames one name.
    """
    shots = plant(_flawless_shots(plan), plan.faults, plan.seed)
    name, count = Counter(shot.name for shot in shots).most_common(1)[0]
    if count > 1:
        raise UsageError(f"two frames would be called {name}: plant the fault at another strength")
    return shots


def _flawless_shots(plan: Plan) -> Iterator[Shot]:
    now, number = _FIRST_SCENE_AFTER, 0
    for scene in range(1, plan.scenes + 1):
        rng = generator(plan.seed, plan.body.slug, "scene", scene)
        now += timedelta(seconds=int(rng.integers(180, 480)), milliseconds=10 * int(rng.integers(100)))
        tags, neutral = _tags(plan), _neutral(rng)
        short_s = NOMINAL_LONG_S / plan.ratios[(scene - 1) % len(plan.ratios)]
        for role, burst_index, time_s in _long_then_shorts(short_s, plan.shorts):
            number += 1
            name = sid_name(scene, burst_index, time_s) if plan.names == "sid" else f"IMG_{number:04d}.dng"
            settings = Settings(time_s, plan.body.iso, plan.body.f_number)
            stamped = replace(tags, captured_at=now, exposure_time_s=time_s)
            yield Shot(scene, role, burst_index, name, plan.body, settings, stamped, neutral=neutral)
            now += timedelta(seconds=float(time_s) + _BETWEEN_FRAMES_S)


def _long_then_shorts(short_s: Fraction, shorts: int) -> Iterator[tuple[Role, int, Fraction]]:
    yield "long", 0, NOMINAL_LONG_S
    for burst_index in range(shorts):
        yield "short", burst_index, short_s


def _tags(plan: Plan) -> DngTags:
    body = plan.body
    return DngTags(
        make=body.make,
        model=body.model,
        serial=body.serial,
        lens_model=body.lens_model,
        cfa=body.cfa,
        black_level=(float(body.black_level),),
        white_level=body.white_level,
        f_number=body.f_number,
        iso=body.iso,
        focal_length_mm=body.focal_length_mm,
        as_shot_neutral=_AS_SHOT_NEUTRAL,
    )


def _neutral(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return what a gray card reads under a scene's light, somewhere between daylight and tungsten, G = 1."""
    mixed = _DAYLIGHT + rng.random() * (_TUNGSTEN - _DAYLIGHT) + rng.normal(0, 0.02, 3)
    red, blue = (round(float(mixed[color]), 4) for color in (0, 2))
    return red, 1.0, blue
