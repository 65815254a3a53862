"""SET: rules about a manifest as a whole: its split, its count of pairs, its raws on disk."""

from sidcurate.rules.contract import Answers, Draft, ManifestView, Skip, Tables, rule
from sidcurate.rules.limits import Limits
from sidcurate.schemas import Capture, FileState, Pair

_NOT_LOOKED_AT = "the raws on disk were not looked at"


@rule("SET301", "unpaired-capture", "warning", requires=("CAP101",))
def unpaired_capture(view: ManifestView, limits: Limits) -> Answers:
    """A short frame has no long one, or the reverse.

    Why: it was shot for nothing, or its partner was lost: a copy that stopped early looks like this.
    How: pairing says of every capture that is in no pair why it is not.
    Cure: look for the partner on the card; or give the pairs in a CSV (`sidcurate pair --pairs`).
    """
    for left in view.tables.unpaired:
        yield Draft(
            f"is in no pair: {left.reason}; look for its partner on the card, or name it with "
            f"`sidcurate pair --device {view.tables.device} --pairs FILE.csv`",
            capture=left.path,
        )


@rule("SET302", "scene-in-two-splits", "error")
def scene_in_two_splits(view: ManifestView, limits: Limits) -> Answers:
    """Pairs of one scene are in different parts of the split.

    Why: the network is then tested on a picture that it has learned by heart, and every number is too good.
    How: all pairs of a scene must have the same part. Pairs without a part are not compared.
    Cure: `sidcurate split`, which splits by scene.
    """
    scenes: dict[str, list[Pair]] = {}
    for pair in view.tables.pairs:
        if pair.split:
            scenes.setdefault(pair.scene_id, []).append(pair)
    if view.tables.pairs and not scenes:
        yield Skip("there is no split")
    for scene, pairs in sorted(scenes.items()):
        parts = sorted({pair.split for pair in pairs if pair.split})
        if len(parts) > 1:
            yield Draft(
                f"scene {scene} is in {len(parts)} parts of the split ({', '.join(parts)}), allowed is one; run "
                f"`sidcurate split --device {view.tables.device}`",
                measured=len(parts),
                limit_high=1,
                unit="parts",
                paths=tuple(sorted({path for pair in pairs for path in (pair.short_path, pair.long_path)})),
            )


# Raws that are gone or changed take their pairs out, so these two are judged before what is left is counted.
_AFTER_FILES = ("SET304", "SET305")


@rule("SET303", "few-pairs", "warning", after=_AFTER_FILES, limit="{few_pairs} pairs")
def few_pairs(view: ManifestView, limits: Limits) -> Answers:
    """Few pairs are left once those with errors are taken out.

    Why: a network that sees a handful of scenes learns these scenes, and a test on one or two says nothing.
    How: pairs that no finding of severity error concerns, themselves or through a capture, are counted.
    Cure: cure the errors first; then shoot more scenes.
    """
    left, total = len(view.usable), len(view.tables.pairs)
    if left < limits.few_pairs:
        yield Draft(
            f"{left} of {total} pairs are left without an error, {limits.few_pairs} are the least; cure the errors, "
            "then shoot more scenes",
            measured=left,
            limit_low=limits.few_pairs,
            unit="pairs",
        )


@rule("SET304", "raw-missing", "error")
def raw_missing(view: ManifestView, limits: Limits) -> Answers:
    """A capture of the manifest is not on disk.

    Why: a pair whose raw is gone cannot be trained on.
    How: the folder that was ingested is looked at again. If nothing at all is there, the folder has moved: one finding.
    Cure: bring the files back, set "root" in the manifest's source.json to where the folder is now, or ingest again.
    """
    if not view.tables.files:
        yield Skip(_NOT_LOOKED_AT)
        return
    missing = [state.path for state in view.tables.files if state.size_bytes is None]
    if missing and len(missing) == len(view.tables.files):
        yield _all_missing(view.tables, len(missing))
        return
    for path in missing:
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
def raw_changed(view: ManifestView, limits: Limits) -> Answers:
    """Size or SHA-256 of a raw differ from the manifest.

    Why: the recorded facts are of another file; a raw that changes by itself is damaged or was edited.
    How: sizes are compared always, hashes where the time of the file has changed, or all of them with --deep.
    Cure: bring the original back from the card; if the change was meant, ingest again.
    """
    if not view.tables.files:
        yield Skip(_NOT_LOOKED_AT)
        return
    for state in view.tables.files:
        capture = view.tables.by_path.get(state.path)
        change = _change(capture, state) if capture else None
        if change:
            yield Draft(
                f"has changed since it was ingested: {change}; bring the original back, or ingest the folder again",
                measured=state.size_bytes,
                limit_low=capture.size_bytes if capture else None,
                limit_high=capture.size_bytes if capture else None,
                unit="byte",
                capture=state.path,
            )


def _change(capture: Capture, state: FileState) -> str | None:
    if state.size_bytes is None or capture.size_bytes is None:
        return None
    if state.size_bytes != capture.size_bytes:
        return f"{state.size_bytes:,} bytes, the manifest has {capture.size_bytes:,}"
    if state.sha256 and capture.sha256 and state.sha256 != capture.sha256:
        return f"SHA-256 {state.sha256[:12]}…, the manifest has {capture.sha256[:12]}…"
    return None


@rule("SET306", "split-missing", "error", after=_AFTER_FILES)
def split_missing(view: ManifestView, limits: Limits) -> Answers:
    """There are no test scenes, or no training scenes, once pairs with errors are taken out.

    Why: without training scenes nothing can be learned; without test scenes nothing learned can be believed.
    How: scenes of the pairs that no error concerns are counted by part of the split.
    Cure: cure the errors, or run `sidcurate split`; one scene alone cannot be split.
    """
    scenes = {part: {pair.scene_id for pair in view.usable if pair.split == part} for part in ("train", "test")}
    empty = [part for part, found in scenes.items() if not found]
    if empty:
        total = len({pair.scene_id for pair in view.usable})
        yield Draft(
            f"no scene is left for {' and none for '.join(empty)}, of {total} without an error, and both need one: "
            f"cure the errors, or run `sidcurate split --device {view.tables.device}`",
            measured=0,
            limit_low=1,
            unit="scenes",
        )
