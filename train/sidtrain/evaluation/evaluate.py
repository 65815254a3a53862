"""Judge checkpoints on the scenes of a device that they have not seen, beside three trivial pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32

from sidcurate import source, verdicts
from sidcurate.counted import counted
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Capture, Pair, Split
from sidcurate.storage.durable import require_place
from sidtrain.data import patches, store
from sidtrain.data.store import Entry, StoreSettings
from sidtrain.evaluation import baselines, networks, panels, protocols, scores, tiles, written
from sidtrain.evaluation.baselines import SIGMAS_PX, TRIVIAL, Baselines, Raws
from sidtrain.evaluation.metrics import SsimVariant
from sidtrain.evaluation.networks import Network
from sidtrain.evaluation.panels import AS_SHOT, Cell, Row
from sidtrain.evaluation.preview import preview
from sidtrain.evaluation.protocols import Protocol
from sidtrain.evaluation.scores import Evaluation, NetworkUsed, Score
from sidtrain.evaluation.written import Written
from sidtrain.weights import checkpoint, history, lineage
from sidtrain.weights.checkpoint import Sidecar

_CPU: Final = torch.device("cpu")

Picture = Float32[np.ndarray, "h w c"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Unseen:
    """The pairs to judge on, those that the trivial pictures learn from, and what is left out and why."""

    judged: Sequence[Pair]
    training: Sequence[Pair]
    left_out: dict[str, tuple[str, ...]]
    outside_protocol: tuple[str, ...]


@dataclass(frozen=True)
class _Question:
    """What is asked: of which networks, on which part of which data, under which protocol."""

    manifest: Manifest
    networks: Sequence[Network]
    split: Split
    protocol: Protocol
    variant: SsimVariant


def evaluate(
    manifest: Manifest,
    checkpoints: Mapping[str, Path],
    store_dir: Path,
    out_dir: Path | None = None,
    *,
    split: Split = "test",
    protocol: str | None = None,
    ssim_variant: SsimVariant | None = None,
    device: torch.device = _CPU,
    jobs: int | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Written:
    """Evaluate checkpoints on full frames and write the record and a panel of pictures.

    Args:
        manifest: validated manifest of the camera; a checkpoint of another one is evaluated zero-shot.
        checkpoints: folder of a run, or its weights, by the name that it shall have.
        store_dir: folder of the decoded frames.
        out_dir: where to write; the first checkpoint's folder by default.
        split: part of the data set to judge on.
        protocol: name of the protocol; the one of what the networks put out by default.
        ssim_variant: window of the SSIM, where the protocol allows several.
        device: where the networks run.
        jobs: worker processes that decode raws.
        progress: called with the stage in words, the count of frames done in it and of frames to do.

    Raises:
        UsageError: no scene to judge on or to learn the trivial pictures from, a checkpoint does not fit, the protocol
            does not apply, or the checkpoints cannot be compared.
        IntegrityError: a checkpoint, or one that it started from, has seen a scene that it is to be judged on (SET302).
        MissingResourceError: `out_dir` takes no file.
        SidcurateError: what `store.build`, `checkpoint.load` and `verdicts.judged_pairs` raise.
    """
    folder = out_dir or history.weights_path(next(iter(checkpoints.values()))).parent
    require_place(folder)
    evaluation, rows = judge(
        manifest,
        checkpoints,
        store_dir,
        split=split,
        protocol=protocol,
        ssim_variant=ssim_variant,
        device=device,
        jobs=jobs,
        progress=progress,
    )
    return written.write(evaluation, rows, folder)


def judge(
    manifest: Manifest,
    checkpoints: Mapping[str, Path],
    store_dir: Path,
    *,
    split: Split = "test",
    protocol: str | None = None,
    ssim_variant: SsimVariant | None = None,
    device: torch.device = _CPU,
    jobs: int | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[Evaluation, list[Row]]:
    """Return the evaluation of checkpoints, and the rows of its panel; see `evaluate`."""
    judged_networks = networks.load(checkpoints, (*TRIVIAL, AS_SHOT, "target"), device)
    rules = networks.protocol(protocol, judged_networks, manifest)
    variant = protocols.ssim_variant(rules, ssim_variant)
    question = _Question(manifest, judged_networks, split, rules, variant)
    unseen = choose(manifest, [network.sidecar for network in question.networks], split, rules)
    captures = {capture.path: capture for capture in manifest.captures}
    pairs = [*unseen.judged, *baselines.lessons(unseen.training)]
    settings = {network.name: network.settings(manifest, rules) for network in question.networks}
    networks.require_one_target(settings, (captures[pair.short_path].cfa or "" for pair in pairs))
    raws = _raws(question, settings, captures)

    def build(pairs: Sequence[Pair], how: StoreSettings) -> list[Entry]:
        return store.build(pairs, captures, raws.root, store_dir, how, jobs, partial(progress, "decoding"))

    entries = build(pairs, raws.settings)
    judged, training = entries[: len(unseen.judged)], entries[len(unseen.judged) :]
    given = networks.given(settings, judged, captures, build)

    trivial = baselines.learn(training, raws, partial(progress, "choosing the Gaussian"))
    rated, rows = _judge(question, given, trivial, progress)
    used = tuple(network.used(manifest.device, given[network.name]) for network in question.networks)
    return _record(question, unseen, trivial, used, rated), rows


def choose(manifest: Manifest, sidecars: Sequence[Sidecar], split: Split, protocol: Protocol) -> Unseen:
    """Return the pairs of a split to judge checkpoints on, and the training pairs of the same manifest.

    Raises:
        UsageError: the manifest is not validated, or has no usable pair in the split or for training.
        IntegrityError: a scene of the split was used to train a checkpoint or one that it started from, or to choose
            among its steps.
    """
    usable, left_out = verdicts.judged_pairs(manifest)
    in_split = [pair for pair in usable if pair.split == split]
    judged = protocol.judged(in_split)
    training = [pair for pair in usable if pair.split == "train"]
    for wanted, found in ((split, judged), ("train", training)):
        if not found:
            raise UsageError(
                f"{manifest.device} has no usable pair in its {wanted} scenes ({counted(len(manifest.pairs), 'pair')}, "
                f"{len(left_out)} left out); see `sidcurate validate` for the reasons, `sidcurate split` for the scenes"
            )
    for sidecar in sidecars:
        _require_unseen(judged, sidecar, split)
    by_id = {pair.pair_id: pair for pair in manifest.pairs}
    return Unseen(
        judged=judged,
        training=training,
        left_out={name: codes for name, codes in left_out.items() if by_id[name].split == split},
        outside_protocol=tuple(pair.pair_id for pair in in_split if pair not in judged),
    )


def _require_unseen(judged: Sequence[Pair], sidecar: Sidecar, split: Split) -> None:
    device = judged[0].device
    leaked = lineage.seen(sidecar.lineage(), device, {pair.scene_id for pair in judged}, split)
    if leaked:
        raise IntegrityError(
            f"SET302 scene-in-two-splits: the checkpoint was made with {split} scenes: {', '.join(leaked)}; a number "
            f"from them would be worthless. Train again after `sidcurate split --device {device}`, from weights that "
            "have not seen them, or restore the split that it was trained with"
        )


def _raws(question: _Question, settings: Mapping[str, StoreSettings], captures: Mapping[str, Capture]) -> Raws:
    """Return what renders the trivial pictures: they are amplified as the first network's input."""
    first = question.networks[0]
    own = settings[first.name]
    return Raws(
        root=source.raw_root(question.manifest.directory),
        captures=captures,
        recipe=first.sidecar.recipe.model_copy(update={"adjust_maximum_thr": own.adjust_maximum_thr}),
        settings=own,
    )


