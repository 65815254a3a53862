"""`sidcurate validate --explain`: one pair on one screen, its facts in a table and its pictures in characters."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sidcurate.cli.console import results, say
from sidcurate.cli.output import write_output

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sidcurate.explain.account import Explanation, Row
    from sidcurate.explain.pictures import FitPicture, MovedPicture, ShiftPicture
    from sidcurate.validation import Standard

_STYLES = {"error": "bold red", "warning": "yellow", "pass": "green", "not judged": "dim"}
# Sky blue and orange of Okabe and Ito (2008), which color-blind people tell apart on dark and on light.
_BLUE, _ORANGE = "bold #56b4e9", "bold #e69f00"
_CELLS = 29, 13
_PANEL_WIDTH = 32
_SHADES = " ░▒▓█"
_BRAILLE = 0x2800
# Bits of a braille sign by row and column of its eight dots.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))

Cell = tuple[str, str]


def show(directory: Path, pair_id: str, asked: "Standard", png: Path | None, *, dry_run: bool) -> bool:
    """Print the facts of one pair and draw its pictures, on the terminal or into a file; return whether it passes.

    Raises:
        UsageError: no pair has this name.
        UsageError, MissingResourceError: the file cannot be written; see `write_output`.
    """
    from sidcurate.explain.account import explain

    explanation = explain(directory, pair_id, asked)
    console = results()
    _print_facts(console, explanation)
    if png is None:
        _print_pictures(console, explanation)
    elif dry_run:
        say(f"dry run: {png} would be written")
    else:
        _write(png, explanation)
    return not explanation.has_errors


def _write(path: Path, explanation: "Explanation") -> None:
    from sidcurate.explain.drawing import png

    write_output(path, [png(explanation)])


def _print_facts(console: "Console", explanation: "Explanation") -> None:
    from rich.text import Text

    style = "bold red" if explanation.has_errors else "bold"
    console.print(Text(explanation.verdict, style))
    pair = explanation.view.pair
    console.print(Text(f"{pair.short_path} | {pair.long_path} | {pair.reason}", "dim", overflow="fold"))
    of_frames = [row for row in explanation.rows if row.short or row.long]
    console.print(_table(("fact", "short", "long", "pair", "allowed"), of_frames))
    console.print(_table(("fact", "pair", "allowed"), [row for row in explanation.rows if row not in of_frames]))
    for finding in explanation.findings:
        words = Text.assemble((f"{finding.severity} {finding.code} ", _STYLES[finding.severity]), finding.message)
        console.print(words)


def _table(columns: Sequence[str], rows: "Sequence[Row]") -> "Table":
    """Return rows under the columns: fields of a row by name, and its verdict."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (*columns, "verdict"):
        table.add_column(name, overflow="fold")
    for row in rows:
        verdict = Text(f"{row.code} {row.outcome}", _STYLES[row.outcome])
        if row.why:
            verdict.append(f": {row.why}")
        table.add_row(*(getattr(row, name) for name in columns), verdict)
    return table


