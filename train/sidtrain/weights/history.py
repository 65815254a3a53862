"""What stands in the folder of a run: whether it is one, how far it came, and its PSNR with the protocol. No torch."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sidcurate.errors import UsageError
from sidcurate.schemas import described
from sidcurate.storage.durable import sweep, write_whole
from sidtrain import recipe as recipes
from sidtrain.execution import Execution
from sidtrain.recipe import Recipe

RECORD, METRICS, STATE = "run.json", "metrics.jsonl", "state.pt"
WEIGHTS, SIDECAR = "model.safetensors", "model.json"
# What `evaluate` writes, of one checkpoint and of several.
EVALUATIONS = ("evaluation*.json", "comparison*.json")

_TAIL_BYTES = 1 << 16  # some hundred lines of a log

State = Literal["running", "finished", "interrupted", "unreadable"]
Splits = Callable[[str], Mapping[str, str | None]]
"""The scenes of a camera, each with the part of the data set that it is in now; none where nobody knows."""


class RunRecord(BaseModel):
    """What a run set out to do; written when it begins."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format_version: Literal[1] = described("Version of this record.", default=1)
    device: str = described("Slug of the camera.")
    recipe: Recipe = described("The recipe.")
    steps: int = described("Steps of the whole training.", ge=1)
    train_pairs: int = described("Pairs to train on.", ge=1)
    val_pairs: int = described("Pairs to validate on.", ge=0)
    execution: Execution = described("Where and how it computes.")
    trial: tuple[str, ...] = described("What `--tune` measured, one way of computing a line; else empty.", strict=False)


class Score(BaseModel):
    """One mean PSNR, with what it is a PSNR of."""

    model_config = ConfigDict(frozen=True)

    psnr_db: float = described("Mean over scenes.", "dB")
    scenes: int | None = described("Number of scenes of that mean; null where only the protocol says it.", default=None)
    protocol: str = described("Name of the protocol, or the protocol in words.")
    of: str = described("File that says so, of the run's folder.")
    scenes_of: str = described("Slug of the camera whose scenes these are.")
    split: str = described("Part of its data set.")
    in_split: bool | None = described(
        "Whether its scenes are all in that part of the manifest of today; null where there is none.", default=None
    )


class Row(BaseModel):
    """One run, as `sidcurate runs` lists it."""

    model_config = ConfigDict(frozen=True)

    run: str = described("Folder of the run.")
    device: str | None = described("Slug of the camera.", default=None)
    recipe: str | None = described("Name of the recipe where it is one of the program's, or else 'own'.", default=None)
    train_pairs: int | None = described("Pairs to train on.", default=None)
    val_pairs: int | None = described("Pairs to validate on.", default=None)
    step: int | None = described("Steps done, as logged.", default=None)
    steps: int | None = described("Steps of the whole training.", default=None)
    mode: str | None = described("Device, processes and way of computing.", default=None)
    state: State = described("Whether it runs now, is finished, was interrupted, or cannot be read.")
    scores: tuple[Score, ...] = described("What it is worth.", default=())
    fault: str | None = described("Why it cannot be read.", default=None)


def write_record(directory: Path, record: RunRecord) -> None:
    """Write the record of a run that begins."""
    write_whole(directory / RECORD, (record.model_dump_json(indent=1) + "\n").encode())


def rows(root: Path, splits: Splits = lambda device: {}) -> list[Row]:
    """Return the runs in a folder, at any depth, by name.

    Args:
        root: folder of the runs.
        splits: tells which scenes are in which part today.

    Raises:
        UsageError: there is no such folder.
    """
    if not root.is_dir():
        raise UsageError(f"no runs in {root}: there is no such folder; `sidcurate finetune` makes it, --runs names it")
    return [_row(record.parent, splits) for record in sorted(root.rglob(RECORD))]


def bounded_name(text: str, most_bytes: int) -> str:
    """Return a part of a file's name: a text that is too long is cut, its hash keeps it apart from others."""
    name = text.encode()
    if len(name) <= most_bytes:
        return text
    digest = hashlib.sha256(name).hexdigest()[:12]
    return f"{name[: most_bytes - len(digest) - 1].decode(errors='ignore')}-{digest}"


def require_free(directory: Path, resume: bool) -> None:
    """Refuse to start a new run where there is one, and to resume where there is none.

    Raises:
        UsageError: with what to do instead.
    """
    occupied = any((directory / name).exists() for name in (STATE, WEIGHTS))
    if occupied and not resume:
        raise UsageError(f"the run {directory} exists; go on with --resume, or give another --name")
    if resume and not (directory / STATE).exists():
        raise UsageError(f"nothing to resume: {directory} holds no {STATE}; start without --resume")


