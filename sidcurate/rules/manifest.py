"""SET: rules about a manifest as a whole: its split, its count of pairs, its raws on disk."""

from collections.abc import Iterator

from sidcurate.counted import counted
from sidcurate.rules.contract import Draft, Drafts, Skip, rule
from sidcurate.rules.figures import unknown
from sidcurate.rules.limits import Limits
from sidcurate.rules.views import ManifestView, Tables
from sidcurate.schemas import Capture, FileState

_NOT_LOOKED_AT = "the raws on disk were not looked at"


@rule("SET301", "unpaired-capture", "warning", requires=("CAP101",))
def unpaired_capture(view: ManifestView, limits: Limits) -> Drafts:
    """A short frame has no long one, or the reverse.

    Why: it was shot for nothing, or its partner was lost: a copy that stopped early looks like this.
    How: pairing says of every capture that is in no pair why it is not.
    Cure: where it should be in one, look for the partner on the card, or give the pairs in a CSV (`sidcurate pair
    --pairs`). A spare frame, or one of a scene that was withdrawn, needs nothing.
    """
    for left in view.tables.unpaired_rows.batches():
        for path, reason in zip(left.path.values, left.reason.values, strict=True):
            yield Draft(
                f"is in no pair: {reason}; if it should be in one, look for its partner on the card, or name it with "
                f"`sidcurate pair --device {view.tables.device} --pairs FILE.csv`",
                capture=path,
            )


@rule("SET302", "scene-in-two-splits", "error")
def scene_in_two_splits(view: ManifestView, limits: Limits) -> Drafts:
    """Pairs of one scene are in different parts of the split.

    Why: the network is then tested on a picture that it has learned by heart, and every number is too good.
    How: all pairs of a scene must have the same part. Pairs without a part are not compared.
    Cure: `sidcurate split`, which splits by scene.
    """
    parts: dict[str, set[str]] = {}
    for rows in view.tables.pair_rows.batches():
        for scene, part in zip(rows.scene_id.values, rows.split.values, strict=True):
            parts.setdefault(scene, set()).update([part] if part else [])
    if parts and not any(parts.values()):
        yield Skip("there is no split")
    for scene in sorted(scene for scene, told in parts.items() if len(told) > 1):
        yield Draft(
            f"scene {scene} is in {len(parts[scene])} parts of the split ({', '.join(sorted(parts[scene]))}), allowed "
            f"is one; run `sidcurate split --device {view.tables.device}`",
            measured=len(parts[scene]),
            limit_high=1,
            unit="parts",
            paths=_frames(view.tables, scene),
        )


def _frames(tables: Tables, scene: str) -> tuple[str, ...]:
    """Return the captures of a scene's pairs that have a part, sorted."""
    rows = tables.pair_rows.take(tables.pair_rows.named("scene_id", [scene]))
    told = rows.facts("split", "short_path", "long_path")
    paths = {path for split, *frames in told if split for path in frames}
    return tuple(sorted(paths))


@rule("SET303", "few-pairs", "warning", counts_what_is_left=True, limit="{few_pairs} pairs")
def few_pairs(view: ManifestView, limits: Limits) -> Drafts:
    """Few pairs are left once those with errors are taken out.

    Why: a network that sees a handful of scenes learns these scenes, and a test on one or two says nothing.
    How: pairs that no finding of severity error concerns, themselves or through a capture, are counted.
    Cure: cure the errors first; then shoot more scenes.
    """
    left, total = len(view.usable), len(view.tables.pair_rows)
    if left < limits.few_pairs:
        yield Draft(
            f"{left} of {counted(total, 'pair is', 'pairs are')} left without an error, {limits.few_pairs} are the "
            "least; cure the errors, then shoot more scenes",
            measured=left,
            limit_low=limits.few_pairs,
            unit="pairs",
        )


