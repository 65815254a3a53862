"""`sidcurate runs`: every run is a row, and no number stands without its protocol."""

import contextlib
import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_finetune import TINY, manifest, train

from sidcurate import manifests
from sidcurate.cli import main
from sidcurate.schemas import Pair
from sidtrain import recipe
from sidtrain.evaluation import evaluate
from sidtrain.weights import history


def listed(root: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["runs", "--runs", str(root), *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def stop(done: object) -> None:
    raise KeyboardInterrupt


def judge(session: Path, checkpoints: dict[str, Path], **options: object) -> dict[str, float]:
    """Evaluate, and return each picture's mean PSNR."""
    written = evaluate.evaluate(manifest(session), checkpoints, session / "store", jobs=1, **options)  # type: ignore[arg-type]
    return {row.picture: row.psnr_db.mean for row in written.evaluation.summaries if row.exposure_ratio is None}


def test_each_run_tells_how_far_it_came_and_what_it_is_worth(session: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    metrics = train(session, root / "phone" / "good").metrics
    judged = judge(session, {"network": root / "phone" / "good"})
    with contextlib.suppress(KeyboardInterrupt):
        train(session, root / "phone" / "stopped", on_step=stop)
    good, stopped = json.loads(listed(root, "--format", "json"))["runs"]
    assert (good["state"], good["step"], good["steps"], good["recipe"]) == ("finished", 6, 6, "own")
    assert (good["device"], good["train_pairs"], good["val_pairs"]) == ("phone", 2, 1)
    assert [score["of"] for score in good["scores"]] == ["model.json", "evaluation.json"]
    assert [score["psnr_db"] for score in good["scores"]] == [metrics["val_psnr_db"], judged["network"]]
    assert (stopped["state"], stopped["step"], stopped["scores"]) == ("interrupted", 1, [])
    table = listed(root)
    assert f"{judged['network']:.2f} dB" in table
    assert good["scores"][1]["scenes"] == 1
    assert "device-srgb-float-v1" in table
    assert "\n[1] mean over 1 validation scenes" in table
    rows = list(csv.DictReader(listed(root, "--format", "csv").splitlines()))
    psnrs = [(row["run"].split("/")[-1], row["psnr_db"]) for row in rows[1:]]
    assert psnrs == [("good", str(judged["network"])), ("stopped", "")]
    assert all(bool(row["psnr_db"]) == bool(row["protocol"]) for row in rows)


def test_names_stay_whole_in_a_narrow_terminal(session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "a-run-that-was-named-by-a-person-who-had-much-to-say"
    with contextlib.suppress(KeyboardInterrupt):
        train(session, tmp_path / "runs" / "phone" / name, on_step=stop)
    heading, _, row = listed(tmp_path / "runs").splitlines()
    assert heading.split() == ["device", "run", "recipe", "pairs", "steps", "state", "PSNR", "scenes", "protocol"]
    assert row.split() == ["phone", name, "own", "2+1", "1/6", "interrupted"]


def test_of_a_table_of_networks_a_run_lists_its_own_figure_and_none_of_weights_that_are_gone(
    session: Path,
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "runs" / "first", tmp_path / "runs" / "second"
    train(session, first)
    train(session, second, TINY.model_copy(update={"seed": 1}))
    judged = judge(session, {"one": second, "two": first}, out_dir=first)
    on_val = judge(session, {"network": first}, split="val")
    row, other = history.rows(tmp_path / "runs")
    assert [(score.of, score.psnr_db) for score in row.scores[1:]] == [
        ("comparison-one-two.json", judged["two"]),
        ("evaluation-val.json", on_val["network"]),
    ]
    assert [score.split for score in row.scores] == ["val", "test", "val"]
    assert [score.of for score in other.scores] == ["model.json"]
    assert "device-srgb-float-v1, val" in listed(tmp_path / "runs")
    for name in ("model.safetensors", "model.json"):
        (first / name).write_bytes((second / name).read_bytes())
    scores = history.rows(tmp_path / "runs")[0].scores
    assert [(score.of, score.psnr_db) for score in scores[1:]] == [("comparison-one-two.json", judged["one"])]


def test_a_figure_of_scenes_that_are_elsewhere_in_the_manifest_of_today_is_marked(
    session: Path,
    tmp_path: Path,
) -> None:
    root, today = tmp_path / "runs", tmp_path / "manifests"
    train(session, root / "one")
    judge(session, {"network": root / "one"})
    shutil.copytree(session / "manifests", today)
    pairs = manifests.load(today / "phone").pairs

    def said(**moved: str) -> list[tuple[str, bool | None]]:
        """Move a split to another one; return what stands beside each score."""
        changed = [pair.model_copy(update={"split": moved.get(pair.split or "", pair.split)}) for pair in pairs]
        manifests.save(today / "phone", {Pair: changed})
        table = [line for line in listed(root, "--manifests", str(today)).splitlines() if " dB " in line]
        (run,) = json.loads(listed(root, "--manifests", str(today), "--format", "json"))["runs"]
        flags = [score["in_split"] for score in run["scores"]]
        return [(re.split(r" dB +(?:1 +)?", line)[1].strip(), flag) for line, flag in zip(table, flags, strict=True)]

    assert said() == [("[1]", True), ("device-srgb-float-v1", True)]
    assert said(test="train") == [("[1]", True), ("device-srgb-float-v1, other split", False)]
    assert said(val="train") == [("[1], other split", False), ("device-srgb-float-v1", True)]


def test_without_a_manifest_nothing_is_said_of_the_split_and_of_a_damaged_one_its_damage(
    session: Path,
    tmp_path: Path,
) -> None:
    root, today = tmp_path / "runs", tmp_path / "manifests"
    train(session, root / "one")
    assert history.rows(root)[0].scores[0].in_split is None
    assert "other split" not in listed(root, "--manifests", str(today))
    shutil.copytree(session / "manifests", today)
    (today / "phone" / "pairs.parquet").write_bytes(b"")
    result = CliRunner().invoke(main, ["runs", "--runs", str(root), "--manifests", str(today)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "finished" in result.stdout
    assert "other split" not in result.stdout
    assert result.stderr.count("pairs.parquet") == 1


def test_a_run_that_another_process_holds_is_running(session: Path, tmp_path: Path) -> None:
    states = []
    train(session, tmp_path / "runs" / "one", on_step=lambda done: states.append(history.rows(tmp_path)[0].state))
    assert set(states) == {"running"}
    assert history.rows(tmp_path)[0].state == "finished"


@pytest.mark.parametrize(("count", "cut_off"), [(3000, ""), (3000, '{"step": 3001, "tr'), (0, "")])
def test_how_far_a_run_came_stands_in_the_last_whole_line_of_its_log(
    session: Path, tmp_path: Path, count: int, cut_off: str
) -> None:
    train(session, tmp_path / "runs" / "one")
    lines = [json.dumps({"step": number, "rate": 1e-4, "train_loss": 0.1}) + "\n" for number in range(1, count + 1)]
    (tmp_path / "runs" / "one" / "metrics.jsonl").write_text("".join(lines) + cut_off)
    assert history.rows(tmp_path / "runs")[0].step == count


def test_a_damaged_run_is_a_row_and_hides_no_other(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "runs" / "a")
    train(session, tmp_path / "runs" / "b")
    (tmp_path / "runs" / "a" / "run.json").write_text('{"device": 3}')
    table = listed(tmp_path / "runs")
    assert "unreadable" in table
    assert "runs/a cannot be read: RunRecord: device" in table
    assert "finished" in table


def test_a_recipe_of_the_program_is_known_by_its_name_on_any_device() -> None:
    demo = recipe.load("demo").model_copy(update={"device_type": "cpu"})
    assert history._name(demo) == "demo"
    assert history._name(demo.model_copy(update={"seed": 7})) == "own"


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["runs", "--runs", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "there is no such folder" in result.stderr


def test_to_list_runs_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from sidcurate.cli import main\n"
        "main(['runs', '--runs', sys.argv[1]], standalone_mode=False); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
