"""Evaluation: the numbers are those of the pictures, and none comes from a scene that the network has seen."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
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
from sidtrain.data import patches, store
from sidtrain.data.store import StoreSettings
from sidtrain.evaluation import evaluate, metrics, networks, panels
from sidtrain.evaluation.baselines import TRIVIAL
from sidtrain.evaluation.evaluate import Written
from sidtrain.evaluation.scores import NETWORK, Evaluation
from sidtrain.normalization import Zero
from sidtrain.recipe import Recipe
from sidtrain.weights import checkpoint, history
from sidtrain.weights.checkpoint import Sidecar
from sidtrain.weights.lineage import Ancestor
from sidtrain.weights.unet import architecture_of, build

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
PICTURES = (NETWORK, *TRIVIAL)
RECIPE = Recipe(width=2, resolutions=2, adjust_maximum_thr=0.0)
TEST_SCENES = ("00003", "00004", "00005", "00006", "00007")


def write_checkpoint(
    folder: Path,
    *,
    device: str = "phone",
    train=("00000", "00001"),
    val=("00002",),
    seed: int = 0,
    initial_weights: str = checkpoint.SCRATCH,
    ancestors: tuple[Ancestor, ...] | None = (),
    recipe: Recipe = RECIPE,
    zeros: tuple[Zero, ...] = (),
) -> Path:
    torch.manual_seed(seed)
    sidecar = Sidecar(
        **checkpoint.input_of(recipe),
        recipe=recipe,
        zeros=zeros,
        device=device,
        manifest_sums={},
        scenes={"train": tuple(train), "val": tuple(val)},
        left_out={},
        tools=checkpoint.tools(),
        git_revision=None,
        initial_weights=initial_weights,
        ancestors=ancestors,
        step=0,
        metrics={},
    )
    folder.mkdir(parents=True)
    checkpoint.save(folder, build(architecture_of(recipe)), sidecar)
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
    return Session(folder, manifest, run, evaluate.evaluate(manifest, {NETWORK: run}, folder / "store", jobs=1))


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


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_the_numbers_are_those_of_the_cpu_wherever_the_network_runs(session: Session, device: str):
    evaluation, _ = evaluate.judge(
        session.manifest, {NETWORK: session.run}, session.store, device=torch.device(device), jobs=1
    )
    expected = [score.psnr_db for score in session.written.evaluation.scores]
    assert [score.psnr_db for score in evaluation.scores] == pytest.approx(expected, abs=1e-3)


def test_the_networks_run_where_they_are_told_to(session: Session):
    with pytest.raises(NotImplementedError, match="meta"):  # whose tensors have no values
        evaluate.judge(session.manifest, {NETWORK: session.run}, session.store, device=torch.device("meta"), jobs=1)
    kind = "mps" if torch.cuda.is_available() else "cuda"
    result = run_command(session, "--checkpoint", str(session.run), "--device-type", kind)
    assert (result.exit_code, result.stdout) == (4, "")
    assert f"no {kind} device for torch here: give --device-type auto or cpu" in result.stderr


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


def test_shorts_that_teach_the_trivial_pictures_nothing_are_not_decoded(tmp_path: Path):
    manifest = small_session.write_session(tmp_path, ("train", "train", "test"), shorts=13)
    run = write_checkpoint(tmp_path / "run", val=())
    evaluate.evaluate(manifest, {NETWORK: run}, tmp_path / "store", jobs=1)
    assert len(list((tmp_path / "store").glob("*.planes.npy"))) == 24 + 13


def test_the_record_is_plain_json_and_comes_back_the_same(session: Session):
    text = session.written.record.read_text()
    assert Evaluation.model_validate_json(text) == session.written.evaluation
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record["protocol"] == "device-srgb-float-v1"
    assert record["ssim_variant"] == "gaussian"
    numbers = [*record["scores"], *record["summaries"], *record["comparisons"]]
    assert {row["protocol"] for row in numbers} == {"device-srgb-float-v1"}
    assert record["manifest_sums"] == dict(session.manifest.sums)
    assert record["networks"][0]["sha256"] == manifests.sha256_of(session.run / history.WEIGHTS)
    assert session.written.record == session.run / "evaluation.json"


def test_the_panel_is_a_picture_with_a_row_for_each_scene(session: Session):
    with Image.open(session.written.panel) as panel:
        assert panel.size[1] > 5 * 320
        assert np.asarray(panel).std() > 10


def test_no_label_of_the_panel_runs_into_the_next():
    gray = np.full((40, 40, 3), 0.5, np.float32)
    names = [f"{letter * 60}-{letter * 60}" for letter in "ab"]
    row = panels.Row("scene", {name: panels.cell(name, gray, f"{name}  20.00 dB") for name in names})
    with Image.open(io.BytesIO(panels.png("t" * 300, "note", [row]))) as panel:
        pixels = np.asarray(panel)
    assert (pixels[88:, 328:336] == pixels[0, 0]).all(), "the gap between the two"
    assert (pixels[:, -8:] == pixels[0, 0]).all(), "the right margin"
    assert panels.fitted("short", 5, len) == "short"
    assert panels.fitted("any", 0, len) == "..."


def test_a_training_scene_among_the_test_scenes_is_refused(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", train=("00000", "00004"))
    with pytest.raises(IntegrityError, match=r"SET302.*00004 \(train\)"):
        evaluate.evaluate(session.manifest, {NETWORK: run}, session.store, jobs=1)
    assert not (run / "evaluation.json").exists()


def test_a_scene_that_chose_the_checkpoint_is_no_test_scene(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", val=("00003",))
    with pytest.raises(IntegrityError, match=r"SET302.*00003 \(val\)"):
        evaluate.evaluate(session.manifest, {NETWORK: run}, session.store, jobs=1)


def ancestor(name: str, device: str | None, **scenes: tuple[str, ...]) -> Ancestor:
    return Ancestor(name=name, sha256="0" * 64, device=device, scenes=scenes or None)


@pytest.mark.parametrize("device", ["phone", "sony"])
def test_a_scene_that_an_ancestor_has_seen_is_refused_with_the_ancestor(session: Session, tmp_path: Path, device: str):
    """Two trainings back, and even where the last one was for another camera."""
    ancestors = (ancestor("runs/first", "sony", train=("00003",)), ancestor("runs/old", "phone", val=("00004",)))
    run = write_checkpoint(tmp_path / "run", device=device, initial_weights="runs/first", ancestors=ancestors)
    with pytest.raises(IntegrityError, match=r"SET302.*test scenes: 00004 \(val of runs/old\); a number"):
        evaluate.evaluate(session.manifest, {NETWORK: run}, session.store, jobs=1)


def origin(folder: Path, device: str, ancestors: tuple[Ancestor, ...] | None) -> tuple[str, bool]:
    run = write_checkpoint(folder / "run", device=device, initial_weights="runs/first", ancestors=ancestors)
    network = networks.Network("it", run, *checkpoint.load(run))
    return network.origin("phone"), network.is_unseen_by("phone")


@pytest.mark.parametrize(
    ("device", "ancestors", "expected"),
    [
        ("phone", (ancestor("runs/first", "phone", train=("00000",)),), ("fine-tuned", True)),
        ("phone", (ancestor("runs/first", "sony"),), ("fine-tuned", True)),
        ("phone", (ancestor("runs/first", None),), ("fine-tuned", False)),
        ("phone", None, ("fine-tuned", False)),
        ("sony", (ancestor("runs/first", "sony"),), ("zero-shot", True)),
        ("sony", (ancestor("runs/first", "phone", train=("00000",)),), ("fine-tuned", True)),
        ("sony", (ancestor("runs/first", "phone"),), ("fine-tuned", False)),
    ],
)
def test_what_a_network_is_and_has_seen_depends_on_all_that_it_started_from(
    tmp_path: Path, device: str, ancestors: tuple[Ancestor, ...] | None, expected: tuple[str, bool]
):
    assert origin(tmp_path, device, ancestors) == expected


def test_the_validation_scenes_can_be_asked_for(session: Session, tmp_path: Path):
    written = evaluate.evaluate(
        session.manifest, {NETWORK: session.run}, session.store, tmp_path / "new", split="val", jobs=1
    )
    assert {score.scene_id for score in written.evaluation.scores} == {"00002"}
    assert written.record == tmp_path / "new" / "evaluation-val.json"
    assert {comparison.verdict for comparison in written.evaluation.comparisons} == {None}


def test_a_record_of_other_scenes_is_not_replaced_in_silence(session: Session, tmp_path: Path):
    arguments = ["evaluate", "--device", session.manifest.device, "--split", "val", "--jobs", "1"]
    arguments += ["--device-type", "cpu"]
    arguments += ["--manifests", str(session.manifest.directory.parent), "--store", str(session.store)]
    arguments += ["--checkpoint", str(session.run), "--out", str(tmp_path)]
    first = CliRunner().invoke(main, arguments, catch_exceptions=False)
    record = tmp_path / "evaluation-val.json"
    record.write_text(
        record.read_text()
        .replace('"scene_id":"', '"scene_id":"of-before-')
        .replace('"scene_id": "', '"scene_id": "of-before-')
    )
    second = CliRunner().invoke(main, arguments, catch_exceptions=False)
    third = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert "not the same ones" in second.stderr
    assert "not the same ones" not in first.stderr + third.stderr


def test_a_checkpoint_of_another_camera_is_zero_shot_and_says_so(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", device="canon90d", train=TEST_SCENES)  # scene names mean nothing there
    written = evaluate.evaluate(session.manifest, {NETWORK: run}, session.store, jobs=1)
    assert written.evaluation.networks[0].origin == "zero-shot"
    assert written.record == run / "evaluation-phone.json"


@pytest.fixture(scope="module")
def compared(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A fine-tuned network, one from scratch and one of another camera, in one evaluation."""
    folder = tmp_path_factory.mktemp("compared")
    checkpoints = {
        "tuned": write_checkpoint(folder / "a", initial_weights="runs/sony/sid"),
        "scratch": write_checkpoint(folder / "b", seed=1),
        "sony": write_checkpoint(folder / "c", seed=2, device="sony", train=TEST_SCENES),
    }
    return evaluate.evaluate(session.manifest, checkpoints, session.store, folder / "out", jobs=1)


