"""`sidcurate runs`: what was trained, how far each run came, and what it is worth under which protocol."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli.console import empty_table, make_room, results, say
from sidcurate.cli.options import format_option, manifests_option, runs_option

if TYPE_CHECKING:
    from sidtrain.weights.history import Row, Score, Splits

JSON_VERSION = 1
COLUMNS = ("device", "run", "recipe", "pairs", "steps", "state", "PSNR", "scenes", "protocol")


@click.command(short_help="List the runs: how far each came, and its PSNR with the protocol.")
@runs_option
@manifests_option
@format_option
def command(runs_root: Path, manifests_root: Path, output_format: str) -> None:
    """List the runs of a folder.

    Pairs are those to train and to validate on. A run has one line for each protocol that it was measured by: numbers
    of two protocols do not compare, nor do those of other scenes: their number stands beside each, and "other split"
    where one of them is in another part of the camera's manifest now, or in none.
    """
    from sidtrain.weights import history

    rows = history.rows(runs_root, _splits_in(manifests_root))
    if not rows:
        say(f"no run in {runs_root}: `sidcurate finetune` makes one")
    if output_format == "table":
        _print_table(rows, runs_root)
    else:
        _PRINTERS[output_format](rows)


def _splits_in(root: Path) -> "Splits":
    """Return what tells the split of today; a manifest that cannot be read is said once, and tells nothing."""
    from sidcurate import manifests
    from sidcurate.errors import SidcurateError
    from sidcurate.schemas import Pair

    known = {directory.name: directory for directory in manifests.directories(root)}

    @cache
    def scenes_of(device: str) -> Mapping[str, str | None]:
        try:
            return dict(manifests.load(known[device]).rows(Pair).facts("scene_id", "split")) if device in known else {}
        except SidcurateError as error:
            say(str(error))
            return {}

    return scenes_of


def _print_table(rows: "Sequence[Row]", root: Path) -> None:
    # A protocol without a name of one word is a sentence: it stands below, under a number.
    sentences = dict.fromkeys(score.protocol for row in rows for score in row.scores if " " in score.protocol)
    names = {protocol: f"[{number}]" for number, protocol in enumerate(sentences, start=1)}
    table = empty_table()
    for column in COLUMNS:
        table.add_column(
            column, justify="right" if column in {"pairs", "steps", "PSNR", "scenes"} else "left", no_wrap=True
        )
    for row in rows:
        for cells in _cells(row, root, names):
            table.add_row(*cells)
    console = results()
    make_room(console, table)
    if rows:
        console.print(table)
    for row in rows:
        if row.fault:
            click.echo(f"{row.run} cannot be read: {row.fault}")
    for protocol, name in names.items():
        click.echo(f"{name} {protocol}")


def _cells(row: "Row", root: Path, names: dict[str, str]) -> Iterator[tuple[str, ...]]:
    pairs = "" if row.train_pairs is None else f"{row.train_pairs}+{row.val_pairs}"
    steps = "" if row.steps is None else f"{row.step}/{row.steps}"
    name = "/".join(part for part in Path(row.run).relative_to(root).parts if part != row.device)
    facts = row.device or "", name, row.recipe or "", pairs, steps, row.state
    scores = [
        (f"{score.psnr_db:.2f} dB", str(score.scenes or ""), _protocol(score, row, names)) for score in row.scores
    ]
    for number, score in enumerate(scores or [("", "", "")]):
        yield (*(("",) * len(facts) if number else facts), *score)


def _protocol(score: "Score", row: "Row", names: dict[str, str]) -> str:
    """Return the protocol, and the scenes unless they are what one expects: the run's own to be tested on."""
    moved = ["other split"] if score.in_split is False else []
    if score.protocol in names:
        return ", ".join([names[score.protocol], *moved])
    other = [score.scenes_of] if score.scenes_of != row.device else []
    return ", ".join([score.protocol, *other, *([score.split] if score.split != "test" else []), *moved])


def _print_json(rows: "Sequence[Row]") -> None:
    import json

    content = {"version": JSON_VERSION, "runs": [row.model_dump(mode="json") for row in rows]}
    click.echo(json.dumps(content, indent=1, ensure_ascii=False))


def _print_csv(rows: "Sequence[Row]") -> None:
    import csv
    import sys

    from sidtrain.weights.history import Row, Score

    facts = [name for name in Row.model_fields if name != "scores"]
    writer = csv.DictWriter(sys.stdout, [*facts, *Score.model_fields], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        for score in [score.model_dump() for score in row.scores] or [{}]:
            writer.writerow(row.model_dump(include=set(facts)) | score)


_PRINTERS = {"json": _print_json, "csv": _print_csv}
