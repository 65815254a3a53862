"""Outcomes of the benchmark -> its tables: recall by fault and strength, and what clean pairs are accused of."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sidcurate.benchmark.grades import CLEAN, GRID, Grade
from sidcurate.benchmark.trials import JUDGED, Outcome

ENOUGH_ELECTRONS = 5.0
"""Median of what the short frame should hold, over its sites, from which the audit is held to its promises."""

# How close the audit is held to come, where the promise of a fault (None: of clean pairs) is about a figure.
_PRECISION: Mapping[str | None, tuple[str, float, str]] = {
    None: ("ratio_error", 0.02, "of the ratio"),
    "black-off": ("zero_error_dn14", 0.3, "14-bit DN of the zero"),
    "shifted": ("shift_error_px", 0.3, "px of the shift"),
}
_CONFIDENT = 1.959964
_PERCENTILES = (50, 95, 100)
_PIXEL_RULES = frozenset(code for grade in GRID for code in grade.codes)


@dataclass(frozen=True)
class Rate:
    """How many of how many, with a 95 % interval."""

    count: int
    of: int

    @property
    def share(self) -> float | None:
        """The share, None of nothing."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval (Wilson 1927), which holds for shares near 0 and 1 too.

        >>> [round(end, 3) for end in Rate(0, 1000).interval]
        [0.0, 0.004]
        """
        if not self.of:
            return 0.0, 1.0
        z2 = _CONFIDENT**2 / self.of
        share = self.count / self.of
        half = _CONFIDENT * math.sqrt(share * (1 - share) / self.of + z2 / 4 / self.of)
        low, high = ((share + z2 / 2 + sign * half) / (1 + z2) for sign in (-1, 1))
        return max(0.0, low) if self.count else 0.0, min(1.0, high) if self.count < self.of else 1.0


@dataclass(frozen=True)
class GradeScore:
    """What became of the pairs of one grade.

    Attributes:
        grade: fault, strength and condition.
        found: pairs of enough light whose fault was named rightly.
        as_error: of these, by a finding of severity error.
        skipped: pairs of enough light on which the rule of the fault could not judge; they count as missed.
        found_in_dim: the same as `found`, on pairs of less light.
        other_errors: findings of severity error that do not name the fault, by code, on all pairs.
        ratio_error: median size of the error of the ratio, as a share; None where no pair has one.
        zero_error_dn14: the same of the zero, 14-bit DN.
        shift_error_px: the same of the shift.
    """

    grade: Grade
    found: Rate
    as_error: Rate
    skipped: Rate
    found_in_dim: Rate
    other_errors: Mapping[str, int]
    ratio_error: float | None
    zero_error_dn14: float | None
    shift_error_px: float | None


@dataclass(frozen=True)
class CleanScore:
    """What clean pairs were accused of, and how far their figures were from the truth.

    Attributes:
        light: "enough" or "less", by `ENOUGH_ELECTRONS`.
        pairs: how many.
        with_error: pairs with a finding of severity error.
        with_warning: pairs with a finding of severity warning.
        by_code: findings by code.
        skipped: pairs that a rule could not judge, by code.
        ratio_error: 50th, 95th and 100th percentile of the size of the error, as a share.
        zero_error_dn14: the same of the zero, 14-bit DN.
        shift_error_px: the same of the shift.
    """

    light: str
    pairs: int
    with_error: Rate
    with_warning: Rate
    by_code: Mapping[str, int]
    skipped: Mapping[str, Rate]
    ratio_error: tuple[float, ...] | None
    zero_error_dn14: tuple[float, ...] | None
    shift_error_px: tuple[float, ...] | None


@dataclass(frozen=True)
class Scores:
    """The tables of a run, and every pair that broke a promise."""

    grades: tuple[GradeScore, ...]
    clean: tuple[CleanScore, ...]
    broken: tuple[tuple[Outcome, str], ...]


def scores(outcomes: Sequence[Outcome]) -> Scores:
    """Return the tables of the outcomes, grades in the order of their first trial."""
    by_grade: dict[Grade, list[Outcome]] = {}
    for outcome in outcomes:
        by_grade.setdefault(outcome.trial.grade, []).append(outcome)
    clean = by_grade.pop(CLEAN, [])
    return Scores(
        grades=tuple(_grade_score(grade, group) for grade, group in by_grade.items()),
        clean=tuple(_clean_scores(clean)),
        broken=tuple((outcome, why) for outcome in outcomes if (why := broken_promise(outcome))),
    )


def broken_promise(outcome: Outcome) -> str | None:
    """Say which promise a pair broke, None where it broke none: it may have been promised nothing."""
    grade = outcome.trial.grade
    if not _has_light(outcome) or not (grade.promised or grade == CLEAN):
        return None
    if outcome.other_errors:
        return f"{', '.join(outcome.other_errors)} fired, which is not its fault"
    if outcome.found:
        return _imprecise(outcome)
    skipped = {code: why for code, why in outcome.skipped.items() if code in (grade.codes or _PIXEL_RULES)}
    if skipped:
        return "; ".join(f"{code} was skipped ({why})" for code, why in skipped.items())
    return _imprecise(outcome) if grade == CLEAN else f"{grade.codes[0]} did not fire"


def _imprecise(outcome: Outcome) -> str | None:
    name, allowed, what = _PRECISION.get(outcome.trial.grade.fault, (None, 0.0, ""))
    error = getattr(outcome, name) if name else None
    if error is None or abs(error) <= allowed:
        return None
    return f"the measured figure is {error:+.2g} {what} from the truth, allowed {allowed:g}"


def _has_light(outcome: Outcome) -> bool:
    return outcome.electrons >= ENOUGH_ELECTRONS


def _grade_score(grade: Grade, group: Sequence[Outcome]) -> GradeScore:
    lit = [outcome for outcome in group if _has_light(outcome)]
    dim = [outcome for outcome in group if not _has_light(outcome)]
    return GradeScore(
        grade,
        found=_rate(outcome.found for outcome in lit),
        as_error=_rate(not set(grade.codes).isdisjoint(outcome.errors) for outcome in lit),
        skipped=_rate(not outcome.found and grade.codes[0] in outcome.skipped for outcome in lit if grade.codes),
        found_in_dim=_rate(outcome.found for outcome in dim),
        other_errors=_counted(outcome.other_errors for outcome in group),
        ratio_error=_median(outcome.ratio_error for outcome in group),
        zero_error_dn14=_median(outcome.zero_error_dn14 for outcome in group),
        shift_error_px=_median(outcome.shift_error_px for outcome in group),
    )


def _clean_scores(group: Sequence[Outcome]) -> Iterator[CleanScore]:
    for light, lit in (("enough", True), ("less", False)):
        part = [outcome for outcome in group if _has_light(outcome) == lit]
        if part:
            yield _clean_score(light, part)


def _clean_score(light: str, part: Sequence[Outcome]) -> CleanScore:
    skips = {code: _rate(code in outcome.skipped for outcome in part) for code in JUDGED}
    return CleanScore(
        light,
        pairs=len(part),
        with_error=_rate(bool(outcome.errors) for outcome in part),
        with_warning=_rate(bool(outcome.warnings) for outcome in part),
        by_code=_counted(outcome.errors + outcome.warnings for outcome in part),
        skipped={code: rate for code, rate in skips.items() if rate.count},
        ratio_error=_percentiles(outcome.ratio_error for outcome in part),
        zero_error_dn14=_percentiles(outcome.zero_error_dn14 for outcome in part),
        shift_error_px=_percentiles(outcome.shift_error_px for outcome in part),
    )


def _rate(answers: Iterable[bool]) -> Rate:
    listed = list(answers)
    return Rate(sum(listed), len(listed))


def _counted(codes: Iterable[Sequence[str]]) -> dict[str, int]:
    return dict(sorted(Counter(code for group in codes for code in group).items()))


def _sizes(errors: Iterable[float | None]) -> list[float]:
    return sorted(abs(error) for error in errors if error is not None)


def _median(errors: Iterable[float | None]) -> float | None:
    sizes = _sizes(errors)
    return statistics.median(sizes) if sizes else None


def _percentiles(errors: Iterable[float | None]) -> tuple[float, ...] | None:
    """Return the smallest sizes that at least 50, 95 and 100 % of them do not exceed."""
    sizes = _sizes(errors)
    return tuple(sizes[-(-len(sizes) * share // 100) - 1] for share in _PERCENTILES) if sizes else None
