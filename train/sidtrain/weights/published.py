"""Weights from elsewhere, made those of our network: of PyTorch ports of See-in-the-Dark and of its TensorFlow code.

TensorFlow keeps a kernel as (row, column, in, out), that of a transposed convolution as (row, column, out, in); PyTorch
as (out, in, row, column) and (in, out, row, column): one permutation for both. TensorFlow's `depth_to_space` reads the
channels of the last layer as (row, column, color), PyTorch's `PixelShuffle` as (color, row, column).
"""

import hashlib
import io
import shlex
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sidcurate.errors import UsageError
from sidtrain.architectures import COLORS, Architecture
from sidtrain.recipe import Recipe
from sidtrain.weights import checkpoint, history
from sidtrain.weights.checkpoint import Imported, Layout, Order, Sidecar
from sidtrain.weights.unet import Unet, build

# SID's network has 31 MB, with the state of its optimizer 93 MB.
MAX_BYTES: Final = 1_000_000_000
_WRAPPERS = ("state_dict", "model_state_dict", "model", "params")
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_OPTIMIZER = ("/Adam", "/Adam_1", "beta1_power", "beta2_power", "global_step")  # beside TensorFlow's weights
_OUR_NAMES = {"down.0.0.weight", "last.weight"}
_NAMED = 8  # faults that a message names


@dataclass(frozen=True)
class Weights:
    """Tensors of a file under the names that they have there, without what wraps them."""

    path: Path
    sha256: str
    layout: Layout
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class _Layer:
    """One layer's name here, and those that it has elsewhere."""

    ours: str
    ports: tuple[str, ...]
    original: tuple[str, ...]


def read(path: Path) -> Weights:
    """Return the tensors of a file; no code in it is run.

    Args:
        path: a state dict that torch saved, or one of safetensors, or a NumPy archive (.npz) of TensorFlow's arrays.

    Raises:
        UsageError: it is not there, too large, holds more than tensors, or none, or is a checkpoint of ours.
    """
    if (path / history.WEIGHTS).is_file():
        raise _ours(path)
    if not path.is_file():
        raise UsageError(f"no weights at {path}; give a .pt, .pth, .safetensors or .npz file")
    try:
        _require_small(path)
        content = path.read_bytes()
        found = _READERS.get(path.suffix, _pickled)(content)
    except UsageError:
        raise
    except Exception as error:  # each library leaks its own errors, and those of zipfile and pickle
        raise UsageError(
            f"{path} cannot be read as plain tensors ({_first_line(error)}), and no code in it is run; save the "
            "`state_dict()` alone with torch or safetensors, or TensorFlow's arrays with numpy.savez"
        ) from error
    tensors = _unwrapped(found)
    if not tensors:
        raise UsageError(f"{path} holds no tensors by name; give the state dict of a network")
    if tensors.keys() >= _OUR_NAMES:
        raise _ours(path.parent)
    layout: Layout = "tensorflow" if any(name.startswith("g_conv") for name in tensors) else "pytorch"
    return Weights(path, hashlib.sha256(content).hexdigest(), layout, tensors)


def _ours(folder: Path) -> UsageError:
    return UsageError(
        f"{folder} is a checkpoint of this program and needs no import: use it as it is, `sidcurate finetune --init "
        f"{shlex.quote(str(folder))}` or `sidcurate evaluate --checkpoint`"
    )


def imported(
    weights: Weights, recipe: Recipe, device: str | None = None, told_order: Order | None = None
) -> tuple[Unet, Sidecar]:
    """Return the network with these weights, and the contract that says what is known of them.

    Args:
        weights: what `read` returned.
        recipe: names the network and says how its input is made.
        device: slug of the camera that they were trained for, if it is known.
        told_order: order of the last layer's channels; without, the one of the program that made the weights.

    Raises:
        UsageError: the weights are not those of the recipe's network, or their order cannot be told.
    """
    # Planes are not shuffled: their last layer has one order wherever it comes from.
    order = "color-first" if recipe.target == "raw" else _last_layer_order(weights, told_order)
    sidecar = Sidecar(
        **checkpoint.input_of(recipe),
        recipe=recipe,
        imported=Imported(file=weights.path.name, sha256=weights.sha256, layout=weights.layout, last_layer=order),
        device=device,
        manifest_sums=None,
        scenes=None,
        left_out=None,
        tools=checkpoint.tools(),
        git_revision=checkpoint.git_revision(),
        initial_weights=None,
        step=None,
        metrics={},
    )
    return network(weights, sidecar.architecture, order), sidecar


def network(weights: Weights, architecture: Architecture, order: Order) -> Unet:
    """Return the network with these weights; transposed convolutions without bias get one of zeros, to the same effect.

    Raises:
        UsageError: a tensor is missing, left over, of another shape, or not finite; the message names it.
    """
    model = build(architecture)
    state, faults = _placed(weights, architecture, model.state_dict())
    if faults:
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise UsageError(
            f"{weights.path} does not hold the weights of {architecture}: {'; '.join(faults[:_NAMED])}{more}; "
            "name the recipe of their network with --recipe"
        )
    if order == "color-last":
        state |= {name: _color_first(state[name], architecture.sites) for name in ("last.weight", "last.bias")}
    model.load_state_dict(state)
    return model.eval()


