"""One step of a training: network, loss and Adam, computed in the way that the run's execution says."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sidcurate.errors import MissingResourceError
from sidtrain.data.feed import Batch
from sidtrain.execution import Execution
from sidtrain.training.parallel import Group
from sidtrain.weights.unet import Unet

# Each a mean over the batch: averaged over processes it stays what it is in one.
_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "l2_half_sum": lambda output, target: functional.mse_loss(output, target, reduction="sum") / (2 * len(target)),
}

_MOST_COMPILED = 256


class Step:
    """A network on its device, with its optimizer: call it with a batch and a rate.

    Args:
        model: the network; moved to the device and the layout.
        loss: name of the loss.
        execution: how to compute.
        group: the processes that share a batch.

    Attributes:
        model: the network itself, for everything but a step.
        optimizer: Adam, with its state.
    """

    def __init__(self, model: Unet, loss: str, execution: Execution, group: Group) -> None:
        self._layout = torch.channels_last if execution.channels_last else torch.contiguous_format
        self.model = model.to(group.device, memory_format=self._layout)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self._loss, self._group = _LOSSES[loss], group
        self._autocast = partial(torch.autocast, group.device.type, torch.bfloat16, enabled=execution.bf16)
        network = group.wrapped(self.model)
        self._network: Callable[[Tensor], Tensor] = _compiled(network) if execution.compiled else network
        self._compiling = _compiling if execution.compiled else nullcontext

    def __call__(self, batch: Batch, rate: float) -> float:
        """Do one step of Adam and return the loss before it, over the whole batch of the group.

        A loss that is not finite changes no weight. The host waits for the loss alone: on a GPU the rest of the step
        runs on while the next batch is fetched.

        Raises:
            MissingResourceError: torch.compile does not work here.
        """
        x = batch.input.to(memory_format=self._layout)  # (n, 4, p, p)
        with self._compiling():
            with self._autocast():
                output = self._network(x)  # (n, 3, 2p, 2p), of planes (n, 4, p, p)
            error = self._loss(output.float(), batch.target)  # of the output as it is, not clipped
            mean = float(self._group.mean(error.detach()))
            if math.isfinite(mean):
                self._learn(error, rate)
        return mean

    def _learn(self, error: Float[Tensor, ""], rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def state(self) -> dict[str, Any]:
        """Return the weights and Adam's state, to be loaded by `load`."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def _compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    # Of patches of more sides than it will compile for, torch computes the last ones without: which those are, and so
    # their bits, would be others in a run that goes on.
    torch._dynamo.config.recompile_limit = _MOST_COMPILED
    return torch.compile(network)


@contextmanager
def _compiling() -> Iterator[None]:
    """Say in words what keeps torch.compile from compiling, which it does at the first call, forward and backward."""
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).splitlines()[0]
        raise MissingResourceError(
            f"torch.compile fails here ({reason}): install a C++ compiler, and Triton for a GPU; a run that began with "
            "it needs it"
        ) from error
