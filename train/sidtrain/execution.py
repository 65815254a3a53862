"""How the steps of a training are computed: what must stay the same for the same bits. No torch."""

from pydantic import BaseModel, ConfigDict

from sidcurate.schemas import described


class Execution(BaseModel):
    """Where and how a run computes; chosen when it begins, kept over every `--resume`.

    The defaults are the reference: single precision, contiguous, as it is written, in one process.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    device: str = described("Type of the device: cpu, cuda or mps.", default="cpu")
    processes: int = described("Processes that share a step, each with its part of the batch.", default=1, ge=1)
    threads: int = described("Threads of torch in each process: on a CPU another count gives other bits.", ge=1)
    channels_last: bool = described("Tensors with the channels innermost in memory.", default=False)
    bf16: bool = described("Convolutions in bfloat16 (autocast); weights, loss and Adam stay float32.", default=False)
    compiled: bool = described("The network went through torch.compile.", default=False)

    @property
    def mode(self) -> str:
        """The way of computing in words.

        >>> Execution(threads=1, channels_last=True).mode
        'fp32 channels_last'
        """
        words = ["bf16" if self.bf16 else "fp32", "channels_last" if self.channels_last else "contiguous"]
        return " ".join([*words, "compiled"] if self.compiled else words)