@rule("SET304", "raw-missing", "error")
def raw_missing(view: ManifestView, limits: Limits) -> Drafts:
    """A capture of the manifest is not on disk.

    Why: a pair whose raw is gone cannot be trained on.
    How: the folder that was ingested is looked at again. If nothing at all is there, the folder has moved: one finding.
    Cure: bring the files back, set "root" in the manifest's source.json to where the folder is now, or ingest again.
    """
    files = view.tables.file_rows
    if not len(files):
        yield Skip(_NOT_LOOKED_AT)
        return
    missing = files.size_bytes.unknown
    if missing.all():
        yield _all_missing(view.tables, len(files))
        return
    for path in files.take(missing).path.values:
        yield Draft(
            f"is not in {view.tables.folder or 'its folder'} any more; bring it back, or ingest the folder again",
            capture=path,
        )


def _all_missing(tables: Tables, count: int) -> Draft:
    return Draft(
        f"none of the {count} raws is in {tables.folder or 'their folder'}; if the folder has moved, set "
        f'"root" in source.json of the manifest {tables.device} to where it is now; else bring it back',
        measured=count,
        limit_high=0,
        unit="raws",
    )


@rule("SET305", "raw-changed", "error", requires=("SET304",))
def raw_changed(view: ManifestView, limits: Limits) -> Drafts:
    """Size or SHA-256 of a raw differ from the manifest.

    Why: the recorded facts are of another file; a raw that changes by itself is damaged or was edited.
    How: sizes are compared always, hashes where the time of the file has changed, or all of them with --deep.
    Cure: bring the original back from the card; if the change was meant, ingest again.
    """
    if not len(view.tables.file_rows):
        yield Skip(_NOT_LOOKED_AT)
        return
    for state, capture in _changed(view.tables):
        yield Draft(
            f"has changed since it was ingested: {_change(capture, state)}; bring the original back, or ingest the "
            "folder again",
            measured=state.size_bytes,
            limit_low=capture.size_bytes,
            limit_high=capture.size_bytes,
            unit="byte",
            capture=state.path,
        )


def _changed(tables: Tables) -> Iterator[tuple[FileState, Capture]]:
    """Yield what the disk says of each raw that is there and is another than the manifest's."""
    places = tables.capture_rows.places("path", tables.file_rows.arrow("path"))
    known = tables.file_rows.take(places >= 0)
    recorded = tables.capture_rows.take(places[places >= 0])
    changed = known.size_bytes.differs_from(recorded.size_bytes) | (
        known.sha256.differs_from(recorded.sha256) & ~unknown(known.size_bytes, recorded.size_bytes)
    )
    yield from zip(known.views(changed), recorded.views(changed), strict=True)


def _change(capture: Capture, state: FileState) -> str:
    if state.size_bytes != capture.size_bytes:
        return f"{state.size_bytes:,} bytes, the manifest has {capture.size_bytes:,}"
    return f"SHA-256 {(state.sha256 or '')[:12]}…, the manifest has {(capture.sha256 or '')[:12]}…"


@rule("SET306", "split-missing", "error", counts_what_is_left=True)
def split_missing(view: ManifestView, limits: Limits) -> Drafts:
    """There are no test scenes, or no training scenes, once pairs with errors are taken out.

    Why: without training scenes nothing can be learned; without test scenes nothing learned can be believed.
    How: scenes of the pairs that no error concerns are counted by part of the split.
    Cure: cure the errors, or run `sidcurate split`; one scene alone cannot be split.
    """
    scenes: dict[str | None, set[str]] = {"train": set(), "test": set(), "val": set(), None: set()}
    for rows in view.usable.batches():
        for scene, part in zip(rows.scene_id.values, rows.split.values, strict=True):
            scenes[part].add(scene)
    empty = [part for part in ("train", "test") if not scenes[part]]
    if empty:
        total = len(set().union(*scenes.values()))
        divide = f"run `sidcurate split --device {view.tables.device}`" if total > 1 else "shoot more scenes"
        yield Draft(
            f"no scene is left for {' and none for '.join(empty)} of the {counted(total, 'scene')} without an error; "
            f"training and test need one each: cure the errors, or {divide}",
            measured=0,
            limit_low=1,
            unit="scenes",
        )
