"""Shoot a simulated session: DNG files in a folder, and the truth beside them."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt16

from sidcurate.errors import MissingResourceError, UsageError
from sidcurate.synthetic.bodies import Body
from sidcurate.synthetic.damage import damage_file, damaged
from sidcurate.synthetic.dng import write_dng
from sidcurate.synthetic.plan import Plan, planned_shots
from sidcurate.synthetic.scenes import Scenery, night_scene
from sidcurate.synthetic.sensor import CORNER_LIGHT, Exposure, FixedPattern, expose, fixed_pattern, generator, seen
from sidcurate.synthetic.shots import Shot
from sidcurate.synthetic.truth import Truth, session_truth

TRUTH_FILE = "truth.json"
_VIGNETTED_CORNER_LIGHT = 0.15


def simulate(out: Path, plan: Plan, progress: Callable[[int, int], None] = lambda done, total: None) -> Truth:
    """Write a session into a folder, as DNG files with `truth.json` beside them.

    Args:
        out: the folder; made where it does not exist.
        plan: what to shoot.
        progress: called with the count of frames stored and of frames to store.

    Raises:
        UsageError: the folder is not empty, or a fault does not go with the plan.
        MissingResourceError: a file cannot be written.
    """
    shots = [shot for shot in planned_shots(plan) if shot.written]
    taken: list[tuple[Shot, Exposure]] = []
    try:
        _make_empty_folder(out)
        for shot, codes, exposure in _exposures(plan, shots):
            _store(out, shot, codes)
            taken.append((shot, exposure))
            progress(len(taken), len(shots))
        truth = session_truth(plan.body.slug, plan.seed, taken)
        (out / TRUTH_FILE).write_text(truth.to_json(), encoding="utf-8")
    except OSError as error:
        raise MissingResourceError(f"{out} cannot be written ({error}): free space, or name another folder") from error
    return truth


def _make_empty_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder, and nothing is overwritten: name a new one, or empty it")
    out.mkdir(parents=True, exist_ok=True)


def _exposures(plan: Plan, shots: Sequence[Shot]) -> Iterator[tuple[Shot, UInt16[np.ndarray, "h w *c"], Exposure]]:
    for number, group in groupby(shots, lambda shot: shot.scene):
        of_scene = list(group)
        labels = (plan.seed, plan.body.slug, number)
        scene = _scene(plan.scenery, plan.size, *labels, "leaves")
        replaced = any(shot.light.other_scene or shot.light.moved_fraction for shot in of_scene)
        other = _scene(plan.scenery, plan.size, *labels, "other leaves") if replaced else None
        for shot in of_scene:
            rng = generator(*labels, shot.role, shot.burst_index)
            picture = seen(scene, other, shot.light, rng.random())
            codes, exposure = expose(picture, shot, _pattern(shot.body, plan), rng)
            yield shot, damaged(codes, shot.damage, rng), exposure


# Scenes and patterns are shared by frames, and by sessions that plant different faults in the same scene.
@lru_cache(maxsize=2)
def _scene(scenery: Scenery, size: tuple[int, int], *labels: int | str) -> Float32[np.ndarray, "H W 3"]:
    scene = night_scene(scenery, *size, generator(*labels))
    scene.flags.writeable = False
    return scene


def _pattern(body: Body, plan: Plan) -> FixedPattern:
    corner_light = _VIGNETTED_CORNER_LIGHT if plan.scenery == "vignetted" else CORNER_LIGHT
    return _fixed_pattern(body, plan.size, corner_light)


_fixed_pattern = lru_cache(maxsize=2)(fixed_pattern)


def _store(out: Path, shot: Shot, codes: UInt16[np.ndarray, "h w *c"]) -> None:
    path = out / shot.name
    write_dng(path, codes, shot.tags)
    damage_file(path, shot.damage, codes.nbytes)
    if shot.copy_as:
        shutil.copyfile(path, out / shot.copy_as)
