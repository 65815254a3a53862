"""Evaluation: the numbers are those of the pictures, and none comes from a scene that the network has seen."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import small_session
import torch
from click.testing import CliRunner
from PIL import Image

from sidcurate import manifests, source
from sidcurate.cli import main
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Finding
from sidtrain import checkpoint, evaluate, metrics, patches, store
from sidtrain.checkpoint import Sidecar
from sidtrain.evaluate import Written
from sidtrain.recipe import Recipe
from sidtrain.scores import PICTURES, Evaluation
from sidtrain.store import StoreSettings
from sidtrain.unet import architecture_of, build

RECIPE = Recipe(width=2, levels=2, adjust_maximum_thr=0.0)
TEST_SCENES = ("00003", "00004", "00005", "00006", "00007")


def write_checkpoint(folder: Path, *, device: str = "phone", train=("00000", "00001"), val=("00002",)) -> Path:
    torch.manual_seed(0)
    sidecar = Sidecar(
        **checkpoint.input_of(RECIPE),
        recipe=RECIPE,
        device=device,
        manifest_sums={},
        scenes={"train": tuple(train), "val": tuple(val)},
        left_out={},
        tools=checkpoint.tools(),
        git_revision=None,
        initial_weights=checkpoint.SCRATCH,
        step=0,
        metrics={},
    )
    folder.mkdir(parents=True)
    checkpoint.save(folder, build(architecture_of(RECIPE)), sidecar)
    return folder


@dataclass(frozen=True)
class Session:
    folder: Path
    manifest: Manifest
    run: Path
    written: Written

    @property
    def store(self) -> Path:
        return self.folder / "store"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Two training scenes, one for validation and five to test on, two shorts each, and their evaluation."""
    folder = tmp_path_factory.mktemp("session")
    manifest = small_session.write_session(folder, ["train", "train", "val", *["test"] * 5], shorts=2)
    run = write_checkpoint(folder / "runs" / "phone" / "device")
    return Session(folder, manifest, run, evaluate.evaluate(manifest, run, folder / "store", jobs=1))


def test_every_short_of_every_test_scene_is_scored_beside_the_trivial_pictures(session: Session):
    scores = session.written.evaluation.scores
    expected = [(pair.pair_id, name) for pair in session.manifest.pairs if pair.split == "test" for name in PICTURES]
    assert [(score.pair_id, score.picture) for score in scores] == expected


def test_the_network_s_numbers_are_those_of_its_clipped_picture(session: Session):
    pair = next(pair for pair in session.manifest.pairs if pair.split == "test")
    captures = {capture.path: capture for capture in session.manifest.captures}
    root = source.raw_root(session.manifest.directory)
    (entry,) = store.build([pair], captures, root, session.store, StoreSettings(0.0), jobs=1)
    model, _ = checkpoint.load(session.run)
    with torch.no_grad():
        picture = model(torch.from_numpy(patches.frame_input(entry, RECIPE))[None])[0].permute(1, 2, 0).numpy()
    target = entry.target / np.float32(65535)
    score = session.written.evaluation.scores[0]
    squares = (picture.clip(0, 1).astype(np.float64) - target) ** 2
    assert score.psnr_db == pytest.approx(-10 * np.log10(squares.mean()), abs=1e-4)
    assert score.ssim == pytest.approx(metrics.ssim(picture, target, "gaussian"), abs=1e-9)


def test_a_scene_is_the_mean_of_its_shorts_and_the_mean_is_over_scenes(session: Session):
    evaluation = session.written.evaluation
    summary = next(summary for summary in evaluation.summaries if summary.picture == "gaussian")
    rows = [score for score in evaluation.scores if score.picture == "gaussian"]
    means = {scene: np.mean([row.psnr_db for row in rows if row.scene_id == scene]) for scene in TEST_SCENES}
    assert summary.psnr_db.by_scene == pytest.approx(means)
    assert (summary.psnr_db.n, summary.images) == (5, 10)
    assert summary.psnr_db.mean == pytest.approx(np.mean(list(means.values())))


def test_the_comparison_is_paired_by_scene_and_has_a_verdict(session: Session):
    evaluation = session.written.evaluation
    comparison = next(c for c in evaluation.comparisons if (c.against, c.metric) == ("mean-color", "psnr_db"))
    network, color = (
        next(s.psnr_db.by_scene for s in evaluation.summaries if s.picture == name)
        for name in ("network", "mean-color")
    )
    assert comparison.difference.by_scene == pytest.approx({scene: network[scene] - color[scene] for scene in network})
    assert comparison.verdict is not None
    assert "n = 5 scenes" in comparison.verdict


def test_scores_are_grouped_by_exposure_ratio(session: Session):
    ratios = [summary.exposure_ratio for summary in session.written.evaluation.summaries]
    assert ratios == [None] * 4 + [100.0] * 4


def test_the_trivial_pictures_learn_from_the_training_scenes(session: Session):
    training = [pair for pair in session.manifest.pairs if pair.split == "train"]
    captures = {capture.path: capture for capture in session.manifest.captures}
    root = source.raw_root(session.manifest.directory)
    entries = store.build(training, captures, root, session.store, StoreSettings(0.0), jobs=1)
    expected = np.mean([entries[0].target.mean((0, 1)), entries[2].target.mean((0, 1))], axis=0) / 65535
    assert session.written.evaluation.mean_color == pytest.approx(tuple(expected))


