"""`sidcurate report`: one page about one manifest."""

from pathlib import Path

import click

from sidcurate.cli.console import progress
from sidcurate.cli.options import device_option, manifests_option
from sidcurate.cli.output import write_page


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

    formats = {"text": report.as_text, "json": report.as_json, "html": report.as_html}
    shown = None if output_format == "json" else report.SHOWN_FINDINGS
    with progress() as told:
        manifest = manifests.load(manifests.find(manifests_root, device), told)
        page = formats[output_format](report.account(manifest, shown, told))
    if output is None:
        click.echo(page, nl=False)
    else:
        write_page(output, page)
