"""Which pairs the findings of a manifest leave for training."""

from collections.abc import Iterable

from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Finding, Pair


def judged_pairs(manifest: Manifest) -> tuple[list[Pair], dict[str, tuple[str, ...]]]:
    """Return the pairs that no finding of severity error concerns, and the codes that keep each other pair out.

    Raises:
        UsageError: the manifest was never validated, has changed since, or is faulty as a whole.
    """
    what_to_do = f"run `sidcurate validate --device {manifest.device}`"
    if manifest.judged is None:
        raise UsageError(f"{manifest.device} was never validated; {what_to_do}")
    if changed := _changed_since_judged(manifest):
        raise UsageError(f"{manifest.device} has changed since it was validated ({', '.join(changed)}); {what_to_do}")
    for finding in manifest.findings:
        if finding.severity == "error" and finding.subject_kind == "manifest":
            raise UsageError(f"{manifest.device} cannot be used: {finding.code} {finding.message}")
    excluded = left_out(manifest.pairs, manifest.findings)
    return [pair for pair in manifest.pairs if pair.pair_id not in excluded], excluded


def usable_pairs(manifest: Manifest) -> list[Pair]:
    """Return the pairs that the findings leave, or all of them where there are no findings of this state."""
    fresh = manifest.judged is not None and not _changed_since_judged(manifest)
    excluded = left_out(manifest.pairs, manifest.findings) if fresh else {}
    return [pair for pair in manifest.pairs if pair.pair_id not in excluded]


def left_out(pairs: Iterable[Pair], findings: Iterable[Finding]) -> dict[str, tuple[str, ...]]:
    """Return the pairs that a finding of severity error keeps out, itself or through a capture, with the codes."""
    codes: dict[tuple[str, str], set[str]] = {}
    for finding in findings:
        if finding.severity == "error":
            codes.setdefault((finding.subject_kind, finding.subject_id), set()).add(finding.code)
    found = {pair.pair_id: set().union(*(codes.get(subject, ()) for subject in _subjects(pair))) for pair in pairs}
    return {pair_id: tuple(sorted(of_pair)) for pair_id, of_pair in found.items() if of_pair}


def _subjects(pair: Pair) -> tuple[tuple[str, str], ...]:
    return ("pair", pair.pair_id), ("capture", pair.short_path), ("capture", pair.long_path)


def _changed_since_judged(manifest: Manifest) -> list[str]:
    judged = manifest.judged or {}
    return [name for name, digest in judged["sums"].items() if manifest.sums.get(name) != digest]
