"""An account of one manifest on one page: as text, JSON or a self-contained HTML file."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from statistics import median
from typing import Any

from jinja2 import Environment, PackageLoader

from sidcurate import rules, verdicts
from sidcurate.counted import counted
from sidcurate.errors import UsageError
from sidcurate.histogram import Bin, chart, histogram
from sidcurate.manifests import Manifest
from sidcurate.rules.figures import levels_in_words
from sidcurate.rules.skips import in_short
from sidcurate.schemas import Capture, Finding, Pair, Split, Unpaired
from sidcurate.tables.rows import Rows

JSON_VERSION = 1
SHOWN_FINDINGS = 200
PARTS: tuple[Split | None, ...] = ("train", "val", "test", None)
_UNKNOWN = "unknown"
_SENSOR = (
    "camera_make",
    "camera_model",
    "camera_serial",
    "width",
    "height",
    "cfa_kind",
    "cfa",
    "black_level",
    "white_level",
    "bits_declared",
    "bits_observed",
)


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
    passed: int | None
    """Pairs without an error; None when the manifest was never validated."""


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
    not_judged: tuple[str, ...]
    """What rules could not judge, and why, in words."""
    findings: tuple[dict[str, Any], ...]
    """The worst first, no more than are shown."""

    @property
    def found(self) -> int:
        """Count of all findings."""
        return sum(rule.count for rule in self.rules)

    @property
    def verdict(self) -> str:
        """One sentence about the pairs."""
        if self.left_out is None:
            return f"{counted(self.pairs, 'pair')}, not yet validated"
        return verdicts.tally(self.pairs, self.left_out)


def _silent(stage: str, done: int, total: int) -> None:
    """Show nothing."""


def account(
    manifest: Manifest, most_findings: int = SHOWN_FINDINGS, progress: Callable[[str, int, int], None] = _silent
) -> Account:
    """Return the account of a manifest.

    Args:
        manifest: the tables, read by column.
        most_findings: how many findings to tell, the worst first.
        progress: called with the stage in words, the count done in it and the count to do.
    """
    limits = rules.Limits().model_dump() | dict((manifest.judged or {}).get("limits", {}))
    captures, pairs, findings = manifest.rows(Capture), manifest.rows(Pair), manifest.rows(Finding)
    ratios = [ratio for (ratio,) in pairs.facts("exposure_ratio") if ratio]
    left_out = None if manifest.judged is None else verdicts.left_out(pairs, findings)
    return Account(
        device=manifest.device,
        reason_not_usable=_reason_not_usable(manifest),
        captures=len(captures),
        unreadable=int(captures.named("status", ["unreadable"]).sum()),
        unpaired=len(manifest.rows(Unpaired)),
        cameras=tuple(_cameras(captures, progress)),
        pairs=len(pairs),
        left_out=None if left_out is None else len(left_out),
        scenes=len({scene for (scene,) in pairs.facts("scene_id")}),
        split=tuple(_split(pairs, left_out)),
        ratio_low=limits["exposure_ratio_low"],
        ratio_high=limits["exposure_ratio_high"],
        ratio_median=median(ratios) if ratios else None,
        ratios=tuple(histogram(ratios)),
        rules=tuple(_rules(findings)),
        not_judged=tuple(in_short((manifest.judged or {}).get("skipped", {}))),
        findings=tuple(_told(worst_first(findings).take(slice(most_findings)))),
    )


def _reason_not_usable(manifest: Manifest) -> str | None:
    try:
        verdicts.check_usable(manifest)
    except UsageError as error:
        return str(error)
    return None


@dataclass
class _Body:
    """What the captures of one body with the same sensor facts add up to."""

    captures: int = 0
    isos: set[int] = field(default_factory=set)
    clipped: float | None = None

    def add(self, iso: int | None, clipped: float | None) -> None:
        self.captures += 1
        self.isos.update([iso] if iso else [])
        if clipped is not None:
            self.clipped = clipped if self.clipped is None else max(self.clipped, clipped)


def _cameras(captures: Rows[Capture], progress: Callable[[str, int, int], None]) -> Iterator[Camera]:
    bodies: dict[tuple[str | None, ...], _Body] = {}
    done = 0
    for batch in captures.batches():
        for status, iso, clipped, *sensor in batch.facts("status", "iso", "clipped_fraction", *_SENSOR):
            if status != "unreadable":
                bodies.setdefault(_sensor(*sensor), _Body()).add(iso, clipped)
        done += len(batch)
        progress("counting captures", done, len(captures))
    found = sorted(bodies.items(), key=lambda item: -item[1].captures)
    for (name, serial, size, cfa, black, white, bits), body in found:
        yield Camera(
            name=name or "unknown camera",
            serial=serial,
            captures=body.captures,
            size=size or _UNKNOWN,
            cfa=cfa or _UNKNOWN,
            black=black or _UNKNOWN,
            white=white or _UNKNOWN,
            bits=bits or _UNKNOWN,
            isos=tuple(sorted(body.isos)),
            clipped_fraction=body.clipped,
        )


@lru_cache(maxsize=4096)
def _sensor(
    make: str | None,
    model: str | None,
    serial: str | None,
    width: int | None,
    height: int | None,
    cfa_kind: str | None,
    cfa: str | None,
    black: tuple[float, ...] | None,
    white: tuple[float, ...] | None,
    declared: int | None,
    observed: int | None,
) -> tuple[str | None, ...]:
    """Return what tells one body, and one mode of it, from others, in words."""
    named = bool(make and model and model.lower().startswith(make.lower().split()[0]))
    name = model if named else " ".join(filter(None, (make, model))) or None
    size = f"{width}x{height}" if width else None
    bits = None if declared is None else f"{declared}, used {observed or 'unknown'}"
    levels = (None if values is None else levels_in_words(values) for values in (black, white))
    return name, serial, size, cfa if cfa_kind == "bayer" else cfa_kind, *levels, bits


def _split(pairs: Rows[Pair], left_out: Mapping[str, object] | None) -> Iterator[Part]:
    passed = None if left_out is None else verdicts.passed_by_part(pairs, left_out)
    counts: Counter[str | None] = Counter()
    scenes: dict[str | None, set[str]] = {part: set() for part in PARTS}
    for part, scene in pairs.facts("split", "scene_id"):
        counts[part] += 1
        scenes[part].add(scene)
    for part in PARTS:
        if counts[part]:
            yield Part(part or "no part", counts[part], len(scenes[part]), None if passed is None else passed[part])


def _rules(findings: Rows[Finding]) -> Iterator[Rule]:
    counts = Counter(findings.facts("severity", "code", "name"))
    for (severity, code, name), count in sorted(counts.items()):
        yield Rule(code, name, severity, count)


def worst_first(findings: Rows[Finding]) -> Rows[Finding]:
    """Return findings in the order in which a person should read them."""
    return findings.sorted_by("severity", "subject_kind", "subject_id")


def _told(findings: Rows[Finding]) -> Iterator[dict[str, Any]]:
    for finding in findings:
        yield finding.model_dump(mode="json")


def as_json(report: Account, findings: Rows[Finding]) -> Iterator[str]:
    """Yield the account as versioned JSON, piece by piece: of all findings a few are in memory at a time.

    Args:
        report: the account; the findings that it holds are not told.
        findings: those that are, in order.
    """
    rest = {name: value for name, value in asdict(report).items() if name != "findings"}
    yield json.dumps({"version": JSON_VERSION, **rest}, indent=1, ensure_ascii=False).removesuffix("\n}")
    yield ',\n "findings": ['
    separator = "\n  "
    for finding in _told(findings):
        yield separator + json.dumps(finding, indent=1, ensure_ascii=False).replace("\n", "\n  ")
        separator = ",\n  "
    yield "\n ]\n}\n" if len(findings) else "]\n}\n"


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
        yield f"        black {_dn(camera.black)}, white {_dn(camera.white)}, bits {camera.bits}{clipped}"
    yield f"\nSplit: {counted(report.scenes, 'scene')}"
    for part in report.split:
        passed = "" if part.passed is None else f", {part.passed} pass"
        yield f"  {part.name}: {counted(part.pairs, 'pair')} of {counted(part.scenes, 'scene')}{passed}"


def _dn(level: str) -> str:
    return level if level == _UNKNOWN else f"{level} DN"


def _text_ratios(report: Account) -> Iterator[str]:
    most = max((row.pairs for row in report.ratios), default=0)
    if most:
        yield f"\nExposure ratios: median {report.ratio_median:.4g}×, asked for {_asked(report)}"
    for row in report.ratios:
        bar = "█" * math.ceil(40 * row.pairs / most)
        yield f"  {row.low:8.4g} to {row.high:8.4g}  {row.pairs:5d} {bar}".rstrip()


def _text_findings(report: Account) -> Iterator[str]:
    yield f"\nFindings: {'not yet validated' if report.left_out is None else report.found}"
    for row in report.rules:
        yield f"  {row.severity} {row.code} {row.name}: {row.count}"
    if report.not_judged:
        yield f"  not judged: {', '.join(report.not_judged)}"
    for finding in report.findings[:SHOWN_FINDINGS]:
        yield f"\n  {finding['severity']} {finding['code']}, {finding['subject_kind']} {finding['subject_id']}:"
        yield f"    {finding['message']}"
    if report.found > SHOWN_FINDINGS:
        yield f"\n  {_more(report)}"


def _asked(report: Account) -> str:
    return f"{report.ratio_low:g}-{report.ratio_high:g}×"


def _more(report: Account) -> str:
    hidden = report.found - SHOWN_FINDINGS
    return f"and {hidden} more: sidcurate validate --device {report.device} --format csv"


def as_html(report: Account) -> str:
    """Return the account as one HTML page that needs no other file, no script and no network."""
    environment = Environment(loader=PackageLoader("sidcurate"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(
        report=report,
        asked=_asked(report),
        chart=chart(report.ratios, report.ratio_low, report.ratio_high),
        shown=report.findings[:SHOWN_FINDINGS],
        more=_more(report) if report.found > SHOWN_FINDINGS else None,
    )
