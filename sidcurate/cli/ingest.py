"""`sidcurate ingest`: a folder of raws -> captures, pairs and a default split."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from click.core import ParameterSource

from sidcurate.cli.console import progress, say, say_what_is_next
from sidcurate.cli.options import (
    as_device,
    dry_run_option,
    jobs_option,
    manifests_option,
    pairing_rules,
    pairs_option,
    scene_gap_option,
    slug,
)
from sidcurate.counted import counted
from sidcurate.errors import MissingResourceError, UnreadableRawError, UsageError
from sidcurate.places.scan import LEADS_OUT, NOT_TEXT

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sidcurate.ingest.cluster import Cluster
    from sidcurate.ingest.folder import Ingested, IngestedShard
    from sidcurate.ingest.shards import Shard
    from sidcurate.places.place import Place
    from sidcurate.schemas import Capture, Split
    from sidcurate.tables.rows import Rows

_LINES_SHOWN = 30


def _shard(ctx: click.Context, parameter: click.Parameter, value: str | None) -> "Shard | None":
    if value is None:
        return None
    from sidcurate.ingest.shards import Shard

    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", value)
    if found is None or int(found[1]) > int(found[2]):
        raise click.BadParameter(f"{value!r} is no shard; the first of eight is 1/8, the last 8/8", ctx, parameter)
    return Shard(int(found[1]), int(found[2]))


@click.command(short_help="Read the raws of a camera into a manifest.")
@click.argument("folder", required=False)
@click.option(
    "--device",
    callback=as_device,
    default=None,
    help="Name of the camera: a-z, 0-9, - and _.  [default: the folder's name]",
)
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
    _check_ways(times_csv if no_times else None, shard, scheduler, headers_only=headers_only)
    if sid_lists:
        _check_alone(ctx)
        _ingest_lists(sid_lists, manifests_root, device, dry_run=dry_run)
        return
    if folder is None:
        raise UsageError("name the FOLDER that holds the raws, or a list of SID's with --sid-list")
    from sidcurate.ingest.folder import ingest, ingest_shard
    from sidcurate.ingest.times import read_times

    place = _place(folder)
    directory = manifests_root / (device or slug(place.name.rpartition("/")[2]))
    _check_apart(directory, place)
    rules = pairing_rules(pairs_csv, scene_gap_s)
    times = read_times(times_csv) if times_csv else {} if no_times else None
    with _cluster(engine, scheduler) as cluster, progress() as report:
        whole = partial(ingest, headers_only=headers_only, read_captures=cluster.read_captures if cluster else None)
        run = partial(ingest_shard, shard=shard) if shard else whole
        result = run(place, directory, rules=rules, times=times, jobs=jobs, progress=report, dry_run=dry_run)
        report("summing up", 0, 1)
        told = list(_in_words(result))
    click.echo("\n".join(told))
    _say_next(result, dry_run=dry_run)
    ctx.exit(UnreadableRawError.exit_code if result.unreadable or result.scan.unlisted else 0)


def _in_words(result: "Ingested | IngestedShard") -> Iterator[str]:
    from sidcurate.ingest.folder import IngestedShard

    yield from _captures_in_words(result)
    if isinstance(result, IngestedShard):
        yield f"shard {result.shard}: {result.folder}"
    else:
        yield from _rest_in_words(result)


def _say_next(result: "Ingested | IngestedShard", *, dry_run: bool) -> None:
    from sidcurate.ingest.folder import Ingested

    if isinstance(result, Ingested):
        say_what_is_next(result.directory, dry_run=dry_run)
        return
    merge = f"when all {result.shard.count} are finished: sidcurate manifest merge "
    merge += f"{shlex.quote(str(result.folder.parent))}/*"
    say("dry run: nothing was written" if dry_run else merge)


def _check_alone(ctx: click.Context) -> None:
    """Refuse what says something of raws: beside a list of SID's there are none."""
    named = {"sid_lists", "device", "manifests_root", "dry_run"}
    others = (parameter for parameter in ctx.command.params if parameter.name not in named)
    given = [other for other in others if ctx.get_parameter_source(other.name or "") is ParameterSource.COMMANDLINE]
    if given:
        besides = [each.opts[0] if isinstance(each, click.Option) else each.human_readable_name for each in given]
        raise UsageError(f"--sid-list takes everything from the lists: leave {', '.join(besides)} out")


def _check_ways(times_csv: Path | None, shard: "Shard | None", scheduler: str | None, *, headers_only: bool) -> None:
    """Refuse what does not go together; `times_csv` is what was given together with --no-times."""
    if times_csv:
        raise UsageError("--times gives exposure times, --no-times forgets them: leave one of them out")
    if headers_only and shard:
        raise UsageError("--headers-only reads thousands of files a second: leave --shard out")
    if scheduler and (headers_only or shard):
        raise UsageError("a cluster reads all of the raws, and whole: leave --shard and --headers-only out")


def _place(folder: str) -> "Place":
    from sidcurate.places import objects
    from sidcurate.places.bucket import Bucket
    from sidcurate.places.place import Folder

    if not folder.startswith(objects.SCHEME):
        return Folder(Path(folder))
    return Bucket.at(folder)


