"""Weights from elsewhere: the same picture as where they come from, no code run, nothing claimed that nobody knows."""

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import small_session
import torch
from click.testing import CliRunner, Result
from reference_networks import port, port_picture, tensorflow, tensorflow_picture
from torch import Tensor

from sidcurate.cli import main
from sidcurate.errors import UsageError
from sidtrain.architectures import NETWORKS
from sidtrain.recipe import Recipe
from sidtrain.weights import checkpoint, history, published


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A port's weights as .pth and TensorFlow's as .npz, written once."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(port(), folder / "port.pth")
    np.savez(folder / "tensorflow.npz", **tensorflow())  # type: ignore[arg-type]
    return folder


def planes(size: tuple[int, int] = (19, 34), count: int = 4) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(count, *size)


def picture(model: torch.nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = model(x[None])[0]
    return output


def test_a_port_s_weights_give_the_port_s_picture(saved: Path) -> None:
    model, sidecar = published.imported(published.read(saved / "port.pth"), Recipe())
    expected = port_picture(port(), planes())
    assert expected.std() > 0.3
    np.testing.assert_allclose(picture(model, planes()), expected, atol=1e-5)
    assert sidecar.imported is not None
    assert (sidecar.imported.layout, sidecar.imported.last_layer) == ("pytorch", "color-first")


def test_tensorflow_s_weights_give_tensorflow_s_picture(saved: Path) -> None:
    weights = published.read(saved / "tensorflow.npz")
    expected = tensorflow_picture(tensorflow(), planes().permute(1, 2, 0).numpy()).transpose(2, 0, 1)
    assert expected.std() > 0.3
    model, _ = published.imported(weights, Recipe())
    np.testing.assert_allclose(picture(model, planes()), expected, atol=1e-5)
    not_permuted, _ = published.imported(weights, Recipe(), told_order="color-first")
    assert np.abs(picture(not_permuted, planes()).numpy() - expected).max() > 0.3


def test_tensorflow_s_x_trans_weights_give_its_picture(tmp_path: Path) -> None:
    np.savez(tmp_path / "fuji.npz", **tensorflow(sites=3))  # type: ignore[arg-type]
    x = planes((7, 10), 9)
    expected = tensorflow_picture(tensorflow(sites=3), x.permute(1, 2, 0).numpy(), sites=3).transpose(2, 0, 1)
    model = published.network(published.read(tmp_path / "fuji.npz"), NETWORKS["xtrans"], "color-last")
    np.testing.assert_allclose(picture(model, x), expected, atol=1e-5)


@pytest.mark.parametrize("form", ["module.", "_orig_mod.", "_orig_mod.module.", "state_dict", "float64", "safetensors"])
def test_the_forms_in_which_ports_save(tmp_path: Path, form: str) -> None:
    state, path = port(), tmp_path / "weights.pt"
    if form == "safetensors":
        path = tmp_path / "weights.safetensors"
        safetensors.torch.save_file(state, path)
    elif form == "state_dict":
        torch.save({"epoch": 7, "state_dict": state, "optimizer": {"lr": 1e-4}}, path)
    elif form == "float64":
        torch.save({name: value.double() for name, value in state.items()}, path)
    else:
        torch.save({form + name: value for name, value in state.items()}, path)
    model, _ = published.imported(published.read(path), Recipe())
    assert torch.equal(model.down[0][0].weight, state["conv1_1.weight"])
    assert torch.equal(model.last.bias, state["conv10_1.bias"])


def test_weights_that_were_carried_over_from_tensorflow_must_say_their_order(tmp_path: Path) -> None:
    """Ports without bias in the transposed convolutions occur with both orders: a guess would tint every picture."""
    state = port(up="up", bias=False, last="conv10")
    torch.save(state, tmp_path / "weights.pth")
    weights = published.read(tmp_path / "weights.pth")
    with pytest.raises(UsageError, match=r"--last-layer: color-last if .* color-first if"):
        published.imported(weights, Recipe())
    model, sidecar = published.imported(weights, Recipe(), told_order="color-last")
    row, column, color = 1, 0, 2
    theirs, ours = state["conv10.weight"][6 * row + 3 * column + color], model.last.weight[4 * color + 2 * row + column]
    assert torch.equal(theirs, ours)
    assert all(not up.bias.any() for up in model.up)
    assert sidecar.imported is not None
    assert sidecar.imported.last_layer == "color-last"


def test_an_ablation_s_weights_are_read_with_its_recipe(tmp_path: Path) -> None:
    state = port()
    for stage in ("conv4", "conv5", "conv6", "conv7", "upv6", "upv7"):
        state = {name: value for name, value in state.items() if not name.startswith(stage)}
    state["upv8.weight"], state["upv8.bias"] = torch.randn(128, 64, 2, 2), torch.zeros(64)
    torch.save(state, tmp_path / "a8.pth")
    model, sidecar = published.imported(published.read(tmp_path / "a8.pth"), Recipe(architecture="a8"))
    assert sidecar.architecture == NETWORKS["a8"]
    assert torch.equal(model.up[0].weight, state["upv8.weight"])


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = port()
    del state["conv3_2.bias"]
    state["conv1_1.weight"] = torch.zeros(32, 9, 3, 3)
    state["bn1.weight"] = torch.ones(32)
    state["conv2_1.bias"][3] = torch.nan
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(UsageError) as error:
        published.imported(published.read(tmp_path / "weights.pt"), Recipe())
    for fault in (
        "conv3_2.bias is missing",
        "conv1_1.weight is (32, 9, 3, 3), not (32, 4, 3, 3)",
        "bn1.weight has no place",
        "conv2_1.bias has values that are not finite",
    ):
        assert fault in str(error.value)


def test_shapes_of_tensorflow_are_said_as_tensorflow_has_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **tensorflow() | {"Variable": np.zeros((2, 2, 512, 256), np.float32)})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"Variable is \(2, 2, 512, 256\), not \(2, 2, 256, 512\)"):
        published.imported(published.read(tmp_path / "w.npz"), Recipe())


