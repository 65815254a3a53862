"""Checkpoints: weights as safetensors, and beside them a JSON side-car with everything needed to use them.

The side-car is the commit point: it carries the SHA-256 of its weights. New weights are staged under a name with their
sum, then the side-car is replaced, then the weights take their name. Readers take what the side-car names, under either
name, and change nothing: a training may be at it.
"""

import hashlib
import io
import platform
import re
import subprocess
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from sidcurate.errors import IntegrityError, UsageError
from sidcurate.schemas import CfaKind, Floats, described
from sidcurate.storage import commits
from sidcurate.storage.durable import write_whole
from sidtrain.architectures import Architecture, Target
from sidtrain.execution import Execution
from sidtrain.normalization import Zero
from sidtrain.recipe import Recipe
from sidtrain.weights import history
from sidtrain.weights.lineage import Ancestor, Names
from sidtrain.weights.unet import Unet, architecture_of, build

FORMAT_VERSION = 3
SCRATCH = "scratch"
_TOOLS = ("sidcurate", "torch", "numpy", "rawpy", "safetensors")

Layout = Literal["pytorch", "tensorflow"]
Order = Literal["color-first", "color-last"]


class Imported(BaseModel):
    """Where weights come from that another program has trained."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    file: str = described("Name of the file that they were in.")
    sha256: str = described("SHA-256 of that file.")
    layout: Layout = described("Program whose names and order of axes the file has.")
    last_layer: Order = described("Order of the last layer's channels there; here it is color-first.")


class Sidecar(BaseModel):
    """The contract of a checkpoint: what the weights are, what goes in, and where they come from.

    A null is what nobody knows, as of imported weights. Their recipe says how their input is made, not how they were
    trained.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format_version: int = described("Version of this contract.", default=FORMAT_VERSION)
    sha256: str = described("SHA-256 of the weights file; filled in by `save`.", default="")
    architecture: Architecture = described("The network.")
    cfa_kind: CfaKind = described("Kind of color filter array that it takes.")
    packing: str = described("How the mosaic is packed into planes, in the words of the recipe.")
    levels: str = described("Which black and white normalize the input, in the words of the recipe.")
    ratio: str = described("What the normalized input is multiplied by, in the words of the recipe.")
    input_clip: float = described("Upper clip of the amplified input; white is 1.")
    target: Target = described(
        "What it puts out: 'rendered', a picture as LibRaw renders it; 'raw', planes with black at 0 and white at 1.",
        default="rendered",
    )
    white_balance: Floats | None = described(
        "Multipliers for R, G, B of all its targets; null: those of the camera, frame by frame; of raw targets, none.",
        default=None,
    )
    zeros: tuple[Zero, ...] = described(
        "Of levels 'measured', the zero errors of the training pairs: what black is moved by where a short frame "
        "stands alone.",
        default=(),
    )
    recipe: Recipe = described("The recipe of the training.")
    imported: Imported | None = described("Where imported weights come from; null for our own training.", default=None)
    device: str | None = described("Slug of the camera that it was trained for.")
    manifest_sums: dict[str, str] | None = described("SHA-256 of each table of the manifest.")
    scenes: Names | None = described("Scenes used, by split.")
    left_out: Names | None = described("Pairs left out, and the codes of the findings that say why.")
    tools: dict[str, str] = described("Versions of the programs.")
    git_revision: str | None = described("Commit of this program, '-dirty' if changed; null outside a checkout.")
    initial_weights: str | None = described("'scratch', or the name of the checkpoint that the training started from.")
    initial_sha256: str | None = described("SHA-256 of the weights that it started from.", default=None)
    ancestors: tuple[Ancestor, ...] | None = described(
        "The checkpoint that the training started from, the one that that one started from, and so on; null where "
        "nobody knows, as in a side-car of before they were recorded.",
        default=None,
    )
    execution: Execution | None = described("Where and how the steps were computed.", default=None)
    step: int | None = described("Steps done.", ge=0)
    metrics: dict[str, dict[str, float]] = described(
        "What was measured at this step, by protocol: of what, in which space and variant."
    )

    def lineage(self, name: str = "") -> tuple[Ancestor, ...]:
        """Return the checkpoint itself, under a name, and all that it started from, the nearest first.

        Where that is not recorded, one of which nothing is known stands for it. What imported weights are said to be
        holds for the whole of their training.
        """
        ancestors = self.ancestors
        if ancestors is None:
            start = self.initial_weights
            unknown = Ancestor(name=start or "", sha256=self.initial_sha256, device=None, scenes=None)
            ancestors = () if start in (None, SCRATCH) else (unknown,)
        return (Ancestor(name=name, sha256=self.sha256, device=self.device, scenes=self.scenes), *ancestors)


def input_of(recipe: Recipe) -> dict[str, Any]:
    """Return what the side-car says of a recipe's network, its input and what it puts out, by field."""
    architecture = architecture_of(recipe)
    return {
        "architecture": architecture,
        "cfa_kind": recipe.cfa_kind,
        "packing": recipe.packing,
        "levels": recipe.levels,
        "ratio": recipe.ratio,
        "input_clip": recipe.input_clip,
        "target": recipe.target,
    }


def tools() -> dict[str, str]:
    """Return the versions of the programs that make a checkpoint."""
    return {"python": platform.python_version()} | {name: version(name) for name in _TOOLS}


