"""The whole road by commands: a session is shot, read, judged and divided, a network trained on it and evaluated."""

from dataclasses import dataclass
from pathlib import Path

from sidcurate import manifests
from sidcurate.manifests import Manifest
from sidcurate.schemas import Pair
from sidtrain.evaluation.scores import Evaluation, Score
from tests.verbs import run


@dataclass(frozen=True)
class Road:
    """Where all of it is, what `validate` and `evaluate` printed, and what they left."""

    folder: Path
    device: str
    judged: str
    table: str
    evaluation: Evaluation

    @property
    def of(self) -> tuple[object, ...]:
        """Options that name the manifest."""
        return "--device", self.device, "--manifests", self.folder / "manifests"

    @property
    def at(self) -> tuple[object, ...]:
        """Options that name the manifest, the store and the processor."""
        return *self.of, *_at(self.folder)

    @property
    def run(self) -> Path:
        """The folder of the network."""
        return self.folder / "runs" / self.device / "fast"

    @property
    def manifest(self) -> Manifest:
        return manifests.load(self.folder / "manifests" / self.device)

    def pairs(self, split: str) -> list[Pair]:
        return [pair for pair in self.manifest.pairs if pair.split == split]

    def score(self, pair: Pair, picture: str) -> Score:
        return next(row for row in self.evaluation.scores if (row.pair_id, row.picture) == (pair.pair_id, picture))


def travel(folder: Path, device: str, recipe: str, size: tuple[int, int], tests: int) -> Road:
    """Go the whole road with a camera: two scenes to train on, one to validate on and some to test on."""
    (folder / "fast.toml").write_text(recipe)
    of = ("--device", device, "--manifests", folder / "manifests")
    at = (*of, *_at(folder))
    shots = ("--device", device, "--scenes", 3 + tests, "--size", "x".join(map(str, size)))
    run("simulate", folder / "raws", *shots)
    run("ingest", folder / "raws", *of, "--jobs", 1)
    run("split", *of, "--train", 2, "--val", 1, "--test", tests)
    judged = run("validate", *of).stdout
    run("finetune", *at, "--recipe", folder / "fast.toml", "--runs", folder / "runs")
    network = folder / "runs" / device / "fast"
    table = run("evaluate", *at, "--checkpoint", network).stdout
    (record,) = network.glob("evaluation*.json")
    return Road(folder, device, judged, table, Evaluation.model_validate_json(record.read_text()))


def _at(folder: Path) -> tuple[object, ...]:
    return "--store", folder / "store", "--jobs", 1, "--device-type", "cpu"
