"""The checkpoints of an evaluation: what each is to the camera, and the frames as each gets them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from sidcurate import cfa
from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Capture, Pair
from sidtrain.data import policies
from sidtrain.data.store import Entry, StoreSettings
from sidtrain.evaluation import protocols
from sidtrain.evaluation.protocols import Protocol
from sidtrain.evaluation.scores import NetworkUsed, Origin
from sidtrain.weights import checkpoint
from sidtrain.weights.checkpoint import Sidecar
from sidtrain.weights.unet import Unet


@dataclass(frozen=True)
class Network:
    """A checkpoint to judge."""

    name: str
    path: Path
    model: Unet
    sidecar: Sidecar

    def origin(self, device: str) -> Origin:
        """Return what the network is to a camera."""
        if self.sidecar.device is None:
            return "imported"
        if device not in {ancestor.device for ancestor in self.sidecar.lineage()}:
            return "zero-shot"
        return "from scratch" if self.sidecar.initial_weights == checkpoint.SCRATCH else "fine-tuned"

    def is_unseen_by(self, device: str) -> bool:
        """Return whether it is certain that the network was trained on none of a camera's scenes that are judged."""
        return all(ancestor.tells_scenes_of(device) for ancestor in self.sidecar.lineage())

    def settings(self, manifest: Manifest, protocol: Protocol) -> StoreSettings:
        """Return what its frames are prepared with: each short as if it had no partner, as in use."""
        own = self.sidecar.white_balance if self.sidecar.device == manifest.device else None
        settings = policies.store_settings(self.sidecar.recipe, manifest, own, self.sidecar.zeros)
        fixed = protocol.adjust_maximum_thr
        return settings if fixed is None else replace(settings, adjust_maximum_thr=fixed)

    def used(self, device: str, given: Iterable[Entry]) -> NetworkUsed:
        """Return the record of the network, and of the levels that the frames judged had for it."""
        return NetworkUsed(
            name=self.name,
            sha256=self.sidecar.sha256,
            device=self.sidecar.device,
            origin=self.origin(device),
            unseen=self.is_unseen_by(device),
            manifest_sums=self.sidecar.manifest_sums,
            step=self.sidecar.step,
            initial_weights=self.sidecar.initial_weights,
            levels=dict(sorted(Counter(entry.levels for entry in given).items())),
        )


def load(checkpoints: Mapping[str, Path], taken: Sequence[str], device: torch.device) -> list[Network]:
    """Return checkpoints as networks on a device, by the names that they shall have.

    Raises:
        UsageError: a name is taken by another picture.
        SidcurateError: what `checkpoint.load` raises.
    """
    for name in taken:
        if name in checkpoints:
            raise UsageError(f"{name!r} is the name of another picture of the table; give the checkpoint another")
    loaded = {name: checkpoint.load(path) for name, path in checkpoints.items()}
    return [Network(name, checkpoints[name], model.to(device), sidecar) for name, (model, sidecar) in loaded.items()]


def protocol(name: str | None, judged: Sequence[Network], manifest: Manifest) -> Protocol:
    """Return the protocol of a name, or the one that the first network is judged by where none is asked for.

    Raises:
        UsageError: there is no such protocol, or it does not judge these scenes, or one of the networks.
    """
    targets = {network.name: network.sidecar.target for network in judged}
    rules = protocols.usable(name or protocols.default(judged[0].sidecar.target), manifest)
    protocols.require_target(rules, targets)
    return rules


def require_one_target(settings: Mapping[str, StoreSettings], arrays: Iterable[str]) -> None:
    """Refuse to compare networks by pictures that are not the same; how each gets its input is its own.

    Args:
        settings: what the frames of each network are prepared with, by its name.
        arrays: letters of the color filter arrays of the frames.

    Raises:
        UsageError: their targets are rendered, leveled or cropped in different ways.
    """
    # The offset of a packing is asked for only where it can differ: not every array has one.
    letters = sorted(set(arrays)) if len({own.packing for own in settings.values()}) > 1 else []
    targets = {name: _target(own, letters) for name, own in settings.items()}
    for field in next(iter(targets.values())):
        if len({target[field] for target in targets.values()}) > 1:
            stated = ", ".join(f"{name} {_stated(own, field)}" for name, own in settings.items())
            raise UsageError(
                f"the checkpoints were trained on targets prepared with another {field} ({stated}): there is no one "
                "picture to judge them all by; evaluate them one by one, or compare those with the same (a protocol "
                "such as sid-paper fixes adjust_maximum_thr)"
            )


def given(
    settings: Mapping[str, StoreSettings],
    judged: Sequence[Entry],
    captures: Mapping[str, Capture],
    build: Callable[[Sequence[Pair], StoreSettings], list[Entry]],
) -> dict[str, list[Entry]]:
    """Return the frames to judge on as each network gets them, by its name.

    Args:
        settings: what the frames of each network are prepared with, by its name.
        judged: the frames as they are prepared for the first.
        captures: captures of the manifest by path.
        build: returns entries of pairs; asked for those whose files are others, because they are packed otherwise.
    """
    first = next(iter(settings.values()))
    pairs = [entry.pair for entry in judged]
    return {
        name: policies.leveled(judged, captures, own) if own.packing == first.packing else build(pairs, own)
        for name, own in settings.items()
    }


def _stated(settings: StoreSettings, field: str) -> object:
    return settings.levels.words if field == "levels" else getattr(settings, field)


def _target(settings: StoreSettings, arrays: Sequence[str]) -> dict[str, object]:
    """Return what decides a target, by the field that it is set by."""
    offsets = tuple(cfa.layout(letters, settings.packing).offset for letters in arrays)
    made: dict[str, object] = {"cfa_kind": settings.cfa_kind, "crop": settings.crop, "packing": offsets}
    if settings.target == "raw":
        return made | {"levels": (settings.levels.black, settings.levels.bits)}
    return made | {"adjust_maximum_thr": settings.adjust_maximum_thr, "white_balance": settings.white_balance}