def test_several_checkpoints_stand_in_one_record_with_what_they_are(compared: Written):
    evaluation = compared.evaluation
    assert {used.name: used.origin for used in evaluation.networks} == {
        "tuned": "fine-tuned",
        "scratch": "from scratch",
        "sony": "zero-shot",
    }
    names = ["tuned", "scratch", "sony", *TRIVIAL]
    assert [score.picture for score in evaluation.scores] == names * 10
    assert [summary.picture for summary in evaluation.summaries] == names * 2
    pairs = {(row.picture, row.against) for row in evaluation.comparisons}
    assert pairs >= {("tuned", "scratch"), ("tuned", "sony"), ("scratch", "sony"), ("sony", "gaussian")}
    assert compared.record.name == "comparison-tuned-scratch-sony-phone.json"


def test_each_network_of_a_comparison_has_the_figures_that_it_has_alone(session: Session, compared: Written):
    alone = session.written.evaluation
    for name in ("psnr_db", "psnr_aligned_db", "ssim"):
        assert [getattr(row, name) for row in compared.evaluation.scores if row.picture == "tuned"] == [
            getattr(row, name) for row in alone.scores if row.picture == NETWORK
        ]


def test_the_worst_scenes_are_named_and_shown_first(session: Session):
    evaluation = session.written.evaluation
    means = evaluation.summaries[0].psnr_db.by_scene
    assert list(evaluation.worst_scenes) == sorted(means, key=means.__getitem__)[:3]
    scenes = [f"s{number}" for number in range(12)]
    assert panels.chosen(scenes) == dict.fromkeys(scenes[:3], "worst") | dict.fromkeys(["s7", "s8"], "typical")
    assert panels.chosen(scenes[:4]) == dict.fromkeys(scenes[:3], "worst") | {"s3": "typical"}
    assert panels.chosen(scenes[:2]) == dict.fromkeys(scenes[:2], "worst")


