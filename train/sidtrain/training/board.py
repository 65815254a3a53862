"""TensorBoard, where it is installed: the curves of a run beside its log. Nothing depends on it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

FOLDER = "tensorboard"

Curves = Callable[[int, Mapping[str, float]], None]


@contextmanager
def curves(directory: Path, step: int) -> Iterator[Curves]:
    """Yield what adds points to the curves of a run; without TensorBoard it does nothing.

    Args:
        directory: folder of the run.
        step: where the training goes on; what was drawn of later steps is taken back.
    """
    if find_spec("tensorboard") is None:
        yield lambda step, values: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(directory / FOLDER, purge_step=step + 1) as writer:

        def add(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield add
