"""Which way of computing a step is the fastest here: a short trial, measured on this device with this network."""

import copy
import statistics
import time
from collections.abc import Iterable, Iterator

import torch

from sidcurate.errors import MissingResourceError
from sidtrain.data.feed import Batch
from sidtrain.execution import Execution
from sidtrain.training import devices
from sidtrain.training.parallel import Group
from sidtrain.training.step import Step
from sidtrain.weights.unet import Unet

ROUNDS = 5
# A way that gains less than the clock wavers is not worth other bits than the reference's.
LEAST_GAIN = 1.05


class Trial:
    """The measured ways of computing, the reference first.

    Attributes:
        seconds: of a step, the median of the rounds, by execution.
        failed: why a way could not be tried, by execution.
    """

    def __init__(self) -> None:
        self.seconds: dict[Execution, float] = {}
        self.failed: dict[Execution, str] = {}

    @property
    def fastest(self) -> Execution:
        """The reference, or the fastest way if that gains enough."""
        reference = next(iter(self.seconds))
        best = min(self.seconds, key=lambda execution: self.seconds[execution])
        return best if self.seconds[best] * LEAST_GAIN <= self.seconds[reference] else reference

    def lines(self) -> Iterator[str]:
        """Yield what was measured, one way a line."""
        reference = next(iter(self.seconds.values()))
        for execution, seconds in self.seconds.items():
            chosen = "  <- chosen" if execution == self.fastest else ""
            yield f"{execution.mode}: {1e3 * seconds:.1f} ms a step, {reference / seconds:.2f}x{chosen}"
        for execution, reason in self.failed.items():
            yield f"{execution.mode}: {reason}"


def tuned(model: Unet, loss: str, batch: Batch, reference: Execution, group: Group) -> Trial:
    """Return the trial of every way that this device has, on copies of the network.

    The ways take turns, so that a machine that slows down slows all of them. torch.compile costs seconds to minutes and
    is tried on top of the best of the others only.
    """
    trial, alone = Trial(), Group(group.device)
    batch = Batch(batch.input.to(group.device), batch.target.to(group.device), batch.pair_ids)
    _try(trial, model, loss, batch, alone, _plain_ways(reference, group.device))
    best = min(trial.seconds, key=lambda execution: trial.seconds[execution])
    _try(trial, model, loss, batch, alone, [best, best.model_copy(update={"compiled": True})])
    return trial


def _plain_ways(reference: Execution, device: torch.device) -> Iterator[Execution]:
    for bf16 in (False, True) if devices.has_bf16_units(device) else (False,):
        for channels_last in (False, True):
            yield reference.model_copy(update={"bf16": bf16, "channels_last": channels_last})


def _try(trial: Trial, model: Unet, loss: str, batch: Batch, group: Group, ways: Iterable[Execution]) -> None:
    steps: dict[Execution, Step] = {}
    for execution in ways:
        step = Step(copy.deepcopy(model), loss, execution, group)
        try:
            _seconds(step, batch)  # The first call compiles and fills caches.
            steps[execution] = step
        except MissingResourceError as error:
            trial.failed[execution] = str(error)
    rounds = [{execution: _seconds(step, batch) for execution, step in steps.items()} for _ in range(ROUNDS)]
    for execution in steps:
        trial.seconds[execution] = statistics.median(seconds[execution] for seconds in rounds)


def _seconds(step: Step, batch: Batch) -> float:
    """Return the duration of a step, which ends when its loss is a number on the host."""
    start = time.perf_counter()
    step(batch, 1e-6)
    if batch.input.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
