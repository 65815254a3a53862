"""One exposure as data: what the settings were, what the header says, and every way in which the two may part.

A fault is a change of these values and of nothing else; the sensor only ever renders a shot.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, TypeAlias

from sidcurate.synthetic.bodies import Body
from sidcurate.synthetic.dng import DngTags

Role: TypeAlias = Literal["short", "long"]


@dataclass(frozen=True)
class Settings:
    """What the body was really set to."""

    exposure_time_s: Fraction
    iso: int
    f_number: Fraction


@dataclass(frozen=True)
class Light:
    """How the light departs from what the settings promise; the defaults depart in nothing.

    Attributes:
        gain: factor on the light.
        gradient: relative change of the gain from the left edge to the right one.
        shift_px: how far the picture moved (down, right).
        blur_px: standard deviation of an added Gaussian blur.
        moved_fraction: share of the frame whose content is another.
        other_scene: whether the frame shows another scene altogether.
        clipped_fraction: share of sites of the scene's long frame that the light drives to white; 0 leaves the light
            as it is.
    """

    gain: float = 1.0
    gradient: float = 0.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    blur_px: float = 0.0
    moved_fraction: float = 0.0
    other_scene: bool = False
    clipped_fraction: float = 0.0


@dataclass(frozen=True)
class Readout:
    """How the readout departs: an added zero in 14-bit DN, low bits that are always 0, a share of rows left out."""

    zero_dn14: float = 0.0
    bits_dropped: int = 0
    rows_cut: float = 0.0


DamageKind: TypeAlias = Literal[
    "zero-tail", "zero-run", "repeated-rows", "constant-rows", "random-bytes", "truncated-pixels", "truncated-header"
]


@dataclass(frozen=True)
class Damage:
    """Damage to the stored file: its kind, and the share of the frame that it takes."""

    kind: DamageKind
    share: float


@dataclass(frozen=True)
class Shot:
    """One frame of a session; `written` and `copy_as` say whether and under which second name it is stored.

    `neutral` is what a gray card reads under the light of the scene, R, G, B with G = 1; the camera's white balance is
    in the tags, and need not be that.
    """

    scene: int
    role: Role
    burst_index: int
    name: str
    body: Body
    settings: Settings
    tags: DngTags
    light: Light = field(default_factory=Light)
    readout: Readout = field(default_factory=Readout)
    damage: Damage | None = None
    written: bool = True
    copy_as: str | None = None
    faults: tuple[str, ...] = ()
    neutral: tuple[float, float, float] = (1.0, 1.0, 1.0)


def sid_name(scene: int, burst_index: int, time_s: Fraction) -> str:
    """Return a file name in the manner of SID: scene, burst index, exposure time in decimal seconds.

    >>> sid_name(1, 0, Fraction(1, 25))
    '00001_00_0.04s.dng'
    """
    return f"{scene:05d}_{burst_index:02d}_{float(time_s):.4g}s.dng"