def _judge(
    question: _Question, given: Mapping[str, Sequence[Entry]], trivial: Baselines, progress: Progress
) -> tuple[list[Score], list[Row]]:
    entries = given[question.networks[0].name]  # The targets are those of all.
    rated: list[Score] = []
    cells: dict[str, dict[str, Cell]] = {}
    shown: dict[str, Entry] = {}
    for done, entry in enumerate(entries):
        progress("evaluating", done, len(entries))
        scene, target = entry.pair.scene_id, patches.target_picture(entry)
        is_first = scene not in shown
        shown.setdefault(scene, entry)
        own = {name: frames[done] for name, frames in given.items()}
        for name, picture in _pictures(question.networks, own, entry, trivial):
            score = _score(question, entry, trivial, name, picture, target)
            rated.append(score)
            if is_first:
                cells.setdefault(scene, {})[name] = _cell(name, picture, _label(score), entry, trivial.raws)
        if is_first:
            cells[scene]["target"] = _cell("target", target, "target", entry, trivial.raws)
    progress("evaluating", len(entries), len(entries))
    chosen = panels.chosen(scores.from_worst(rated, question.networks[0].name))
    return rated, [_row(shown[scene], cells[scene], why, trivial.raws) for scene, why in chosen.items()]


def _pictures(
    judged: Sequence[Network], own: Mapping[str, Entry], entry: Entry, trivial: Baselines
) -> Iterator[tuple[str, Picture]]:
    """Yield the pictures of a short frame by name, one network's at a time: each is as large as the target."""
    for network in judged:
        x = patches.frame_input(own[network.name], network.sidecar.recipe)
        yield network.name, tiles.picture(network.model, x)
    yield from trivial.pictures(entry).items()


