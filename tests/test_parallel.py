"""Two processes that train one network give what one gives, write one run, and stop together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_finetune import TINY, read_log, train
from test_resume import lines, same_end, write_recipe

from sidcurate.errors import UsageError
from sidtrain.recipe import Recipe
from sidtrain.training import runs
from sidtrain.training.launching import part
from sidtrain.weights import checkpoint, history

TEN = TINY.model_copy(update={"width": 4, "batch": 4, "duration": 10, "patch": (4, 8)})


def start(session: Path, run: Path, recipe: Recipe, *more: str) -> subprocess.Popen[str]:
    path = write_recipe(run.parents[1] / f"{run.name}.toml", recipe)
    options = {"--device": "phone", "--manifests": session / "manifests", "--store": session / "store"}
    options |= {"--runs": run.parents[1], "--name": run.name, "--recipe": path, "--jobs": 1, "--launch": 2}
    words = [str(word) for pair in options.items() for word in pair]
    command = [sys.executable, "-m", "sidcurate", "finetune", *words, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_to_end(session: Path, run: Path, recipe: Recipe, *more: str) -> tuple[int, str, str]:
    process = start(session, run, recipe, *more)
    shown, talk = process.communicate(timeout=120)
    return process.returncode, shown, talk


def gradients(run: Path) -> list[torch.Tensor]:
    """After one step Adam's first moment is a tenth of the gradient."""
    return [10 * of["exp_avg"] for of in runs.load_state(run)["optimizer"]["state"].values()]


def wait_for_lines(process: subprocess.Popen[str], run: Path, count: int) -> None:
    while process.poll() is None and (not (run / "metrics.jsonl").exists() or lines(run) < count):
        time.sleep(0.005)


def wait_until_free(run: Path) -> None:
    """Return when no process holds the run any more; fail when one never lets go."""
    for _ in range(1200):
        try:
            with history.only_writer(run):
                return
        except UsageError:
            time.sleep(0.05)
    pytest.fail("a process of the run is still there")


def test_the_parts_of_a_batch_cover_it_and_do_not_overlap() -> None:
    parts = [part(12, rank, 3) for rank in range(3)]
    assert [place for part in parts for place in part] == list(range(12))
    with pytest.raises(UsageError, match=r"batch of 4 cannot be shared evenly by 3 processes.*multiple of 3"):
        part(4, 0, 3)


