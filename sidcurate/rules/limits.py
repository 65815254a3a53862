"""The limits of all rules: one model, whose defaults are the rule contract and which a user may set."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from sidcurate.errors import UsageError
from sidcurate.schemas import LEAST_SIGNAL, SAME_SCENE_CORRELATION, described


class Limits(BaseModel):
    """Thresholds by name; a value at the limit passes, one beyond it is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    damaged_row_share: float = described(
        "Share of rows that may be a zero tail, repeat the row two above or hold one value. In an undamaged frame "
        "noise makes such rows practically impossible; the allowance is for dead border rows of some sensors.",
        default=0.005,
        ge=0,
        le=1,
    )
    impossible_share: float = described(
        "Share of sites that may hold codes that a converter does not give: beyond what 14 bits and one more can hold, "
        "or 0 far below black. Dead pixels are fewer.",
        default=0.001,
        ge=0,
        le=1,
    )
    reader_disagreement: float = described(
        "Largest relative difference between two readers of one header.", default=0.03, ge=0
    )
    name_disagreement: float = described(
        "Largest relative difference between the exposure time in the file name and in the header.", default=0.05, ge=0
    )
    black_error: float = described(
        "Largest error of the declared black, as a share of the white range after amplification by "
        "exposure_ratio_high: at ratio 300 one DN becomes 300.",
        default=0.10,
        gt=0,
    )
    black_undershoot: float = described(
        "Depth below the declared black that the 1st percentile may have, as a share of the white range. Read noise "
        "puts it 2.3 standard deviations below: 1.2 % of the range for the noisiest of the five cameras that ELD "
        "(Wei et al., CVPR 2020) calibrated, at its highest gain.",
        default=0.02,
        gt=0,
    )
    white_excess: float = described(
        "Height above the declared white that data may have, as a share of the white range: full-well capacity "
        "varies from site to site by about this much.",
        default=0.01,
        ge=0,
    )
    white_shortfall: float = described(
        "Depth below the declared white that a clip spike may have, as a share of the white range; clipped highlights "
        "get a color cast of this size.",
        default=0.05,
        gt=0,
        lt=1,
    )
    code_step_min_codes: int = described(
        "Fewest codes in use that can prove a step: n random codes share their last bit by chance once in 2^(n-1).",
        default=16,
        ge=2,
    )
    exposure_ratio_low: float = described("Smallest t_long / t_short.", default=100.0, gt=0)
    exposure_ratio_high: float = described("Largest t_long / t_short.", default=300.0, gt=0)
    exposure_ratio_tolerance: float = described(
        "Relative tolerance at both ends of the range of ratios: SID's own names give 303.03.",
        default=0.03,
        ge=0,
        lt=1,
    )
    focal_length_difference: float = described(
        "Largest relative difference of focal length in a pair.", default=0.01, ge=0
    )
    black_difference_dn: float = described(
        "Largest difference of declared black in a pair; half a DN is what rounding by a reader makes.",
        "DN",
        default=0.5,
        ge=0,
    )
    confidence_se: float = described(
        "Standard errors of a pixel fact by which it must exceed its limit.", default=3.0, ge=0
    )
    light_error: float = described(
        "Largest relative difference between the ratio of light in the pixels and that of the settings.",
        default=0.12,
        gt=0,
    )
    zero_error_warned: float = described(
        "Error of the declared black, times the exposure ratio, as a share of the white range: more is a warning.",
        default=0.03,
        gt=0,
    )
    zero_error: float = described(
        "Error of the declared black, times the exposure ratio, as a share of the white range: more is an error.",
        default=0.10,
        gt=0,
    )
    gain_departure: float = described(
        "Largest change of the gain across the frame, or from dark to bright, as a share of the gain.",
        default=0.15,
        gt=0,
    )
    shift_px: float = described(
        "Largest displacement anywhere in the frame, on the mosaic grid.", "px", default=1.0, gt=0
    )
    moved_share: float = described("Largest share of the blocks that may have changed.", default=0.02, ge=0, le=1)
    correlation: float = described(
        "Least correlation of two frames of one scene, each wave of the picture counting once. Frames of one scene are "
        "near 1, even moved or out of focus; of two scenes near 0.",
        default=SAME_SCENE_CORRELATION,
        gt=0,
        lt=1,
    )
    focus_factor: float = described(
        "Largest factor between the fine detail of the two frames. Hard edges and masked areas bias the measure by up "
        "to 8 %: less than 10 % proves no defocus.",
        default=1.1,
        gt=1,
    )
    long_clipped: float = described(
        "Largest share of the long frame's sites at white, by channel.", default=0.05, ge=0, le=1
    )
    signal_se: float = described(
        "Least likeness of the short frame to the long one, in standard errors; less is what chance gives at the best "
        "of all places that one frame could lie on the other.",
        default=LEAST_SIGNAL,
        gt=0,
    )
    few_pairs: int = described("Fewest pairs, after exclusions, that are not called few.", default=6, ge=0)

    @model_validator(mode="after")
    def _range_has_an_inside(self) -> Self:
        low, high = self.exposure_ratio_low, self.exposure_ratio_high
        if low > high:
            raise ValueError(f"exposure_ratio_low {low:g} is above exposure_ratio_high {high:g}")
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the defaults with some values replaced, given as numbers or as text.

        Raises:
            UsageError: a name or a value is not one of a limit.
        """
        unknown = sorted(set(values) - set(cls.model_fields))
        if unknown:
            raise UsageError(f"no limit is called {unknown[0]!r}; there are {', '.join(cls.model_fields)}")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            is_no_number = first["type"] in {"float_parsing", "int_parsing"}
            said = "give a number" if is_no_number else first["msg"].removeprefix("Value error, ")
            if first["loc"]:
                said = f"limit {first['loc'][0]} cannot be {first['input']!r}: {said}"
            raise UsageError(said) from error