def _print_pictures(console: "Console", explanation: "Explanation") -> None:
    from rich.table import Table

    if not console.encoding.lower().startswith("utf"):
        say(f"the pictures need UTF-8, this output is {console.encoding}; draw them into a file: --png FILE")
        return
    panels = list(_panels(explanation))
    abreast = max(min(console.width // _PANEL_WIDTH, len(panels)), 1)
    grid = Table.grid(padding=(1, 1, 0, 0))
    for _ in range(abreast):
        grid.add_column(width=_CELLS[0] + 2)
    for first in range(0, len(panels), abreast):
        grid.add_row(*panels[first : first + abreast])
    console.print(grid)


def _panels(explanation: "Explanation") -> "Iterator[Text]":
    from rich.text import Text

    from sidcurate.explain.pictures import FitPicture, ShiftPicture

    shown = explanation.pictures
    for caption, picture in zip(explanation.captions, (shown.fit, shown.shift, shown.moved), strict=True):
        if isinstance(picture, str):
            body = Text(picture, "dim")
        elif isinstance(picture, FitPicture):
            body = _fit(picture)
        elif isinstance(picture, ShiftPicture):
            body = _shift(picture)
        else:
            body = _moved(picture)
        yield Text.assemble((f"{caption}\n", "bold"), body)


def _fit(fit: "FitPicture") -> "Text":
    """Return blocks as braille dots, the fitted line as # and the nominal one as +."""
    import numpy as np

    wide, tall = _CELLS
    left, right, bottom, top = fit.window
    counts, _, _ = np.histogram2d(fit.short_dn, fit.long_dn, (4 * tall, 2 * wide), ((bottom, top), (left, right)))
    dots = (counts[::-1] > 0).reshape(tall, 4, wide, 2)
    signs = np.einsum("rdcs,ds->rc", dots.astype(int), np.array(_DOTS))
    cells = [[(chr(_BRAILLE + sign), "dim") for sign in row] for row in signs.tolist()]
    marks = {"nominal": ("+", _ORANGE), "fitted": ("#", _BLUE)}
    for name, (zero, slope) in sorted(fit.lines.items(), reverse=True):
        for column in range(wide):
            value = zero + slope * (left + (right - left) * (column + 0.5) / wide)
            row = int((top - value) / (top - bottom) * tall)
            if 0 <= row < tall:
                cells[row][column] = marks[name]
    words = [(f"up to {top:.3g} DN short, {right:,.0f} DN long", "dim")]
    words += [(f"{marks[name][0]} {name} {1 / slope:.4g}×", marks[name][1]) for name, (_, slope) in fit.lines.items()]
    return _framed(cells, words)


def _shift(shift: "ShiftPicture") -> "Text":
    """Return the surface in shades, the allowed circle as o and the measured place as X."""
    import numpy as np

    wide, tall = _CELLS
    last = len(shift.surface) - 1
    rows, columns = (np.linspace(0, last, count).round().astype(int) for count in (tall, wide))
    height = shift.surface[np.ix_(rows, columns)]
    level = ((height - height.min()) / np.ptp(height) * len(_SHADES)).astype(int).clip(0, len(_SHADES) - 1)
    cells = [[(_SHADES[shade], "") for shade in row] for row in level.tolist()]

    def mark(down: float, right: float, cell: Cell) -> None:
        row = round((down / shift.span_px + 1) / 2 * (tall - 1))
        column = round((right / shift.span_px + 1) / 2 * (wide - 1))
        if 0 <= row < tall and 0 <= column < wide:
            cells[row][column] = cell

    for turn in np.linspace(0, 2 * np.pi, 64):
        mark(shift.limit_px * np.sin(turn), shift.limit_px * np.cos(turn), ("o", _ORANGE))
    words = [(f"±{shift.span_px:.3g} px down and across, dark is low", "dim"), ("o allowed", _ORANGE)]
    if shift.peak:
        mark(*shift.peak, ("X", _BLUE))
        words.append(("X measured", _BLUE))
    return _framed(cells, words)


def _moved(moved: "MovedPicture") -> "Text":
    """Return the frame in cells that stand for several blocks, by their mean square and its usual sign."""
    import numpy as np

    wide = _CELLS[0]
    rows, columns = moved.departure_se.shape
    tall = max(round(wide * rows / columns / 2), 1)
    parts = [
        [np.nan_to_num(cell) for cell in np.array_split(row, wide, axis=1)]
        for row in np.array_split(moved.departure_se, tall)
    ]
    signs = {True: ("+", _BLUE), False: ("-", _ORANGE)}
    cells = [
        [signs[part.sum() > 0] if (part**2).mean() > moved.shown_from_se**2 else ("·", "dim") for part in row]
        for row in parts
    ]
    return _framed(cells, [("+ short brighter than promised", _BLUE), ("- darker", _ORANGE)])


def _framed(cells: "Sequence[Sequence[Cell]]", words: "Sequence[Cell]") -> "Text":
    """Return rows of cells in a box, and lines of words below it."""
    from rich.text import Text

    wide = len(cells[0])
    lines = [Text.assemble("│", *row, "│") for row in cells]
    lines = [Text(f"┌{'─' * wide}┐"), *lines, Text(f"└{'─' * wide}┘")]
    return Text("\n").join([*lines, *(Text(*word) for word in words)])
