"""`sidcurate ingest`: a folder of raws -> captures, pairs and a default split."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidcurate.cli.console import progress, say, say_next
from sidcurate.cli.options import (
    as_device,
    dry_run_option,
    jobs_option,
    manifests_option,
    naming,
    pairing_rules,
    pairs_option,
    scene_gap_option,
    slug,
)
from sidcurate.counted import counted
from sidcurate.errors import MissingResourceError, UsageError
from sidcurate.scan import LEADS_OUT, NOT_TEXT

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sidcurate.ingest import Ingested, IngestedShard
    from sidcurate.pairing import Match
    from sidcurate.places import Place
    from sidcurate.reading import Readers
    from sidcurate.schemas import Capture, Pair
    from sidcurate.shards import Shard

SOME_UNREADABLE = 3
_LINES_SHOWN = 30


def _shard(ctx: click.Context, parameter: click.Parameter, value: str | None) -> "Shard | None":
    if value is None:
        return None
    from sidcurate.shards import Shard

    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", value)
    if found is None or int(found[1]) > int(found[2]):
        raise click.BadParameter(f"{value!r} is no shard; the first of eight is 1/8, the last 8/8", ctx, parameter)
    return Shard(int(found[1]), int(found[2]))


@click.command(short_help="Read the raws of a camera into a manifest.")
@click.argument("folder", required=False)
@click.option("--device", callback=as_device, default=None, help="Slug of the camera.  [default: the folder's name]")
@click.option(
    "--sid-list",
    "sid_lists",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="A pair list of SID's, read instead of raws; repeatable.",
)
@manifests_option
@pairs_option
@scene_gap_option
@click.option(
    "--times",
    "times_csv",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="CSV with path,exposure_time_s: the real times of raws whose headers are wrong.  [default: as the last time]",
)
@click.option("--no-times", is_flag=True, help="Forget kept exposure times: take those of the headers again.")
@click.option(
    "--headers-only",
    is_flag=True,
    help="Read no more than the headers: fast, without pixels and hashes; an ingest without it completes the rows.",
)
@click.option(
    "--shard",
    callback=_shard,
    metavar="I/N",
    help="Read only the I-th of N parts, into DEVICE.shards/; `sidcurate manifest merge` makes the manifest of all.",
)
@jobs_option
@click.option(
    "--engine",
    type=click.Choice(["local", "dask"]),
    default="local",
    show_default=True,
    help="Who reads the raws: this machine, or the workers of a Dask cluster.",
)
@click.option("--scheduler", default=None, help="Address of that cluster's scheduler, such as tcp://10.0.0.1:8786.")
@dry_run_option
@click.pass_context
def command(
    ctx: click.Context,
    folder: str | None,
    device: str | None,
    sid_lists: tuple[Path, ...],
    manifests_root: Path,
    pairs_csv: Path | None,
    scene_gap_s: float | None,
    times_csv: Path | None,
    no_times: bool,
    headers_only: bool,
    shard: "Shard | None",
    jobs: int | None,
    engine: str,
    scheduler: str | None,
    dry_run: bool,
) -> None:
    """Read every raw below FOLDER once, measure it, pair it by scene, and write manifests/DEVICE/.

    FOLDER may be s3://BUCKET/PREFIX. Nothing in FOLDER is changed. A second run reads only what is new or has changed.
    With --sid-list the manifest is made of what SID's lists say, without a raw; ingest the folder of the raws later,
    and the scenes keep their split.
    """
    if sid_lists:
        if folder or pairs_csv or times_csv or scene_gap_s is not None or jobs or shard or headers_only or scheduler:
            raise UsageError(
                "--sid-list takes everything from the lists: leave FOLDER, --pairs, --scene-gap, --times, --shard, "
                "--headers-only, --scheduler and --jobs out"
            )
        _ingest_lists(sid_lists, manifests_root, device, dry_run=dry_run)
        return
    _check_ways(times_csv if no_times else None, shard, scheduler, headers_only=headers_only)
    if folder is None:
        raise UsageError("name the FOLDER that holds the raws, or a list of SID's with --sid-list")
    from sidcurate.ingest import ingest, ingest_shard
    from sidcurate.times import read_times

    place = _place(folder)
    directory = manifests_root / (device or slug(place.name.rpartition("/")[2]))
    _check_apart(directory, place)
    with _readers(engine, scheduler) as readers, progress() as report:
        given: dict[str, Any] = {
            "rules": pairing_rules(pairs_csv, scene_gap_s),
            "times": read_times(times_csv) if times_csv else {} if no_times else None,
            "jobs": jobs,
            "progress": report,
            "dry_run": dry_run,
        }
        if shard:
            result: Ingested | IngestedShard = ingest_shard(place, directory, shard, **given)
        else:
            result = ingest(place, directory, headers_only=headers_only, readers=readers, **given)
    _print(result, dry_run=dry_run)
    ctx.exit(SOME_UNREADABLE if result.unreadable or result.scan.unlisted else 0)


def _print(result: "Ingested | IngestedShard", *, dry_run: bool) -> None:
    from sidcurate.ingest import Ingested

    click.echo("\n".join(_captures_in_words(result)))
    if isinstance(result, Ingested):
        click.echo("\n".join(_rest_in_words(result)))
        _say_what_is_next(result.directory, dry_run=dry_run)
        return
    click.echo(f"shard {result.shard}: {result.folder}")
    merge = f"when all {result.shard.count} are finished: sidcurate manifest merge "
    merge += f"{shlex.quote(str(result.folder.parent))}/*"
    say("dry run: nothing was written" if dry_run else merge)


def _check_ways(times_csv: Path | None, shard: "Shard | None", scheduler: str | None, *, headers_only: bool) -> None:
    """Refuse what does not go together; `times_csv` is what was given together with --no-times."""
    if times_csv:
        raise UsageError("--times gives exposure times, --no-times forgets them: leave one of them out")
    if headers_only and shard:
        raise UsageError("--headers-only reads thousands of files a second: leave --shard out")
    if scheduler and (headers_only or shard):
        raise UsageError("a cluster reads all of the raws, and whole: leave --shard and --headers-only out")


def _place(folder: str) -> "Place":
    from sidcurate import objects
    from sidcurate.bucket import Bucket
    from sidcurate.places import Folder

    if not folder.startswith(objects.SCHEME):
        return Folder(Path(folder))
    objects.require_s3_extra()
    return Bucket.at(folder)


def _readers(engine: str, scheduler: str | None) -> "AbstractContextManager[Readers | None]":
    """Return who reads, None for this machine.

    Raises:
        UsageError: the two do not go together.
        MissingResourceError: the packages of the engine are missing, or nobody answers.
    """
    if (engine == "dask") != (scheduler is not None):
        raise UsageError("--engine dask and --scheduler ADDRESS go together: give both, or leave both out")
    if scheduler is None:
        return nullcontext()
    try:
        from sidcurate.cluster import joined
    except ModuleNotFoundError as error:
        raise MissingResourceError(f"{error.name} is not installed: pip install 'sidcurate[cluster]'") from error
    return joined(scheduler)


def _check_apart(directory: Path, place: "Place") -> None:
    if directory.resolve().is_relative_to(place.name):
        raise UsageError(f"{directory.parent} lies in {place}, where nothing is written: name another with --manifests")


def _ingest_lists(paths: "Sequence[Path]", manifests_root: Path, device: str | None, *, dry_run: bool) -> None:
    from sidcurate import sidlist

    rows = sidlist.read(paths)
    directory = manifests_root / (device or slug(rows[0].folder))
    result = sidlist.ingest_lists(rows, directory, dry_run=dry_run)
    click.echo(f"{counted(len(result.captures), 'raw')} listed, none of them read")
    for line in _some(dict.fromkeys(row.reason for row in result.unpaired)):
        click.echo(line)
    click.echo(pairs_in_words(result.pairs))
    click.echo(f"manifest: {directory}")
    _say_what_is_next(directory, dry_run=dry_run)


def _say_what_is_next(directory: Path, *, dry_run: bool) -> None:
    if dry_run:
        say("dry run: nothing was written")
    else:
        say_next("validate", *naming(directory.name, directory.parent))


def _captures_in_words(result: "Ingested | IngestedShard") -> Iterator[str]:
    captures, scan = result.captures, result.scan
    part = "" if len(captures) == len(scan.raws) else f"{len(captures)} of "
    skipped = f"{counted(scan.side_cars, 'side-car')} and {counted(scan.others.total(), 'other file')} skipped"
    yield f"{part}{counted(len(scan.raws), 'raw')}, {result.read} of them read now; {skipped}"
    yield from _some(f"not listed: {path} ({why}): nothing in it has a row" for path, why in scan.unlisted.items())
    if NOT_TEXT in scan.others:
        yield f"  no row for {counted(scan.others[NOT_TEXT], 'file')} with {NOT_TEXT}: rename and ingest again"
    if LEADS_OUT in scan.others:
        links = counted(scan.others[LEADS_OUT], "link that leads", "links that lead")
        yield f"  no row for {links} out of the folder: copy the files in and ingest again"
    for camera, count in sorted(Counter(map(_camera, captures)).items()):
        yield f"  {count:4d}  {camera}"
    by_hand = sum(capture.exposure_source == "override" for capture in captures)
    if by_hand:
        yield f"  {by_hand} with an exposure time from --times, now or earlier: --no-times forgets them"
    yield from _some(f"unreadable: {capture.path}: {capture.status_reason}" for capture in result.unreadable)
    cut_off = [(capture.path, capture.missing_fraction) for capture in captures if capture.missing_fraction]
    missing = "of the bytes of its pixels are missing; copy it again from the card"
    yield from _some(f"cut off: {path}: {100 * share:.3g} % {missing}" for path, share in cut_off)


def _rest_in_words(result: "Ingested") -> Iterator[str]:
    if result.gone:
        gone = counted(result.gone, "raw of the last ingest is", "raws of the last ingest are")
        yield f"  {gone} not there any more: is a card or a disk missing?"
    yield pairs_in_words(result.pairs)
    unreadable = {capture.path for capture in result.unreadable}
    yield from _some(f"unpaired: {row.path}: {row.reason}" for row in result.unpaired if row.path not in unreadable)
    yield f"manifest: {result.directory}"


def pairs_in_words(pairs: "Sequence[Pair | Match]") -> str:
    """Return how many pairs there are, in how many scenes and in which parts of the split."""
    parts = Counter(pair.split or "none" for pair in pairs)
    split = ", ".join(f"{parts[part]} {part}" for part in ("train", "val", "test", "none") if parts[part])
    scenes = counted(len({pair.scene_id for pair in pairs}), "scene")
    return f"{counted(len(pairs), 'pair')} in {scenes} ({split or 'no split'})"


def _some(lines: Iterable[str]) -> Iterator[str]:
    listed = list(lines)
    yield from (f"  {line}" for line in listed[:_LINES_SHOWN])
    if len(listed) > _LINES_SHOWN:
        yield f"  and {len(listed) - _LINES_SHOWN} more; `sidcurate report` lists them all"


def _camera(capture: "Capture") -> str:
    name = capture.camera_model or "unknown camera"
    if capture.camera_make and not name.lower().startswith(capture.camera_make.lower().split()[0]):
        name = f"{capture.camera_make} {name}"
    if not capture.width:
        return f"{name}, {'unreadable' if capture.status == 'unreadable' else 'known by its header alone'}"
    levels = f"black {_levels(capture.black_level)}, white {_levels(capture.white_level)}"
    kind = capture.cfa or capture.cfa_kind or "no CFA"
    return f"{name}, {capture.width}x{capture.height}, {kind}, {capture.bits_declared or '?'} bit, {levels}"


def _levels(values: "tuple[float, ...] | None") -> str:
    return "unknown" if values is None else "/".join(f"{value:g}" for value in sorted(set(values)))