def test_a_scene_that_one_of_them_was_trained_on_is_refused(session: Session, tmp_path: Path):
    checkpoints = {"clean": session.run, "leaky": write_checkpoint(tmp_path / "run", train=("00004",))}
    with pytest.raises(IntegrityError, match=r"SET302.*00004 \(train\)"):
        evaluate.evaluate(session.manifest, checkpoints, session.store, jobs=1)


def test_checkpoints_of_two_renderings_are_judged_only_where_the_protocol_fixes_it(session: Session, tmp_path: Path):
    libraw = RECIPE.model_copy(update={"adjust_maximum_thr": 0.75})
    checkpoints = {"off": session.run, "libraw": write_checkpoint(tmp_path / "run", recipe=libraw)}
    with pytest.raises(UsageError, match=r"adjust_maximum_thr \(off 0.0, libraw 0.75\).*sid-paper"):
        evaluate.evaluate(session.manifest, checkpoints, session.store, tmp_path, jobs=1)
    written = evaluate.evaluate(session.manifest, checkpoints, session.store, tmp_path, protocol="sid-paper", jobs=1)
    assert written.evaluation.adjust_maximum_thr == 0.75
    first, *_ = written.evaluation.scores
    same = next(row for row in written.evaluation.scores if row.picture == "libraw")
    assert (first.psnr_db, first.ssim) == (same.psnr_db, same.ssim)  # one network, one target


