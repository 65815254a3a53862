"""A step in every way of computing, and the trial that chooses one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sidcurate.errors import MissingResourceError
from sidtrain.architectures import Architecture
from sidtrain.data.feed import Batch
from sidtrain.execution import Execution
from sidtrain.training import devices
from sidtrain.training.parallel import Group
from sidtrain.training.step import Step
from sidtrain.training.tuning import Trial
from sidtrain.weights.unet import Unet, build

CPU = torch.device("cpu")
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
REFERENCE = Execution(threads=1)


def network() -> Unet:
    torch.manual_seed(0)
    return build(Architecture(width=8, levels=3))


def batch(side: int = 32) -> Batch:
    torch.manual_seed(1)
    return Batch(torch.rand(2, 4, side, side), torch.rand(2, 3, 2 * side, 2 * side), ("a", "b"))


def after(execution: Execution, steps: int = 3) -> tuple[list[float], dict[str, torch.Tensor]]:
    step = Step(network(), "l1", execution, Group(devices.pick(execution.device)))  # type: ignore[arg-type]
    given = batch()
    moved = Batch(given.input.to(execution.device), given.target.to(execution.device), given.pair_ids)
    losses = [step(moved, 1e-3) for _ in range(steps)]
    return losses, {name: value.cpu() for name, value in step.model.state_dict().items()}


def test_the_reference_is_the_plain_port_bit_for_bit() -> None:
    model, given = network(), batch()
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in range(3):
        loss = torch.nn.functional.l1_loss(model(given.input), given.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    ours, weights = after(REFERENCE)
    assert ours == losses
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("way", "tolerance"),
    [
        ({"channels_last": True}, 1e-5),
        ({"bf16": True}, 1e-2),
        ({"bf16": True, "channels_last": True}, 1e-2),
        pytest.param({"device": "cuda"}, 1e-5, marks=GPU),
        pytest.param({"device": "cuda", "bf16": True, "channels_last": True}, 1e-2, marks=GPU),
    ],
)
def test_another_way_of_computing_gives_nearly_the_same_losses(way: dict[str, object], tolerance: float) -> None:
    reference, weights = after(REFERENCE)
    losses, others = after(REFERENCE.model_copy(update=way))
    assert losses == pytest.approx(reference, rel=tolerance)
    assert losses != reference or "bf16" not in way
    layout = torch.channels_last if "channels_last" in way else torch.contiguous_format
    assert all(value.is_contiguous(memory_format=layout) for value in others.values() if value.ndim == 4)
    assert all(value.dtype == torch.float32 for value in others.values())
    assert all(value.shape == weights[name].shape for name, value in others.items())


def test_a_loss_that_is_not_finite_changes_no_weight() -> None:
    step, given = Step(network(), "l1", REFERENCE, Group(CPU)), batch()
    given.target[0, 0, 0, 0] = torch.nan
    assert torch.tensor(step(given, 1e-3)).isnan()
    assert all(torch.equal(value, network().state_dict()[name]) for name, value in step.model.state_dict().items())


def test_only_a_gain_beyond_the_clock_s_wavering_is_taken() -> None:
    trial = Trial()
    other, fast = REFERENCE.model_copy(update={"channels_last": True}), REFERENCE.model_copy(update={"bf16": True})
    trial.seconds = {REFERENCE: 1.0, other: 0.97}
    assert trial.fastest == REFERENCE
    trial.seconds |= {other: 0.9, fast: 0.5}
    assert trial.fastest == fast
    first, _, third = trial.lines()
    assert first == "fp32 contiguous: 1000.0 ms a step, 1.00x"
    assert third == "bf16 contiguous: 500.0 ms a step, 2.00x  <- chosen"


# Without a C++ compiler, and without what an earlier one left behind.
TRIAL = """
import torch
from sidtrain.training import tuning
from test_step import *
model, before = network(), network().state_dict()
trial = tuning.tuned(model, "l1", batch(), REFERENCE, Group(CPU))
assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
print(*trial.lines(), sep="\\n")
"""


def test_a_trial_measures_every_way_and_goes_on_without_a_compiler(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": "/nonexistent",
        "CXX": "/nonexistent/c++",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    command = [sys.executable, "-c", TRIAL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    *measured, compiled = done.stdout.splitlines()
    assert measured[0].startswith("fp32 contiguous: ")
    assert len(measured) == (4 if devices.has_bf16_units(CPU) else 2)
    assert sum("<- chosen" in line for line in measured) == 1
    assert "compiled: torch.compile fails here" in compiled
    assert "install a C++ compiler" in compiled


def test_a_gpu_without_triton_is_told_what_compiling_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error of its own there, none of the compiler's."""

    def fail(x: torch.Tensor) -> torch.Tensor:
        raise torch._inductor.exc.TritonMissing(None)

    monkeypatch.setattr(torch, "compile", lambda network: fail)
    step = Step(network(), "l1", REFERENCE.model_copy(update={"compiled": True}), Group(CPU))
    with pytest.raises(MissingResourceError, match=r"torch.compile fails here \(Cannot find .*, and Triton for a GPU"):
        step(batch(), 1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile imports what torch has deprecated
def test_no_patch_is_computed_without_compiling_because_there_were_others_before_it() -> None:
    """torch gives up after eight; the ten sides of `seed2-ps6` ask for nine, and a resumed run meets them otherwise."""
    Step(network(), "l1", REFERENCE.model_copy(update={"compiled": True}), Group(CPU))
    assert torch._dynamo.config.recompile_limit >= 256
