"""A step of the `sid` recipe on the CPU, beside a plain port's, the rate of a matrix product, and its wait for data."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from sidtrain.data import feed, patches
from sidtrain.data.feed import Batch
from sidtrain.execution import Execution
from sidtrain.recipe import load
from sidtrain.training import devices
from sidtrain.training.parallel import Group
from sidtrain.training.step import Step
from sidtrain.weights.unet import architecture_of, build
from tests.benchmarks.patch_rate import stored
from tests.benchmarks.timing import Row, rounds, row

SIDE, RATE, FED, MATRIX = 256, 1e-4, 12, 2048
CPU = torch.device("cpu")


def run() -> Iterator[Row]:
    """Yield the ratios of the ways of computing a step to the plain port's, of flops to matmul's, of waiting to all."""
    batch = Batch(torch.rand(1, 4, SIDE, SIDE), torch.rand(1, 3, 2 * SIDE, 2 * SIDE), ("any",))
    ways = {
        "fp32 contiguous, the default": _step(),
        "fp32 channels_last": _step(channels_last=True),
        f"bf16 channels_last, {_units()}": _step(channels_last=True, bf16=True),
    }
    plain, matrix = plain_step(batch), torch.rand(MATRIX, MATRIX)
    contenders: dict[str, Callable[[], object]] = {
        name: lambda step=step: step(batch, RATE) for name, step in ways.items()
    }
    seconds = rounds({**contenders, "plain": plain, "matmul": lambda: matrix @ matrix})
    what = f"step of `sid` at {SIDE} packed px, {torch.get_num_threads()} threads, {{}}"
    for name in ways:
        yield row(what.format(name), "plain PyTorch port: fp32, Adam", seconds[name], seconds["plain"], 1, "steps/s")
    flops = _flops(plain) / _flops(lambda: matrix @ matrix)
    at_peak = [flops * value for value in seconds["matmul"]]
    peer = f"its operations at the rate of a {MATRIX} x {MATRIX} fp32 matrix product"
    yield row(what.format("fp32 channels_last"), peer, seconds["fp32 channels_last"], at_peak, 1, "steps/s")
    yield _waiting(ways["fp32 channels_last"])


class PlainPort(nn.Module):
    """SID's network as one writes it down in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        down, up = (
            list(itertools.pairwise([4, 32, 64, 128, 256, 512])),
            list(itertools.pairwise([512, 256, 128, 64, 32])),
        )
        self.down = nn.ModuleList(nn.ModuleList([_conv(i, o), _conv(o, o)]) for i, o in down)
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in up)
        self.merge = nn.ModuleList(nn.ModuleList([_conv(i, o), _conv(o, o)]) for i, o in up)
        self.last = nn.Conv2d(32, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 3, 2h, 2w) for (n, 4, h, w)."""
        skips: list[Tensor] = []
        for first, second in self.down:
            x = functional.max_pool2d(x, 2) if skips else x
            x = functional.leaky_relu(second(functional.leaky_relu(first(x), 0.2)), 0.2)
            skips.append(x)
        for up, (first, second), skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = torch.cat([up(x), skip], dim=1)
            x = functional.leaky_relu(second(functional.leaky_relu(first(x), 0.2)), 0.2)
        return functional.pixel_shuffle(self.last(x), 2)


def plain_step(batch: Batch) -> Callable[[], float]:
    """Return a step of the plain port on the batch."""
    model = PlainPort()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def step() -> float:
        optimizer.zero_grad()
        loss = functional.l1_loss(model(batch.input), batch.target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _conv(inner: int, outer: int) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, 3, padding=1)


def _step(**way: bool) -> Step:
    recipe = load("sid")
    execution = Execution(threads=torch.get_num_threads(), **way)
    return Step(build(architecture_of(recipe)), recipe.loss, execution, Group(CPU))


def _units() -> str:
    return "units for it in the CPU" if devices.has_bf16_units(CPU) else "NO units for it in the CPU"


def _flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def _waiting(step: Step) -> Row:
    """Return how long each step waits for its patch, of the time from one to the next; the first is not counted."""
    recipe = load("sid").model_copy(update={"patch": SIDE})
    with tempfile.TemporaryDirectory() as folder:
        scenes, _ = stored(Path(folder))

        def cuts(number: int) -> list[patches.Cut]:
            return [patches.cut(scenes, recipe, SIDE, number)]

        waited: list[float] = []
        with feed.batches(cuts, range(FED + 1), CPU) as batches:
            seconds = rounds({"step": lambda: waited.append(_fed(step, batches))}, FED - 1)["step"]
    what = f"time that a step, fp32 channels_last, waits for its patch of {SIDE} packed px, {FED - 1} steps"
    return row(what, "the whole of the step", seconds, waited[1:], 1, "steps/s")


def _fed(step: Step, batches: Iterator[Batch]) -> float:
    batch = next(batches)
    step(batch, RATE)
    return batch.waited_s