def _score(
    question: _Question, entry: Entry, trivial: Baselines, name: str, picture: Picture, target: Picture
) -> Score:
    recipes = {network.name: network.sidecar.recipe for network in question.networks}
    amplification = patches.amplification_ratio(entry, recipes.get(name, trivial.raws.recipe))
    return Score(
        protocol=question.protocol.name,
        scene_id=entry.pair.scene_id,
        pair_id=entry.pair.pair_id,
        exposure_ratio=entry.pair.exposure_ratio or amplification,
        amplification_ratio=amplification,
        picture=name,
        **vars(question.protocol.marks(picture, target, question.variant)),
    )


def _cell(column: str, picture: Picture, label: str, entry: Entry, raws: Raws) -> Cell:
    """Return a cell with a rendering as it is, planes with the white balance that the long frame states."""
    if raws.settings.target == "rendered":
        return panels.cell(column, picture, label)
    white_balance = raws.captures[entry.pair.long_path].white_balance
    return panels.cell(column, picture, label, partial(preview, white_balance=white_balance))


def _label(score: Score) -> str:
    name = f"short x {score.amplification_ratio:g}" if score.picture == "amplified" else score.picture
    return f"{name}  {score.psnr_db:.2f} dB"


def _row(entry: Entry, cells: Mapping[str, Cell], why: str, raws: Raws) -> Row:
    pair = entry.pair
    shot = _cell(AS_SHOT, baselines.as_target(entry, raws, ratio=1.0), AS_SHOT, entry, raws)
    order = ("amplified", "gaussian", *(name for name in cells if name not in TRIVIAL))
    ratio = f"   ratio {pair.exposure_ratio:.4g}" if pair.exposure_ratio else ""
    return Row(f"{pair.scene_id}{ratio}   {why}", {AS_SHOT: shot} | {name: cells[name] for name in order})


def _record(
    question: _Question, unseen: Unseen, trivial: Baselines, used: tuple[NetworkUsed, ...], rated: Sequence[Score]
) -> Evaluation:
    names = [network.name for network in question.networks]
    return Evaluation(
        protocol=question.protocol.name,
        definition=question.protocol.definition,
        ssim_variant=question.variant,
        alignment=question.protocol.alignment,
        adjust_maximum_thr=trivial.raws.recipe.adjust_maximum_thr if question.protocol.target == "rendered" else None,
        device=question.manifest.device,
        split=question.split,
        manifest_sums=dict(question.manifest.sums),
        networks=used,
        left_out=unseen.left_out,
        outside_protocol=unseen.outside_protocol,
        gaussian_sigma_px=trivial.sigma_px,
        gaussian_sigmas_px=SIGMAS_PX,
        mean_color=trivial.mean_color,
        tools=checkpoint.tools(),
        scores=tuple(rated),
        summaries=scores.summarize(rated),
        comparisons=scores.compare(rated, names),
        worst_scenes=tuple(scores.from_worst(rated, names[0])[: panels.WORST]),
    )
