"""Apply the rules to the tables of one manifest, in the order of what they require."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from types import MappingProxyType

from sidcurate.errors import UsageError
from sidcurate.rules.contract import (
    RULES,
    CaptureView,
    Draft,
    ManifestView,
    PairView,
    Rule,
    Tables,
    capture_key,
    pair_keys,
)
from sidcurate.rules.limits import Limits
from sidcurate.schemas import Finding, SubjectKind

# A pair stands on its captures, a manifest on both.
KINDS: Sequence[SubjectKind] = ("capture", "pair", "manifest")
NOTHING_IGNORED: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Judgement:
    """What the rules found, and on how many subjects each could not judge, or could."""

    findings: tuple[Finding, ...]
    skipped: Mapping[str, Mapping[str, int]]
    """Subjects that a rule could not judge, by code and reason."""
    checked: Mapping[str, int]
    """Subjects that a rule judged, by code."""
    versions: Mapping[str, int]
    """Versions of the rules that were applied, by code."""


@dataclass(frozen=True)
class _Subject:
    kind: SubjectKind
    name: str
    paths: tuple[str, ...]
    keys: tuple[str, ...]
    view: CaptureView | PairView | ManifestView


@dataclass
class _Ledger:
    """What is known so far. `closed` holds, by code, the subjects on which that rule did not pass."""

    device: str
    reported: Collection[str]
    findings: list[Finding] = field(default_factory=list)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    closed: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    faulty: set[str] = field(default_factory=set)


def run(
    tables: Tables,
    limits: Limits,
    select: Sequence[str] | None = None,
    ignore: Mapping[str, str] = NOTHING_IGNORED,
) -> Judgement:
    """Return what the rules find in one manifest.

    Args:
        tables: the records, and what the disk says of the raws where somebody looked.
        limits: thresholds of the rules.
        select: codes to report, all by default; what these require is judged too, in silence.
        ignore: codes that are not judged, each with the reason why.

    Raises:
        UsageError: a code is unknown, or a reason is empty.
        IntegrityError: a pair names a capture that the manifest does not have.
    """
    _check_codes(select or ())
    check_ignored(ignore)
    reported = {code for code in (RULES if select is None else select) if code not in ignore}
    ledger = _Ledger(tables.device, reported)
    for kind in KINDS:
        wanted = _in_order(kind, reported, ignore)
        for subject in _subjects(kind, tables, ledger):
            for rule in wanted:
                _apply(rule, subject, limits, ledger)
    return _judgement(ledger)


def check_ignored(ignore: Mapping[str, object]) -> None:
    """Check that what is to be ignored are rules, each with a reason in words.

    Raises:
        UsageError: a code is unknown, or has no reason.
    """
    _check_codes(ignore)
    for code, reason in ignore.items():
        if not isinstance(reason, str) or not reason.strip():
            raise UsageError(f"{code} is ignored without a reason; write --ignore '{code}=why it is no fault here'")


def _check_codes(codes: Iterable[str]) -> None:
    for code in codes:
        if code not in RULES:
            raise UsageError(f"no rule has the code {code!r}; there are {', '.join(sorted(RULES))}")


def _in_order(kind: str, reported: Collection[str], ignore: Collection[str]) -> list[Rule]:
    needed, waiting = set(), list(reported)
    while waiting:
        code = waiting.pop()
        if code not in needed:
            needed.add(code)
            waiting += RULES[code].requires
    graph = {code: (*rule.requires, *rule.after) for code, rule in sorted(RULES.items())}
    order = TopologicalSorter(graph).static_order()
    return [RULES[code] for code in order if code in needed - set(ignore) and RULES[code].subject_kind == kind]


def _subjects(kind: str, tables: Tables, ledger: _Ledger) -> Iterator[_Subject]:
    if kind == "manifest":
        key = (f"manifest:{tables.device}",)
        yield _Subject("manifest", tables.device, (), key, ManifestView(tables, ledger.faulty))
    elif kind == "pair":
        for pair in tables.pairs:
            short, long = (tables.capture(path, pair.pair_id) for path in (pair.short_path, pair.long_path))
            paths = (pair.short_path, pair.long_path)
            yield _Subject("pair", pair.pair_id, paths, pair_keys(pair), PairView(pair, short, long))
    else:
        for capture in tables.captures:
            key = (capture_key(capture.path),)
            yield _Subject("capture", capture.path, (capture.path,), key, CaptureView(capture, tables))


def _apply(rule: Rule, subject: _Subject, limits: Limits, ledger: _Ledger) -> None:
    missing = _unmet(rule, subject.keys, ledger)
    if missing:
        _skip(rule, subject, f"needs {missing}", ledger)
        return
    judged = True
    for answer in rule.judge(subject.view, limits):
        if isinstance(answer, Draft):
            _record(rule, subject, answer, ledger)
        else:
            judged = False
            _skip(rule, subject, answer.reason, ledger)
    ledger.checked[rule.code] += judged


def _unmet(rule: Rule, keys: Collection[str], ledger: _Ledger) -> str | None:
    for code in rule.requires:
        if not ledger.closed[code].isdisjoint(keys):
            return code
    return None


def _skip(rule: Rule, subject: _Subject, reason: str, ledger: _Ledger) -> None:
    ledger.closed[rule.code].add(subject.keys[0])
    if rule.code in ledger.reported:
        ledger.skipped[rule.code, reason] += 1


def _record(rule: Rule, subject: _Subject, draft: Draft, ledger: _Ledger) -> None:
    if draft.capture is not None:
        subject = _Subject("capture", draft.capture, (draft.capture,), (capture_key(draft.capture),), subject.view)
        missing = _unmet(rule, subject.keys, ledger)
        if missing:
            _skip(rule, subject, f"needs {missing}", ledger)
            return
    ledger.closed[rule.code].add(subject.keys[0])
    if rule.code not in ledger.reported:
        return
    finding = _finding(rule, subject, draft, ledger.device)
    ledger.findings.append(finding)
    if finding.severity == "error":
        ledger.faulty.add(subject.keys[0])


def _finding(rule: Rule, subject: _Subject, draft: Draft, device: str) -> Finding:
    return Finding(
        device=device,
        code=rule.code,
        name=rule.name,
        severity=draft.severity or rule.severity,
        subject_kind=subject.kind,
        subject_id=subject.name,
        paths=subject.paths if draft.paths is None else draft.paths,
        message=draft.message,
        measured=draft.measured,
        limit_low=draft.limit_low,
        limit_high=draft.limit_high,
        unit=draft.unit,
    )


def _judgement(ledger: _Ledger) -> Judgement:
    skipped: dict[str, dict[str, int]] = {}
    for (code, reason), count in sorted(ledger.skipped.items()):
        skipped.setdefault(code, {})[reason] = count
    codes = sorted(ledger.reported)
    return Judgement(
        findings=tuple(sorted(ledger.findings, key=_place)),
        skipped=skipped,
        checked={code: ledger.checked[code] for code in codes},
        versions={code: RULES[code].version for code in codes},
    )


def _place(finding: Finding) -> tuple[int, str, str, str]:
    return KINDS.index(finding.subject_kind), finding.subject_id, finding.code, finding.message
