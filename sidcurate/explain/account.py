"""Why a pair got its verdict: its facts side by side with their limits, and the pictures that show them."""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from sidcurate import manifests, rules
from sidcurate.errors import UsageError
from sidcurate.explain.pictures import Pictures, pictures
from sidcurate.exposure import format_seconds
from sidcurate.manifests import Manifest
from sidcurate.rules.figures import decimals, levels_in_words, percent, uncertain
from sidcurate.rules.light import zeros
from sidcurate.rules.views import PairView, pairs_of
from sidcurate.schemas import Capture, Finding, Pair
from sidcurate.validation import Standard

UNKNOWN = "unknown"
UNTOLD = "not told"
# The rules whose facts the pictures show.
_PICTURED = ("PAIR211", "PAIR221", "PAIR222")
Outcome: TypeAlias = Literal["pass", "error", "warning", "not judged"]


@dataclass(frozen=True)
class Row:
    """One fact of a pair, in words.

    Attributes:
        code: the rule that judges it.
        fact: what it is.
        short: what the short frame says.
        long: what the long frame says.
        pair: what both say together, with its standard error.
        allowed: the limit of the rule.
        outcome: what the rule says of the pair.
        why: why the rule could not judge; empty where it did.
    """

    code: str
    fact: str
    short: str
    long: str
    pair: str
    allowed: str
    outcome: Outcome
    why: str


