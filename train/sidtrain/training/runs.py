"""The folder of a run: which pairs it uses, its log, and the state from which a stopped run goes on."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Split
from sidcurate.storage.durable import write_whole
from sidtrain.data import policies
from sidtrain.data.choice import Chosen
from sidtrain.execution import Execution
from sidtrain.normalization import Zero
from sidtrain.recipe import Recipe
from sidtrain.training.step import Step
from sidtrain.weights import checkpoint, history, lineage
from sidtrain.weights.checkpoint import Sidecar
from sidtrain.weights.history import METRICS, STATE
from sidtrain.weights.lineage import Ancestor

PAIRS, PICTURES = "pairs.json", "pictures"
_ANCESTORS: Final[TypeAdapter[tuple[Ancestor, ...] | None]] = TypeAdapter(tuple[Ancestor, ...] | None)


@dataclass(frozen=True)
class InitialWeights:
    """Where a training started: "scratch", or the name and SHA-256 of a checkpoint's weights, and its ancestors.

    The ancestors are null in a state of before they were recorded.
    """

    name: str = checkpoint.SCRATCH
    sha256: str | None = None
    ancestors: tuple[Ancestor, ...] | None = ()


@dataclass
class Position:
    """How far a training has come: steps done, metrics of the last validation, best validation PSNR in dB."""

    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    best: float = -math.inf


@dataclass(frozen=True)
class Run:
    """What stays the same over a training; see `scenes.Scenes` for the zeros."""

    directory: Path
    manifest: Manifest
    recipe: Recipe
    chosen: Chosen
    initial: InitialWeights
    execution: Execution
    zeros: tuple[Zero, ...] = ()

    @property
    def identity(self) -> dict[str, str]:
        """What a resumed run must share with the one that it goes on with."""
        names = {"train": self.chosen.train, "val": self.chosen.val}
        pairs = {split: [pair.pair_id for pair in chosen] for split, chosen in names.items()}
        return {"recipe": self.recipe.identity, "pairs": json.dumps(pairs)}

    def log(self, **record: float) -> None:
        """Append one line to `metrics.jsonl`."""
        with (self.directory / METRICS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")


def leaks(manifest: Manifest, initial: InitialWeights) -> Iterator[str]:
    """Yield, in lines, which of today's test and validation scenes the initial weights have seen in another role."""
    ends: Mapping[Split, str] = {
        "test": "`sidcurate evaluate` will refuse to judge this run on them (SET302)",
        "val": "the validation will look better than the network is",
    }
    for split, end in ends.items():
        scenes = {pair.scene_id for pair in manifest.pairs if pair.split == split}
        found = lineage.seen(initial.ancestors or (), manifest.device, scenes, split)
        if found:
            yield f"the initial weights were made with {split} scenes of today: {', '.join(found)}; {end}"


def begin(run: Run, steps: int, trial: Sequence[str], pairs: Sequence[Mapping[str, Any]]) -> None:
    """Make the folder of a new run, with its record, the table of its pairs and an empty log.

    Args:
        run: the run.
        steps: of the whole training.
        trial: what `--tune` measured, in lines.
        pairs: what each pair is used with, see `policies.table`.
    """
    (run.directory / PICTURES).mkdir(parents=True, exist_ok=True)
    write_whole(run.directory / PAIRS, (json.dumps(pairs, indent=1) + "\n").encode())
    (run.directory / METRICS).write_bytes(b"")
    record = history.RunRecord(
        device=run.manifest.device,
        recipe=run.recipe,
        steps=steps,
        train_pairs=len(run.chosen.train),
        val_pairs=len(run.chosen.val),
        execution=run.execution,
        trial=tuple(trial),
    )
    history.write_record(run.directory, record)


def save_state(run: Run, step: Step, position: Position) -> None:
    """Write all that a resumed run needs, in one rename, after the log that leads to it."""
    with (run.directory / METRICS).open("rb") as log:
        os.fsync(log.fileno())
    state = {
        **run.identity,
        "execution": run.execution.model_dump_json(),
        "initial": (run.initial.name, run.initial.sha256),
        "ancestors": _ANCESTORS.dump_json(run.initial.ancestors).decode(),
        "position": (position.step, position.metrics, position.best),
        **step.state(),
    }
    checkpoint.save_state(run.directory / STATE, state)


