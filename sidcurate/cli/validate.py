"""`sidcurate validate`: judge manifests by the rules, show what is wrong, and keep the findings."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidcurate.cli.config import standard
from sidcurate.cli.console import progress, results, say, say_next
from sidcurate.cli.options import devices_option, dry_run_option, format_option, manifests_option, naming

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from sidcurate.files import Look
    from sidcurate.schemas import Finding, Pair
    from sidcurate.tables.rows import Rows
    from sidcurate.validation import Standard, Verdict

ERRORS_FOUND = 1
JSON_VERSION = 1
_RATIOS_SHOWN = 8
_NARROWEST = 20
_LOOKED_INTO = ("pair", "error")


@click.command(short_help="Judge manifests by the rules.")
@devices_option
@manifests_option
@click.option(
    "--select", multiple=True, metavar="CODES", help="Show these rules only (PAIR201,CAP); keeps no findings."
)
@click.option("--ignore", multiple=True, metavar="CODE=REASON", help="Leave a rule out, and say why; repeatable.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Set a limit of a rule; repeatable.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="Limits and ignored rules.  [default: sidcurate.toml, where there is one]",
)
@click.option("--no-files", "look", flag_value="none", help="Do not look at the raws on disk.")
@click.option("--deep", "look", flag_value="deep", help="Hash every raw again.")
@click.option("--explain", "pair_id", metavar="PAIR", help="Show the facts and pictures of one pair of one device.")
@click.option(
    "--png",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="With --explain: draw the pictures into this file.",
)
@format_option
@dry_run_option
@click.pass_context
def command(
    ctx: click.Context,
    devices: tuple[str, ...],
    manifests_root: Path,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    limits: tuple[str, ...],
    config: Path | None,
    look: "Look | None",
    pair_id: str | None,
    png: Path | None,
    output_format: str,
    dry_run: bool,
) -> None:
    """Judge every manifest, or those of some devices, and write findings.parquet beside it.

    Reads the manifest and looks at which raws are on disk; decodes none. Exits 1 when there is an error. With
    --explain, shows one pair, from the manifest and what ingest kept of the pixels, and writes no findings.
    """
    from sidcurate.cli.explaining import show
    from sidcurate.files import out_of_reach
    from sidcurate.validation import validate

    asked = standard(config, limits, ignore, select, look or "changed")
    _check_explained(pair_id, png, output_format, look)
    if pair_id is not None:
        passes = show(_only_directory(manifests_root, devices, pair_id), pair_id, asked, png, dry_run=dry_run)
        ctx.exit(0 if passes else ERRORS_FOUND)
    verdicts = []
    for directory in _directories(manifests_root, devices):
        with progress() as report:
            verdicts.append(validate(directory, asked, keep=not dry_run, progress=report))
        if (away := out_of_reach(directory)) and asked.look != "none":
            say(f"the raws of {directory.name} are in {away}: they were not looked at")
    _PRINTERS[output_format](verdicts, asked)
    if dry_run or select:
        say(f"{'dry run' if dry_run else 'only some rules were asked for'}: no findings were written")
    elif len(verdicts) == 1:
        _say_what_is_next(verdicts[0], manifests_root)
    ctx.exit(ERRORS_FOUND if any(verdict.has_errors for verdict in verdicts) else 0)


def _say_what_is_next(verdict: "Verdict", root: Path) -> None:
    """Name the way to look at the first pair with an error of its own; else, where all is well, that to train."""
    faulty = (row.subject_id for row in verdict.judgement.findings if (row.subject_kind, row.severity) == _LOOKED_INTO)
    if (pair_id := next(faulty, None)) is not None:
        say_next("validate", *naming(verdict.manifest.device, root), "--explain", pair_id)
    elif not verdict.has_errors:
        say_next("finetune", *naming(verdict.manifest.device, root))


def _check_explained(pair_id: str | None, png: Path | None, output_format: str, look: "Look | None") -> None:
    """Check that what is asked for goes with --explain, which shows one pair and opens no raw.

    Raises:
        UsageError: it does not.
    """
    from sidcurate.errors import UsageError

    if pair_id is None:
        if png is not None:
            raise UsageError("--png draws one pair; name it with --explain PAIR")
        return
    if output_format != "table" or look == "deep":
        wrong = "--deep" if look == "deep" else f"--format {output_format}"
        raise UsageError(f"--explain prints a table from what ingest kept; leave {wrong} out")


def _directories(root: Path, devices: Sequence[str]) -> list[Path]:
    from sidcurate import manifests
    from sidcurate.errors import UsageError

    found = [manifests.find(root, device) for device in dict.fromkeys(devices)] or manifests.directories(root)
    if not found:
        raise UsageError(
            f"there is no manifest under {root}; make one: `sidcurate ingest FOLDER --device NAME`, "
            "or name another folder with --manifests"
        )
    return found


def _only_directory(root: Path, devices: Sequence[str], pair_id: str) -> Path:
    from sidcurate.errors import UsageError

    found = _directories(root, devices)
    if len(found) != 1:
        names = ", ".join(directory.name for directory in found)
        raise UsageError(f"--explain {pair_id} needs the --device of the pair, one of {names}")
    return found[0]


def _print_json(verdicts: "Sequence[Verdict]", asked: "Standard") -> None:
    import json

    document = {
        "version": JSON_VERSION,
        "limits": asked.limits.model_dump(),
        "ignored": dict(asked.ignore),
        "manifests": [_as_json(verdict) for verdict in verdicts],
    }
    click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def _as_json(verdict: "Verdict") -> dict[str, Any]:
    from sidcurate.schemas import Capture, Pair

    total = len(verdict.manifest.rows(Pair))
    return {
        "device": verdict.manifest.device,
        "captures": len(verdict.manifest.rows(Capture)),
        "pairs": {"total": total, "passed": total - len(verdict.left_out), "left_out": dict(verdict.left_out)},
        "findings": [finding.model_dump(mode="json") for finding in verdict.judgement.findings],
        "checked": dict(verdict.judgement.checked),
        "skipped": {code: dict(reasons) for code, reasons in verdict.judgement.skipped.items()},
        "rules": dict(verdict.judgement.versions),
    }


def _print_csv(verdicts: "Sequence[Verdict]", asked: "Standard") -> None:
    import csv
    import json
    import sys

    from sidcurate.schemas import Finding

    writer = csv.DictWriter(sys.stdout, list(Finding.model_fields), lineterminator="\n")
    writer.writeheader()
    for verdict in verdicts:
        for finding in verdict.judgement.findings:
            writer.writerow({**finding.model_dump(), "paths": json.dumps(finding.paths, ensure_ascii=False)})


def _print_table(verdicts: "Sequence[Verdict]", asked: "Standard") -> None:
    console = results()
    for verdict in verdicts:
        subjects = groupby(verdict.judgement.findings, key=lambda row: (row.subject_kind, row.subject_id))
        told = ((kind, name, list(findings)) for (kind, name), findings in subjects)
        for (kind, _), alike in groupby(told, key=_said):
            console.print(_subjects(kind, list(alike), console), soft_wrap=True)
        _print_summary(console, verdict, asked)


def _said(subject: "tuple[str, str, list[Finding]]") -> tuple[str, object]:
    """Return what two subjects must share to be told together: their kind, and for captures every word."""
    kind, name, findings = subject
    return kind, [(row.code, row.message) for row in findings] if kind == "capture" else name


def _subjects(kind: str, alike: "Sequence[tuple[str, str, list[Finding]]]", console: "Console") -> "Text":
    """Return the findings of subjects that share them: where, then the messages beside their codes, never cut."""
    from rich.text import Text

    findings = alike[0][2]
    told = Text.assemble((f"{kind}{'s' if len(alike) > 1 else ''} {', '.join(name for _, name, _ in alike)}", "bold"))
    if kind == "pair":
        told.append(f"  ({', '.join(findings[0].paths)})", "dim")
    for finding in findings:
        style = "bold red" if finding.severity == "error" else "yellow"
        lead = Text.assemble("  ", (f"{finding.severity:<7}", style), f"  {finding.code:<7}  ")
        lines = Text(finding.message).wrap(console, max(console.width - len(lead), _NARROWEST))
        for line in lines:
            line.rstrip()
        told.append("\n").append_text(lead).append_text(Text("\n" + " " * len(lead)).join(lines))
    return told


def _print_summary(console: "Console", verdict: "Verdict", asked: "Standard") -> None:
    from sidcurate.rules.skips import in_short
    from sidcurate.schemas import Pair
    from sidcurate.verdicts import tally

    pairs = verdict.manifest.rows(Pair)
    total, out = len(pairs), len(verdict.left_out)
    console.print(f"{verdict.manifest.device}: {tally(total, out)}", style="bold", soft_wrap=True)
    if total:
        console.print(f"  exposure ratios: {_ratios(pairs)}", soft_wrap=True)
    if total - out:
        console.print(f"  split of those that pass: {_parts(verdict)}", soft_wrap=True)
    for severity in ("error", "warning"):
        found = [finding for finding in verdict.judgement.findings if finding.severity == severity]
        if found:
            console.print(f"  {severity}s: {_counts(found)}", soft_wrap=True)
    if skipped := in_short(verdict.judgement.skipped):
        console.print(f"  not judged: {', '.join(skipped)}", style="dim", soft_wrap=True)
    for code, reason in asked.ignore.items():
        console.print(f"  ignored: {code} ({reason})", style="dim", soft_wrap=True)


def _parts(verdict: "Verdict") -> str:
    """Return how many of the pairs that pass are in each part, and the cure where errors have emptied one."""
    from sidcurate.schemas import Pair
    from sidcurate.verdicts import passed_by_part

    pairs = verdict.manifest.rows(Pair)
    passed, dealt = (passed_by_part(pairs, excluded) for excluded in (verdict.left_out, ()))
    told = ", ".join(f"{passed[part]} {part}" for part in ("train", "val", "test") if dealt[part])
    if passed[None]:
        told = f"{told}, {passed[None]} without a part".removeprefix(", ")
    if any(part and not passed[part] for part in dealt):
        told += f"; `sidcurate split --device {verdict.manifest.device}` divides their scenes anew"
    return told


def _ratios(pairs: "Rows[Pair]") -> str:
    """Return how many pairs have each exposure ratio, the most frequent first."""
    from collections import Counter

    counts = Counter(f"{ratio:.3g}×" if ratio else "unknown" for ratio in pairs.arrow("exposure_ratio").to_pylist())
    shown = [f"{ratio} ({count})" for ratio, count in counts.most_common(_RATIOS_SHOWN)]
    others = len(pairs) - sum(count for _, count in counts.most_common(_RATIOS_SHOWN))
    return ", ".join([*shown, *([f"others ({others})"] if others else [])])


def _counts(findings: "Sequence[Finding]") -> str:
    from collections import Counter

    counts = Counter((finding.code, finding.name) for finding in findings)
    return ", ".join(f"{code} {name} ×{count}" for (code, name), count in sorted(counts.items()))


_PRINTERS = {"table": _print_table, "json": _print_json, "csv": _print_csv}
