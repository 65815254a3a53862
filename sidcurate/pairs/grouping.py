"""Captures -> scenes: folders, SID-style names and time gaps say which frames show the same thing."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import PurePosixPath

from sidcurate.schemas import Capture

_SID_NAME = re.compile(r"(?P<scene>\d{5})_(?P<burst>\d{2})_[^_]*s", re.IGNORECASE)
# A folder of a camera's own, such as 100CANON (DCF 2.0, 3.2.1): it holds what came next, up to number 9999, no scene.
_DCF_FOLDER = re.compile(r"[1-9]\d{2}[0-9A-Z_]{5}")
_ROLE_FOLDERS = frozenset({"short", "long"})


@dataclass(frozen=True)
class Scene:
    """Captures said to show the same thing, and by what."""

    scene_id: str
    captures: Sequence[Capture]
    why: str


def scenes(captures: Iterable[Capture], scene_gap_s: float) -> Iterator[Scene]:
    """Yield the scenes: by SID-style name where there is one, else by the time gaps within a folder."""
    named: dict[tuple[str, str], list[Capture]] = {}
    others: dict[str, list[Capture]] = {}
    for capture in captures:
        match = sid_name(capture)
        if match:
            named.setdefault((_folder(capture), match["scene"]), []).append(capture)
        else:
            others.setdefault(_card(_folder(capture)), []).append(capture)
    for (folder, name), group in sorted(named.items()):
        yield Scene(scene_name(folder, name), group, f"the names give scene {name}")
    for folder, group in sorted(others.items()):
        yield from _scenes_of_folder(folder, group, scene_gap_s)


def _scenes_of_folder(folder: str, captures: Sequence[Capture], scene_gap_s: float) -> Iterator[Scene]:
    timed = sorted((capture for capture in captures if capture.captured_at), key=in_order)
    timeless = [capture for capture in captures if not capture.captured_at]
    groups = list(_split_at_gaps(timed, scene_gap_s))
    is_a_card = any(_folder(capture) != folder for capture in captures)
    if folder and not is_a_card and (timeless or all(len(group) == 1 for group in groups)):
        yield Scene(scene_name(folder), captures, f"the folder {folder} holds one scene")
        return
    for group in groups:
        several = f"no gap of more than {scene_gap_s:g} s between its frames"
        why = several if len(group) > 1 else f"no other frame within {scene_gap_s:g} s of it"
        yield Scene(scene_name(_folder(group[0]), _stem(group[0].path)), group, why)
    for capture in timeless:
        why = "no time, name or folder tells its scene"
        yield Scene(scene_name(_folder(capture), _stem(capture.path)), [capture], why)


def _split_at_gaps(captures: Sequence[Capture], scene_gap_s: float) -> Iterator[list[Capture]]:
    group: list[Capture] = []
    end = datetime.max
    for capture in captures:
        start = capture.captured_at or end
        if group and (start - end).total_seconds() > scene_gap_s:
            yield group
            group = []
        frame_end = start + timedelta(seconds=capture.exposure_time_s or 0)
        # The frames of a bracket can share one second: a scene ends where the latest of its frames does.
        end = max(end, frame_end) if group else frame_end
        group.append(capture)
    if group:
        yield group


def sid_name(capture: Capture) -> re.Match[str] | None:
    """Return the parts "scene" and "burst" of a SID-style name; None for any other."""
    return _SID_NAME.fullmatch(_stem(capture.path))


def role_of(capture: Capture) -> str | None:
    """Return "short" or "long" where a folder of that name holds the frame."""
    return _role_and_folder(capture.path.rpartition("/")[0])[0]


def _folder(capture: Capture) -> str:
    return _role_and_folder(capture.path.rpartition("/")[0])[1]


@lru_cache(maxsize=1 << 12)
def _role_and_folder(folder: str) -> tuple[str | None, str]:
    """Return whether shorts or longs stand in a folder, where its name says so, and its path without such names."""
    parts = PurePosixPath(folder).parts
    roles = [part.lower() for part in parts if part.lower() in _ROLE_FOLDERS]
    return roles[-1] if roles else None, "/".join(part for part in parts if part.lower() not in _ROLE_FOLDERS)


def _stem(path: str) -> str:
    """Return a name without its folder and suffix, as `PurePath.stem` does, which takes 20 times as long."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[:dot] if 0 < dot < len(name) - 1 else name


def _card(folder: str) -> str:
    """Return a folder without a last part that a camera has numbered: a scene goes on in the next one."""
    parent, _, name = folder.rpartition("/")
    return parent if _DCF_FOLDER.fullmatch(name) else folder


def scene_name(*parts: str) -> str:
    """Return the name of a scene from a folder and whatever else names it."""
    return "-".join(part.replace("/", "-") for part in parts if part)


def in_order(capture: Capture) -> tuple[datetime, int, str]:
    """Sort by time, then by the number in the name, which counts on where the clock has whole seconds only."""
    digits = re.findall(r"\d+", _stem(capture.path))
    return capture.captured_at or datetime.max, int(digits[-1]) if digits else 0, capture.path