@dataclass(frozen=True)
class Explanation:
    """All that is known of one pair and of why it passes or not."""

    view: PairView
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    pictures: Pictures

    @property
    def has_errors(self) -> bool:
        """Whether a finding keeps the pair out of training."""
        return any(finding.severity == "error" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One sentence about the pair."""
        name = f"{self.view.pair.device} {self.view.pair.pair_id}"
        by_severity = {
            severity: ", ".join(f"{row.name} ({row.code})" for row in self.findings if row.severity == severity)
            for severity in ("error", "warning")
        }
        warned = f"; warned of {by_severity['warning']}" if by_severity["warning"] else ""
        if self.has_errors:
            return f"{name} is left out: {by_severity['error']}{warned}"
        unjudged = len({row.code for row in self.rows if row.outcome == "not judged"})
        blind = f"; {unjudged} of {len({row.code for row in self.rows})} rules could not judge it" if unjudged else ""
        return f"{name} passes{warned}{blind}"

    @property
    def captions(self) -> tuple[str, str, str]:
        """A line for each picture: what was measured and what is allowed."""
        light, shift, moved = (next(row for row in self.rows if row.code == code) for code in _PICTURED)
        ratio = self.view.pair.exposure_ratio
        nominal = f", nominal {ratio:.4g}×" if ratio else ""
        return (
            f"Light: ratio {light.pair}{nominal}",
            f"Shift: {shift.pair.partition(':')[0]}, allowed {shift.allowed}",
            f"Moved: {moved.pair}, allowed {moved.allowed}",
        )


def explain(directory: Path, pair_id: str, standard: Standard) -> Explanation:
    """Return why a pair of a manifest got its verdict; no raw is read and nothing is written.

    Args:
        directory: folder of the manifest.
        pair_id: name of the pair.
        standard: limits, ignored and selected rules; rules about the whole manifest are left out.

    Raises:
        IntegrityError: the manifest is damaged.
        UsageError: no pair has this name.
    """
    manifest = manifests.load(directory)
    pair = _named(manifest, pair_id)
    tables = rules.Tables(manifest.device, manifest.rows(Capture), [pair])
    pairs = next(pairs_of(tables))
    (view,) = pairs.views()
    wanted = [code for code in standard.select or rules.RULES if rules.RULES[code].subject_kind != "manifest"]
    amplified = zeros(pairs)[1].value.largest()[0]
    judgement = rules.run(tables, standard.limits, wanted, standard.ignore)
    concerned = {pair_id, pair.short_path, pair.long_path}
    return Explanation(
        view=view,
        rows=tuple(_judged(row, judgement, standard) for row in _facts(view, amplified)),
        findings=tuple(finding for finding in judgement.findings if finding.subject_id in concerned),
        pictures=pictures(directory, view, standard.limits),
    )


def _named(manifest: Manifest, pair_id: str) -> Pair:
    pairs = manifest.rows(Pair)
    found = next(iter(pairs.take(pairs.named("pair_id", [pair_id]))), None)
    if found is not None:
        return found
    names = pairs.arrow("pair_id").to_pylist()
    close = [name for name in names if name.startswith(pair_id)] or difflib.get_close_matches(pair_id, names)
    there = f"close to it: {', '.join(close[:3])}" if close else f"it has {', '.join(names[:3]) or 'no pairs'}"
    raise UsageError(f"no pair of {manifest.device} is called {pair_id!r}; {there} (of {len(names)})")


def _judged(row: Row, judgement: rules.Judgement, standard: Standard) -> Row:
    """Return a row with its limit and with what its rule says."""
    row = replace(row, allowed=rules.RULES[row.code].limit_in_words(standard.limits) or "equal")
    found = [finding.severity for finding in judgement.findings if finding.code == row.code]
    if found:
        return replace(row, outcome=found[0])
    if row.code in standard.ignore:
        return replace(row, why=f"ignored: {standard.ignore[row.code]}")
    if row.code not in judgement.checked:
        return replace(row, why="not selected")
    reasons = judgement.skipped.get(row.code)
    return replace(row, why=", ".join(reasons)) if reasons else replace(row, outcome="pass")


def _row(code: str, fact: str, short: str, long: str, pair: str) -> Row:
    return Row(code, fact, short, long, pair, allowed="", outcome="not judged", why="")


def _facts(view: PairView, amplified: float | None) -> Iterator[Row]:
    """Yield the facts that the rules of pairs judge, in the order in which a person asks for them.

    Args:
        view: the pair and its captures.
        amplified: the largest zero after amplification, as a share of the white range.
    """
    yield from _header_facts(view)
    yield from _pixel_facts(view.pair, view.short, view.long, amplified)
    short, long = (_clipped(capture) for capture in (view.short, view.long))
    yield _row("PAIR231", "sites at white", short, long, "")


def _header_facts(view: PairView) -> Iterator[Row]:
    ratio = view.pair.exposure_ratio
    yield _compared(view, "PAIR201", "exposure time", _time, "" if ratio is None else f"{ratio:.4g}×")
    yield _compared(view, "PAIR202", "ISO", lambda capture: _or_unknown(capture.iso))
    yield _compared(view, "PAIR203", "aperture", lambda capture: _or_unknown(capture.f_number, "f/{:g}"))
    yield _compared(view, "PAIR204", "focal length", lambda capture: _or_unknown(capture.focal_length_mm, "{:g} mm"))
    yield _compared(view, "PAIR205", "camera, lens", _camera)
    yield _compared(view, "PAIR206", "geometry", _geometry)
    yield _compared(view, "PAIR207", "black, white, bits", _levels)


def _pixel_facts(pair: Pair, short: Capture, long: Capture, amplified: float | None) -> Iterator[Row]:
    signal = UNTOLD if pair.signal is None else f"{pair.signal:.3g} standard errors"
    yield _row("PAIR232", "noise; signal", _noise(short), _noise(long), signal)
    yield _row("PAIR223", "correlation", "", "", _told(pair.correlation, pair.correlation_se))
    where = _displacement(pair)
    shift = _told(pair.shift_px, pair.shift_se_px, " px")
    yield _row("PAIR221", "shift", "", "", f"{shift}: {where}" if where else shift)
    yield _row("PAIR213", "gain across frame", "", "", _told_share(pair.gain_departure, pair.gain_departure_se))
    yield _row("PAIR213", "gain dark to bright", "", "", _told_share(pair.nonlinearity, pair.nonlinearity_se))
    yield _row("PAIR211", "ratio of light", "", "", _told(pair.measured_ratio, pair.measured_ratio_se, "×"))
    yield _row("PAIR212", "zero less black", "", "", _zeros(pair, amplified))
    yield _row("PAIR222", "moved", "", "", _told_share(pair.moved_fraction, pair.moved_se))
    detail = _told(pair.focus_ratio, pair.focus_se)
    yield _row("PAIR224", "sharpness", _sharpness(short), _sharpness(long), detail)


def _compared(
    view: PairView, code: str, fact: str, words: Callable[[Capture], str], together: str | None = None
) -> Row:
    short, long = words(view.short), words(view.long)
    if together is None:
        together = "" if UNKNOWN in (short, long) else "equal" if short == long else "different"
    return _row(code, fact, short, long, together)


def _or_unknown(value: float | None, form: str = "{}") -> str:
    return UNKNOWN if value is None else form.format(value)


def _time(capture: Capture) -> str:
    return UNKNOWN if capture.exposure_time_s is None else format_seconds(capture.exposure_time_s)


def _camera(capture: Capture) -> str:
    return ", ".join(filter(None, (capture.camera_model, capture.camera_serial, capture.lens_model))) or UNKNOWN


def _geometry(capture: Capture) -> str:
    size = f"{capture.width}x{capture.height}" if capture.width and capture.height else None
    turned = f"orientation {capture.orientation}" if capture.orientation and capture.orientation > 1 else None
    return ", ".join(filter(None, (size, capture.cfa or capture.cfa_kind, turned))) or UNKNOWN


def _levels(capture: Capture) -> str:
    levels = [levels_in_words(values) if values else UNKNOWN for values in (capture.black_level, capture.white_level)]
    return ", ".join((*levels, _or_unknown(capture.bits_declared)))


def _clipped(capture: Capture) -> str:
    return percent(max(capture.clipped_by_cfa)) if capture.clipped_by_cfa else UNKNOWN


def _noise(capture: Capture) -> str:
    return _told(capture.noise_dn, capture.noise_se_dn, " DN")


def _sharpness(capture: Capture) -> str:
    return _told(capture.sharpness, capture.sharpness_se)


def _displacement(pair: Pair) -> str:
    """Return where the long frame lies, along all that could be told."""
    values = (pair.shift_y_px, pair.shift_x_px, pair.rotation_deg)
    forms = ("{:+z.1f} px down", "{:+z.1f} px right", "{:+z.2f}° clockwise")
    told = ((form, value) for form, value in zip(forms, values, strict=True) if value is not None)
    return ", ".join(form.format(value) for form, value in told)


def _zeros(pair: Pair, amplified: float | None) -> str:
    if pair.zero_error_dn is None or pair.zero_error_se_dn is None:
        return UNTOLD
    se = max(pair.zero_error_se_dn)
    digits = decimals(se) if se else 1
    share = "" if amplified is None else f": {percent(amplified)} after amplification"
    return ", ".join(f"{zero:+z.{digits}f}" for zero in pair.zero_error_dn) + f" ± {se:.{digits}f} DN{share}"


def _told(value: float | None, se: float | None, unit: str = "") -> str:
    return UNTOLD if value is None or se is None else f"{uncertain(value, se)}{unit}"


def _told_share(value: float | None, se: float | None) -> str:
    return _told(value and 100 * value, se and 100 * se, " %")