@pytest.mark.parametrize(
    "odd",
    [
        torch.zeros(32, dtype=torch.int64),
        torch.zeros(32, device="meta"),
        torch.zeros(32, dtype=torch.complex64),
        torch.zeros(32).to_sparse(),
    ],
    ids=["int", "meta", "complex", "sparse"],
)
def test_tensors_that_are_no_plain_numbers_are_named(tmp_path: Path, odd: Tensor) -> None:
    torch.save(port() | {"conv1_1.bias": odd}, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r"conv1_1\.bias has no plain floating-point numbers"):
        published.imported(published.read(tmp_path / "weights.pt"), Recipe())


def test_a_prefix_of_some_names_only_is_part_of_them(tmp_path: Path) -> None:
    torch.save(port() | {"module.conv1_1.bias": torch.zeros(32)}, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r"module\.conv1_1\.bias has no place"):
        published.imported(published.read(tmp_path / "weights.pt"), Recipe())


def test_many_faults_are_counted_not_listed(tmp_path: Path) -> None:
    torch.save({"conv1_1.weight": torch.zeros(1), "upv6.bias": torch.zeros(256)}, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r"conv1_2.weight is missing.* and \d+ more; name the recipe"):
        published.imported(published.read(tmp_path / "weights.pt"), Recipe())


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(Path(__file__).with_name("ran")), "w")


def hostile(kind: str, path: Path) -> None:
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Hostile()))
    elif kind == "torch":
        torch.save({"conv1_1.weight": Hostile()}, path)
    elif kind == "module":
        torch.save(torch.nn.Conv2d(1, 1, 1), path)
    elif kind == "objects":
        np.savez(path, **{"g_conv1_1/weights": np.array([Hostile()], dtype=object)})  # type: ignore[arg-type]
    elif kind == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as stream:
            np.save(buffer := io.BytesIO(), np.zeros((0,), np.float32))
            stream.write(buffer.getvalue())
            for _ in range(1001):
                stream.write(bytes(1_000_000))
    else:
        path.write_bytes(kind.encode())


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("pickle", "w.pth", "cannot be read as plain tensors"),
        ("torch", "w.pt", "no code in it is run"),
        ("module", "w.pt", "save the `state_dict.."),
        ("objects", "w.npz", "cannot be read as plain tensors"),
        ("bomb", "w.npz", "holds 1.0 GB"),
        ("", "w.pth", "cannot be read"),
        ("no zip", "w.npz", "cannot be read"),
        ("no header", "w.safetensors", "cannot be read"),
    ],
)
def test_a_hostile_or_broken_file_is_refused_in_one_line(tmp_path: Path, kind: str, name: str, said: str) -> None:
    hostile(kind, tmp_path / name)
    with pytest.raises(UsageError, match=said) as error:
        published.read(tmp_path / name)
    assert "\n" not in str(error.value)
    assert not Path(__file__).with_name("ran").exists()


@pytest.mark.parametrize("content", [{}, {"lr": 1e-4}, [torch.zeros(2)]])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UsageError, match="no tensors by name"):
        published.read(tmp_path / "w.pt")


