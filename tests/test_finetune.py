"""The training loop: it learns, it stops and goes on exactly, and it keeps what it should."""

import json
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_session
import torch
from click.testing import CliRunner, Result
from PIL import Image

from sidcurate import manifests
from sidcurate.cli import main
from sidcurate.cli.options import TRAIN_EXTRA
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Finding, Pair
from sidtrain.data import choice, patches, store
from sidtrain.data.store import StoreSettings
from sidtrain.evaluation import evaluate
from sidtrain.recipe import Recipe
from sidtrain.training import finetune
from sidtrain.weights import checkpoint

TINY = Recipe(
    width=2,
    resolutions=2,
    patch=8,
    batch=2,
    unit="steps",
    duration=6,
    schedule=((0, 1e-3), (4, 1e-4)),
    validate_every=3,
    offset_draw="inclusive",
    device_type="cpu",
)


def manifest(session: Path) -> Manifest:
    return manifests.load(session / "manifests" / "phone")


def train(session: Path, run: Path, recipe: Recipe = TINY, **changed: object) -> finetune.Result:
    pairs = choice.choose(manifest(session))
    return finetune.finetune(manifest(session), recipe, pairs, run, session / "store", jobs=1, **changed)  # type: ignore[arg-type]


def read_log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(run)[0].state_dict())


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_training_lowers_the_loss_and_raises_the_psnr(session: Path, tmp_path: Path) -> None:
    recipe = TINY.model_copy(update={"width": 8, "duration": 120, "schedule": ((0, 2e-3),), "validate_every": 120})
    train(session, tmp_path / "run", recipe)
    log = read_log(tmp_path / "run")
    before, after = (line["val_psnr_db"] for line in log if "val_psnr_db" in line)
    assert after > before + 5
    losses = [line["train_loss"] for line in log if "train_loss" in line]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])


def test_the_side_car_says_how_the_weights_came_about(session: Path, tmp_path: Path) -> None:
    result = train(session, tmp_path / "run")
    _, sidecar = checkpoint.load(tmp_path / "run")
    assert (sidecar.recipe, sidecar.step, sidecar.device) == (TINY, 6, "phone")
    assert sidecar.scenes == {"train": ("00000", "00001"), "val": ("00002",)}
    assert sidecar.manifest_sums == dict(manifest(session).sums)
    assert (sidecar.initial_weights, sidecar.initial_sha256) == ("scratch", None)
    ((protocol, measured),) = sidecar.metrics.items()
    assert measured == result.metrics
    assert "1 validation scene" in protocol


def test_measured_levels_are_a_pair_s_own_in_training_and_the_body_s_in_validation(tmp_path: Path) -> None:
    zeros = [(1.0, 1.0, 1.0, 1.0), (2.0, 2.0, 2.0, 4.0), (9.0, 9.0, 9.0, 9.0), (8.0, 8.0, 8.0, 8.0)]
    small_session.write_session(tmp_path, zeros=zeros)
    said: list[str] = []
    train(tmp_path, tmp_path / "run", TINY.model_copy(update={"levels": "measured"}), say=said.append)
    assert "levels: measured for 2 pairs, device for 1 pair" in said
    used = {row["pair_id"]: row for row in json.loads((tmp_path / "run" / "pairs.json").read_text())}
    assert used["00001_00"]["levels"] == "measured"
    assert used["00001_00"]["black_by_plane"] == [67 + 4, 66 + 2, 64 + 2, 65 + 2]  # R, G, B, G of a BGGR mosaic
    assert used["00002_00"]["levels"] == "device"
    assert used["00002_00"]["black_by_plane"] == [67 + 2.5, 66 + 1.5, 64 + 1.5, 65 + 1.5]
    zeros_told = {zero.iso: (zero.zero_error_dn, zero.pairs) for zero in checkpoint.load(tmp_path / "run")[1].zeros}
    assert zeros_told == dict.fromkeys((800, None), ((1.5, 1.5, 1.5, 2.5), 2))


