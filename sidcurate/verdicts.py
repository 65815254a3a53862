"""Which pairs the findings of a manifest leave for training."""

from collections import Counter
from collections.abc import Container, Iterable
from functools import reduce
from operator import or_

from sidcurate.counted import counted
from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Capture, Finding, Pair, Split
from sidcurate.tables.rows import Rows


def judged_pairs(manifest: Manifest) -> tuple[list[Pair], dict[str, tuple[str, ...]]]:
    """Return the pairs that no finding of severity error concerns, and the codes that keep each other pair out.

    Raises:
        UsageError: the manifest was never validated, has changed since, or is faulty as a whole.
    """
    check_usable(manifest)
    excluded = left_out(manifest.rows(Pair), manifest.rows(Finding))
    return [pair for pair in manifest.pairs if pair.pair_id not in excluded], excluded


def check_usable(manifest: Manifest) -> None:
    """Check that a manifest was judged as it is, and is not faulty as a whole.

    Raises:
        UsageError: it was never validated, has changed since, is faulty as a whole, or of some raws nobody has read
            more than the header.
    """
    if reason := why_unjudged(manifest):
        raise UsageError(reason)
    pixels_unread = int(manifest.rows(Capture).named("status", ["header"]).sum())
    if pixels_unread:
        raise UsageError(
            f"of {counted(pixels_unread, 'raw')} of {manifest.device} only the header was read; run `sidcurate ingest` "
            "on their folder, without --headers-only, and validate again"
        )
    findings = manifest.rows(Finding)
    of_all = findings.named("severity", ["error"]) & findings.named("subject_kind", ["manifest"])
    for code, message in findings.take(of_all).facts("code", "message"):
        raise UsageError(f"{manifest.device} cannot be used: {code} {message}")


def why_unjudged(manifest: Manifest) -> str | None:
    """Return why the findings of a manifest say nothing of it as it is, with what to do; None where they do."""
    what_to_do = f"run `sidcurate validate --device {manifest.device}`"
    if manifest.judged is None:
        return f"{manifest.device} was never validated; {what_to_do}"
    if changed := _changed_since_judged(manifest):
        return f"{manifest.device} has changed since it was validated ({', '.join(changed)}); {what_to_do}"
    return None


def usable_pairs(manifest: Manifest) -> list[Pair]:
    """Return the pairs that the findings leave, or all of them where there are no findings of this state."""
    excluded = {} if why_unjudged(manifest) else left_out(manifest.rows(Pair), manifest.rows(Finding))
    return [pair for pair in manifest.pairs if pair.pair_id not in excluded]


def left_out(pairs: Rows[Pair], findings: Iterable[Finding]) -> dict[str, tuple[str, ...]]:
    """Return the pairs that a finding of severity error keeps out, itself or through a capture, with the codes."""
    codes: dict[str, dict[str, set[str]]] = {"pair": {}, "capture": {}, "manifest": {}}
    for finding in findings:
        if finding.severity == "error":
            codes[finding.subject_kind].setdefault(finding.subject_id, set()).add(finding.code)
    subjects = {"pair_id": codes["pair"], "short_path": codes["capture"], "long_path": codes["capture"]}
    faulty = pairs.take(reduce(or_, (pairs.named(fact, known) for fact, known in subjects.items())))
    found: dict[str, tuple[str, ...]] = {}
    for names in zip(*(faulty.arrow(fact).to_pylist() for fact in subjects), strict=True):
        known = (of_kind.get(name, set()) for name, of_kind in zip(names, subjects.values(), strict=True))
        found[names[0]] = tuple(sorted(set().union(*known)))
    return found


def tally(pairs: int, excluded: int) -> str:
    """Return in words how many of the pairs of a manifest pass.

    >>> tally(20, 1), tally(1, 0)
    ('19 of 20 pairs pass, 1 left out', '1 of 1 pair passes, 0 left out')
    """
    return f"{pairs - excluded} of {counted(pairs, 'pair passes', 'pairs pass')}, {excluded} left out"


def passed_by_part(pairs: Rows[Pair], excluded: Container[str]) -> Counter[Split | None]:
    """Return how many of the pairs that are not excluded stand in each part of the split."""
    return Counter(part for part, pair in pairs.facts("split", "pair_id") if pair not in excluded)


def _changed_since_judged(manifest: Manifest) -> list[str]:
    judged = manifest.judged or {}
    return [name for name, digest in judged["sums"].items() if manifest.sums.get(name) != digest]
