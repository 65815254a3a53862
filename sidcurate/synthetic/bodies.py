"""The bodies that can be simulated: headers, levels, and whose measured noise stands for theirs."""

from dataclasses import dataclass
from fractions import Fraction

from sidcurate.errors import UsageError
from sidcurate.synthetic.noise import A7S2, D850, EOS_5D4, EOS_70D, EOS_700D, FULL_RANGE, Calibration, Noise


@dataclass(frozen=True)
class Body:
    """One camera. `relative` is the nearest one whose noise was measured.

    `cfa` are the letters of its filter array, row by row: 4 of Bayer, 36 of X-Trans; None is a linear (demosaiced) DNG.

    `iso` is the setting at which its sessions are shot, in a light that exposes the long frame well. Here it is low
    enough that a short frame holds some electrons, and high enough that the noise in the dark covers the code step:
    without that, no mean is finer than a code.
    """

    slug: str
    make: str
    model: str
    serial: str
    lens_model: str
    cfa: str | None
    black_level: int
    white_level: int
    iso: int
    f_number: Fraction
    focal_length_mm: Fraction
    pixel_pitch_um: float
    relative: Calibration

    @property
    def dn_per_dn14(self) -> float:
        """Own DN per DN of a 14-bit range."""
        return (self.white_level + 1) / FULL_RANGE

    @property
    def zero_error_dn(self) -> tuple[float, ...]:
        """True zero less the declared black, by CFA position (by color in a linear image), in own DN."""
        return tuple(bias * self.dn_per_dn14 for bias in self.relative.color_bias_dn)

    def noise(self, iso: int) -> Noise:
        """Return the noise at an ISO, in own DN."""
        return self.relative.noise(iso, self.pixel_pitch_um, self.white_level)


_ALL = (
    Body(
        slug="canon90d",
        make="Canon",
        model="Canon EOS 90D",
        serial="032021000117",
        lens_model="EF-S18-135mm f/3.5-5.6 IS USM",
        cfa="RGGB",
        black_level=2048,
        white_level=16383,
        iso=400,
        f_number=Fraction(8),
        focal_length_mm=Fraction(35),
        pixel_pitch_um=3.2,
        relative=EOS_70D,
    ),
    Body(
        slug="canon100d",
        make="Canon",
        model="Canon EOS 100D",
        serial="058076002931",
        lens_model="EF-S18-55mm f/3.5-5.6 IS STM",
        cfa="RGGB",
        black_level=2048,
        white_level=16383,
        iso=400,
        f_number=Fraction(8),
        focal_length_mm=Fraction(35),
        pixel_pitch_um=4.3,
        relative=EOS_700D,
    ),
    # No phone was measured: the D850 is the nearest, a back-side illuminated sensor of the same maker. Four sites are
    # binned into one in these files, so the pitch is twice the sensor's.
    Body(
        slug="oneplus7",
        make="OnePlus",
        model="GM1903",
        serial="op7-4c1d0a",
        lens_model="OnePlus 7 main camera",
        cfa="BGGR",
        black_level=64,
        white_level=1023,
        iso=400,
        f_number=Fraction(17, 10),
        focal_length_mm=Fraction(475, 100),
        pixel_pitch_um=1.6,
        relative=D850,
    ),
    Body(
        slug="oneplusnord2",
        make="OnePlus",
        model="DN2103",
        serial="nord2-77e290",
        lens_model="OnePlus Nord 2 main camera",
        cfa="GRBG",
        black_level=64,
        white_level=1023,
        iso=800,
        f_number=Fraction(188, 100),
        focal_length_mm=Fraction(559, 100),
        pixel_pitch_um=2.0,
        relative=D850,
    ),
    Body(
        slug="nikond850",
        make="NIKON CORPORATION",
        model="NIKON D850",
        serial="6014883",
        lens_model="AF-S NIKKOR 35mm f/1.8G ED",
        cfa="RGGB",
        black_level=400,
        white_level=16383,
        iso=400,
        f_number=Fraction(56, 10),
        focal_length_mm=Fraction(35),
        pixel_pitch_um=4.35,
        relative=D850,
    ),
    Body(
        slug="sonya7s2",
        make="SONY",
        model="ILCE-7SM2",
        serial="3849021",
        lens_model="FE 35mm F2.8 ZA",
        cfa="RGGB",
        black_level=512,
        white_level=16383,
        iso=1600,
        f_number=Fraction(56, 10),
        focal_length_mm=Fraction(35),
        pixel_pitch_um=8.4,
        relative=A7S2,
    ),
    # The camera of SID's Fuji half. No X-Trans sensor was measured: the D850 is the nearest, of the same maker.
    Body(
        slug="fujixt2",
        make="FUJIFILM",
        model="X-T2",
        serial="72053816",
        lens_model="XF35mmF2 R WR",
        cfa="GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG",
        black_level=1024,
        white_level=16383,
        iso=400,
        f_number=Fraction(56, 10),
        focal_length_mm=Fraction(35),
        pixel_pitch_um=3.92,
        relative=D850,
    ),
    # An invented body, for the phase and the range that none of the others has.
    Body(
        slug="gbrg12",
        make="Synthetic",
        model="Synthetic GBRG 12",
        serial="000012",
        lens_model="Synthetic 35mm",
        cfa="GBRG",
        black_level=256,
        white_level=4095,
        iso=400,
        f_number=Fraction(4),
        focal_length_mm=Fraction(35),
        pixel_pitch_um=5.36,
        relative=EOS_5D4,
    ),
    Body(
        slug="galaxys22",
        make="samsung",
        model="SM-S901B",
        serial="s22-9b03f1",
        lens_model="Galaxy S22 main camera",
        cfa=None,
        black_level=0,
        white_level=4095,
        iso=200,
        f_number=Fraction(18, 10),
        focal_length_mm=Fraction(54, 10),
        pixel_pitch_um=2.0,
        relative=D850,
    ),
)
BODIES = {body.slug: body for body in _ALL}


def body_named(slug: str) -> Body:
    """Return a body by its slug.

    Raises:
        UsageError: there is no such body.
    """
    if slug not in BODIES:
        raise UsageError(f"no synthetic body is called {slug!r}; choose one of {', '.join(BODIES)}")
    return BODIES[slug]