def _last_layer_order(weights: Weights, told: Order | None) -> Order:
    """Return how the last layer's channels are ordered: as told, else as the program that made the weights has it."""
    if told is not None:
        return told
    if weights.layout == "tensorflow":
        return "color-last"
    if any(name.startswith("up") and name.endswith(".bias") for name in weights.tensors):
        return "color-first"
    raise UsageError(
        f"{weights.path}: its transposed convolutions have no bias, as in weights that were carried over from "
        "TensorFlow, whose last layer has another order of channels; say which with --last-layer: color-last if they "
        "come from there, color-first if the port uses PixelShuffle"
    )


def _placed(
    weights: Weights, architecture: Architecture, wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors by our names, and what keeps them from being all that is wanted."""
    names, left = _names(architecture, weights.layout), dict(weights.tensors)
    state, faults = {}, []
    for ours, example in wanted.items():
        theirs = next((name for name in names[ours] if name in left), None)
        if theirs is not None:
            state[ours], fault = _laid_out(left.pop(theirs), example, weights.layout)
            faults += [f"{theirs} {fault}"] if fault else []
        elif ours.startswith("up.") and ours.endswith(".bias"):
            state[ours] = torch.zeros_like(example)
        else:
            faults.append(f"{names[ours][0]} is missing")
    return state, faults + [f"{name} has no place there" for name in left if not name.endswith(_OPTIMIZER)]


def _names(architecture: Architecture, layout: Layout) -> dict[str, tuple[str, ...]]:
    """Return, by the name of each of our tensors, those that it can have elsewhere."""
    if layout == "pytorch":
        return {
            f"{layer.ours}.{part}": tuple(f"{name}.{part}" for name in layer.ports)
            for layer in _layers(architecture)
            for part in ("weight", "bias")
        }
    parts = {"weight": "weights", "bias": "biases"}
    return {
        f"{layer.ours}.{ours}": tuple(
            name if name.startswith("Variable") and ours == "weight" else f"{name}/{theirs}" for name in layer.original
        )
        for layer in _layers(architecture)
        for ours, theirs in parts.items()
    }


def _layers(architecture: Architecture) -> Iterator[_Layer]:
    for level, convolutions in enumerate(architecture.convolutions_by_level):
        yield from (_convolution(f"down.{level}", level + 1, place) for place in range(convolutions))
    for rise in range(architecture.levels - 1):
        number = 11 - architecture.levels + rise  # the last rise is SID's ninth stage, whatever the depth
        yield _Layer(f"up.{rise}", (f"upv{number}", f"up{number}"), (f"Variable_{rise}" if rise else "Variable",))
        yield from (_convolution(f"merge.{rise}", number, place) for place in range(architecture.convolutions))
    yield _Layer("last", ("conv10_1", "conv10"), ("g_conv10", "g_conv10_1"))


def _convolution(block: str, stage: int, place: int) -> _Layer:
    name = f"conv{stage}_{place + 1}"
    return _Layer(f"{block}.{2 * place}", (name,), (f"g_{name}",))


def _laid_out(tensor: Tensor, wanted: Tensor, layout: Layout) -> tuple[Tensor, str]:
    """Return the tensor as our network has it, or with it the fault that keeps it from being so."""
    if tensor.layout != torch.strided or not tensor.is_floating_point() or tensor.is_meta:
        return wanted, "has no plain floating-point numbers"
    if layout == "tensorflow" and tensor.ndim == 4:
        tensor = tensor.permute(3, 2, 0, 1)
    if tensor.shape != wanted.shape:
        read, needed = (_in_layout(each.shape, layout) for each in (tensor, wanted))
        return wanted, f"is {read}, not {needed}"
    tensor = tensor.detach().to(wanted.dtype).contiguous()
    return tensor, "" if torch.isfinite(tensor).all() else "has values that are not finite"


def _in_layout(shape: torch.Size, layout: Layout) -> tuple[int, ...]:
    if layout == "tensorflow" and len(shape) == 4:
        outer, inner, *kernel = shape
        return (*kernel, inner, outer)
    return tuple(shape)


def _color_first(channels: Tensor, sites: int) -> Tensor:
    """Return the channels (row, column, color) of a last layer as (color, row, column)."""
    by_place = channels.reshape(sites, sites, COLORS, *channels.shape[1:])
    return by_place.movedim(2, 0).reshape(channels.shape)


def _unwrapped(found: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a state dict, without the checkpoint around it and the prefix of its names."""
    inner = next((found[name] for name in _WRAPPERS if isinstance(found.get(name), Mapping)), found)
    tensors = {str(name).removesuffix(":0"): value for name, value in inner.items() if isinstance(value, Tensor)}
    while prefix := next(
        (each for each in _PREFIXES if tensors and all(name.startswith(each) for name in tensors)), ""
    ):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _pickled(content: bytes) -> Mapping[str, Any]:
    found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return found if isinstance(found, Mapping) else {}


def _archived(content: bytes) -> Mapping[str, Any]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in arrays.files}


def _require_small(path: Path) -> None:
    """Refuse a file that is, or unpacks to, more than any weights of this network."""
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if size > MAX_BYTES:
        raise UsageError(f"{path} holds {size / 1e9:.1f} GB, the weights of SID's network are 0.03 GB; give those")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


_READERS: Mapping[str, Callable[[bytes], Mapping[str, Any]]] = {
    ".npz": _archived,
    ".safetensors": safetensors.torch.load,
}
