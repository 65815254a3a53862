"""`sidcurate report`: one page about one manifest."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidcurate.cli.console import progress
from sidcurate.cli.options import device_option, manifests_option
from sidcurate.cli.output import write_output

if TYPE_CHECKING:
    from sidcurate.manifests import Manifest
    from sidcurate.report import Account


@click.command(short_help="Print one page about a manifest.")
@device_option
@manifests_option
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "html"]),
    default="text",
    show_default=True,
    help="How to write the page; HTML is one file without scripts or outside resources.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="File to write.  [default: stdout]",
)
def command(device: str, manifests_root: Path, output_format: str, output: Path | None) -> None:
    """Tell on one page what a manifest holds: cameras, levels, pairs, ratios, split and findings."""
    from sidcurate import manifests, report

    with progress() as told:
        manifest = manifests.load(manifests.find(manifests_root, device), told)
        account = report.account(manifest, progress=told)
    page = _pages(account, manifest)[output_format]()
    if output is not None:
        write_output(output, map(str.encode, page))
        return
    for piece in page:
        click.echo(piece, nl=False)


def _pages(account: "Account", manifest: "Manifest") -> "Mapping[str, Callable[[], Iterable[str]]]":
    from sidcurate import report
    from sidcurate.schemas import Finding

    return {
        "text": lambda: [report.as_text(account)],
        "json": lambda: report.as_json(account, report.worst_first(manifest.rows(Finding))),
        "html": lambda: [report.as_html(account)],
    }
