"""Plant faults in the shots of a session: which, how strong, in which scenes."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sidcurate.errors import UsageError
from sidcurate.synthetic.faults import FAULTS, Fault
from sidcurate.synthetic.sensor import generator
from sidcurate.synthetic.shots import Shot

_REQUEST = re.compile(r"(?P<name>[a-z0-9-]+)(=(?P<strength>[^@]+))?(@(?P<scenes>.+))?")
_SCENES = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


@dataclass(frozen=True)
class Planted:
    """A fault planted in some scenes (None: in all), at a strength (0 where the fault has none)."""

    fault: Fault
    strength: float
    scenes: frozenset[int] | None = None

    @property
    def label(self) -> str:
        """Name and strength, as a request writes them."""
        return f"{self.fault.name}={self.strength:g}" if self.fault.strength else self.fault.name


def planted_fault(name: str, strength: float | None = None, scenes: Iterable[int] | None = None) -> Planted:
    """Return a fault at a strength, None for its default, in some scenes (the first is 1), None for all.

    Raises:
        UsageError: no such fault, or a strength that it cannot have.
    """
    if name not in FAULTS:
        raise UsageError(f"no fault is called {name!r}; `sidcurate simulate --list-faults` prints them")
    where = None if scenes is None else frozenset(scenes)
    return Planted(FAULTS[name], _strength(FAULTS[name], strength), where)


def requested_fault(request: str) -> Planted:
    """Return the fault that NAME[=STRENGTH][@SCENES] asks for; SCENES are numbers and ranges: "shifted=6@1,3-5".

    Raises:
        UsageError: a request of another form, no such fault, or a strength that it cannot have.
    """
    form = _REQUEST.fullmatch(request)
    if form is None:
        raise UsageError(f"fault {request!r} is not NAME[=STRENGTH][@SCENES]; write it like shifted=6@1,3-5")
    try:
        strength = float(form["strength"]) if form["strength"] else None
    except ValueError as error:
        raise UsageError(f"fault {request!r}: {form['strength']!r} is not a number; write it like 0.3") from error
    return planted_fault(form["name"], strength, _scene_numbers(request, form["scenes"]))


def plant(shots: Iterable[Shot], faults: Sequence[Planted], seed: int) -> list[Shot]:
    """Return the shots with every fault planted in its scenes and frames, in the order of the faults.

    Raises:
        UsageError: a fault names a scene that is not there, or does not go with the shots.
    """
    changed = list(shots)
    scenes = {shot.scene for shot in changed}
    for planted in faults:
        missing = (planted.scenes or frozenset()) - scenes
        if missing:
            raise UsageError(
                f"fault {planted.label} is for scene {min(missing)}, and the session has 1 to {max(scenes)}: "
                "take more --scenes, or another scene"
            )
        changed = [_with_fault(shot, planted, seed) if _concerns(planted, shot) else shot for shot in changed]
    return changed


def _strength(fault: Fault, value: float | None) -> float:
    bounds = fault.strength
    if bounds is None:
        if value is not None:
            raise UsageError(f"fault {fault.name} has no strength: leave out ={value:g}")
        return 0.0
    if value is None:
        return bounds.default
    if not bounds.low <= value <= bounds.high:
        raise UsageError(
            f"fault {fault.name}: strength {value:g} ({bounds.meaning}) is outside {bounds.low:g} to {bounds.high:g}"
        )
    return value


def _scene_numbers(request: str, text: str | None) -> set[int] | None:
    if text is None:
        return None
    numbers: set[int] = set()
    for part in text.split(","):
        found = _SCENES.fullmatch(part)
        if found is None:
            raise UsageError(f"fault {request!r}: {part!r} is no scene number; write scenes like 1,3-5")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise UsageError(f"fault {request!r}: {part!r} holds no scene; write {last}-{first}")
        numbers.update(range(first, last + 1))
    return numbers


def _concerns(planted: Planted, shot: Shot) -> bool:
    return planted.fault.frames in ("both", shot.role) and (planted.scenes is None or shot.scene in planted.scenes)


def _with_fault(shot: Shot, planted: Planted, seed: int) -> Shot:
    rng = generator(seed, shot.body.slug, planted.fault.name, shot.scene)
    changed = planted.fault.change(shot, planted.strength, rng)
    return replace(changed, faults=(*shot.faults, planted.label))
