"""The files of an evaluation: a record and a panel, by a name that says what was asked of which networks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sidcurate.storage.durable import write_whole
from sidtrain.evaluation import panels, protocols
from sidtrain.evaluation.panels import Row
from sidtrain.evaluation.preview import GAMMA
from sidtrain.evaluation.scores import NETWORK, Evaluation
from sidtrain.weights import history

_NAME_BYTES = 200


@dataclass(frozen=True)
class Written:
    """An evaluation and the files that hold it; `replaced` are the scenes of the record that it took the place of."""

    evaluation: Evaluation
    record: Path
    panel: Path
    replaced: frozenset[str] | None = None

    @property
    def scenes(self) -> frozenset[str]:
        """Names of the scenes that were judged."""
        return frozenset(score.scene_id for score in self.evaluation.scores)


def write(evaluation: Evaluation, rows: Sequence[Row], folder: Path) -> Written:
    """Write record and panel into a folder; only the same question of networks of the same names is overwritten."""
    name = history.bounded_name(_name(evaluation), _NAME_BYTES)
    record, panel = folder / f"{name}.json", folder / f"{name}.png"
    replaced = _scenes_of(record)
    write_whole(panel, panels.png(*_heading(evaluation), rows))
    write_whole(record, (evaluation.model_dump_json(indent=1) + "\n").encode())
    return Written(evaluation, record, panel, replaced)


def _name(evaluation: Evaluation) -> str:
    names = [network.name for network in evaluation.networks]
    foreign = any(network.origin == "zero-shot" for network in evaluation.networks)
    usual_window, *_ = protocols.PROTOCOLS[evaluation.protocol].ssim_variants
    return "-".join(
        [
            *(["evaluation"] if names == [NETWORK] else ["comparison", *names]),
            *([evaluation.device] if foreign else []),
            *([evaluation.split] if evaluation.split != "test" else []),
            *([evaluation.protocol] if evaluation.protocol != protocols.DEFAULT else []),
            *([evaluation.ssim_variant] if evaluation.ssim_variant != usual_window else []),
        ]
    )


def _heading(evaluation: Evaluation) -> tuple[str, str]:
    """Return what stands above the panel: what was judged, and how to read the pictures."""
    networks, split = evaluation.networks, f"{evaluation.split} scenes"
    zero_shot = [f"{used.name}: trained for {used.device}" for used in networks if used.origin == "zero-shot"]
    notes = ["centers of the frames, PSNR of the whole ones"]
    if len(networks) > 1:
        notes.append(f"worst and typical by {networks[0].name}")
    if protocols.PROTOCOLS[evaluation.protocol].target == "raw":
        notes.append(f"planes as a picture: the long frame's white balance, gamma {GAMMA:g}")
    return ", ".join([evaluation.device, split, evaluation.protocol, *zero_shot]), "; ".join(notes)


def _scenes_of(record: Path) -> frozenset[str] | None:
    """Return the scenes of a record that is there; None where none is, or it cannot be read."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return frozenset(score["scene_id"] for score in content["scores"])
    except (OSError, ValueError, KeyError, TypeError):  # What it said is lost to everybody already.
        return None