def test_the_log_has_every_step_and_the_rate_of_the_schedule(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "run")
    steps = [line for line in read_log(tmp_path / "run") if "train_loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    assert [line["rate"] for line in steps] == [1e-3] * 4 + [1e-4] * 2


def test_a_picture_shows_short_output_and_target_side_by_side(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "run")
    names = sorted(path.name for path in (tmp_path / "run" / "pictures").iterdir())
    assert names == ["val-00002_00-0000003.png", "val-00002_00-0000006.png"]
    with Image.open(tmp_path / "run" / "pictures" / names[0]) as picture:
        assert picture.size == (3 * 64, 48)


LOSSES: dict[str, Callable[[np.ndarray], float]] = {
    "l1": lambda error: float(np.abs(error).mean()),
    "l2": lambda error: float((error**2).mean()),
    "l2_half_sum": lambda error: float(np.mean([(patch**2).sum() / 2 for patch in error])),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_the_one_of_the_recipe(session: Path, tmp_path: Path, loss: str) -> None:
    """Of the first step, whose weights and patches can be made again here."""
    recipe = TINY.model_copy(update={"loss": loss, "duration": 1})
    train(session, tmp_path / "run", recipe)
    logged = next(line["train_loss"] for line in read_log(tmp_path / "run") if "train_loss" in line)
    entries = store.build(
        [pair for pair in manifest(session).pairs if pair.split == "train"],
        {capture.path: capture for capture in manifest(session).captures},
        session / "raws",
        session / "store",
        StoreSettings(recipe.adjust_maximum_thr),
    )
    batch = [patches.cut(patches.by_scene(entries, recipe), recipe, 8, number).patch for number in (0, 1)]
    with torch.no_grad():
        output = finetune.initial_network(recipe, None)[0](torch.from_numpy(np.stack([patch.input for patch in batch])))
    error = output.numpy().astype(np.float64) - np.stack([patch.target for patch in batch])
    assert logged == pytest.approx(LOSSES[loss](error), rel=1e-5)


def test_patches_of_several_sides_are_trained_on_and_resumed_exactly(session: Path, tmp_path: Path) -> None:
    recipe = TINY.model_copy(update={"patch": (1, 3, 8)})

    def interrupt(done: finetune.Done) -> None:
        if done.step == 2:
            signal.raise_signal(signal.SIGINT)

    train(session, tmp_path / "whole", recipe)
    train(session, tmp_path / "parts", recipe, on_step=interrupt)
    train(session, tmp_path / "parts", recipe, resume=True)
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_the_same_recipe_gives_the_same_weights(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "one")
    train(session, tmp_path / "two")
    train(session, tmp_path / "other", TINY.model_copy(update={"seed": 1}))
    assert same(tmp_path / "one", tmp_path / "two")
    assert not same(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(session: Path, tmp_path: Path, stop: int) -> None:
    def interrupt(done: finetune.Done) -> None:
        if done.step == stop:
            signal.raise_signal(signal.SIGINT)

    train(session, tmp_path / "whole")
    stopped = train(session, tmp_path / "parts", on_step=interrupt)
    assert (stopped.step, stopped.steps) == (stop, 6)
    finished = train(session, tmp_path / "parts", resume=True)
    assert finished.step == 6
    assert same(tmp_path / "whole", tmp_path / "parts")
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_a_killed_run_goes_on_from_its_last_validation(session: Path, tmp_path: Path) -> None:
    """The callback dies without any clean-up of ours, two steps after the last saved state."""

    def die(done: finetune.Done) -> None:
        if done.step == 5:
            raise SystemExit(9)

    train(session, tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(session, tmp_path / "parts", on_step=die)
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 6, "tr')
    train(session, tmp_path / "parts", resume=True)
    assert same(tmp_path / "whole", tmp_path / "parts")
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_ctrl_c_is_python_s_own_again_after_the_training(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_best_on_validation_is_kept_when_the_recipe_says_so(session: Path, tmp_path: Path) -> None:
    """A rate that ruins the weights after step 3 must not ruin the checkpoint."""
    ruin = {"schedule": ((0, 1e-3), (3, 10.0)), "keep": "best"}
    train(session, tmp_path / "best", TINY.model_copy(update=ruin))
    assert checkpoint.load(tmp_path / "best")[1].step == 3
    train(session, tmp_path / "last", TINY.model_copy(update=ruin | {"keep": "last"}))
    assert checkpoint.load(tmp_path / "last")[1].step == 6


def test_without_a_validation_scene_the_last_weights_are_kept(tmp_path: Path) -> None:
    small_session.write_session(tmp_path, ["train", "test"])
    train(tmp_path, tmp_path / "run", TINY.model_copy(update={"keep": "best"}))
    sidecar = checkpoint.load(tmp_path / "run")[1]
    assert (sidecar.step, sidecar.metrics) == (6, {})


def test_test_scenes_are_never_decoded(tmp_path: Path) -> None:
    session = small_session.write_session(tmp_path)
    (tmp_path / "raws" / session.pairs[3].short_path).unlink()
    assert session.pairs[3].split == "test"
    train(tmp_path, tmp_path / "run")


def test_pairs_with_error_findings_are_left_out(tmp_path: Path) -> None:
    small_session.write_session(tmp_path, ["train", "train", "val"], findings=[finding("00001_00", "error")])
    train(tmp_path, tmp_path / "run")
    sidecar = checkpoint.load(tmp_path / "run")[1]
    assert sidecar.scenes["train"] == ("00000",)
    assert sidecar.left_out == {"00001_00": ("PAIR201",)}


def finding(pair_id: str, severity: str) -> Finding:
    return Finding(
        device="phone",
        code="PAIR201",
        name="exposure-ratio-outside-range",
        severity=severity,
        subject_kind="pair",
        subject_id=pair_id,
        paths=(),
        message="ratio",
    )


def test_starting_from_a_checkpoint_is_recorded(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "first")
    train(session, tmp_path / "second", init=tmp_path / "first")
    first, second = (checkpoint.load(tmp_path / name)[1] for name in ("first", "second"))
    assert (second.initial_weights, second.initial_sha256) == (str(tmp_path / "first"), first.sha256)
    zero_shot = read_log(tmp_path / "second")[0]
    assert zero_shot == {"step": 0, **next(iter(first.metrics.values()))}


def test_what_a_run_started_from_is_carried_on_over_a_stop_and_says_what_it_has_seen(tmp_path: Path) -> None:
    """A scene moves from the training to the test part between two runs: a third one's checkpoint still knows."""
    directory = small_session.write_session(tmp_path).directory
    train(tmp_path, tmp_path / "first")
    moved = {"00000": "test", "00003": "train"}
    before = manifest(tmp_path).pairs
    pairs = [pair.model_copy(update={"split": moved.get(pair.scene_id, pair.split)}) for pair in before]
    manifests.save(directory, {Pair: pairs})
    sums = {name: digest for name, digest in manifests.load(directory).sums.items() if name != "findings.parquet"}
    manifests.save(directory, {Finding: []}, judged={"sums": sums})
    said: list[str] = []
    train(tmp_path, tmp_path / "second", init=tmp_path / "first", say=said.append)
    seen = f"00000 (train of {tmp_path / 'first'})"
    assert [line for line in said if "SET302" in line] == [
        f"the initial weights were made with test scenes of today: {seen}; `sidcurate evaluate` will refuse to judge "
        "this run on them (SET302)"
    ]

    def stop(done: finetune.Done) -> None:
        if done.step == 2:
            signal.raise_signal(signal.SIGINT)

    train(tmp_path, tmp_path / "third", init=tmp_path / "second", on_step=stop)
    train(tmp_path, tmp_path / "third", resume=True)
    ancestors = checkpoint.load(tmp_path / "third")[1].ancestors
    assert ancestors is not None
    assert [Path(ancestor.name).name for ancestor in ancestors] == ["second", "first"]
    assert ancestors[1].scenes == {"train": ("00000", "00001"), "val": ("00002",)}
    with pytest.raises(IntegrityError, match=r"SET302.*00000 \(train of "):
        evaluate.evaluate(manifest(tmp_path), {"network": tmp_path / "third"}, tmp_path / "store", jobs=1)


def test_a_checkpoint_of_another_architecture_is_refused(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "first")
    with pytest.raises(UsageError, match=r"width=2.*width=3"):
        train(session, tmp_path / "second", TINY.model_copy(update={"width": 3}), init=tmp_path / "first")


def test_a_loss_that_is_not_finite_names_pair_and_checkpoint(session: Path, tmp_path: Path) -> None:
    recipe = TINY.model_copy(update={"schedule": ((0, 1e-3), (4, 1e38)), "duration": 60})
    with pytest.raises(UsageError, match=r"on 0000\d_00, 0000\d_00; the last good checkpoint is .*model.safetensors"):
        train(session, tmp_path / "run", recipe)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())


@pytest.mark.parametrize("splits", [["train", "train", "val"], ["train", "train"]])
def test_weights_that_are_ruined_in_the_step_before_a_validation_replace_no_good_ones(
    tmp_path: Path, splits: list[str]
) -> None:
    """Their loss was still a number; the next one would not be, but a last step has no next one."""
    small_session.write_session(tmp_path, splits)
    recipe = TINY.model_copy(update={"schedule": ((0, 1e-3), (3, 1e38)), "validate_every": 2, "duration": 4})
    said = r"the network's output is not finite after 4 steps; the last good checkpoint is .*; lower the learning rate"
    with pytest.raises(UsageError, match=said):
        train(tmp_path, tmp_path / "run", recipe)
    model, sidecar = checkpoint.load(tmp_path / "run")
    assert sidecar.step == 2
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert checkpoint.load_state(tmp_path / "run" / "state.pt")["position"][0] == 2


def test_an_existing_run_is_never_overwritten(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "run")
    with pytest.raises(UsageError, match=r"--resume.*--name"):
        train(session, tmp_path / "run")
    with pytest.raises(UsageError, match="nothing to resume"):
        train(session, tmp_path / "new", resume=True)


@pytest.mark.parametrize("change", [{"seed": 9}, {"duration": 7}])
def test_a_run_is_not_resumed_with_another_recipe(session: Path, tmp_path: Path, change: dict[str, int]) -> None:
    train(session, tmp_path / "run")
    with pytest.raises(UsageError, match="another recipe"):
        train(session, tmp_path / "run", TINY.model_copy(update=change), resume=True)


def test_another_recipe_is_refused_before_a_frame_is_decoded_for_it(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "run")
    frames = sorted((session / "store").iterdir())
    with pytest.raises(UsageError, match="another recipe"):
        train(session, tmp_path / "run", TINY.model_copy(update={"adjust_maximum_thr": 0.5}), resume=True)
    assert sorted((session / "store").iterdir()) == frames


def test_a_manifest_without_training_pairs_says_so(tmp_path: Path) -> None:
    small_session.write_session(tmp_path, ["val", "test"])
    with pytest.raises(UsageError, match=r"no usable training pair.*sidcurate split"):
        train(tmp_path, tmp_path / "run")


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    lines = TINY.model_dump(exclude_defaults=True)
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))
    return path


def command(session: Path, tmp_path: Path, *arguments: object) -> Result:
    options = ["--manifests", session / "manifests", "--runs", tmp_path / "runs", "--store", session / "store"]
    words = ["finetune", "--device", "phone", "--jobs", 1, *options, *arguments]
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def test_the_verb_prints_the_folder_of_the_run(session: Path, tmp_path: Path, recipe_file: Path) -> None:
    result = command(session, tmp_path, "--recipe", recipe_file)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'runs' / 'phone' / 'tiny'}\n")
    assert "FROM SCRATCH" in result.stderr
    assert "training on 2 pairs, validation on 1" in result.stderr
    assert re.search(r"done: 6 steps; on the validation scenes PSNR \d+\.\d\d dB, L1 0\.\d{4}\n", result.stderr)
    where = f"--manifests {session / 'manifests'} --store {session / 'store'}"
    following = f"next: sidcurate evaluate --device phone {where} --checkpoint {tmp_path / 'runs' / 'phone' / 'tiny'}"
    assert result.stderr.splitlines()[-1] == following
    again = command(session, tmp_path, "--recipe", recipe_file)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "--resume" in again.stderr
    assert command(session, tmp_path, "--recipe", recipe_file, "--resume").exit_code == 0


def test_the_verb_says_which_pairs_it_left_out(tmp_path: Path, recipe_file: Path) -> None:
    small_session.write_session(tmp_path, ["train", "train", "test"], findings=[finding("00001_00", "error")])
    result = command(tmp_path, tmp_path, "--recipe", recipe_file)
    assert "1 pair left out: PAIR201 ×1" in result.stderr
    assert "no validation scene" in result.stderr


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", ".", "", "/evil"])
def test_the_name_of_a_run_cannot_leave_its_folder(session: Path, tmp_path: Path, recipe_file: Path, name: str) -> None:
    result = command(session, tmp_path, "--recipe", recipe_file, "--name", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--name {name!r} is not the name of one folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_a_wrong_init_is_said_before_anything_else(session: Path, tmp_path: Path, recipe_file: Path) -> None:
    result = command(session, tmp_path, "--recipe", recipe_file, "--init", session / "raws")
    assert result.exit_code == 2
    assert f"no such checkpoint: {session / 'raws'}" in result.stderr
    assert "training on" not in result.stderr


def test_a_dry_run_writes_nothing(tmp_path: Path, recipe_file: Path) -> None:
    small_session.write_session(tmp_path)
    result = command(tmp_path, tmp_path, "--recipe", recipe_file, "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "train 6 steps" in result.stderr
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "store").exists()


def test_a_manifest_that_was_not_validated_is_refused(tmp_path: Path) -> None:
    directory = small_session.write_session(tmp_path).directory
    session = manifests.load(directory)
    changed = [pair.model_copy(update={"split": "train"}) for pair in session.pairs]
    manifests.save(directory, {type(changed[0]): changed})
    result = command(tmp_path, tmp_path, "--recipe", "demo")
    assert result.exit_code == 2
    assert "sidcurate validate" in result.stderr


WITHOUT_TORCH = """
import sys
from sidcurate.cli import main
try:
    main(["finetune", *sys.argv[1:]])
except SystemExit as end:
    print(end.code, "torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--device phone --recipe nope", "no recipe 'nope'"),
        ("--device nope", "no manifest of device 'nope'"),
        ("--device phone --recipe demo --resume", "nothing to resume"),
        ("--device phone --recipe demo --launch 3", "cannot be shared evenly by 3 processes"),
        ("--device phone --init nope", "'nope' does not exist"),
        ("--device phone --init .", "no such checkpoint: ."),
        ("--device phone --name a/b", "--name 'a/b' is not the name of one folder"),
        ("--device phone --pairs 2 --recipe nope", "no recipe 'nope'"),
        ("--device phone --repeat 3", "give --pairs too, or leave it out"),
    ],
)
def test_what_is_asked_wrongly_is_answered_before_torch_is_loaded(
    session: Path, tmp_path: Path, words: str, said: str
) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, *words.split(), "--manifests", session / "manifests"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert result.stdout == "2 False\n"
    assert said in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_packages_that_are_looked_for_are_those_of_the_extra() -> None:
    named = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extra = named["optional-dependencies"]["train"]
    assert sorted(TRAIN_EXTRA) == sorted(requirement.partition(">=")[0] for requirement in extra)


def test_without_torch_the_verb_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from sidcurate.cli import main; main(['finetune', '--device', 'phone'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 4
    assert "pip install 'sidcurate[train]'" in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_step_end_and_says_how_to_go_on(
    session: Path, tmp_path: Path, recipe_file: Path, number: int, code: int
) -> None:
    recipe_file.write_text(recipe_file.read_text().replace("duration = 6", "duration = 1000000"))
    words = ["finetune", "--device", "phone", "--recipe", recipe_file, "--manifests", session / "manifests"]
    words += ["--runs", tmp_path / "runs", "--store", session / "store"]
    process = subprocess.Popen([sys.executable, "-m", "sidcurate", *map(str, words)], stderr=subprocess.PIPE, text=True)
    log = tmp_path / "runs" / "phone" / "tiny" / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size > 1000):
        time.sleep(0.05)
    process.send_signal(number)
    _, talk = process.communicate(timeout=120)
    assert process.returncode == code
    assert "go on with --resume" in talk
    assert "Traceback" not in talk
    saved = checkpoint.load_state(log.with_name("state.pt"))["position"][0]
    assert saved == read_log(log.parent)[-1]["step"]
