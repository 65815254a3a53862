"""The grid of the benchmark: which faults are planted, how strong, what should find them, and where that is promised.

Strengths lie below, at and above the promise, so that the table shows where the audit goes blind.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, TypeAlias

from sidcurate.errors import UsageError
from sidcurate.synthetic.bodies import Body, body_named
from sidcurate.synthetic.faults import FAULTS
from sidcurate.synthetic.planting import Planted, planted_fault
from sidcurate.synthetic.scenes import Scenery

RATIOS = (100, 250, 300)
# Low ISO: with the light that fills the long frame then, the short one holds electrons enough to be judged.
DEVICES = tuple(replace(body_named(slug), iso=100) for slug in ("canon90d", "oneplus7", "gbrg12", "nikond850"))

Condition: TypeAlias = Literal["plain", "dark", "fence", "black", "sky", "vignetted"]
_SCENERY: dict[Condition, Scenery] = {"fence": "fence", "black": "black", "sky": "sky", "vignetted": "vignetted"}
_ISO_IN_THE_DARK = 1600
_FULL_RANGE_DN14 = 1 << 14


@dataclass(frozen=True)
class Grade:
    """A fault at a strength, or none, under a condition.

    Attributes:
        fault: name of the fault, None for a clean pair.
        strength: how strong, in the unit of the fault; for `black-off` the zero error times the exposure ratio, as a
            share of the white range, which is what its rule judges.
        codes: rules that name the fault rightly: more than one where it truly has two names.
        promised: whether the audit is held to find it on every scene of enough light.
        condition: what the scenes are like.
    """

    fault: str | None = None
    strength: float | None = None
    codes: tuple[str, ...] = ()
    promised: bool = False
    condition: Condition = "plain"

    @property
    def scenery(self) -> Scenery:
        """What the scenes show."""
        return _SCENERY.get(self.condition, "leaves")

    def body(self, body: Body) -> Body:
        """Return the body at the ISO of the condition: a high one goes with little light."""
        return replace(body, iso=_ISO_IN_THE_DARK) if self.condition == "dark" else body

    def planted(self, body: Body, ratio: Fraction) -> tuple[Planted, ...]:
        """Return what to plant in a session of a body at an exposure ratio."""
        if self.fault is None:
            return ()
        strength = self.strength
        if self.fault == "black-off" and strength is not None:
            used = (body.white_level - body.black_level) / (body.white_level + 1)
            # As many digits as a request of the fault is written with, so that it plants the same.
            strength = float(f"{strength * _FULL_RANGE_DN14 * used / float(ratio):.4g}")
        return (planted_fault(self.fault, strength),)


@dataclass(frozen=True)
class _Curve:
    """A fault, its strengths, and those of them that are promised; `also` are other right names of it."""

    fault: str
    blind: tuple[float, ...] = ()
    promised: tuple[float, ...] = ()
    also: tuple[str, ...] = ()

    def grades(self) -> Iterator[Grade]:
        codes = (FAULTS[self.fault].code, *self.also)
        for strength in sorted((*self.blind, *self.promised)):
            yield Grade(self.fault, strength, codes, strength in self.promised)


_DAMAGE = ("zero-tail", "zero-run", "repeated-rows", "constant-rows", "random-bytes")
_CURVES = (
    *(_Curve(fault, (0.001, 0.003, 0.006), (0.012, 0.05, 0.2)) for fault in _DAMAGE),
    _Curve("truncated-pixels", (0.003,), (0.012, 0.2), also=("CAP102",)),
    # A black that one frame alone cannot refute shows as the zero of the pair.
    _Curve("wrong-black-tag", (-64, -16, 4, 16, 64, 256), also=("PAIR212",)),
    _Curve("wrong-white-tag", (0.5, 0.7, 0.9, 0.98, 1.2, 2)),
    _Curve("bit-depth-drop", (), (1, 2, 4)),
    # Two frames of one session that differ in size: none of the two is the usual one.
    _Curve("size-changed", (), (0.05,), also=("CAP106",)),
    _Curve("hidden-gain", (0.95, 1.05, 1.12, 1.18), (0.33, 0.67, 0.8, 1.25, 1.5, 3)),
    _Curve("black-off", (-0.02, 0.02, 0.03), (-0.16, -0.08, 0.05, 0.08, 0.16, 0.32), also=("CAP121",)),
    _Curve("light-changed", (0.05, 0.1, 0.15), (0.2, 0.3, 0.6)),
    _Curve("shifted", (0.5, 1, 1.2), (1.5, 2, 3, 6, 20, 40)),
    _Curve("scene-moved", (0.01, 0.02, 0.03), (0.05, 0.1, 0.3)),
    _Curve("defocused", (0.5, 1, 2), (4, 6, 10, 20)),
    _Curve("overexposed", (0.02, 0.04), (0.05, 0.1, 0.2)),
)
_WITHOUT_STRENGTH = ("portrait", "phase-changed", "other-scene", "lens-cap")
_CONDITIONS: tuple[Condition, ...] = ("dark", "fence", "black", "sky", "vignetted")
_UNDER_CONDITIONS = (
    ("hidden-gain", 1.5),
    ("light-changed", 0.3),
    ("shifted", 3.0),
    ("shifted", 20.0),
    ("scene-moved", 0.1),
    ("other-scene", None),
    ("defocused", 6.0),
    ("lens-cap", None),
)

CLEAN = Grade()


def _plain() -> Iterator[Grade]:
    for curve in _CURVES:
        yield from curve.grades()
    for fault in _WITHOUT_STRENGTH:
        yield Grade(fault, None, (FAULTS[fault].code,), promised=True)


def _hard() -> Iterator[Grade]:
    for condition in _CONDITIONS:
        yield Grade(condition=condition)
        for fault, strength in _UNDER_CONDITIONS:
            yield Grade(fault, strength, (FAULTS[fault].code,), condition=condition)


GRID = (*_plain(), *_hard())
"""Every grade but the clean pairs under no special condition."""


def chosen(faults: Sequence[str] | None) -> tuple[Grade, ...]:
    """Return the grades of some faults, None for all.

    Raises:
        UsageError: the grid has no such fault.
    """
    known = dict.fromkeys(grade.fault for grade in GRID if grade.fault)
    unknown = [fault for fault in faults or () if fault not in known]
    if unknown:
        raise UsageError(f"the benchmark has no fault {unknown[0]!r}; it has {', '.join(known)}")
    return GRID if faults is None else tuple(grade for grade in GRID if grade.fault in faults)