def command(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def test_the_side_car_claims_nothing_that_is_not_known(saved: Path, tmp_path: Path) -> None:
    result = command("weights", "import", saved / "tensorflow.npz", tmp_path / "sid")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'sid'}\n")
    assert "tensorflow weights, last layer color-last there" in result.stderr
    assert "a camera that nobody knows" in result.stderr
    record = json.loads((tmp_path / "sid" / "model.json").read_text())
    unknown = {"device", "manifest_sums", "scenes", "left_out", "initial_weights", "initial_sha256", "step"}
    unknown |= {"execution", "white_balance", "ancestors"}
    assert {name for name in record if record[name] is None} - {"git_revision"} == unknown
    assert record["metrics"] == {}
    assert record["imported"] == {
        "file": "tensorflow.npz",
        "sha256": hashlib.sha256((saved / "tensorflow.npz").read_bytes()).hexdigest(),
        "layout": "tensorflow",
        "last_layer": "color-last",
    }
    assert checkpoint.load(tmp_path / "sid")[1].recipe == Recipe()


@pytest.mark.parametrize("part", ["", history.WEIGHTS])
def test_a_checkpoint_of_ours_needs_no_import(saved: Path, tmp_path: Path, part: str) -> None:
    command("weights", "import", saved / "port.pth", tmp_path / "sid")
    again = command("weights", "import", tmp_path / "sid" / part, tmp_path / "out")
    assert (again.exit_code, (tmp_path / "out").exists()) == (2, False)
    assert f"needs no import: use it as it is, `sidcurate finetune --init {tmp_path / 'sid'}`" in again.stderr


@pytest.mark.parametrize(("device", "slug"), [("Sony A7", "sony-a7"), ("../evil", "evil")])
def test_a_slug_is_made_of_the_name_of_a_camera(saved: Path, tmp_path: Path, device: str, slug: str) -> None:
    command("weights", "import", saved / "port.pth", tmp_path / "out", "--device", device)
    assert checkpoint.load(tmp_path / "out")[1].device == slug


@pytest.mark.parametrize("device", ["..", ""])
def test_a_name_that_makes_no_slug_is_refused(saved: Path, tmp_path: Path, device: str) -> None:
    result = command("weights", "import", saved / "port.pth", tmp_path / "out", "--device", device)
    assert (result.exit_code, f"can be made of {device!r}" in result.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_an_existing_checkpoint_is_never_overwritten(saved: Path, tmp_path: Path) -> None:
    assert command("weights", "import", saved / "port.pth", tmp_path).exit_code == 0
    before = (tmp_path / "model.json").read_bytes()
    again = command("weights", "import", saved / "port.pth", tmp_path, "--device", "sony")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "exists; give another folder" in again.stderr
    assert (tmp_path / "model.json").read_bytes() == before


def test_nothing_is_written_when_the_weights_do_not_fit(saved: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "narrow.toml"
    recipe.write_text("width = 16\n")
    result = command("weights", "import", saved / "port.pth", tmp_path / "out", "--recipe", recipe)
    assert result.exit_code == 2
    assert "conv1_1.weight is (32, 4, 3, 3), not (16, 4, 3, 3)" in result.stderr
    assert not (tmp_path / "out").exists()


def test_imported_weights_are_fine_tuned_and_evaluated(saved: Path, tmp_path: Path) -> None:
    small_session.write_session(tmp_path)
    where = ["--device", "phone", "--manifests", tmp_path / "manifests", "--store", tmp_path / "store", "--jobs", 1]
    where += ["--device-type", "cpu"]
    command("weights", "import", saved / "port.pth", tmp_path / "sid")
    recipe = tmp_path / "short.toml"
    recipe.write_text('unit = "steps"\nduration = 1\nschedule = [[0, 1e-4]]\npatch = 8\n')
    trained = command("finetune", *where, "--recipe", recipe, "--init", tmp_path / "sid", "--runs", tmp_path / "runs")
    assert trained.exit_code == 0, trained.stderr
    run = tmp_path / "runs" / "phone" / "short"
    _, sidecar = checkpoint.load(run)
    assert (sidecar.initial_weights, sidecar.device, sidecar.imported) == (str(tmp_path / "sid"), "phone", None)
    judged = command("evaluate", *where, "--checkpoint", tmp_path / "sid")
    assert judged.exit_code == 0, judged.stderr
    assert "Nobody knows on which scenes the network was trained" in judged.stdout
    tuned = command("evaluate", *where, "--checkpoint", run).stdout
    assert f"fine-tuned from {tmp_path / 'sid'}, 1 step. Nobody knows" in tuned, "its ancestor may have seen anything"
