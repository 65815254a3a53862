"""`sidcurate benchmark-rules`: what the audit finds, misses and wrongly accuses, on simulated pairs of known truth."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from sidcurate.cli.console import progress, results
from sidcurate.cli.options import jobs_option, megapixel_option, table_format_option
from sidcurate.counted import counted

if TYPE_CHECKING:
    from sidcurate.benchmark.scores import CleanScore, GradeScore, Rate, Scores
    from sidcurate.benchmark.trials import Outcome

JSON_VERSION = 1
_WIDTH = 180
_GRADE_COLUMNS = (
    "fault",
    "strength",
    "rule",
    "promised",
    "found",
    "recall, %",
    "as error",
    "skipped",
    "found, dim",
    "other errors",
    "ratio off, %",
    "zero off, DN14",
    "shift off, px",
)
_BRIEF_COLUMNS = ("planted", "named by", "found, light enough", "found, less light", "not judged", "other errors")
_CLEAN_COLUMNS = (
    "clean pairs",
    "light",
    "with an error",
    "%",
    "with a warning",
    "% ",
    "by rule",
    "not judged",
    "ratio off, %",
    "zero off, DN14",
    "shift off, px",
)


@click.command(short_help="Measure what the rules find and miss, on simulated pairs.")
@megapixel_option
@click.option(
    "--scenes", type=click.IntRange(min=1), default=12, show_default=True, help="Scenes a fault and strength."
)
@click.option("--clean", type=click.IntRange(min=0), default=1000, show_default=True, help="Pairs without a fault.")
@click.option("--faults", metavar="A,B", default=None, help="Faults to plant.  [default: all]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same table.")
@jobs_option
@table_format_option
def command(
    size: tuple[int, int],
    scenes: int,
    clean: int,
    faults: str | None,
    seed: int,
    jobs: int | None,
    output_format: str,
) -> None:
    """Plant every fault that pixels show, alone and at graded strength, in simulated pairs of four cameras; judge them.

    Recall counts the pairs whose short frame should have a median of 5 electrons a site or more; a rule that was
    skipped has missed. "Other errors" are findings of severity error that do not name the fault. The defaults take a
    quarter of an hour on two cores. CSV has the rows of the faults only; markdown is brief; JSON has everything.
    """
    from sidcurate.benchmark.grades import chosen
    from sidcurate.benchmark.scores import scores
    from sidcurate.benchmark.trials import run, trials

    grades = chosen(faults.split(",") if faults else None)
    wanted = list(trials(grades, scenes=scenes, clean=clean, size=size, seed=seed))
    with progress() as report:
        outcomes = run(wanted, jobs=jobs, progress=partial(report, "judging pairs"))
    asked = f"--seed {seed} --size {size[0]}x{size[1]} --scenes {scenes} --clean {clean}"
    asked += f" --faults {faults}" if faults else ""
    _PRINTERS[output_format](scores(outcomes), f"{counted(len(wanted), 'pair')}: `sidcurate benchmark-rules {asked}`")


def _grade_cells(score: "GradeScore") -> tuple[str, ...]:
    grade = score.grade
    fault = grade.fault or "none"
    return (
        fault if grade.condition == "plain" else f"{fault} ({grade.condition})",
        "" if grade.strength is None else f"{grade.strength:g}",
        " or ".join(grade.codes),
        "yes" if grade.promised else "",
        _of(score.found) if grade.codes else str(score.found.of),
        _interval(score.found) if grade.codes else "",
        str(score.as_error.count) if grade.codes else "",
        str(score.skipped.count) if grade.codes else "",
        _of(score.found_in_dim) if grade.codes else str(score.found_in_dim.of),
        _counts(score.other_errors),
        _figures(score.ratio_error, 100),
        _figures(score.zero_error_dn14),
        _figures(score.shift_error_px),
    )


def _clean_cells(score: "CleanScore") -> tuple[str, ...]:
    return (
        str(score.pairs),
        score.light,
        str(score.with_error.count),
        _interval(score.with_error),
        str(score.with_warning.count),
        _interval(score.with_warning),
        _counts(score.by_code),
        ", ".join(f"{code} {_interval(rate)} %" for code, rate in score.skipped.items()),
        _figures(score.ratio_error, 100),
        _figures(score.zero_error_dn14),
        _figures(score.shift_error_px),
    )


def _of(rate: "Rate") -> str:
    return f"{rate.count}/{rate.of}" if rate.of else ""


def _interval(rate: "Rate") -> str:
    """Return a rate in percent with its interval."""
    if rate.share is None:
        return ""
    low, high = rate.interval
    return f"{100 * rate.share:.3g} ({100 * low:.3g}-{100 * high:.3g})"


def _counts(codes: "Mapping[str, int]") -> str:
    return ", ".join(f"{code} {count}" for code, count in codes.items())


def _figures(values: float | Sequence[float] | None, factor: float = 1) -> str:
    if values is None:
        return ""
    listed = (values,) if isinstance(values, float) else values
    return " / ".join(f"{factor * value:.2g}" for value in listed)


def _tables(found: "Scores") -> Iterator[tuple[Sequence[str], list[tuple[str, ...]]]]:
    if found.grades:
        yield _GRADE_COLUMNS, [_grade_cells(score) for score in found.grades]
    if found.clean:
        yield _CLEAN_COLUMNS, [_clean_cells(score) for score in found.clean]


def _broken_line(outcome: "Outcome", why: str) -> str:
    return f"{why}; median {outcome.electrons:.3g} electrons: {outcome.trial.command}"


def _print_table(found: "Scores", caption: str) -> None:
    from rich.table import Table

    console = results()
    console.width = max(console.width, _WIDTH)
    console.print(caption)
    for columns, rows in _tables(found):
        table = Table(*columns, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(f"{counted(len(found.broken), 'pair')} broke a promise")
    for outcome, why in found.broken:
        console.print(_broken_line(outcome, why), soft_wrap=True)


def _print_json(found: "Scores", caption: str) -> None:
    import json

    broken = [
        {"why": why, "electrons": outcome.electrons, "command": outcome.trial.command} for outcome, why in found.broken
    ]
    record = {"version": JSON_VERSION, "caption": caption, "broken": broken}
    record |= {"grades": list(map(_plain, found.grades)), "clean": list(map(_plain, found.clean))}
    click.echo(json.dumps(record, indent=1, ensure_ascii=False))


def _plain(score: "GradeScore | CleanScore") -> dict[str, Any]:
    """Return a score as JSON has it; a rate with its share and the ends of its interval."""
    from dataclasses import asdict

    from sidcurate.benchmark.scores import GradeScore

    rows = {name: _plain_value(value) for name, value in vars(score).items() if name != "grade"}
    return {**(asdict(score.grade) if isinstance(score, GradeScore) else {}), **rows}


def _plain_value(value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    from sidcurate.benchmark.scores import Rate

    if isinstance(value, Rate):
        low, high = value.interval
        return {"count": value.count, "of": value.of, "share": value.share, "low": low, "high": high}
    return {code: _plain_value(part) for code, part in value.items()} if isinstance(value, dict) else value


def _print_csv(found: "Scores", caption: str) -> None:
    import pandas as pd

    rows = pd.json_normalize([{**_plain(score), "codes": " or ".join(score.grade.codes)} for score in found.grades])
    click.echo(rows.to_csv(index=False, lineterminator="\n"), nl=False)


def _print_markdown(found: "Scores", caption: str) -> None:
    """Print a line a fault, and one a condition: what was found by strength, promised strengths in bold."""
    tables: tuple[tuple[Sequence[str], list[tuple[str, ...]]], ...] = (
        (_BRIEF_COLUMNS, list(_brief_rows(found.grades))),
        (_CLEAN_COLUMNS, [_clean_cells(score) for score in found.clean]),
    )
    for columns, rows in tables:
        if not rows:
            continue
        lines = [tuple(column.strip() for column in columns), ("---",) * len(columns), *rows]
        click.echo("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    click.echo(f"*{caption}. {len(found.broken)} of them broke a promise.*")


def _brief_rows(scores: "Sequence[GradeScore]") -> Iterator[tuple[str, ...]]:
    groups: dict[str, list[GradeScore]] = {}
    for score in scores:
        grade = score.grade
        name = grade.fault or "none" if grade.condition == "plain" else f"*{grade.condition} scenes*"
        groups.setdefault(name, []).append(score)
    for name, group in groups.items():
        planted = [score for score in group if score.grade.codes]
        codes = dict.fromkeys(code for score in planted for code in score.grade.codes)
        others = sum((Counter(score.other_errors) for score in group), Counter[str]())
        skipped = sum(score.skipped.count for score in planted)
        found, dim = (
            ", ".join(filter(None, (_brief(score, rate) for score, rate in zip(planted, rates, strict=True))))
            for rates in ([score.found for score in planted], [score.found_in_dim for score in planted])
        )
        yield name, " or ".join(codes) if len(codes) < 3 else "", found, dim, str(skipped or ""), _counts(others)


def _brief(score: "GradeScore", rate: "Rate") -> str:
    """Return strength and count of a grade, with the fault's name where a row holds several."""
    grade = score.grade
    words = (
        grade.fault if grade.condition != "plain" else "",
        "" if grade.strength is None else f"{grade.strength:g}:",
    )
    text = " ".join(filter(None, (*words, _of(rate))))
    return "" if not rate.of else f"**{text}**" if grade.promised else text


_PRINTERS = {"table": _print_table, "json": _print_json, "csv": _print_csv, "markdown": _print_markdown}
