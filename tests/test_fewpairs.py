"""The few-pair curve, end to end on a small session: nested, resumable, judged alike, with its controls."""

from pathlib import Path

import pytest
import small_session
from click.testing import CliRunner, Result

from sidcurate import manifests
from sidcurate.cli import main
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Capture, Finding
from sidtrain.recipe import Recipe
from sidtrain.study import fewpairs
from sidtrain.study.curve import Curve
from sidtrain.weights import checkpoint, history

RECIPE = """
width = 2
resolutions = 2
patch = 8
unit = "steps"
duration = 4
schedule = [[0, 1e-3]]
validate_every = 2
offset_draw = "inclusive"
device_type = "cpu"
"""


SPLITS = (*["train"] * 4, "val", "test", "test")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four training scenes, one to validate on and two to test on."""
    folder = tmp_path_factory.mktemp("session")
    small_session.write_session(folder, SPLITS)
    (folder / "tiny.toml").write_text(RECIPE)
    return folder


def manifest(session: Path) -> Manifest:
    return manifests.load(session / "manifests" / "phone")


def finetune(session: Path, runs: Path, *more: object) -> Result:
    words = ("finetune", "--device", "phone", "--recipe", session / "tiny.toml", "--runs", runs)
    words += ("--store", session / "store", "--manifests", session / "manifests", "--jobs", 1)
    return CliRunner().invoke(main, [str(word) for word in (*words, *more)], catch_exceptions=False)


def curve(runs: Path) -> Curve:
    return Curve.model_validate_json((runs / "phone/tiny-pairs/curve.json").read_bytes())


def test_the_curve_has_a_dot_for_each_training_and_its_controls(session: Path, tmp_path: Path) -> None:
    assert finetune(session, tmp_path, "--name", "start").exit_code == 0
    init = tmp_path / "phone/start"
    result = finetune(session, tmp_path, "--pairs", "1,2", "--repeat", 2, "--init", init)
    assert result.exit_code == 0
    assert "zero-shot, before any training: " in result.stdout
    assert (tmp_path / "phone/tiny-pairs/curve.png").read_bytes().startswith(b"\x89PNG")
    drawn = curve(tmp_path)
    kinds = {(dot.start, dot.pairs, dot.repeat) for dot in drawn.dots}
    assert kinds == {
        (start, pairs, repeat) for start in ("fine-tuned", "scratch") for pairs in (1, 2) for repeat in (0, 1)
    }
    assert all(dot.step == 4 for dot in drawn.dots), "equal steps"
    assert all(set(dot.psnr_db) == {"00005", "00006"} for dot in drawn.dots), "the same test scenes"
    chosen = {(dot.pairs, dot.repeat, dot.start): dot.pair_ids for dot in drawn.dots}
    for repeat in (0, 1):
        assert chosen[1, repeat, "scratch"] == chosen[2, repeat, "scratch"][:1]
        assert chosen[2, repeat, "scratch"] == chosen[2, repeat, "fine-tuned"]
    first, second = (checkpoint.load(tmp_path / f"phone/tiny-pairs/scratch-001-{repeat}")[1] for repeat in (0, 1))
    assert (first.recipe.seed, second.recipe.seed) == (0, 1)


def test_the_zero_shot_network_is_the_checkpoint_that_the_fine_tuned_ones_started_from(
    session: Path, tmp_path: Path
) -> None:
    assert finetune(session, tmp_path, "--name", "start").exit_code == 0
    init = tmp_path / "phone/start"
    assert finetune(session, tmp_path, "--pairs", "1", "--repeat", 1, "--init", init).exit_code == 0
    _, before = checkpoint.load(init)
    _, control = checkpoint.load(tmp_path / "phone/tiny-pairs/zero-shot")
    _, tuned = checkpoint.load(tmp_path / "phone/tiny-pairs/fine-tuned-001-0")
    assert before.sha256 == control.sha256 == tuned.initial_sha256


def test_the_same_command_goes_on_and_gives_the_same_curve(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the record names its runs as they were given
    assert finetune(session, Path("whole"), "--pairs", "1,2", "--repeat", 1).exit_code == 0
    trainings = fewpairs.plan(manifest(session), fewpairs_recipe(session), (1, 2), 1)
    folder = Path("parts/phone/tiny-pairs")
    done, _ = next(fewpairs.train(trainings, manifest(session), folder, session / "store", jobs=1))
    assert done.name == "scratch-001-0"
    weights = history.weights_path(folder / done.name).stat().st_mtime_ns
    assert finetune(session, Path("parts"), "--pairs", "1,2", "--repeat", 1).exit_code == 0
    assert history.weights_path(folder / done.name).stat().st_mtime_ns == weights, "it was not trained again"
    assert [dot.psnr_db for dot in curve(Path("parts")).dots] == [dot.psnr_db for dot in curve(Path("whole")).dots]


def fewpairs_recipe(session: Path) -> Recipe:
    from sidtrain import recipe

    return recipe.load(session / "tiny.toml")


def test_what_cannot_be_drawn_is_said_before_anything_is_trained(session: Path, tmp_path: Path) -> None:
    for words, said in (
        (("--pairs", "2,9"), "a subset of 9 pairs cannot be drawn from 4 usable training pairs"),
        (("--pairs", "2", "--resume"), "leave out --resume"),
        (("--pairs", "two"), "is no list of counts"),
    ):
        result = finetune(session, tmp_path, *words)
        assert result.exit_code == 2
        assert said in result.stderr
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="counts in epochs"):
        fewpairs.plan(manifest(session), Recipe(), (1,), 1)


def test_what_cannot_be_judged_is_said_before_anything_is_trained(session: Path, tmp_path: Path) -> None:
    untested = small_session.write_session(tmp_path, ("train", "train", "val"))
    with pytest.raises(UsageError, match="no usable pair in its test scenes"):
        fewpairs.plan(untested, fewpairs_recipe(session), (1,), 1)
    assert finetune(session, tmp_path, "--name", "start").exit_code == 0
    swapped = {"00000": "test", "00005": "train"}
    today = small_session.write_session(
        tmp_path / "today", [swapped.get(f"{i:05d}", split) for i, split in enumerate(SPLITS)]
    )
    with pytest.raises(IntegrityError, match=r"SET302.*00000 \(train\)"):
        fewpairs.plan(today, fewpairs_recipe(session), (1,), 1, tmp_path / "phone/start")


def test_a_training_begun_from_other_weights_is_none_of_the_curve(session: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "other")):
        (tmp_path / "tiny.toml").write_text(f"{RECIPE}seed = {seed}")
        assert finetune(session, tmp_path, "--recipe", tmp_path / "tiny.toml", "--name", name).exit_code == 0
    assert finetune(session, tmp_path, "--pairs", "1", "--repeat", 1, "--init", tmp_path / "phone/one").exit_code == 0
    result = finetune(session, tmp_path, "--pairs", "1,2", "--repeat", 1, "--init", tmp_path / "phone/other")
    assert result.exit_code == 2
    assert "fine-tuned-001-0 was begun from" in result.stderr
    assert "whose weights are not those of" in result.stderr


def shot_with(folder: Path, red: float) -> Manifest:
    """Write a session whose long frames all state one white balance."""
    directory = small_session.write_session(folder, SPLITS[2:]).directory
    captures = [
        frame.model_copy(update={"white_balance": (red, 1.0, 1.5)}) for frame in manifests.load(directory).captures
    ]
    manifests.save(directory, {Capture: captures})
    sums = {name: of_table for name, of_table in manifests.load(directory).sums.items() if name != "findings.parquet"}
    manifests.save(directory, {Finding: []}, judged={"sums": sums})
    return manifests.load(directory)


def test_the_zero_shot_network_is_judged_by_the_white_balance_of_today(session: Path, tmp_path: Path) -> None:
    """A checkpoint of the same camera, from when another one was the median of its frames."""
    recipe = fewpairs_recipe(session).model_copy(update={"white_balance": "fixed"})
    before, today = shot_with(tmp_path / "a", 2.0), shot_with(tmp_path / "b", 3.0)
    ((old, _),) = fewpairs.train(fewpairs.plan(before, recipe, (1,), 1), before, tmp_path / "old", tmp_path, jobs=1)
    trainings = fewpairs.plan(today, recipe, (1,), 1, tmp_path / "old" / old.name)
    assert len(list(fewpairs.train(trainings, today, tmp_path / "new", tmp_path, jobs=1))) == 2
    assert fewpairs.draw(trainings, today, tmp_path / "new", tmp_path, jobs=1).zero_shot is not None


def test_a_dry_run_names_the_trainings_and_writes_nothing(session: Path, tmp_path: Path) -> None:
    result = finetune(session, tmp_path, "--pairs", "1,2", "--repeat", 2, "--dry-run")
    assert result.stderr.count("would train") == 4
    assert not list(tmp_path.iterdir())


def test_what_a_person_should_know_of_the_pairs_is_said_once(session: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE + 'levels = "measured"\n')
    result = finetune(session, tmp_path, "--recipe", tmp_path / "tiny.toml", "--pairs", "1", "--repeat", 2)
    assert result.stderr.count("levels: declared for 2 pairs\n") == 1


def test_a_curve_of_networks_that_put_out_planes_is_of_their_protocol(session: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE + 'target = "raw"\n')
    result = finetune(session, tmp_path, "--recipe", tmp_path / "tiny.toml", "--pairs", "1")
    assert result.exit_code == 0, result.stderr
    assert curve(tmp_path).protocol == "raw"
