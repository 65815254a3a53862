"""One step of a training: network, loss and Adam, computed in the way that the run's execution says."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
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
        self._network: Callable[[Tensor], Tensor] = torch.compile(network) if execution.compiled else network

    def __call__(self, batch: Batch, rate: float) -> float:
        """Do one step of Adam and return the loss before it, over the whole batch of the group.

        A loss that is not finite changes no weight.

        Raises:
            MissingResourceError: torch.compile has no compiler here.
        """
        x = batch.input.to(memory_format=self._layout)  # (n, 4, p, p)
        error = self._loss(self._output(x).float(), batch.target)  # of the output as it is, not clipped
        mean = self._group.mean(error.detach())
        if torch.isfinite(mean):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return float(mean)

    def _output(self, x: Float[Tensor, "n c p p"]) -> Float[Tensor, "n k ps ps"]:
        try:
            with self._autocast():
                return self._network(x)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            reason = str(error).splitlines()[0]
            raise MissingResourceError(
                f"torch.compile fails here ({reason}): install a C++ compiler; a run that began with it needs it"
            ) from error

    def state(self) -> dict[str, Any]:
        """Return the weights and Adam's state, to be loaded by `load`."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what `state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