def _cluster(engine: str, scheduler: str | None) -> "AbstractContextManager[Cluster | None]":
    """Return whose workers read, None for this machine's.

    Raises:
        UsageError: the two do not go together.
        MissingResourceError: the packages of the engine are missing, or nobody answers.
    """
    if (engine == "dask") != (scheduler is not None):
        raise UsageError("--engine dask and --scheduler ADDRESS go together: give both, or leave both out")
    if scheduler is None:
        return nullcontext()
    try:
        from sidcurate.ingest.cluster import joined
    except ModuleNotFoundError as error:
        raise MissingResourceError(f"{error.name} is not installed: pip install 'sidcurate[cluster]'") from error
    return joined(scheduler)


def _check_apart(directory: Path, place: "Place") -> None:
    if Path(os.path.realpath(directory)).is_relative_to(place.name):
        raise UsageError(
            f"the manifest, {directory}, would be in {place}, where nothing is written: name another with --manifests"
        )


def _ingest_lists(paths: "Sequence[Path]", manifests_root: Path, device: str | None, *, dry_run: bool) -> None:
    from sidcurate.ingest import sidlist

    rows = sidlist.read(paths)
    directory = manifests_root / (device or slug(rows[0].folder))
    result = sidlist.ingest_lists(rows, directory, dry_run=dry_run)
    click.echo(f"{counted(len(result.captures), 'raw')} listed, none of them read")
    for line in _some(dict.fromkeys(row.reason for row in result.unpaired)):
        click.echo(line)
    click.echo(pairs_in_words((pair.scene_id, pair.split) for pair in result.pairs))
    click.echo(f"manifest: {directory}")
    say_what_is_next(directory, dry_run=dry_run)


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
    for camera, count in sorted(_cameras(captures).items()):
        yield f"  {count:4d}  {camera}"
    if by_hand := int(captures.named("exposure_source", ["override"]).sum()):
        yield f"  {by_hand} with an exposure time from --times, now or earlier: --no-times forgets them"
    yield from _some(f"unreadable: {capture.path}: {capture.status_reason}" for capture in result.unreadable)
    cut_off = ((path, share) for path, share in captures.facts("path", "missing_fraction") if share)
    missing = "of the bytes of its pixels are missing; copy it again from the card"
    yield from _some(f"cut off: {path}: {100 * share:.3g} % {missing}" for path, share in cut_off)


def _rest_in_words(result: "Ingested") -> Iterator[str]:
    if result.gone:
        gone = counted(result.gone, "raw of the last ingest is", "raws of the last ingest are")
        yield f"  {gone} not there any more: is a card or a disk missing?"
    yield pairs_in_words(result.pairs.facts("scene_id", "split"))
    unreadable = {capture.path for capture in result.unreadable}
    unpaired = result.unpaired.facts("path", "reason")
    yield from _some(f"unpaired: {path}: {reason}" for path, reason in unpaired if path not in unreadable)
    yield f"manifest: {result.directory}"


def pairs_in_words(pairs: "Iterable[tuple[str, Split | None]]") -> str:
    """Return how many pairs there are, in how many scenes and in which parts of the split, given both of each."""
    counts = Counter(pairs)
    parts: Counter[str] = Counter()
    for (_, part), count in counts.items():
        parts[part or "none"] += count
    split = ", ".join(f"{parts[part]} {part}" for part in ("train", "val", "test", "none") if parts[part])
    scenes = counted(len({scene for scene, _ in counts}), "scene")
    return f"{counted(counts.total(), 'pair')} in {scenes} ({split or 'no split'})"


def _some(lines: Iterable[str]) -> Iterator[str]:
    rest = iter(lines)
    yield from (f"  {line}" for line in islice(rest, _LINES_SHOWN))
    if more := sum(1 for _ in rest):
        yield f"  and {more} more; `sidcurate report` lists them all"


def _cameras(captures: "Rows[Capture]") -> Counter[str]:
    """Return how many captures each kind of camera has made, in words."""
    found: Counter[str] = Counter()
    for facts, count in Counter(captures.facts(*_Camera._fields)).items():
        found[_Camera(*facts).in_words()] += count
    return found


class _Camera(NamedTuple):
    """What is told of a camera, under the names of a capture's facts."""

    status: str
    camera_make: str | None
    camera_model: str | None
    width: int | None
    height: int | None
    cfa: str | None
    cfa_kind: str | None
    bits_declared: int | None
    black_level: tuple[float, ...] | None
    white_level: tuple[float, ...] | None

    def in_words(self) -> str:
        name = self.camera_model or "unknown camera"
        if self.camera_make and not name.lower().startswith(self.camera_make.lower().split()[0]):
            name = f"{self.camera_make} {name}"
        if not self.width:
            return f"{name}, {'unreadable' if self.status == 'unreadable' else 'known by its header alone'}"
        levels = f"black {_levels(self.black_level)}, white {_levels(self.white_level)}"
        kind = self.cfa or self.cfa_kind or "no CFA"
        return f"{name}, {self.width}x{self.height}, {kind}, {self.bits_declared or '?'} bit, {levels}"


def _levels(values: "tuple[float, ...] | None") -> str:
    return "unknown" if values is None else "/".join(f"{value:g}" for value in sorted(set(values)))
