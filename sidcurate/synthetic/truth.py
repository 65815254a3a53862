"""What is true of a simulated session: the answers that an audit of its files should give."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sidcurate import __version__
from sidcurate.synthetic.faults import FAULTS
from sidcurate.synthetic.sensor import Exposure, dn_per_radiance
from sidcurate.synthetic.shots import Shot


@dataclass(frozen=True)
class FrameTruth:
    """One stored frame. What its header says may differ.

    Attributes:
        path: name of the file in the session's folder.
        scene: number of the scene.
        role: "short" or "long".
        burst_index: number among the short frames of the scene.
        exposure_time_s: true exposure time.
        iso: true ISO.
        f_number: true f-number.
        gain: light beyond what these settings promise.
        zero_dn: true zero in DN, by CFA position (by color in a linear image).
        median_electrons: median over the sites of the light's electrons, before noise.
        clipped_fraction: share of sites at white.
        faults: what was planted in the frame.
    """

    path: str
    scene: int
    role: str
    burst_index: int
    exposure_time_s: float
    iso: int
    f_number: float
    gain: float
    zero_dn: tuple[float, ...]
    median_electrons: float
    clipped_fraction: float
    faults: tuple[str, ...]

    @classmethod
    def of(cls, shot: Shot, exposure: Exposure) -> "FrameTruth":
        """Return the truth of a shot and its exposure."""
        return cls(
            path=shot.name,
            scene=shot.scene,
            role=shot.role,
            burst_index=shot.burst_index,
            exposure_time_s=float(shot.settings.exposure_time_s),
            iso=shot.settings.iso,
            f_number=float(shot.settings.f_number),
            gain=shot.light.gain,
            zero_dn=exposure.zero_dn,
            median_electrons=exposure.median_electrons,
            clipped_fraction=exposure.clipped_fraction,
            faults=shot.faults,
        )


@dataclass(frozen=True)
class PairTruth:
    """A short and the long frame of its scene.

    Attributes:
        short_path: file of the short frame.
        long_path: file of the long frame.
        light_ratio: signal of the long frame over that of the short one, in DN; null under a lens cap.
        zero_error_dn: zero of the fit short = zero + long / light_ratio, both less the declared black; null where the
            two frames have different filter arrays.
        shift_y_px: how far the picture of the long frame lies below that of the short one.
        shift_x_px: how far it lies to the right.
        gradient: relative change of the gain from the left edge to the right one, short against long.
        faults: what was planted in either frame.
        codes: codes of the rules that should find it.
    """

    short_path: str
    long_path: str
    light_ratio: float | None
    zero_error_dn: tuple[float, ...] | None
    shift_y_px: float
    shift_x_px: float
    gradient: float
    faults: tuple[str, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """A whole session: how to make it again, its frames and its pairs."""

    sidcurate_version: str
    device: str
    seed: int
    frames: tuple[FrameTruth, ...]
    pairs: tuple[PairTruth, ...]

    def to_json(self) -> str:
        """Return the truth as JSON, the same for the same session."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"


def session_truth(device: str, seed: int, taken: Sequence[tuple[Shot, Exposure]]) -> Truth:
    """Return the truth of the stored frames of a session."""
    frames = tuple(FrameTruth.of(shot, exposure) for shot, exposure in taken)
    return Truth(__version__, device, seed, frames, tuple(_pairs(taken)))


def _pairs(taken: Sequence[tuple[Shot, Exposure]]) -> Iterable[PairTruth]:
    longs = {shot.scene: (shot, exposure) for shot, exposure in taken if shot.role == "long"}
    for shot, exposure in taken:
        if shot.role == "short" and shot.scene in longs:
            yield _pair(shot, exposure, *longs[shot.scene])


def _pair(short: Shot, short_exposure: Exposure, long: Shot, long_exposure: Exposure) -> PairTruth:
    inverse_ratio = dn_per_radiance(short) / dn_per_radiance(long)
    faults = tuple(dict.fromkeys((*long.faults, *short.faults)))
    zeros = zip(_zero_errors(short, short_exposure), _zero_errors(long, long_exposure), strict=False)
    return PairTruth(
        short_path=short.name,
        long_path=long.name,
        light_ratio=1 / inverse_ratio if inverse_ratio else None,
        zero_error_dn=tuple(a - b * inverse_ratio for a, b in zeros) if short.tags.cfa == long.tags.cfa else None,
        shift_y_px=long.light.shift_px[0] - short.light.shift_px[0],
        shift_x_px=long.light.shift_px[1] - short.light.shift_px[1],
        gradient=short.light.gradient - long.light.gradient,
        faults=faults,
        codes=tuple(dict.fromkeys(FAULTS[label.partition("=")[0]].code for label in faults)),
    )


def _zero_errors(shot: Shot, exposure: Exposure) -> tuple[float, ...]:
    declared = (shot.tags.black_level or (0.0,))[0]
    return tuple(zero - declared for zero in exposure.zero_dn)
