"""The records of a manifest: frozen, strict pydantic models whose fields carry a description and a unit.

A null means unknown, never 0, 100 or 1970. "By CFA position" means row by row over the top-left 2x2 of the visible
mosaic: for "BGGR" the four values belong to B, G, G, R.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
SLUG = r"^[a-z0-9][a-z0-9._-]*$"
SHARDS = ".shards"
"""What follows the slug of a device in the name of the folder of its shards; the slug of no device ends so."""

Source = Literal["exif", "libraw", "name", "measured", "masked-area", "override"]
CfaKind = Literal["bayer", "xtrans", "quad-bayer", "linear", "monochrome", "other"]
Status = Literal["ok", "unreadable", "header", "listed"]
Severity = Literal["error", "warning"]
Split = Literal["train", "val", "test"]
SubjectKind = Literal["capture", "pair", "manifest"]


def _stays_inside(path: str) -> str:
    if path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise ValueError("the path is absolute, or leads out of the folder")
    return path


@dataclass(frozen=True)
class Sieve:
    """Says of a validator what a whole column can be searched for: text without this pattern is never refused."""

    pattern: str


# Lists come back from Arrow where a record holds a tuple; nothing else is coerced. No mosaic repeats after more sites
# than the 6x6 of X-Trans has.
Floats = Annotated[tuple[float, ...], Field(strict=False, max_length=36)]
Ints = Annotated[tuple[int, ...], Field(strict=False, max_length=36)]
# A path from a manifest is joined to the raws' folder: it must not lead out of it.
RelativePath = Annotated[str, Field(min_length=1), AfterValidator(_stays_inside), Sieve(r"^/|\.\.|\x00")]
Paths = Annotated[tuple[str, ...], Field(strict=False)]


def described(text: str, unit: str | None = None, **extra: Any) -> Any:  # noqa: ANN401 - pydantic's Field is typed Any
    """Return a pydantic field with a description and, where it is a quantity, its unit."""
    return Field(description=text, json_schema_extra={"unit": unit} if unit else None, **extra)


class Record(BaseModel):
    """Base of every record: immutable, strict, no unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
    table: ClassVar[str]

    schema_version: Literal[1] = described("Version of the schema that this row is held to.", default=SCHEMA_VERSION)
    device: str = described("Slug of the camera that the manifest is about.", pattern=SLUG)


LEAST_SIGNAL = 6.0
"""Signal of a pair below which its frames are not laid on each other: chance gives less at the best of all places."""

SAME_SCENE_CORRELATION = 0.3
"""Correlation of a pair below which its frames are not measured as one scene; two scenes are below 0.1."""