def test_two_processes_have_the_gradients_of_one(session: Path, tmp_path: Path) -> None:
    one_step = TEN.model_copy(update={"duration": 1, "patch": 16, "loss": "l2_half_sum"})
    train(session, tmp_path / "one", one_step)
    run = tmp_path / "runs" / "phone" / "two"
    run.parent.mkdir(parents=True)
    code, shown, talk = run_to_end(session, run, one_step)
    assert (code, shown) == (0, f"{run}\n"), talk
    assert talk.count("training on 2 pairs") == talk.count("done: 1 step") == 1
    for ours, theirs in zip(gradients(run), gradients(tmp_path / "one"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6 * float(theirs.abs().max()))


def test_a_killed_pair_of_processes_is_gone_and_goes_on(session: Path, tmp_path: Path) -> None:
    """Only the one that launched them is killed: the system ends its children."""
    recipe = TEN.model_copy(update={"duration": 120, "validate_every": 30})
    whole, run = (tmp_path / "runs" / "phone" / name for name in ("whole", "killed"))
    run.parent.mkdir(parents=True)
    assert run_to_end(session, whole, recipe)[0] == 0
    process = start(session, run, recipe)
    wait_for_lines(process, run, 31)  # The state is kept at 30; most is still to come.
    process.kill()
    process.communicate()
    wait_until_free(run)
    assert lines(run) < 120
    code, _, talk = run_to_end(session, run, recipe, "--resume")
    assert code == 0, talk
    same_end(whole, run)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_both_and_keeps_the_state(session: Path, tmp_path: Path, number: int, code: int) -> None:
    run = tmp_path / "runs" / "phone" / "two"
    run.parent.mkdir(parents=True)
    process = start(session, run, TEN.model_copy(update={"duration": 10**6, "validate_every": 10**6}))
    wait_for_lines(process, run, 20)
    process.send_signal(number)
    _, talk = process.communicate(timeout=120)
    assert process.returncode == code, talk
    assert talk.count("go on with --resume") == 1
    assert "Traceback" not in talk
    wait_until_free(run)
    assert runs.load_state(run)["position"][0] == read_log(run)[-1]["step"] >= 19


def test_a_loss_that_is_not_finite_ends_both_with_one_message(session: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "phone" / "two"
    run.parent.mkdir(parents=True)
    ruin = {"schedule": ((0, 1e-3), (4, 1e38)), "duration": 60}
    code, _, talk = run_to_end(session, run, TEN.model_copy(update=ruin))
    assert code == 2
    assert talk.count("the loss is") == 1
    assert talk.count("_00") == 4, "every pair of the whole batch is named"
    assert "Traceback" not in talk


def test_torchrun_trains_as_launch_does(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "one", TEN)
    run = tmp_path / "runs" / "phone" / "two"
    run.parent.mkdir(parents=True)
    options = {"--device": "phone", "--manifests": session / "manifests", "--store": session / "store", "--name": "two"}
    options |= {"--runs": tmp_path / "runs", "--recipe": write_recipe(tmp_path / "ten.toml", TEN), "--jobs": 1}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    command += ["-m", "sidtrain", *[word for pair in options.items() for word in pair]]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    a, b = (runs.load_state(folder)["model"] for folder in (tmp_path / "one", run))
    assert all(float((value - b[name]).abs().max()) <= 1e-6 for name, value in a.items())
    assert json.loads((run / "run.json").read_text())["execution"]["processes"] == 2


ENDING = """
import os, sys
from pathlib import Path
from sidcurate.cli import main

if __name__ == "__main__":
    try:
        main(["finetune", *sys.argv[1:]])
    except SystemExit:
        names = [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]
        print(os.environ["RANK"], sorted(name for name in names if "gloo" in name))
"""


def threads_left(session: Path, folder: Path, recipe: Recipe) -> list[str]:
    """Train in two processes; return what each says at its end: its rank, and the threads of the group in it.

    One that is left can abort the process at its end; when it does is chance.
    """
    (folder / "ending.py").write_text(ENDING)
    options = {"--device": "phone", "--manifests": session / "manifests", "--store": session / "store", "--name": "two"}
    options |= {"--runs": folder / "runs", "--recipe": write_recipe(folder / "two.toml", recipe), "--jobs": 1}
    command = [sys.executable, folder / "ending.py", *(word for pair in options.items() for word in pair)]
    common = {**os.environ, "WORLD_SIZE": "2", "SIDTRAIN_MEETING": (folder / "meeting").as_uri()}
    processes = [
        subprocess.Popen(
            list(map(str, command)),
            env={**common, "RANK": rank, "LOCAL_RANK": rank, "GLOO_SOCKET_IFNAME": "lo"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    return [process.communicate(timeout=120)[0].splitlines()[-1] for process in processes]


def test_two_processes_end_ten_steps_where_one_does_and_leave_no_thread(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "one", TEN)
    assert threads_left(session, tmp_path, TEN) == ["0 []", "1 []"]
    run = tmp_path / "runs" / "phone" / "two"
    a, b = (runs.load_state(folder)["model"] for folder in (tmp_path / "one", run))
    assert all(float((value - b[name]).abs().max()) <= 1e-6 for name, value in a.items())
    logs = [read_log(folder) for folder in (tmp_path / "one", run)]
    assert [line["step"] for line in logs[1]] == [line["step"] for line in logs[0]]
    for ours, theirs in zip(logs[1], logs[0], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    execution = checkpoint.load(run)[1].execution
    assert execution is not None
    assert execution.processes == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the names of threads are read in /proc")
def test_no_thread_is_left_when_a_training_fails(session: Path, tmp_path: Path) -> None:
    ruin = TEN.model_copy(update={"schedule": ((0, 1e-3), (4, 1e38)), "duration": 60})
    assert threads_left(session, tmp_path, ruin) == ["0 []", "1 []"]
