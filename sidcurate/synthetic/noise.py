"""Measured sensor noise of five cameras, and what it becomes at an ISO, a pixel size and a range of codes.

The figures are those published with ELD (Wei et al., "Physics-based Noise Modeling for Extreme Low-light Photography",
CVPR 2020; repository Vandermode/ELD), in DN of a 14-bit range with white 16383.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

FULL_RANGE = 1 << 14
"""Codes of the range in which the calibrations are given."""


class LogLine(NamedTuple):
    """A noise scale against gain: log(scale) = slope * log(gain) + bias."""

    slope: float
    bias: float

    def at(self, gain_dn_per_e: float) -> float:
        """Return the scale in 14-bit DN at a gain in 14-bit DN per electron."""
        return math.exp(self.slope * math.log(gain_dn_per_e) + self.bias)


@dataclass(frozen=True)
class Noise:
    """Noise of a body at one ISO, in its own DN; the read noise is Tukey-lambda, the row noise Gaussian."""

    gain_dn_per_e: float
    tukey_shape: float
    tukey_scale_dn: float
    row_scale_dn: float


@dataclass(frozen=True)
class Calibration:
    """Measured noise of one camera.

    `gain_at_iso_100` is ELD's Kmin, taken as ISO 100's because Kmax is 64 times as much for every camera, as ISO 6400
    is. `tukey_shape` is the median over the measured gains. `color_bias_dn` is the zero error by CFA position at one
    measured gain, a moderate one: a few tenths of a DN.
    """

    camera: str
    pixel_pitch_um: float
    gain_at_iso_100: float
    read: LogLine
    row: LogLine
    tukey_shape: float
    color_bias_dn: tuple[float, float, float, float]

    def noise(self, iso: int, pixel_pitch_um: float, white_level: int) -> Noise:
        """Return the noise of a relative of this camera, in DN of the relative.

        A smaller pixel fills the same range with fewer electrons: the gain goes with the ratio of the pixel areas.
        """
        gain = self.gain_at_iso_100 * iso / 100 * (self.pixel_pitch_um / pixel_pitch_um) ** 2
        scale = (white_level + 1) / FULL_RANGE
        return Noise(gain * scale, self.tukey_shape, self.read.at(gain) * scale, self.row.at(gain) * scale)


EOS_5D4 = Calibration(
    camera="Canon EOS 5D Mark IV",
    pixel_pitch_um=5.36,
    gain_at_iso_100=0.218190,
    read=LogLine(0.655876, 1.092687),
    row=LogLine(0.471280, -0.807896),
    tukey_shape=0.085714,
    color_bias_dn=(0.094535, 0.114132, 0.036632, 0.029874),
)
EOS_70D = Calibration(
    camera="Canon EOS 70D",
    pixel_pitch_um=4.1,
    gain_at_iso_100=0.407497,
    read=LogLine(0.486806, 1.464268),
    row=LogLine(0.729222, -0.937057),
    tukey_shape=-0.057143,
    color_bias_dn=(0.615363, 0.663539, 0.285696, 0.287463),
)
EOS_700D = Calibration(
    camera="Canon EOS 700D",
    pixel_pitch_um=4.3,
    gain_at_iso_100=0.447629,
    read=LogLine(0.598236, 1.537044),
    row=LogLine(0.622059, -0.775647),
    tukey_shape=-0.007142,
    color_bias_dn=(0.621678, 0.418897, -0.336274, -0.127455),
)
D850 = Calibration(
    camera="Nikon D850",
    pixel_pitch_um=4.35,
    gain_at_iso_100=0.415039,
    read=LogLine(0.477390, -0.090445),
    row=LogLine(0.448292, -1.797710),
    tukey_shape=-0.185714,
    color_bias_dn=(0.494172, 0.357505, 0.239245, 0.135140),
)
A7S2 = Calibration(
    camera="Sony ILCE-7SM2",
    pixel_pitch_um=8.4,
    gain_at_iso_100=0.093916,
    read=LogLine(0.462105, 0.565715),
    row=LogLine(0.527536, -0.591700),
    tukey_shape=-0.085714,
    color_bias_dn=(-0.260409, -0.295168, -0.266992, -0.294475),
)