class Capture(Record):
    """One raw file: what its header says, what its pixels say, and where each fact comes from."""

    table: ClassVar[str] = "captures"

    path: RelativePath = described("Path of the raw, relative to the ingested folder, with forward slashes.")
    sha256: str | None = described(
        "SHA-256 of the file, hexadecimal; null when it was not, or could not be, read through.", default=None
    )
    size_bytes: int | None = described("Size of the file; null where no file was read.", "byte", ge=0)
    status: Status = described(
        "'ok' when the pixels were decoded, 'unreadable' when they could not be, 'header' when only the header was "
        "read, 'listed' when a list names the raw and nobody has read it."
    )
    status_reason: str | None = described("The reader's own reason when the file is unreadable.", default=None)
    missing_fraction: float | None = described(
        "Share of the bytes of the pixels, by what the header states, that the file does not hold; null where it does "
        "not tell.",
        default=None,
        ge=0,
        le=1,
    )

    camera_make: str | None = described("Maker of the body.", default=None)
    camera_model: str | None = described("Model of the body.", default=None)
    camera_serial: str | None = described("Serial number of the body.", default=None)
    lens_model: str | None = described("Model of the lens.", default=None)
    camera_source: Source | None = described("Source of make, model, serial and lens.", default=None)

    exposure_num: int | None = described(
        "Numerator of the nominal exposure time, in lowest terms.", "s", default=None, gt=0
    )
    exposure_den: int | None = described(
        "Denominator of the nominal exposure time, in lowest terms.", default=None, gt=0
    )
    exposure_time_s: float | None = described("Nominal exposure time.", "s", default=None, gt=0)
    exposure_source: Source | None = described("Source of the exposure time.", default=None)
    iso: int | None = described("ISO sensitivity.", default=None, gt=0)
    iso_source: Source | None = described("Source of the ISO sensitivity.", default=None)
    f_number: float | None = described("Aperture as the f-number N.", default=None, gt=0)
    f_number_source: Source | None = described("Source of the f-number.", default=None)
    focal_length_mm: float | None = described("Focal length.", "mm", default=None, gt=0)
    focal_length_source: Source | None = described("Source of the focal length.", default=None)
    captured_at: datetime | None = described("Local camera time at which the frame was taken, no zone.", default=None)
    utc_offset_min: int | None = described("Offset of the camera's clock from UTC.", "min", default=None)
    captured_at_source: Source | None = described("Source of the capture time.", default=None)
    orientation: int | None = described("EXIF orientation, 1 (as stored) to 8.", default=None, ge=1, le=8)
    orientation_source: Source | None = described("Source of the orientation.", default=None)

    libraw_exposure_time_s: float | None = described("LibRaw's reading of the exposure time.", "s", default=None, gt=0)
    libraw_iso: float | None = described("LibRaw's reading of the ISO sensitivity.", default=None, gt=0)
    libraw_f_number: float | None = described("LibRaw's reading of the f-number.", default=None, gt=0)
    name_exposure_time_s: float | None = described("Exposure time that the file name states.", "s", default=None, gt=0)

    width: int | None = described("Width of the visible mosaic.", "px", default=None, gt=0)
    height: int | None = described("Height of the visible mosaic.", "px", default=None, gt=0)
    cfa_kind: CfaKind | None = described("Kind of the color filter array.", default=None)
    cfa: str | None = described("Letters of the CFA at the visible origin, row by row; RGGB for Bayer.", default=None)
    cfa_reason: str | None = described("Why the kind is not Bayer, in words.", default=None)
    bits_declared: int | None = described("ceil(log2(white level + 1)).", "bit", default=None, ge=1, le=32)
    black_level: Floats | None = described(
        "Declared black by CFA position; one value where there is no 2x2.", "DN", default=None
    )
    black_source: Source | None = described("Source of the black level.", default=None)
    white_level: Floats | None = described(
        "Declared white by CFA position; one value where there is no 2x2.", "DN", default=None
    )
    white_source: Source | None = described("Source of the white level.", default=None)
    white_balance: Floats | None = described("Camera's multipliers for R, G, B, with G = 1.", default=None)
    color_matrix: Floats | None = described("Camera RGB to linear sRGB, 3x3, row by row.", default=None)

    bits_observed: int | None = described(
        "Bits of the codes in use: the declared bits less log2(code step).", "bit", default=None
    )
    code_step: int | None = described(
        "Largest step (a power of two) that all codes in use share.", "DN", default=None, ge=1
    )
    distinct_codes: Ints | None = described("Count of codes in use, by CFA position.", default=None)
    dn_min: Ints | None = described("Smallest value, by CFA position.", "DN", default=None)
    dn_p0_1: Ints | None = described("0.1 percentile, by CFA position.", "DN", default=None)
    dn_p1: Ints | None = described("1st percentile, by CFA position.", "DN", default=None)
    dn_p50: Ints | None = described("Median, by CFA position.", "DN", default=None)
    dn_p99: Ints | None = described("99th percentile, by CFA position.", "DN", default=None)
    dn_p99_9: Ints | None = described("99.9 percentile, by CFA position.", "DN", default=None)
    dn_max: Ints | None = described("Largest value, by CFA position.", "DN", default=None)
    dn_mean: Floats | None = described("Mean, by CFA position.", "DN", default=None)
    masked_black: Floats | None = described(
        "Median of the masked (optically black) pixels, by CFA position.", "DN", default=None
    )
    clip_dn: Ints | None = described(
        "Code of the clip spike by CFA position; -1 where the channel shows none.", "DN", default=None
    )
    clipped_fraction: float | None = described("Share of sites at or above white.", default=None, ge=0, le=1)
    clipped_by_cfa: Floats | None = described("Share of sites at or above white, by CFA position.", default=None)
    impossible_fraction: float | None = described(
        "Share of sites in the upper half of the 16-bit codes; null unless white lies in the lowest quarter.",
        default=None,
        ge=0,
        le=1,
    )
    stray_zero_fraction: float | None = described(
        "Share of sites that are 0 while hardly any other lies below half of black; null unless black is 16 or more.",
        default=None,
        ge=0,
        le=1,
    )
    zero_tail_fraction: float | None = described(
        "Share of rows at the bottom that are all zero.", default=None, ge=0, le=1
    )
    repeated_row_fraction: float | None = described(
        "Share of rows equal to the row two above.", default=None, ge=0, le=1
    )
    constant_row_fraction: float | None = described(
        "Share of rows with one value a CFA column.", default=None, ge=0, le=1
    )
    noise_dn: float | None = described(
        "Standard deviation of the noise from green site to green site in the darkest parts, that of rows left out.",
        "DN",
        default=None,
        gt=0,
    )
    noise_se_dn: float | None = described("Standard error of the noise.", "DN", default=None, ge=0)
    noise_level_dn: float | None = described(
        "Level of the sites whose noise this is, black included.", "DN", default=None
    )
    sharpness: float | None = described(
        "Contrast of fine detail (0.08-0.16 cycles a 2x2 cell) over that of detail twice as coarse; within a scene.",
        default=None,
        ge=0,
    )
    sharpness_se: float | None = described("Standard error of the sharpness.", default=None, ge=0)