@cache
def git_revision() -> str | None:
    """Return the commit of the checkout that this program runs from, with "-dirty" where files differ from it."""
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():
        return None  # Installed: the repository around it, if any, is somebody else's.
    # Neither `git describe` nor a plain `git status` only reads: they write what they learned into the index.
    command = ["git", "--no-optional-locks", "-C", str(checkout), "status", "--porcelain=v2", "--branch", "-uno"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"^# branch\.oid ([0-9a-f]{40,})$", done.stdout, re.MULTILINE)
    changed = re.search(r"^[^#]", done.stdout, re.MULTILINE)
    return found and found[1] + ("-dirty" if changed else "")


def save(path: Path, model: Unet, sidecar: Sidecar) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: folder of a run, or the weights file itself.
        model: the network.
        sidecar: its contract; `sha256` is filled in.
    """
    weights = history.weights_path(path)
    content = safetensors.torch.save({name: value.contiguous() for name, value in model.state_dict().items()})
    digest = hashlib.sha256(content).hexdigest()
    staged = commits.staged(weights.parent, weights.name, digest)
    write_whole(staged, content)
    complete = sidecar.model_copy(update={"sha256": digest})
    write_whole(weights.with_suffix(".json"), (complete.model_dump_json(indent=1) + "\n").encode())
    staged.replace(weights)
    for left in weights.parent.iterdir():  # by a save that was cut off
        if left.name.startswith(f".{weights.name}."):
            left.unlink()


def load(path: Path) -> tuple[Unet, Sidecar]:
    """Return the network of a checkpoint and its contract.

    Args:
        path: folder of a run, or the weights file itself.

    Raises:
        UsageError: no checkpoint, not one of ours, or one whose input this program does not make.
        IntegrityError: the weights are not those that the side-car describes.
    """
    history.require_checkpoint(path)
    weights = history.weights_path(path)
    sidecar, content = _read(weights)
    model = build(sidecar.architecture)
    try:
        model.load_state_dict(safetensors.torch.load(content))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise IntegrityError(f"{weights} does not hold the weights of {sidecar.architecture}: {error}") from error
    return model.eval(), sidecar


def require_none(folder: Path) -> None:
    """Refuse to write a checkpoint into a folder that holds one.

    Raises:
        UsageError: with what to do instead.
    """
    weights = folder / history.WEIGHTS
    taken = next((file for file in (weights, weights.with_suffix(".json")) if file.exists()), None)
    if taken is not None:
        raise UsageError(f"{taken} exists; give another folder")


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a training (tensors, numbers, strings) so that `--resume` can go on, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, buffer.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Return the state of a training, on the CPU wherever it was; no code in the file is run.

    Raises:
        UsageError: there is none.
        IntegrityError: it cannot be read.
    """
    if not path.is_file():
        raise UsageError(f"nothing to resume: {path} is not there; start again without --resume under another --name")
    try:
        _require_checksums(path)
        # Left where they were, the tensors of all processes would meet on the first GPU, or on one that is not here.
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch leaks the errors of zipfile, pickle and its own reader alike
        raise IntegrityError(f"{path} cannot be read ({error}); start again under another --name") from error


def _require_checksums(path: Path) -> None:
    """Compare what torch writes and never reads: the checksum of each tensor."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise IntegrityError(f"the checksum of its part {damaged} is another one")


def _read(weights: Path) -> tuple[Sidecar, bytes]:
    for _ in range(2):  # A training may save between the reading of the side-car and that of the weights.
        sidecar = _read_sidecar(weights)
        content = _bytes(commits.staged(weights.parent, weights.name, sidecar.sha256)) or _bytes(weights)
        if content is None:
            raise UsageError(f"no weights at {weights}; give the folder of a run of `sidcurate finetune`")
        if hashlib.sha256(content).hexdigest() == sidecar.sha256:
            return sidecar, content
    raise IntegrityError(
        f"{weights} is damaged or was replaced: its SHA-256 is not the one in its side-car; train again or restore it"
    )


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _read_sidecar(weights: Path) -> Sidecar:
    path = weights.with_suffix(".json")
    if not path.is_file():
        raise UsageError(
            f"{weights} has no side-car {path.name}: without it nobody knows what the weights need as input; "
            "give the folder of a run of `sidcurate finetune`"
        )
    try:
        text = path.read_text(encoding="utf-8")
        _require_this_format(path, TypeAdapter(dict[str, Any]).validate_json(text))
        sidecar = Sidecar.model_validate_json(text)
    except UnicodeDecodeError as error:
        raise _broken_sidecar(path, str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        fault = f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg'].removeprefix('Value error, ')}"
        raise _broken_sidecar(path, fault) from error
    _require_input_of_recipe(path, sidecar)
    return sidecar


def _broken_sidecar(path: Path, fault: str) -> UsageError:
    return UsageError(f"{path} is no side-car of a checkpoint: {fault}; restore it from a copy, or train again")


def _require_this_format(path: Path, content: Mapping[str, Any]) -> None:
    found = content.get("format_version")
    if found != FORMAT_VERSION:
        raise UsageError(
            f"{path}: its format_version is {found!r}, this program reads {FORMAT_VERSION} only: others do not say all "
            "that the input needs; use the sidcurate that made it, or train again"
        )


def _require_input_of_recipe(path: Path, sidecar: Sidecar) -> None:
    """Refuse, with the reason, a checkpoint that was made for another input than its recipe makes here."""
    for field, made in input_of(sidecar.recipe).items():
        found = getattr(sidecar, field)
        if found != made:
            raise UsageError(
                f"{path}: its {field} is {found!r}, but its recipe makes {made!r} here: the picture would be wrong; "
                "restore the side-car, use the sidcurate that made it, or train again"
            )
