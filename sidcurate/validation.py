"""Judge a manifest and keep what was found beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sidcurate import files, manifests, rules, verdicts
from sidcurate.manifests import Manifest
from sidcurate.schemas import Capture, Finding, Pair, Unpaired

# Tables that are judged. Findings are stale when one of them has another hash.
JUDGED_TABLES = ("captures.parquet", "pairs.parquet", "unpaired.parquet")


@dataclass(frozen=True)
class Standard:
    """By what a manifest is judged. A selection is a look at some rules: its findings are shown, never kept."""

    limits: rules.Limits = field(default_factory=rules.Limits)
    ignore: Mapping[str, str] = field(default_factory=dict)
    select: Sequence[str] | None = None
    look: files.Look = "changed"


@dataclass(frozen=True)
class Verdict:
    """A manifest, what the rules found in it, and which pairs that leaves out, by the codes that do so."""

    manifest: Manifest
    judgement: rules.Judgement
    left_out: Mapping[str, Sequence[str]]

    @property
    def has_errors(self) -> bool:
        """Whether any finding is of severity error."""
        return any(finding.severity == "error" for finding in self.judgement.findings)


def _silent(stage: str, done: int, total: int) -> None:
    """Show nothing."""


def validate(
    directory: Path,
    standard: Standard,
    *,
    keep: bool = True,
    progress: Callable[[str, int, int], None] = _silent,
) -> Verdict:
    """Judge one manifest; write its findings, with what they were made from.

    At raws in a bucket it never looks.

    Args:
        directory: folder of the manifest.
        standard: limits, ignored and selected rules, and how to look at the files.
        keep: whether findings.parquet is written; never for a selection of rules.
        progress: called with the stage in words, the count done in it and the count to do.

    Raises:
        IntegrityError: the manifest is damaged.
        UsageError: an unknown code.
        UnreadableRawError: a raw is there and cannot be read.
    """
    manifest = manifests.load(directory, progress)
    if files.out_of_reach(directory):
        standard = replace(standard, look="none")
    looked = None
    if standard.look != "none":
        looked = files.states(directory, manifest.rows(Capture), standard.look, progress)
        files.check_readable(directory, looked)
    captures, pairs, unpaired = manifest.rows(Capture), manifest.rows(Pair), manifest.rows(Unpaired)
    tables = rules.Tables(manifest.device, captures, pairs, unpaired, looked, files.folder(directory))
    judgement = rules.run(tables, standard.limits, standard.select, standard.ignore, progress)
    if keep and standard.select is None:
        manifests.save(directory, {Finding: judgement.findings}, judged=_judged(manifest, standard, judgement))
    return Verdict(manifest, judgement, verdicts.left_out(manifest.rows(Pair), judgement.findings))


def _judged(manifest: Manifest, standard: Standard, judgement: rules.Judgement) -> dict[str, Any]:
    return {
        "sums": {name: manifest.sums[name] for name in JUDGED_TABLES if name in manifest.sums},
        "limits": standard.limits.model_dump(),
        "rules": dict(judgement.versions),
        "ignored": dict(standard.ignore),
        "skipped": {code: dict(reasons) for code, reasons in judgement.skipped.items()},
        "files": standard.look,
    }
