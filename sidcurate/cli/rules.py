"""`sidcurate rules`: the table of all rules, or one of them explained from its docstring."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from sidcurate.cli.console import results
from sidcurate.cli.options import table_format_option
from sidcurate.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from sidcurate.rules import Rule

JSON_VERSION = 1
_TABLE_WIDTH = 110
COLUMNS = ("code", "name", "severity", "fault", "default limit")


@click.command(short_help="List the rules, or explain one.")
@click.argument("code", required=False)
@table_format_option
def command(code: str | None, output_format: str) -> None:
    """List all rules; with CODE (PAIR201), say what is wrong, why it matters, how it is judged and how to cure it."""
    from sidcurate.rules import RULES

    if code is not None and code.upper() not in RULES:
        raise UsageError(f"no rule has the code {code!r}; there are {', '.join(sorted(RULES))}")
    chosen = [RULES[code.upper()]] if code else [RULES[known] for known in sorted(RULES)]
    if code and output_format == "table":
        click.echo(explain(chosen[0]))
    else:
        _PRINTERS[output_format](chosen)


def explain(rule: "Rule") -> str:
    """Return a rule's docstring with what it is called, what it needs and which limits can be set."""
    from sidcurate.rules import Limits

    lines = [f"{rule.code} {rule.name} ({rule.severity}, about a {rule.subject_kind})", "", rule.explanation]
    if rule.limit:
        lines += ["", f"Default limit: {rule.limit_in_words(Limits())}"]
    for name in rule.limit_names:
        lines.append(f"  {name} = {Limits.model_fields[name].default!r}: {Limits.model_fields[name].description}")
    if rule.requires:
        lines += ["", f"Not judged where one of these found a fault or could not judge: {', '.join(rule.requires)}"]
    return "\n".join(lines)


def markdown(rules: "Sequence[Rule]") -> str:
    """Return the table of rules for the README."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, rules)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(rule: "Rule") -> tuple[str, ...]:
    from sidcurate.rules import Limits

    return rule.code, rule.name, rule.severity, rule.fault, rule.limit_in_words(Limits())


def _print_table(rules: "Sequence[Rule]") -> None:
    from rich.table import Table

    console = results()
    if console.width < _TABLE_WIDTH:
        _print_blocks(console, rules)
        return
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, no_wrap=column in ("code", "name", "severity"), overflow="fold")
    for rule in rules:
        table.add_row(*_cells(rule))
    console.print(table)


def _print_blocks(console: "Console", rules: "Sequence[Rule]") -> None:
    """Print the table for a terminal that is too narrow for its columns: a rule a block."""
    from rich.padding import Padding

    for code, name, severity, fault, limit in map(_cells, rules):
        console.print(f"{code}  {name} ({severity})", style="bold", soft_wrap=True)
        console.print(Padding(f"{fault}{limit and f' Default limit: {limit}.'}", (0, 0, 0, 2)))


def _print_json(rules: "Sequence[Rule]") -> None:
    import json

    rows = [
        {**dict(zip(COLUMNS, _cells(rule), strict=True)), "version": rule.version, "requires": rule.requires}
        | {"limits": rule.limit_names, "explanation": rule.explanation}
        for rule in rules
    ]
    click.echo(json.dumps({"version": JSON_VERSION, "rules": rows}, indent=1, ensure_ascii=False))


def _print_csv(rules: "Sequence[Rule]") -> None:
    import csv
    import sys

    csv.writer(sys.stdout, lineterminator="\n").writerows([COLUMNS, *map(_cells, rules)])


def _print_markdown(rules: "Sequence[Rule]") -> None:
    click.echo(markdown(rules))


_PRINTERS = {"table": _print_table, "json": _print_json, "csv": _print_csv, "markdown": _print_markdown}
