"""SID's network written out from the protocol's description, twice: with a port's names and with TensorFlow's.

Nothing of `sidtrain` is used here: what imports weights is held to these.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]
Arrays = dict[str, np.ndarray]
WIDTHS = (32, 64, 128, 256, 512)


def convolutions(sites: int = 2) -> list[tuple[str, int, int]]:
    """Name, channels in and channels out of SID's 3x3 convolutions."""
    down = [(f"conv{n + 1}", WIDTHS[n - 1] if n else {2: 4, 3: 9}[sites], WIDTHS[n]) for n in range(5)]
    up = [(f"conv{6 + n}", 2 * WIDTHS[3 - n], WIDTHS[3 - n]) for n in range(4)]
    return [row for name, i, o in down + up for row in ((f"{name}_1", i, o), (f"{name}_2", o, o))]


def port(*, up: str = "upv", bias: bool = True, last: str = "conv10_1", sites: int = 2) -> State:
    """A state dict as the common PyTorch ports have it, with weights that keep the signal's size."""
    torch.manual_seed(0)
    state: State = {}
    for name, inner, outer in convolutions(sites):
        state[f"{name}.weight"] = torch.randn(outer, inner, 3, 3) * (2 / (9 * inner)) ** 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(outer)
    for n in range(4):
        deep, flat = WIDTHS[4 - n], WIDTHS[3 - n]
        state[f"{up}{6 + n}.weight"] = torch.randn(deep, flat, 2, 2) * (1 / deep) ** 0.5
        if bias:
            state[f"{up}{6 + n}.bias"] = 0.1 * torch.randn(flat)
    state[f"{last}.weight"] = torch.randn(3 * sites**2, 32, 1, 1) / 32**0.5
    state[f"{last}.bias"] = 0.1 * torch.randn(3 * sites**2)
    return state


def port_picture(state: State, planes: Tensor) -> Tensor:
    """SID's forward pass with a port's names, from the protocol's description: (4, h, w) to (3, 2h, 2w)."""

    def pair(stage: int, x: Tensor) -> Tensor:
        for place in (1, 2):
            name = f"conv{stage}_{place}"
            x = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)
            x = torch.where(x > 0, x, 0.2 * x)
        return x

    skips, x = [], pair(1, planes[None])
    for stage in (2, 3, 4, 5):
        skips.append(x)
        odd = (0, x.shape[-1] % 2, 0, x.shape[-2] % 2)
        x = pair(stage, functional.max_pool2d(functional.pad(x, odd, value=-torch.inf), 2))
    for stage, skip in zip((6, 7, 8, 9), reversed(skips), strict=True):
        up = functional.conv_transpose2d(x, state[f"upv{stage}.weight"], state[f"upv{stage}.bias"], stride=2)
        x = pair(stage, torch.cat([up[..., : skip.shape[-2], : skip.shape[-1]], skip], dim=1))
    x = functional.conv2d(x, state["conv10_1.weight"], state["conv10_1.bias"])[0]  # (12, h, w)
    picture = torch.empty(3, 2 * x.shape[1], 2 * x.shape[2])
    for color in range(3):
        for row in range(2):
            for column in range(2):
                picture[color, row::2, column::2] = x[4 * color + 2 * row + column]
    return picture


def tensorflow(sites: int = 2) -> Arrays:
    """Arrays under the names and in the order of axes of SID's TensorFlow code, with what its optimizer keeps."""
    rng = np.random.default_rng(0)

    def normal(*shape: int, std: float) -> np.ndarray:
        return (std * rng.standard_normal(shape)).astype(np.float32)

    arrays: Arrays = {"beta1_power": np.float32(0.9), "beta2_power": np.float32(0.999)}  # type: ignore[dict-item]
    for name, inner, outer in convolutions(sites):
        arrays[f"g_{name}/weights"] = normal(3, 3, inner, outer, std=(2 / (9 * inner)) ** 0.5)
        arrays[f"g_{name}/biases"] = normal(outer, std=0.1)
    for n, name in enumerate(("Variable", "Variable_1", "Variable_2", "Variable_3")):
        arrays[name] = normal(2, 2, WIDTHS[3 - n], WIDTHS[4 - n], std=(1 / WIDTHS[4 - n]) ** 0.5)
    arrays["g_conv10/weights"] = normal(1, 1, 32, 3 * sites**2, std=32**-0.5)
    arrays["g_conv10/biases"] = normal(3 * sites**2, std=0.1)
    return arrays | {f"{name}/Adam": np.zeros_like(array) for name, array in arrays.items() if name.startswith("g_")}


def tensorflow_picture(arrays: Arrays, planes: np.ndarray, sites: int = 2) -> np.ndarray:
    """SID's forward pass in NumPy, channels last as in TensorFlow: (h, w, 4) to (2h, 2w, 3)."""
    skips, x = [], _pair(arrays, 1, planes)
    for stage in (2, 3, 4, 5):
        skips.append(x)
        x = _pair(arrays, stage, _pooled(x))
    for stage, skip in zip((6, 7, 8, 9), reversed(skips), strict=True):
        raised = _raised(x, arrays["Variable" if stage == 6 else f"Variable_{stage - 6}"])
        x = _pair(arrays, stage, np.concatenate([raised[: skip.shape[0], : skip.shape[1]], skip], axis=-1))
    x = _convolved(arrays, "g_conv10", x)
    h, w, _ = x.shape
    return x.reshape(h, w, sites, sites, 3).transpose(0, 2, 1, 3, 4).reshape(sites * h, sites * w, 3)


def _pair(arrays: Arrays, stage: int, x: np.ndarray) -> np.ndarray:
    for place in (1, 2):
        x = _convolved(arrays, f"g_conv{stage}_{place}", x)
        x = np.maximum(x, 0.2 * x)
    return x


def _convolved(arrays: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    kernel, (h, w, _) = arrays[f"{name}/weights"], x.shape  # (row, column, in, out)
    size = len(kernel)
    x = np.pad(x, ((size // 2, size // 2), (size // 2, size // 2), (0, 0)))
    taps = [x[a : a + h, b : b + w] @ kernel[a, b] for a in range(size) for b in range(size)]
    return np.sum(taps, axis=0) + arrays[f"{name}/biases"]


def _pooled(x: np.ndarray) -> np.ndarray:
    h, w, c = x.shape
    x = np.pad(x, ((0, h % 2), (0, w % 2), (0, 0)), constant_values=-np.inf)
    return x.reshape((h + 1) // 2, 2, (w + 1) // 2, 2, c).max(axis=(1, 3))


def _raised(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    raised = np.empty((2 * x.shape[0], 2 * x.shape[1], kernel.shape[2]), np.float32)
    for a in range(2):
        for b in range(2):
            raised[a::2, b::2] = x @ kernel[a, b].T  # (row, column, out, in)
    return raised