def weights_path(path: Path) -> Path:
    """Return the weights file of a run's folder, or the path itself when it names a file."""
    return path / WEIGHTS if path.is_dir() or not path.suffix else path


def require_checkpoint(path: Path) -> None:
    """Refuse a path where there is no checkpoint.

    Raises:
        UsageError: with what to give instead.
    """
    weights = weights_path(path)
    if not weights.exists() and not weights.with_suffix(".json").exists():
        raise UsageError(f"no such checkpoint: {path}; give the folder of a run of `sidcurate finetune`")


@contextmanager
def only_writer(directory: Path) -> Iterator[None]:
    """Hold a run's folder, made if it is missing; the lock goes with the process, however that ends. Local disks only.

    What a writer who was killed has left half written, up to 90 MB of a state, is removed.

    Raises:
        UsageError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    try:
        if not _locked(handle):
            raise UsageError(f"another process is training in {directory}: let it end, or give another --name")
        sweep(directory)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _runs_now(directory: Path) -> bool:
    handle = os.open(directory, os.O_RDONLY)
    try:
        return not _locked(handle)
    finally:
        os.close(handle)


def _row(directory: Path, splits: Splits) -> Row:
    """Return the row of a run; one that cannot be read is a row too, and hides no other."""
    try:
        record = RunRecord.model_validate_json((directory / RECORD).read_text(encoding="utf-8"))
        step = _steps_done(directory)
        scores = (*_validation(directory, splits), *_evaluations(directory, splits))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Row(run=str(directory), state="unreadable", fault=_in_words(error))
    execution = record.execution
    return Row(
        run=str(directory),
        device=record.device,
        recipe=_name(record.recipe),
        train_pairs=record.train_pairs,
        val_pairs=record.val_pairs,
        step=step,
        steps=record.steps,
        mode=f"{execution.processes} x {execution.device}, {execution.mode}",
        state="running" if _runs_now(directory) else "finished" if step >= record.steps else "interrupted",
        scores=scores,
    )


def _steps_done(directory: Path) -> int:
    """Return the step of the last whole line of a run's log; of hundreds of thousands it alone is read."""
    with (directory / METRICS).open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
        whole = stream.read().rpartition(b"\n")[0]
    return int(json.loads(whole.rpartition(b"\n")[2])["step"]) if whole else 0


def _in_words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{error.title}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {error}"


def _name(recipe: Recipe) -> str:
    return _known().get(recipe.identity, "own")


@cache
def _known() -> dict[str, str]:
    return {recipes.load(name).identity: name for name in reversed(recipes.known())}


def _scenes(evaluation: Mapping[str, Any]) -> set[str]:
    return {score["scene_id"] for score in evaluation["scores"]}


def _in_split(scenes: Iterable[str], split: str, now: Mapping[str, str | None]) -> bool | None:
    return all(now.get(scene) == split for scene in scenes) if now else None


def _validation(directory: Path, splits: Splits) -> Iterator[Score]:
    """Yield what the side-car says of the weights that the run keeps."""
    path = directory / SIDECAR
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        for protocol, metrics in content["metrics"].items():
            yield Score(
                psnr_db=metrics["val_psnr_db"],
                protocol=protocol,
                of=path.name,
                scenes_of=content["device"],
                split="val",
                in_split=_in_split(content["scenes"]["val"], "val", splits(content["device"])),
            )


def _evaluations(directory: Path, splits: Splits) -> Iterator[Score]:
    """Yield the mean over all ratios of each evaluation in the folder that judged the weights that lie there now.

    A record knows its networks by the sums of their weights: others of the same table, and weights that the run has
    replaced since, are no figures of this run. One of before version 2 does not name them and is passed over.
    """
    if not (directory / SIDECAR).exists():
        return
    sha256 = json.loads((directory / SIDECAR).read_text(encoding="utf-8"))["sha256"]
    for path in sorted(path for pattern in EVALUATIONS for path in directory.glob(pattern)):
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {used["name"] for used in content.get("networks", ()) if used["sha256"] == sha256}
        for summary in content["summaries"]:
            if summary["picture"] in names and summary["exposure_ratio"] is None:
                yield Score(
                    psnr_db=float(summary["psnr_db"]["mean"]),
                    scenes=summary["psnr_db"]["n"],
                    protocol=content["protocol"],
                    of=path.name,
                    scenes_of=content["device"],
                    split=content["split"],
                    in_split=_in_split(_scenes(content), content["split"], splits(content["device"])),
                )