def load_state(directory: Path) -> dict[str, Any]:
    """Return the state of a stopped run, for `require_same` and `restore`.

    Raises:
        IntegrityError: the state cannot be read.
    """
    return checkpoint.load_state(directory / STATE)


def require_same(run: Run, state: Mapping[str, Any]) -> Execution:
    """Return how a stopped run has computed, where it is the one that is asked for now.

    Raises:
        UsageError: it was begun on another device, in another number of processes, with another recipe, with other
            pairs, or from other weights than the run is given.
    """
    saved = _execution(run, state)
    began = {**state, "recipe": _as_today(state["recipe"])}
    for what, value in run.identity.items():
        if began[what] != value:
            raise UsageError(
                f"{run.directory} was begun with another {what} than asked for now; give the same, or another --name"
            )
    name, sha256 = state["initial"]
    if run.initial.sha256 not in {None, sha256}:
        raise UsageError(
            f"{run.directory} was begun from {name}, whose weights are not those of {run.initial.name}; give the same "
            "--init, or another --name"
        )
    return saved


def _execution(run: Run, state: Mapping[str, Any]) -> Execution:
    if "execution" not in state:
        raise UsageError(
            f"{run.directory} was begun by an older sidcurate, which did not record how it computes: go on with that "
            f"version, or start a new run with --init {run.directory}"
        )
    saved = Execution.model_validate_json(state["execution"])
    cures = {"device": f"give --device-type {saved.device}", "processes": f"give --launch {saved.processes}"}
    for what, cure in cures.items():
        before, now = getattr(saved, what), getattr(run.execution, what)
        if before != now:
            raise UsageError(
                f"{run.directory} was begun with {what} {before}, now it is {now}, which would give other weights: "
                f"{cure}, or start a new run with --init {run.directory}"
            )
    return saved


def restore(state: Mapping[str, Any], step: Step) -> tuple[InitialWeights, Position]:
    """Load a state into network and optimizer; return where the run started and how far it came."""
    step.load(state)
    ancestors = _ANCESTORS.validate_json(state.get("ancestors", "null"))
    name, sha256 = state["initial"]
    return InitialWeights(name, sha256, ancestors), Position(*state["position"])


def forget_after(directory: Path, step: int) -> None:
    """Drop what the log says of steps that will be done again, and a last line that was cut off."""
    path = directory / METRICS
    whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    write_whole(path, "".join(line for line in whole if json.loads(line)["step"] <= step).encode())


def sidecar(run: Run, position: Position, used: Mapping[str, Sequence[str]]) -> Sidecar:
    """Return the contract of the weights at a position.

    Args:
        run: the run.
        position: steps done and metrics of these weights.
        used: scenes by split.
    """
    recipe = run.recipe
    return Sidecar(
        **checkpoint.input_of(recipe),
        white_balance=policies.store_settings(recipe, run.manifest).white_balance,
        zeros=run.zeros,
        recipe=recipe,
        device=run.manifest.device,
        manifest_sums=dict(run.manifest.sums),
        scenes={split: tuple(scenes) for split, scenes in used.items()},
        left_out=dict(run.chosen.left_out),
        tools=checkpoint.tools(),
        git_revision=checkpoint.git_revision(),
        initial_weights=run.initial.name,
        initial_sha256=run.initial.sha256,
        ancestors=run.initial.ancestors,
        execution=run.execution,
        step=position.step,
        metrics={_protocol(recipe, len(used["val"])): position.metrics} if position.metrics else {},
    )


def _as_today(recipe: str) -> str:
    """Return a saved recipe with the defaults of fields that recipes have got since; one of a later time as it is."""
    try:
        return Recipe.model_validate_json(recipe).identity
    except ValidationError:
        return recipe


def _protocol(recipe: Recipe, scenes: int) -> str:
    rendering = (
        f"float RGB against LibRaw's rendering (adjust_maximum_thr {recipe.adjust_maximum_thr:g}, white balance "
        f"{recipe.white_balance})"
    )
    compared = rendering if recipe.target == "rendered" else "float planes against those of the long frame, linear"
    return (
        f"mean over {scenes} validation scenes, a scene's shorts first; central crop of at most "
        f"{recipe.validation_crop} packed px; {compared}; L1 of the unclipped, PSNR of the clipped output"
    )
