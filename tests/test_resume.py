"""A training that is killed at any moment, again and again, ends as one that nobody touched."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_finetune import TINY, train

from sidcurate.errors import MissingResourceError, UsageError
from sidcurate.storage import durable
from sidtrain.execution import Execution
from sidtrain.recipe import Recipe
from sidtrain.training import finetune, runs
from sidtrain.weights import checkpoint, history

LONG = TINY.model_copy(update={"duration": 400, "validate_every": 60, "schedule": ((0, 1e-3), (300, 1e-4))})


def write_recipe(path: Path, recipe: Recipe) -> Path:
    lines = recipe.model_dump(mode="json", exclude_defaults=True)
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in lines.items()))
    return path


def start(session: Path, run: Path, recipe: Path, *more: str) -> subprocess.Popen[str]:
    options = {"--device": "phone", "--manifests": session / "manifests", "--store": session / "store"}
    options |= {"--runs": run.parents[1], "--name": run.name, "--recipe": recipe, "--jobs": 1}
    words = [str(word) for pair in options.items() for word in pair]
    command = [sys.executable, "-m", "sidcurate", "finetune", *words, *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def lines(run: Path) -> int:
    return (run / "metrics.jsonl").read_bytes().count(b"\n")


def same_end(one: Path, other: Path) -> None:
    """Weights, Adam's state, log and position: nothing tells which of the two was killed."""
    a, b = (runs.load_state(run) for run in (one, other))
    assert a["position"] == b["position"]
    assert all(torch.equal(a["model"][name], value) for name, value in b["model"].items())
    for number, of_weight in a["optimizer"]["state"].items():
        assert all(torch.equal(value, b["optimizer"]["state"][number][name]) for name, value in of_weight.items())
    saved = [checkpoint.load(run)[0].state_dict() for run in (one, other)]
    assert all(torch.equal(saved[0][name], value) for name, value in saved[1].items())
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()


# Ended by the system some time after a step; as by SIGKILL, for nobody handles SIGALRM.
KILLED = """
import signal, sys
from pathlib import Path
from test_resume import LONG, train

session, run, step, after_s = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
arm = lambda done: done.step == step and signal.setitimer(signal.ITIMER_REAL, after_s)
train(session, run, LONG, resume=(run / "state.pt").exists(), on_step=arm)
"""


def test_a_run_killed_at_random_moments_ends_as_if_it_was_not(session: Path, tmp_path: Path) -> None:
    run, moments = tmp_path / "killed", random.Random(5)
    train(session, tmp_path / "whole", LONG)
    for step in (1, moments.randrange(20, 150), moments.randrange(150, 330)):
        command = [sys.executable, "-c", KILLED, session, run, step, moments.uniform(1e-6, 0.05)]
        killed = subprocess.run(list(map(str, command)), cwd=Path(__file__).parent, check=False)
        assert killed.returncode == -signal.SIGALRM
    train(session, run, LONG, resume=True)
    same_end(tmp_path / "whole", run)