MEASURED = RECIPE.model_copy(update={"levels": "measured"})
ZERO = Zero(camera_model="Synthetic", cfa="BGGR", iso=800, zero_error_dn=(3.0, 2.5, 2.0, 3.5), pairs=4)


def figures(written: Written, name: str) -> list[tuple[float, float | None, float]]:
    rows = [score for score in written.evaluation.scores if score.picture == name]
    return [(row.psnr_db, row.psnr_aligned_db, row.ssim) for row in rows]


def test_checkpoints_of_other_levels_stand_in_one_table_each_with_its_own_input(session: Session, tmp_path: Path):
    override = RECIPE.model_copy(update={"levels": "override", "black_override": 70.0})
    checkpoints = {
        "declared": session.run,
        "device": write_checkpoint(tmp_path / "device", recipe=MEASURED, zeros=(ZERO,)),
        "override": write_checkpoint(tmp_path / "override", recipe=override),
        "unknown": write_checkpoint(tmp_path / "unknown", recipe=MEASURED),
    }
    written = evaluate.evaluate(session.manifest, checkpoints, session.store, tmp_path, jobs=1)
    assert {used.name: used.levels for used in written.evaluation.networks} == {
        "declared": {"declared": 10},
        "device": {"device": 10},
        "override": {"override": 10},
        "unknown": {"declared": 10},
    }
    for name, path in checkpoints.items():
        alone = evaluate.evaluate(session.manifest, {name: path}, session.store, tmp_path / name, jobs=1)
        assert figures(written, name) == figures(alone, name)
    assert figures(written, "declared") == figures(written, "unknown") != figures(written, "device")


def test_the_zero_that_a_judged_pair_tells_of_itself_is_not_used(session: Session, tmp_path: Path):
    """It is measured with the long frame, which nobody has beside a single short one."""
    run = write_checkpoint(tmp_path / "run", recipe=MEASURED, zeros=(ZERO,))
    splits = [pair.split for pair in session.manifest.pairs if pair.burst_index == 0 and pair.split]
    told = small_session.write_session(tmp_path, splits, shorts=2, zeros=[(40.0,) * 4] * len(splits))
    one, other = (
        evaluate.evaluate(manifest, {NETWORK: run}, session.store, tmp_path / "out", jobs=1)
        for manifest in (session.manifest, told)
    )
    assert [score.psnr_db for score in other.evaluation.scores] == [score.psnr_db for score in one.evaluation.scores]


