"""Apply the rules to the tables of one manifest, in the order of what they require."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import TYPE_CHECKING

from sidcurate.errors import UsageError
from sidcurate.rules.contract import RULES, Draft, Fault, Rule, Skip
from sidcurate.rules.limits import Limits
from sidcurate.rules.skips import needs
from sidcurate.rules.views import Captures, ManifestView, Pairs, PairView, Tables, captures_of, pairs_of
from sidcurate.schemas import Capture, Finding, SubjectKind

if TYPE_CHECKING:
    from sidcurate.tables.columns import Where

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


@dataclass
class _Ledger:
    """What is known so far.

    Attributes:
        closed: by code, the captures or pairs on which that rule did not pass.
        closed_names: the same by name, for rules about the manifest, which may name captures.
        faulty: names of the subjects with an error.
    """

    tables: Tables
    reported: Collection[str]
    findings: list[Finding] = field(default_factory=list)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    closed: "dict[str, Where]" = field(default_factory=dict)
    closed_names: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    faulty: defaultdict[SubjectKind, set[str]] = field(default_factory=lambda: defaultdict(set))


def run(
    tables: Tables,
    limits: Limits,
    select: Sequence[str] | None = None,
    ignore: Mapping[str, str] = NOTHING_IGNORED,
    progress: Callable[[str, int, int], None] | None = None,
) -> Judgement:
    """Return what the rules find in one manifest.

    Args:
        tables: the records, and what the disk says of the raws where somebody looked.
        limits: thresholds of the rules.
        select: codes to report, all by default; what these require is judged too, in silence.
        ignore: codes that are not judged, each with the reason why.
        progress: called with the stage in words, the count done in it and the count to do.

    Raises:
        UsageError: a code is unknown, or a reason is empty.
        IntegrityError: a pair names a capture that the manifest does not have.
    """
    _check_codes(select or ())
    check_ignored(ignore)
    reported = {code for code in (RULES if select is None else select) if code not in ignore}
    ledger = _Ledger(tables, reported)
    for kind, rows, batches in (
        ("capture", tables.capture_rows, captures_of),
        ("pair", tables.pair_rows, pairs_of),
    ):
        wanted = _in_order(kind, reported, ignore)
        for batch in batches(tables):
            for rule in wanted:
                _apply(rule, batch, limits, ledger)
            if progress:
                progress(f"judging {kind}s", int(batch.rows.numbers[-1]) + 1, len(rows))
    of_all = _in_order("manifest", reported, ignore)
    for done, rule in enumerate(of_all, start=1):
        _apply_to_manifest(rule, limits, ledger)
        if progress:
            progress("judging the whole", done, len(of_all))
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
    others = [code for code, rule in sorted(RULES.items()) if not rule.counts_what_is_left]
    graph = {code: others if rule.counts_what_is_left else rule.requires for code, rule in sorted(RULES.items())}
    needed, waiting = set(), list(reported)
    while waiting:
        code = waiting.pop()
        if code not in needed:
            needed.add(code)
            waiting += graph[code]
    order = TopologicalSorter(graph).static_order()
    return [RULES[code] for code in order if code in needed - set(ignore) and RULES[code].subject_kind == kind]


def _apply(rule: Rule, batch: Captures | Pairs, limits: Limits, ledger: _Ledger) -> None:
    """Ask a rule about many captures or pairs, and book its answers."""
    waiting = ~batch.rows.nowhere()
    for code in rule.requires:
        _skip(rule, batch, waiting & _closed(code, batch, ledger), needs(code), ledger)
        waiting &= ~_closed(code, batch, ledger)
    judged = waiting.copy()
    for answer in rule.judge(batch, limits) if waiting.any() else ():
        where = waiting if answer.where is None else waiting & answer.where
        if isinstance(answer, Skip):
            _skip(rule, batch, where, answer.reason, ledger, closes=answer.closes)
            judged &= ~where
        else:
            _find(rule, batch, where, answer, limits, ledger)
        if not (isinstance(answer, Fault) and answer.goes_on):
            waiting &= ~where
    ledger.checked[rule.code] += int(judged.sum())


def _closed(code: str, batch: Captures | Pairs, ledger: _Ledger) -> "Where":
    """Return the rows on which a rule did not pass: on themselves, or, for a pair, on one of its captures."""
    closed = ledger.closed.get(code)
    if closed is None:
        return batch.rows.nowhere()
    if isinstance(batch, Pairs) and RULES[code].subject_kind == "capture":
        of_either: Where = closed[batch.short.numbers] | closed[batch.long.numbers]
        return of_either
    of_row: Where = closed[batch.rows.numbers]
    return of_row


def _close(rule: Rule, batch: Captures | Pairs, where: "Where", ledger: _Ledger) -> None:
    if rule.code not in ledger.closed:
        tables = ledger.tables
        ledger.closed[rule.code] = (tables.pair_rows if isinstance(batch, Pairs) else tables.capture_rows).nowhere()
    ledger.closed[rule.code][batch.rows.numbers[where]] = True


def _skip(
    rule: Rule, batch: Captures | Pairs, where: "Where", reason: str, ledger: _Ledger, *, closes: bool = True
) -> None:
    count = int(where.sum())
    if count:
        if closes:
            _close(rule, batch, where, ledger)
        if rule.code in ledger.reported:
            ledger.skipped[rule.code, reason] += count


def _find(rule: Rule, batch: Captures | Pairs, where: "Where", fault: Fault, limits: Limits, ledger: _Ledger) -> None:
    """Word the fault of each row that is at fault, and book it."""
    if not where.any():
        return
    _close(rule, batch, where, ledger)
    views: Sequence[Capture | PairView] = batch.views(where)
    for row, view in zip(where.nonzero()[0].tolist(), views, strict=True):
        draft = fault.words(view, limits, *(figure[row] for figure in fault.figures))
        _record(rule, _subject(view), draft, ledger)


def _subject(view: Capture | PairView) -> _Subject:
    if isinstance(view, PairView):
        return _Subject("pair", view.pair.pair_id, (view.pair.short_path, view.pair.long_path))
    return _Subject("capture", view.path, (view.path,))


def _apply_to_manifest(rule: Rule, limits: Limits, ledger: _Ledger) -> None:
    """Ask a rule about the manifest, which may answer that some captures are at fault."""
    device = ledger.tables.device
    missing = _unmet(rule, device, ledger)
    answers = [Skip(needs(missing))] if missing else rule.judge(ManifestView(ledger.tables, ledger.faulty), limits)
    judged = True
    for answer in answers:
        subject = _Subject("manifest", device, ())
        if isinstance(answer, Draft) and answer.capture is not None:
            subject = _Subject("capture", answer.capture, (answer.capture,))
            missing = _unmet(rule, answer.capture, ledger)
            answer = Skip(needs(missing)) if missing else answer
        else:
            judged &= not isinstance(answer, Skip)
        ledger.closed_names[rule.code].add(subject.name)
        if isinstance(answer, Draft):
            _record(rule, subject, answer, ledger)
        elif rule.code in ledger.reported:
            ledger.skipped[rule.code, answer.reason] += 1
    ledger.checked[rule.code] += judged


def _unmet(rule: Rule, name: str, ledger: _Ledger) -> str | None:
    return next((code for code in rule.requires if name in _closed_names(code, ledger)), None)


def _closed_names(code: str, ledger: _Ledger) -> Collection[str]:
    if RULES[code].subject_kind == "capture" and code in ledger.closed and code not in ledger.closed_names:
        ledger.closed_names[code] = set(ledger.tables.capture_rows.take(ledger.closed[code]).path.known_values())
    return ledger.closed_names[code]


def _record(rule: Rule, subject: _Subject, draft: Draft, ledger: _Ledger) -> None:
    finding = _finding(rule, subject, draft, ledger.tables.device)
    if finding.severity == "error":
        ledger.faulty[subject.kind].add(subject.name)
    if rule.code in ledger.reported:
        ledger.findings.append(finding)


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