def test_a_kill_inside_any_write_leaves_a_run_that_goes_on(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies at each of its renames in turn: before it, everything is as it was a write earlier."""
    train(session, tmp_path / "whole")
    replace, runs_tried, number = Path.replace, 0, 0
    while True:
        number += 1
        run, count = tmp_path / f"killed-{number}", iter(range(1, 1000))

        def die(self: Path, target: Path, count: object = count, number: int = number) -> Path:
            if next(count) == number:  # type: ignore[call-overload]
                raise KeyboardInterrupt
            return replace(self, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", die)
            patched.setattr(durable, "sync_folder", lambda folder: None)
            try:
                train(session, run)
                break
            except KeyboardInterrupt:
                runs_tried += 1
        train(session, run, resume=(run / "state.pt").exists())
        same_end(tmp_path / "whole", run)
    assert runs_tried > 8


def test_sigterm_saves_the_state_as_ctrl_c_does(session: Path, tmp_path: Path) -> None:
    """What a cluster sends before it takes a machine away."""

    def end(done: finetune.Done) -> None:
        if done.step == 2:
            signal.raise_signal(signal.SIGTERM)

    train(session, tmp_path / "whole")
    stopped = train(session, tmp_path / "run", on_step=end)
    assert (stopped.step, stopped.signal) == (2, signal.SIGTERM)
    assert runs.load_state(tmp_path / "run")["position"][0] == 2
    train(session, tmp_path / "run", resume=True)
    same_end(tmp_path / "whole", tmp_path / "run")


def test_a_resumed_run_computes_with_the_threads_that_it_had(session: Path, tmp_path: Path) -> None:
    said: list[str] = []
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        train(session, tmp_path / "run", on_step=lambda done: done.step == 2 and signal.raise_signal(signal.SIGINT))
        torch.set_num_threads(before)
        train(session, tmp_path / "run", resume=True, say=said.append)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert said == [f"computing with {before + 1} threads as before, not {before}: the same weights"]
    assert checkpoint.load(tmp_path / "run")[1].execution.threads == before + 1  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile imports what torch has deprecated
def test_a_tuned_run_goes_on_in_the_way_that_its_trial_chose(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the trial always finds channels_last the fastest: which way wins is the machine's, to keep it is ours."""
    monkeypatch.setattr(finetune.tuning.Trial, "fastest", property(lambda trial: list(trial.seconds)[1]))
    train(session, tmp_path / "whole", tune=True)
    run = tmp_path / "run"
    train(session, run, tune=True, on_step=lambda done: done.step == 2 and signal.raise_signal(signal.SIGINT))
    train(session, run, resume=True)
    same_end(tmp_path / "whole", run)
    execution = checkpoint.load(run)[1].execution
    assert execution is not None
    assert execution.channels_last
    record = history.RunRecord.model_validate_json((run / "run.json").read_text())
    assert record.execution == execution
    assert record.trial[1].startswith("fp32 channels_last: ")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_run_goes_on_in_another_process_bit_for_bit(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on it meets one size of patches only and compiles for that; the whole run compiled for any size."""
    recipe = TINY.model_copy(update={"patch": (4, 8)})
    compiled = Execution(threads=torch.get_num_threads(), compiled=True)
    monkeypatch.setattr(finetune, "_reference", lambda group: compiled)  # as if a trial had chosen it
    train(session, tmp_path / "whole", recipe)
    run = tmp_path / "runs" / "phone" / "run"
    train(session, run, recipe, on_step=lambda done: done.step == 3 and signal.raise_signal(signal.SIGINT))
    process = start(session, run, write_recipe(tmp_path / "sizes.toml", recipe), "--resume")
    _, talk = process.communicate(timeout=200)
    assert process.returncode == 0, talk
    same_end(tmp_path / "whole", run)
    assert checkpoint.load(run)[1].execution == compiled


def test_a_run_of_another_device_or_group_is_not_resumed(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "run")
    state = runs.load_state(tmp_path / "run")
    for change, cure in (({"device": "cuda"}, "--device-type cuda"), ({"processes": 2}, "--launch 2")):
        execution = history.Execution.model_validate_json(state["execution"]).model_copy(update=change)
        checkpoint.save_state(tmp_path / "run" / "state.pt", {**state, "execution": execution.model_dump_json()})
        with pytest.raises(UsageError, match=f"which would give other weights: give {cure}, or start a new run"):
            train(session, tmp_path / "run", resume=True)


def test_one_process_writes_a_run_at_a_time(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "run")
    with (
        history.only_writer(tmp_path / "run"),
        pytest.raises(UsageError, match=r"another process is training in .*run: let it end, or give another --name"),
    ):
        train(session, tmp_path / "run", resume=True)


def test_what_a_killed_writer_left_half_written_is_gone_once_the_run_goes_on(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "run", on_step=lambda done: done.step == 2 and signal.raise_signal(signal.SIGINT))
    (tmp_path / "run" / ".0123456789abcdef.part").write_bytes(b"half a state")
    train(session, tmp_path / "run", resume=True)
    assert not [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_a_network_that_no_memory_holds_is_said_in_words(session: Path, tmp_path: Path) -> None:
    with pytest.raises(
        MissingResourceError, match=r"out of memory \(.*lower `patch` \(8\) first.* `width` \(1048576\)"
    ):
        train(session, tmp_path / "run", TINY.model_copy(update={"width": 1 << 20}))


def test_each_step_tells_its_pace_and_memory(session: Path, tmp_path: Path) -> None:
    told: list[finetune.Done] = []
    train(session, tmp_path / "run", on_step=told.append)
    assert [done.step for done in told] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= done.waited_s <= done.seconds for done in told)
    assert all(done.memory_bytes > 10e6 for done in told)


def test_curves_are_drawn_where_tensorboard_is_installed(session: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is optional")
    program = (
        "import sys; from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
        "events = EventAccumulator(sys.argv[1]).Reload()\n"
        "print(*[event.step for event in events.Scalars('train_loss')], '/', events.Tags()['scalars'])"
    )
    run = tmp_path / "run"
    train(session, run, on_step=lambda done: done.step == 5 and os.kill(os.getpid(), signal.SIGINT))
    ended = int(time.time())
    while int(time.time()) == ended:  # By the second in which it was begun TensorBoard knows the later of two files.
        time.sleep(0.01)
    train(session, run, resume=True)
    command = [sys.executable, "-W", "ignore", "-c", program, str(run / "tensorboard")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "1 2 3 4 5 6 / ['rate', 'train_loss', 'val_l1', 'val_psnr_db']\n"