def test_the_trivial_pictures_have_the_black_of_the_first_network_s_input(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", recipe=MEASURED, zeros=(ZERO,))
    written = evaluate.evaluate(session.manifest, {NETWORK: run}, session.store, jobs=1)
    assert figures(written, "mean-color") == figures(session.written, "mean-color")
    assert figures(written, "amplified") != figures(session.written, "amplified")


def test_another_packing_is_compared_where_it_shows_the_same_target(tmp_path: Path):
    """Of an RGGB mosaic both take all; of another phase one of them crops a line, and the targets differ."""
    position = write_checkpoint(tmp_path / "p", recipe=RECIPE.model_copy(update={"packing": "by-position"}))
    checkpoints = {"phase": write_checkpoint(tmp_path / "q"), "position": position}
    for letters in ("RGGB", "BGGR"):
        folder = tmp_path / letters
        manifest = small_session.write_session(folder, ["train", "train", "val", "test"], cfa=letters)
        judged = partial(evaluate.evaluate, manifest, checkpoints, folder / "store", folder, jobs=1)
        if letters == "RGGB":
            written = judged()
            assert figures(written, "phase") == figures(written, "position")
        else:
            with pytest.raises(UsageError, match=r"packing \(phase by-phase, position by-position\)"):
                judged()


def test_a_protocol_of_first_frames_leaves_the_others_out_and_names_them(session: Session, tmp_path: Path):
    written = evaluate.evaluate(
        session.manifest, {NETWORK: session.run}, session.store, tmp_path, protocol="sid-00", jobs=1
    )
    evaluation = written.evaluation
    assert (evaluation.ssim_variant, evaluation.summaries[0].images) == ("matlab", 5)
    assert evaluation.outside_protocol == tuple(f"{scene}_01" for scene in TEST_SCENES)
    assert "The first short of each burst" in evaluation.definition
    assert written.record.name == "evaluation-sid-00.json"


def test_a_name_of_a_trivial_picture_is_refused(session: Session):
    with pytest.raises(UsageError, match="'gaussian' is the name of another picture"):
        evaluate.evaluate(session.manifest, {"gaussian": session.run}, session.store, jobs=1)


def test_a_checkpoint_of_another_packing_is_refused(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run")
    sidecar = run / "model.json"
    sidecar.write_text(sidecar.read_text().replace('"by-phase"', '"by-position"', 1))
    with pytest.raises(UsageError, match="its packing is 'by-position'"):
        evaluate.evaluate(session.manifest, {NETWORK: run}, session.store, jobs=1)


@pytest.mark.parametrize("missing", ["test", "train"])
def test_no_test_or_no_training_scene_is_refused(tmp_path: Path, missing: str):
    manifest = small_session.write_session(tmp_path, ["train" if missing == "test" else "test"] * 2)
    with pytest.raises(UsageError, match=f"no usable pair in its {missing} scenes"):
        evaluate.evaluate(manifest, {NETWORK: write_checkpoint(tmp_path / "run", train=())}, tmp_path / "store", jobs=1)


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
    written = evaluate.evaluate(manifest, {NETWORK: run}, tmp_path / "store", jobs=1)
    assert {score.pair_id for score in written.evaluation.scores} == {"00001_00"}
    assert written.evaluation.left_out == {"00002_00": ("PAIR202",)}


def run_command(session: Session, *arguments: str):
    where = ("--manifests", str(session.folder / "manifests"), "--store", str(session.store))
    where += ("--jobs", "1", "--device-type", "cpu")
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


def whole_names(text: str, width: int) -> bool:
    """Say whether every name of a picture stands whole in a table of so many columns."""
    table = text.split("PSNR / dB by scene")[0].splitlines()
    names = [line.split()[1] for line in table if line.startswith(("all", "100"))]
    return names == [*PICTURES] * 2 and max(map(len, table)) <= width


def test_a_table_of_80_columns_has_the_names_whole(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    arguments = ("--checkpoint", str(session.run), "--out", str(tmp_path))
    assert whole_names(run_command(session, *arguments).stdout, 80)
    monkeypatch.setenv("FORCE_COLOR", "1")  # for rich, a terminal
    monkeypatch.setenv("COLUMNS", "80")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", run_command(session, *arguments).stdout)
    assert whole_names(shown, 80)


def test_a_long_name_stands_whole_in_a_file_and_is_folded_by_a_terminal(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = "from-sid-sony-on-six-pairs-of-this-camera"
    arguments = ("--checkpoint", f"{name}={session.run}", "--out", str(tmp_path))
    lines = run_command(session, *arguments).stdout.splitlines()
    assert [line.split()[0] for line in lines if f" {name} " in line] == ["all", "100", "scene", "the"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", run_command(session, *arguments).stdout).split("PSNR / dB by scene")[0]
    assert max(map(len, shown.splitlines())) <= 80
    folded = "".join(line[7:].split(" ")[0] for line in shown.splitlines()[3:] if line[:3] in ("all", "   "))
    assert folded.startswith(name)


def test_the_sentence_of_a_network_says_where_its_black_comes_from(session: Session, tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", recipe=MEASURED, zeros=(ZERO,))
    result = run_command(session, "--checkpoint", str(run))
    sentence = "Black: as declared, plus its training pairs' zero error in 10 of 10 frames."
    assert f"network: from scratch, 0 steps. {sentence}\n" in result.stdout


def test_csv_has_a_row_a_picture_and_json_is_the_record(session: Session, tmp_path: Path):
    arguments = ("--checkpoint", str(session.run), "--out", str(tmp_path), "--ssim", "uniform7")
    as_csv = run_command(session, *arguments, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert [row["picture"] for row in rows[:4]] == list(PICTURES)
    assert len(rows) == 40
    as_json = run_command(session, *arguments, "--format", "json")
    assert Evaluation.model_validate_json(as_json.stdout).ssim_variant == "uniform7"
    assert {row["ssim_variant"] for row in rows} == {"uniform7"}
    assert as_json.stdout == (tmp_path / "evaluation-uniform7.json").read_text()


def test_the_command_names_several_checkpoints_by_their_folders_or_as_told(session: Session, tmp_path: Path):
    other = write_checkpoint(tmp_path / "[night]", seed=3)
    named = ("--checkpoint", f"old={session.run}", "--checkpoint", str(other), "--out", str(tmp_path))
    result = run_command(session, *named)
    assert result.exit_code == 0, result.stderr
    assert "old against [night]: " in result.stdout
    assert "[night]: from scratch, 0 steps." in result.stdout
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("all")][:2] == ["old", "[night]"]
    scene_table = result.stdout.split("PSNR / dB by scene", 1)[1]
    worst = json.loads((tmp_path / "comparison-old-[night].json").read_text())["worst_scenes"]
    assert [line.split()[0] for line in scene_table.splitlines() if line[:5] in TEST_SCENES][:3] == worst
    assert max(map(len, result.stdout.splitlines()[:12])) <= 80


def test_two_checkpoints_of_one_name_are_refused(session: Session):
    result = run_command(session, "--checkpoint", str(session.run), "--checkpoint", str(session.run))
    assert result.exit_code == 2
    assert "two checkpoints are named 'device'; name them, such as --checkpoint scratch=" in result.stderr


def test_names_that_fill_no_name_of_a_file_are_cut_there_and_nowhere_else(session: Session, tmp_path: Path):
    names = [f"{letter * 90}" for letter in "abc"]
    for last in names[2], f"{names[2]}-other":
        told = [*names[:2], last]
        options = [word for name in told for word in ("--checkpoint", f"{name}={session.run}")]
        result = run_command(session, *options, "--out", str(tmp_path), "--split", "val", "--format", "csv")
        assert result.exit_code == 0, result.stderr
        assert {row["picture"] for row in csv.DictReader(io.StringIO(result.stdout))} >= set(told)
    assert len(list(tmp_path.glob("comparison-*.json"))) == 2


def test_a_place_for_the_record_is_looked_for_first(session: Session, tmp_path: Path):
    (tmp_path / "file").touch()
    arguments = ("--checkpoint", str(session.run), "--out", str(tmp_path / "file" / "in"))
    result = run_command(session, *arguments, "--store", str(tmp_path / "store"))
    assert (result.exit_code, result.stdout) == (4, "")
    assert "in takes no file (Not a directory)" in result.stderr
    assert not (tmp_path / "store").exists()


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
