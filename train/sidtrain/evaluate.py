"""Judge a checkpoint on the scenes of a device that it has not seen, beside three trivial pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from sidcurate import source, verdicts
from sidcurate.durable import write_whole
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Pair, Split
from sidtrain import baselines, checkpoint, metrics, panels, patches, store, tiles
from sidtrain.baselines import SIGMAS_PX, Baselines, Raws
from sidtrain.checkpoint import Sidecar
from sidtrain.metrics import SsimVariant
from sidtrain.panels import AS_SHOT, Row
from sidtrain.scores import PICTURES, PROTOCOL, CheckpointUsed, Evaluation, Score, compare, summarize
from sidtrain.store import Entry, StoreSettings
from sidtrain.unet import Unet

PANEL_SCENES = 5

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Written:
    """An evaluation and the files that hold it."""

    evaluation: Evaluation
    record: Path
    panel: Path


@dataclass(frozen=True)
class Unseen:
    """The pairs to judge on, those that the trivial pictures learn from, and what the findings left out."""

    judged: Sequence[Pair]
    training: Sequence[Pair]
    left_out: dict[str, tuple[str, ...]]


def evaluate(
    manifest: Manifest,
    checkpoint_path: Path,
    store_dir: Path,
    out_dir: Path | None = None,
    *,
    split: Split = "test",
    ssim_variant: SsimVariant = "gaussian",
    jobs: int | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Written:
    """Evaluate a checkpoint on full frames and write the record and a panel of pictures.

    Args:
        manifest: validated manifest of the camera; another one than the checkpoint's is evaluated zero-shot.
        checkpoint_path: folder of a run, or its weights.
        store_dir: folder of the decoded frames.
        out_dir: where to write; the checkpoint's folder by default.
        split: part of the data set to judge on.
        ssim_variant: window of the SSIM.
        jobs: worker processes that decode raws.
        progress: called with the stage in words, the count of frames done in it and of frames to do.

    Raises:
        UsageError: no scene to judge on or to learn the trivial pictures from, or the checkpoint does not fit.
        IntegrityError: the checkpoint was trained on a scene that it is to be judged on (SET302).
        SidcurateError: what `store.build`, `checkpoint.load` and `verdicts.judged_pairs` raise.
    """
    model, sidecar = checkpoint.load(checkpoint_path)
    unseen = choose(manifest, sidecar, split)
    raws = Raws(
        root=source.raw_root(manifest.directory),
        captures={capture.path: capture for capture in manifest.captures},
        recipe=sidecar.recipe,
    )
    settings = StoreSettings(adjust_maximum_thr=sidecar.recipe.adjust_maximum_thr)
    pairs = [*unseen.judged, *unseen.training]
    entries = store.build(pairs, raws.captures, raws.root, store_dir, settings, jobs, partial(progress, "decoding"))
    judged, training = entries[: len(unseen.judged)], entries[len(unseen.judged) :]

    trivial = baselines.learn(training, raws, partial(progress, "choosing the Gaussian"))
    scores, rows = _judge(model, judged, trivial, ssim_variant, progress)
    evaluation = _record(manifest, sidecar, split, unseen, trivial, ssim_variant, scores)
    return _write(evaluation, rows, out_dir or checkpoint.weights_path(checkpoint_path).parent)


def choose(manifest: Manifest, sidecar: Sidecar, split: Split) -> Unseen:
    """Return the pairs of a split to judge a checkpoint on, and the training pairs of the same manifest.

    Raises:
        UsageError: the manifest is not validated, or has no usable pair in the split or for training.
        IntegrityError: a scene of the split was used to train the checkpoint, or to choose among its steps.
    """
    usable, left_out = verdicts.judged_pairs(manifest)
    judged = [pair for pair in usable if pair.split == split]
    training = [pair for pair in usable if pair.split == "train"]
    for wanted, found in ((split, judged), ("train", training)):
        if not found:
            raise UsageError(
                f"{manifest.device} has no usable pair in its {wanted} scenes ({len(manifest.pairs)} pairs, "
                f"{len(left_out)} left out); see `sidcurate validate` for the reasons, `sidcurate split` for the scenes"
            )
    if sidecar.device == manifest.device:
        _require_unseen(judged, sidecar.scenes or {}, split)
    by_id = {pair.pair_id: pair for pair in manifest.pairs}
    return Unseen(judged, training, {name: codes for name, codes in left_out.items() if by_id[name].split == split})


def _require_unseen(judged: Sequence[Pair], used_scenes: Mapping[str, Sequence[str]], split: Split) -> None:
    used = {scene: role for role, scenes in used_scenes.items() if role != split for scene in scenes}
    leaked = sorted({pair.scene_id for pair in judged} & used.keys())
    if leaked:
        roles = ", ".join(f"{scene} ({used[scene]})" for scene in leaked)
        raise IntegrityError(
            f"SET302 scene-in-two-splits: the checkpoint was made with {len(leaked)} of the {split} scenes: {roles}; a "
            f"number from them would be worthless. Train again after `sidcurate split --device {judged[0].device}`, or "
            "restore the split that it was trained with"
        )


def _judge(
    model: Unet, entries: Sequence[Entry], trivial: Baselines, variant: SsimVariant, progress: Progress
) -> tuple[list[Score], list[Row]]:
    scores: list[Score] = []
    rows: dict[str, Row] = {}
    for done, entry in enumerate(entries):
        progress("evaluating", done, len(entries))
        target = patches.unit_target(entry.target)
        pictures = {
            "network": tiles.picture(model, patches.frame_input(entry, trivial.raws.recipe)),
            **trivial.pictures(entry),
        }
        of_frame = list(_scores(entry, pictures, target, trivial, variant))
        scores.extend(of_frame)
        if entry.pair.scene_id not in rows and len(rows) < PANEL_SCENES:
            shot = baselines.amplified(entry.pair, trivial.raws, ratio=1.0)
            rows[entry.pair.scene_id] = _row({**pictures, AS_SHOT: shot, "target": target}, of_frame)
    progress("evaluating", len(entries), len(entries))
    return scores, list(rows.values())


def _scores(
    entry: Entry,
    pictures: Mapping[str, Float32[np.ndarray, "h w 3"]],
    target: Float32[np.ndarray, "h w 3"],
    trivial: Baselines,
    variant: SsimVariant,
) -> Iterator[Score]:
    amplification = patches.amplification_ratio(entry.pair, trivial.raws.recipe)
    for name in PICTURES:
        yield Score(
            scene_id=entry.pair.scene_id,
            pair_id=entry.pair.pair_id,
            exposure_ratio=entry.pair.exposure_ratio or amplification,
            amplification_ratio=amplification,
            picture=name,
            psnr_db=metrics.psnr_db(pictures[name], target),
            ssim=metrics.ssim(pictures[name], target, variant),
        )


def _row(pictures: Mapping[str, Float32[np.ndarray, "h w 3"]], scores: Sequence[Score]) -> Row:
    first = scores[0]
    names = {"amplified": f"short x {first.amplification_ratio:g}"}
    labels: dict[str, str] = {s.picture: f"{names.get(s.picture, s.picture)}  {s.psnr_db:.2f} dB" for s in scores}
    return panels.row(f"{first.scene_id}   ratio {first.exposure_ratio:.4g}", pictures, labels)


def _record(
    manifest: Manifest,
    sidecar: Sidecar,
    split: Split,
    unseen: Unseen,
    trivial: Baselines,
    variant: SsimVariant,
    scores: Sequence[Score],
) -> Evaluation:
    return Evaluation(
        ssim_variant=variant,
        adjust_maximum_thr=sidecar.recipe.adjust_maximum_thr,
        device=manifest.device,
        split=split,
        manifest_sums=dict(manifest.sums),
        checkpoint=CheckpointUsed(
            sha256=sidecar.sha256,
            device=sidecar.device,
            zero_shot=sidecar.device not in (None, manifest.device),
            unseen=sidecar.device is not None and (sidecar.device != manifest.device or sidecar.scenes is not None),
            manifest_sums=sidecar.manifest_sums,
            step=sidecar.step,
            initial_weights=sidecar.initial_weights,
        ),
        left_out=unseen.left_out,
        gaussian_sigma_px=trivial.sigma_px,
        gaussian_sigmas_px=SIGMAS_PX,
        mean_color=trivial.mean_color,
        tools=checkpoint.tools(),
        scores=tuple(scores),
        summaries=summarize(scores),
        comparisons=compare(scores),
    )


def _write(evaluation: Evaluation, rows: Sequence[Row], out_dir: Path) -> Written:
    """Write record and panel; only the same question of the same checkpoint is overwritten."""
    out_dir.mkdir(parents=True, exist_ok=True)
    parts = ("evaluation", evaluation.device if evaluation.checkpoint.zero_shot else "", evaluation.split)
    stem = "-".join(part for part in parts if part not in ("", "test"))
    record, panel = out_dir / f"{stem}.json", out_dir / f"{stem}.png"
    trained = f" (zero-shot: trained for {evaluation.checkpoint.device})" if evaluation.checkpoint.zero_shot else ""
    title = f"{evaluation.device}, {evaluation.split} scenes, {PROTOCOL}{trained}; centers of the frames"
    write_whole(panel, panels.png(title, rows))
    write_whole(record, (evaluation.model_dump_json(indent=1) + "\n").encode())
    return Written(evaluation, record, panel)