def test_the_record_is_plain_json_and_comes_back_the_same(session: Session):
    text = session.written.record.read_text()
    assert Evaluation.model_validate_json(text) == session.written.evaluation
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record["protocol"] == "device-srgb-float-v1"
    assert record["ssim_variant"] == "gaussian"
    assert record["manifest_sums"] == dict(session.manifest.sums)
    assert record["checkpoint"]["sha256"] == manifests.sha256_of(session.run / checkpoint.WEIGHTS)
    assert session.written.record == session.run / "evaluation.json"


def test_the_panel_is_a_picture_with_a_row_for_each_scene(session: Session):
    with Image.open(session.written.panel) as panel:
        assert panel.size[1] > 5 * 320
        assert np.asarray(panel).std() > 10


def test_a_training_scene_among_the_test_scenes_is_refused(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", train=("00000", "00004"))
    with pytest.raises(IntegrityError, match=r"SET302.*00004 \(train\)"):
        evaluate.evaluate(session.manifest, run, session.store, jobs=1)
    assert not (run / "evaluation.json").exists()


def test_a_scene_that_chose_the_checkpoint_is_no_test_scene(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", val=("00003",))
    with pytest.raises(IntegrityError, match=r"SET302.*00003 \(val\)"):
        evaluate.evaluate(session.manifest, run, session.store, jobs=1)


def test_the_validation_scenes_can_be_asked_for(session: Session, tmp_path: Path):
    written = evaluate.evaluate(session.manifest, session.run, session.store, tmp_path / "new", split="val", jobs=1)
    assert {score.scene_id for score in written.evaluation.scores} == {"00002"}
    assert written.record == tmp_path / "new" / "evaluation-val.json"
    assert {comparison.verdict for comparison in written.evaluation.comparisons} == {None}


def test_a_checkpoint_of_another_camera_is_zero_shot_and_says_so(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", device="canon90d", train=TEST_SCENES)  # scene names mean nothing there
    written = evaluate.evaluate(session.manifest, run, session.store, jobs=1)
    assert written.evaluation.checkpoint.zero_shot
    assert written.record == run / "evaluation-phone.json"


def test_a_checkpoint_of_another_packing_is_refused(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run")
    sidecar = run / "model.json"
    sidecar.write_text(sidecar.read_text().replace('"by-phase"', '"by-position"'))
    with pytest.raises(UsageError, match="its packing is 'by-position'"):
        evaluate.evaluate(session.manifest, run, session.store, jobs=1)


@pytest.mark.parametrize("missing", ["test", "train"])
def test_no_test_or_no_training_scene_is_refused(tmp_path: Path, missing: str):
    manifest = small_session.write_session(tmp_path, ["train" if missing == "test" else "test"] * 2)
    with pytest.raises(UsageError, match=f"no usable pair in its {missing} scenes"):
        evaluate.evaluate(manifest, write_checkpoint(tmp_path / "run", train=()), tmp_path / "store", jobs=1)


def test_a_pair_with_an_error_finding_is_left_out_and_named(tmp_path: Path):
    finding = Finding(
        device="phone",
        code="PAIR202",
        name="iso-mismatch",
        severity="error",
        subject_kind="pair",
        subject_id="00002_00",
        paths=(),
        message="ISO differs",
    )
    manifest = small_session.write_session(tmp_path, ["train", "test", "test"], findings=[finding])
    run = write_checkpoint(tmp_path / "run", train=("00000",), val=())
    written = evaluate.evaluate(manifest, run, tmp_path / "store", jobs=1)
    assert {score.pair_id for score in written.evaluation.scores} == {"00001_00"}
    assert written.evaluation.left_out == {"00002_00": ("PAIR202",)}


def run_command(session: Session, *arguments: str):
    where = ("--manifests", str(session.folder / "manifests"), "--store", str(session.store), "--jobs", "1")
    return CliRunner().invoke(main, ["evaluate", "--device", "phone", *where, *arguments])


def test_the_table_names_protocol_and_variant_and_gives_the_verdicts(session: Session, tmp_path: Path):
    result = run_command(session, "--checkpoint", str(session.run), "--out", str(tmp_path))
    assert result.exit_code == 0
    assert "device-srgb-float-v1, SSIM gaussian" in result.stdout
    for comparison in session.written.evaluation.comparisons:
        if comparison.metric == "psnr_db":
            assert comparison.verdict is not None
            assert comparison.verdict in result.stdout
    assert str(tmp_path / "evaluation.json") in result.stderr


def test_csv_has_a_row_a_picture_and_json_is_the_record(session: Session, tmp_path: Path):
    arguments = ("--checkpoint", str(session.run), "--out", str(tmp_path), "--ssim", "uniform7")
    as_csv = run_command(session, *arguments, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert [row["picture"] for row in rows[:4]] == list(PICTURES)
    assert len(rows) == 40
    as_json = run_command(session, *arguments, "--format", "json")
    assert Evaluation.model_validate_json(as_json.stdout).ssim_variant == "uniform7"
    assert as_json.stdout == (tmp_path / "evaluation.json").read_text()


def test_a_leak_exits_as_an_integrity_error(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", train=("00003",))
    result = run_command(session, "--checkpoint", str(run))
    assert (result.exit_code, result.stdout) == (5, "")
    assert "SET302" in result.stderr


def test_without_torch_it_says_what_to_install():
    program = "import sys; sys.modules['torch'] = None; from sidcurate.cli import main; main()"
    command = [sys.executable, "-c", program, "evaluate", "--device", "phone", "--checkpoint", "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "pip install 'sidcurate[train]'" in done.stderr
    assert "Traceback" not in done.stderr