class Pair(Record):
    """A short and a long frame said to show the same scene, and why."""

    table: ClassVar[str] = "pairs"

    pair_id: str = described("Name of the pair, unique in the manifest.", min_length=1)
    scene_id: str = described("Name of the scene; splits are made by scene.", min_length=1)
    burst_index: int = described("Number of the short among the shorts of its scene and exposure.", ge=0)
    short_path: RelativePath = described("Path of the short frame, as in captures.")
    long_path: RelativePath = described("Path of the long frame, as in captures.")
    reason: str = described("Why the two are a pair, in words.", min_length=1)
    exposure_ratio: float | None = described("t_long / t_short of the nominal times.", default=None, gt=0)
    unmeasured_reason: str | None = described("Why the pixels were not measured at all.", default=None)
    signal: float | None = described(
        "How far the short's likeness to the long lies above noise.", "standard error", default=None
    )
    correlation: float | None = described(
        "Mean cosine of the phases by which the waves of both pictures differ, of those clear of the noise.",
        default=None,
    )
    correlation_se: float | None = described("Standard error of the correlation.", default=None, ge=0)
    shift_y_px: float | None = described("Shift of the long frame down, on the mosaic grid.", "px", default=None)
    shift_x_px: float | None = described("Shift of the long frame to the right.", "px", default=None)
    rotation_deg: float | None = described("Rotation of the long frame, clockwise.", "deg", default=None)
    shift_px: float | None = described("Largest displacement anywhere in the frame.", "px", default=None, ge=0)
    shift_se_px: float | None = described("Standard error of the largest displacement.", "px", default=None, ge=0)
    measured_ratio: float | None = described("Ratio of light that the pixels show.", default=None)
    measured_ratio_se: float | None = described("Standard error of the measured ratio.", default=None, ge=0)
    zero_error_dn: Floats | None = described(
        "Zero of the pair less the declared black, by CFA position.", "DN", default=None
    )
    zero_error_se_dn: Floats | None = described("Standard errors of the zero, by CFA position.", "DN", default=None)
    gain_departure: float | None = described("Change of the gain across the frame, as a share of it.", default=None)
    gain_departure_se: float | None = described("Standard error of the change across the frame.", default=None, ge=0)
    nonlinearity: float | None = described("Change of the gain from dark to bright, as a share of it.", default=None)
    nonlinearity_se: float | None = described("Standard error of the change from dark to bright.", default=None, ge=0)
    moved_fraction: float | None = described("Share of the frame whose content changed.", default=None, ge=0, le=1)
    moved_se: float | None = described("Standard error of the changed share.", default=None, ge=0)
    focus_ratio: float | None = described("Fine detail of the short frame over that of the long one.", default=None)
    focus_se: float | None = described("Standard error of the focus ratio.", default=None, ge=0)
    split: Split | None = described("Part of the data set; null before a split.", default=None)


class Unpaired(Record):
    """A capture that is in no pair, and why."""

    table: ClassVar[str] = "unpaired"

    path: RelativePath = described("Path of the capture, as in captures.")
    scene_id: str | None = described("Scene that the capture belongs to, where one could be told.", default=None)
    reason: str = described("Why it is in no pair, in words.", min_length=1)


class Finding(Record):
    """A fault of the data, as a rule found it."""

    table: ClassVar[str] = "findings"

    code: str = described("Permanent code of the rule.", pattern=r"^(CAP|PAIR|SET)\d{3}$")
    name: str = described("Name of the rule in kebab case.")
    severity: Severity = described("'error' keeps a pair out of training.")
    subject_kind: SubjectKind = described("What the finding is about.")
    subject_id: str = described("Path of the capture, pair_id of the pair, or device of the manifest.")
    paths: Paths = described("Raws concerned, relative to the ingested folder.")
    message: str = described("What, where, measured, allowed, what to do.")
    measured: float | None = described("The measured value.", default=None)
    limit_low: float | None = described("Smallest allowed value.", default=None)
    limit_high: float | None = described("Largest allowed value.", default=None)
    unit: str | None = described("Unit of measured and limits.", default=None)


class FileState(BaseModel):
    """What the disk says now of a capture that a manifest names. Gathered for `validate`; never written."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    path: str = described("Path of the capture, as in captures.")
    size_bytes: int | None = described("Size of the file now; null when it is gone, or cannot be read.", "byte")
    sha256: str | None = described("SHA-256 now; null when it was not hashed again.", default=None)
    fault: str | None = described("Why the file, which is there, cannot be read; null where it can be.", default=None)


RECORDS: tuple[type[Record], ...] = (Capture, Pair, Unpaired, Finding)
