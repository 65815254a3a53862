"""An account of one manifest on one page: as text, JSON or a self-contained HTML file."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from jinja2 import Environment, PackageLoader

from sidcurate import rules, verdicts
from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Capture, Finding, Pair

JSON_VERSION = 1
BINS_PER_DECADE = 8
SHOWN_FINDINGS = 200
PARTS = ("train", "val", "test", None)


@dataclass(frozen=True)
class Camera:
    """Captures of one body with the same sensor facts."""

    name: str
    serial: str | None
    captures: int
    size: str
    cfa: str
    black: str
    white: str
    bits: str
    isos: tuple[int, ...]
    clipped_fraction: float | None
    """Largest clipped fraction of its captures."""


@dataclass(frozen=True)
class Part:
    """One part of the split."""

    name: str
    pairs: int
    scenes: int


@dataclass(frozen=True)
class Bin:
    """Pairs whose exposure ratio is in [low, high)."""

    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Rule:
    """How often a rule found a fault."""

    code: str
    name: str
    severity: str
    count: int


@dataclass(frozen=True)
class Account:
    """Everything that a report says."""

    device: str
    reason_not_usable: str | None
    captures: int
    unreadable: int
    unpaired: int
    cameras: tuple[Camera, ...]
    pairs: int
    left_out: int | None
    """Pairs with an error; None when the manifest was never validated."""
    scenes: int
    split: tuple[Part, ...]
    ratio_low: float
    ratio_high: float
    ratio_median: float | None
    ratios: tuple[Bin, ...]
    rules: tuple[Rule, ...]
    findings: tuple[dict[str, Any], ...]

    @property
    def verdict(self) -> str:
        """One sentence about the pairs."""
        if self.left_out is None:
            return f"{self.pairs} pairs, not yet validated"
        return f"{self.pairs - self.left_out} of {self.pairs} pairs pass, {self.left_out} left out"


def account(manifest: Manifest) -> Account:
    """Return the account of a manifest."""
    limits = rules.Limits().model_dump() | dict((manifest.judged or {}).get("limits", {}))
    ratios = [pair.exposure_ratio for pair in manifest.pairs if pair.exposure_ratio]
    never_judged = manifest.judged is None
    return Account(
        device=manifest.device,
        reason_not_usable=_reason_not_usable(manifest),
        captures=len(manifest.captures),
        unreadable=sum(capture.status == "unreadable" for capture in manifest.captures),
        unpaired=len(manifest.unpaired),
        cameras=tuple(_cameras(manifest.captures)),
        pairs=len(manifest.pairs),
        left_out=None if never_judged else len(verdicts.left_out(manifest.rows(Pair), manifest.findings)),
        scenes=len({pair.scene_id for pair in manifest.pairs}),
        split=tuple(_split(manifest.pairs)),
        ratio_low=limits["exposure_ratio_low"],
        ratio_high=limits["exposure_ratio_high"],
        ratio_median=median(ratios) if ratios else None,
        ratios=tuple(histogram(ratios)),
        rules=tuple(_rules(manifest.findings)),
        findings=tuple(finding.model_dump(mode="json") for finding in _worst_first(manifest.findings)),
    )


def _reason_not_usable(manifest: Manifest) -> str | None:
    try:
        verdicts.check_usable(manifest)
    except UsageError as error:
        return str(error)
    return None


def _cameras(captures: Iterable[Capture]) -> Iterator[Camera]:
    groups: dict[tuple[str | None, ...], list[Capture]] = {}
    for capture in captures:
        if capture.status != "unreadable":
            groups.setdefault(_sensor(capture), []).append(capture)
    for (name, serial, size, cfa, black, white, bits), group in sorted(groups.items(), key=lambda item: -len(item[1])):
        clipped = [capture.clipped_fraction for capture in group if capture.clipped_fraction is not None]
        yield Camera(
            name=name or "unknown camera",
            serial=serial,
            captures=len(group),
            size=size or "unknown",
            cfa=cfa or "unknown",
            black=black or "unknown",
            white=white or "unknown",
            bits=bits or "unknown",
            isos=tuple(sorted({capture.iso for capture in group if capture.iso})),
            clipped_fraction=max(clipped, default=None),
        )


def _sensor(capture: Capture) -> tuple[str | None, ...]:
    make, model = capture.camera_make, capture.camera_model
    named = bool(make and model and model.lower().startswith(make.lower().split()[0]))
    name = model if named else " ".join(filter(None, (make, model))) or None
    size = f"{capture.width} × {capture.height}" if capture.width else None
    kind = capture.cfa if capture.cfa_kind == "bayer" else capture.cfa_kind
    bits = None if capture.bits_declared is None else f"{capture.bits_declared}, used {capture.bits_observed or '?'}"
    return name, capture.camera_serial, size, kind, _levels(capture.black_level), _levels(capture.white_level), bits


def _levels(values: Sequence[float] | None) -> str | None:
    return None if values is None else "/".join(f"{value:g}" for value in dict.fromkeys(values))


def _split(pairs: Sequence[Pair]) -> Iterator[Part]:
    for part in PARTS:
        chosen = [pair for pair in pairs if pair.split == part]
        if chosen:
            yield Part(part or "no part", len(chosen), len({pair.scene_id for pair in chosen}))


def histogram(ratios: Sequence[float]) -> list[Bin]:
    """Return the counts of ratios in bins of equal width on a log axis, from the first that is used to the last."""
    counts = Counter(math.floor(BINS_PER_DECADE * math.log10(ratio)) for ratio in ratios)
    steps = range(min(counts), max(counts) + 1) if counts else ()
    return [Bin(10 ** (step / BINS_PER_DECADE), 10 ** ((step + 1) / BINS_PER_DECADE), counts[step]) for step in steps]


def _rules(findings: Iterable[Finding]) -> Iterator[Rule]:
    counts = Counter((finding.severity, finding.code, finding.name) for finding in findings)
    for (severity, code, name), count in sorted(counts.items()):
        yield Rule(code, name, severity, count)


def _worst_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.severity, finding.subject_kind, finding.subject_id))


def as_json(report: Account) -> str:
    """Return the account as versioned JSON."""
    return json.dumps({"version": JSON_VERSION, **asdict(report)}, indent=1, ensure_ascii=False) + "\n"


def as_text(report: Account) -> str:
    """Return the account as plain text."""
    return "\n".join([*_text_head(report), *_text_ratios(report), *_text_findings(report)]) + "\n"


def _text_head(report: Account) -> Iterator[str]:
    yield f"{report.device}: {report.verdict}"
    if report.reason_not_usable:
        yield f"  {report.reason_not_usable}"
    yield f"\nCaptures: {report.captures}, {report.unreadable} unreadable, {report.unpaired} in no pair"
    for camera in report.cameras:
        serial = f", serial {camera.serial}" if camera.serial else ""
        isos = "/".join(map(str, camera.isos)) or "unknown"
        clipped = "" if camera.clipped_fraction is None else f", at most {100 * camera.clipped_fraction:.2f} % clipped"
        yield f"  {camera.captures:4d}  {camera.name}{serial}: {camera.size}, {camera.cfa}, ISO {isos}"
        yield f"        black {camera.black}, white {camera.white}, bits {camera.bits}{clipped}"
    yield f"\nSplit: {report.scenes} scenes"
    for part in report.split:
        yield f"  {part.name}: {part.pairs} pairs of {part.scenes} scenes"


def _text_ratios(report: Account) -> Iterator[str]:
    most = max((row.pairs for row in report.ratios), default=0)
    if most:
        yield f"\nExposure ratios: median {report.ratio_median:.4g}×, asked for {_asked(report)}"
    for row in report.ratios:
        bar = "█" * math.ceil(40 * row.pairs / most)
        yield f"  {row.low:8.4g} to {row.high:8.4g}  {row.pairs:5d} {bar}".rstrip()


def _text_findings(report: Account) -> Iterator[str]:
    yield f"\nFindings: {len(report.findings)}"
    for row in report.rules:
        yield f"  {row.severity} {row.code} {row.name}: {row.count}"
    for finding in report.findings[:SHOWN_FINDINGS]:
        yield f"\n  {finding['severity']} {finding['code']}, {finding['subject_kind']} {finding['subject_id']}:"
        yield f"    {finding['message']}"
    if len(report.findings) > SHOWN_FINDINGS:
        yield f"\n  {_more(report)}"


def _asked(report: Account) -> str:
    return f"{report.ratio_low:g}-{report.ratio_high:g}×"


def _more(report: Account) -> str:
    hidden = len(report.findings) - SHOWN_FINDINGS
    return f"and {hidden} more: sidcurate validate --device {report.device} --format csv"


def as_html(report: Account) -> str:
    """Return the account as one HTML page that needs no other file, no script and no network."""
    environment = Environment(loader=PackageLoader("sidcurate"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(
        report=report,
        asked=_asked(report),
        chart=chart(report),
        shown=report.findings[:SHOWN_FINDINGS],
        more=_more(report) if len(report.findings) > SHOWN_FINDINGS else None,
    )


@dataclass(frozen=True)
class Bar:
    """One bar of the histogram, in the units of the drawing, with its words."""

    x: float
    width: float
    height: float
    title: str
    inside: bool


@dataclass(frozen=True)
class Chart:
    """The histogram of ratios, laid out on a log axis."""

    width: int
    height: int
    band_x: float
    band_width: float
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    most: int


def chart(report: Account, width: int = 640, height: int = 150) -> Chart | None:
    """Return the histogram of ratios as a drawing; None without ratios.

    Args:
        report: the account.
        width: of the drawing, in its own units.
        height: of the highest bar.
    """
    if not report.ratios:
        return None
    first = math.floor(math.log10(min(report.ratios[0].low, report.ratio_low / 2)))
    last = math.ceil(math.log10(max(report.ratios[-1].high, report.ratio_high * 2)))

    def x(ratio: float) -> float:
        return round(width * (math.log10(ratio) - first) / (last - first), 2)

    most = max(row.pairs for row in report.ratios)
    bars = tuple(
        Bar(
            x=x(row.low),
            width=x(row.high) - x(row.low),
            height=round(height * row.pairs / most, 2),
            title=f"{row.pairs} pairs from {row.low:.4g}× to {row.high:.4g}×",
            inside=row.high > report.ratio_low and row.low < report.ratio_high,
        )
        for row in report.ratios
        if row.pairs
    )
    ticks = {float(f"{digit}e{power}") for power in range(first, last) for digit in (1, 3)} | {10.0**last}
    labels = tuple((x(value), f"{value:g}") for value in sorted(ticks))
    band = x(report.ratio_low)
    return Chart(width, height, band, round(x(report.ratio_high) - band, 2), bars, labels, most)
