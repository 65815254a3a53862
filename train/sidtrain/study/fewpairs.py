"""How many pairs a camera needs: one network for each nested subset of its pairs, all judged on the same scenes.

Test and validation scenes stay as the manifest has them. All trainings do the same steps; the fine-tuned ones and those
from scratch see the same subsets with the same seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidcurate.storage.durable import write_whole
from sidtrain.data import choice
from sidtrain.data.choice import Chosen
from sidtrain.evaluation import evaluate, protocols
from sidtrain.evaluation.intervals import Estimate
from sidtrain.evaluation.scores import Evaluation
from sidtrain.recipe import Recipe
from sidtrain.study import curveplot, subsets
from sidtrain.study.curve import Curve, Dot, Start, gains, levels
from sidtrain.training import devices, finetune
from sidtrain.training.finetune import Done, Result
from sidtrain.weights import checkpoint, history

ZERO_SHOT = "zero-shot"
SPLIT: Final = "test"
RECORD, PICTURE = "curve.json", "curve.png"


@dataclass(frozen=True)
class Training:
    """One dot of the curve, before it is trained."""

    start: Start
    repeat: int
    chosen: Chosen
    recipe: Recipe
    init: Path | None

    @property
    def name(self) -> str:
        """Name of its run, and of its network in the evaluation."""
        return f"{self.start}-{len(self.chosen.train):03d}-{self.repeat}"


def plan(
    manifest: Manifest, recipe: Recipe, counts: Sequence[int], repeats: int, init: Path | None = None
) -> list[Training]:
    """Return the trainings of a curve: each count, each repeat, from scratch and, with a checkpoint, from there.

    What `draw` would refuse when all is trained is refused here.

    Raises:
        UsageError: a count cannot be drawn, the recipe counts in epochs, the checkpoint is of another network, or there
            is no usable pair in the test scenes.
        IntegrityError: the checkpoint has seen a test scene (SET302).
    """
    if recipe.unit != "steps":
        raise UsageError(
            'the trainings of a curve do equal steps, and this recipe counts in epochs; set unit = "steps" and a '
            "duration, as the device recipe does"
        )
    finetune.initial_network(recipe, init)
    usable = choice.choose(manifest)
    started = [checkpoint.load(init)[1]] if init else []
    evaluate.choose(manifest, started, SPLIT, protocols.usable(protocols.default(recipe.target), manifest))
    starts: tuple[tuple[Start, Path | None], ...] = (("scratch", None),)
    if init:
        starts = (("fine-tuned", init), *starts)
    return [
        Training(start, repeat, Chosen(subset, usable.val, usable.left_out), _seeded(recipe, repeat), origin)
        for repeat in range(repeats)
        for subset in subsets.nested(usable.train, counts, repeat, recipe.seed).values()
        for start, origin in starts
    ]


def train(
    trainings: Sequence[Training],
    manifest: Manifest,
    folder: Path,
    store_dir: Path,
    *,
    jobs: int | None = None,
    on_store: Callable[[int, int], None] = lambda done, total: None,
    on_step: Callable[[Training, Done], None] = lambda training, done: None,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[Training, Result]]:
    """Yield each training when it has ended; one that was done, or begun, before goes on where it stopped.

    One that was interrupted is the last, with its state kept. Of `jobs`, `on_store` and `say` see `finetune.finetune`.

    Raises:
        SidcurateError: what `finetune.finetune` raises: one was begun from other weights, with another recipe or pairs.
    """
    for training in trainings:
        run_dir = folder / training.name
        resume = (run_dir / history.STATE).exists()
        result = finetune.finetune(
            manifest,
            training.recipe,
            training.chosen,
            run_dir,
            store_dir,
            init=training.init,
            resume=resume,
            jobs=jobs,
            on_store=on_store,
            on_step=partial(on_step, training),
            say=say,
        )
        yield training, result
        if result.step < result.steps:
            return


def draw(
    trainings: Sequence[Training],
    manifest: Manifest,
    folder: Path,
    store_dir: Path,
    *,
    jobs: int | None = None,
    progress: evaluate.Progress = lambda stage, done, total: None,
) -> Curve:
    """Judge all trainings, and the checkpoint that they started from, on the test scenes; write record and picture."""
    init = next((training.init for training in trainings if training.init), None)
    networks = {training.name: folder / training.name for training in trainings}
    if init:
        networks[ZERO_SHOT] = _zero_shot(init, trainings[0].recipe, folder / ZERO_SHOT)
    device = devices.pick(trainings[0].recipe.device_type)
    with devices.faults_in_words(devices.END_OTHERS):
        evaluation, _ = evaluate.judge(
            manifest, networks, store_dir, split=SPLIT, device=device, jobs=jobs, progress=progress
        )
    dots = tuple(_dot(training, folder, evaluation) for training in trainings)
    by_kind, zero_shot = levels(dots), _psnr(evaluation, ZERO_SHOT) if init else None
    curve = Curve(
        device=manifest.device,
        protocol=evaluation.protocol,
        split=evaluation.split,
        recipe=trainings[0].recipe.model_dump_json(exclude={"seed"}),
        validation_pairs=len(trainings[0].chosen.val),
        initial_weights=str(init) if init else None,
        zero_shot=zero_shot,
        gaussian=_psnr(evaluation, "gaussian"),
        dots=dots,
        levels=by_kind,
        gains=gains(by_kind, zero_shot),
    )
    write_whole(folder / PICTURE, curveplot.png(curve))
    write_whole(folder / RECORD, (curve.model_dump_json(indent=1) + "\n").encode())
    return curve


def _seeded(recipe: Recipe, repeat: int) -> Recipe:
    return recipe.model_copy(update={"seed": recipe.seed + repeat})


def _zero_shot(init: Path, recipe: Recipe, folder: Path) -> Path:
    """Return the checkpoint before any training, with the input and the targets that the trainings have."""
    model, sidecar = checkpoint.load(init)
    theirs = {"recipe": recipe, "white_balance": None, **checkpoint.input_of(recipe)}
    checkpoint.save(folder, model, sidecar.model_copy(update=theirs))
    return folder


def _dot(training: Training, folder: Path, evaluation: Evaluation) -> Dot:
    used = next(network for network in evaluation.networks if network.name == training.name)
    return Dot(
        pairs=len(training.chosen.train),
        start=training.start,
        repeat=training.repeat,
        pair_ids=tuple(pair.pair_id for pair in training.chosen.train),
        run=str(folder / training.name),
        step=used.step or 0,
        psnr_db=_psnr(evaluation, training.name).by_scene,
    )


def _psnr(evaluation: Evaluation, picture: str) -> Estimate:
    rows = (row for row in evaluation.summaries if row.picture == picture and row.exposure_ratio is None)
    return next(rows).psnr_db
