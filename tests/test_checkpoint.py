"""Checkpoints: what is saved comes back, and the wrong one is an error, never a black picture."""

import json
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch

from sidcurate.errors import IntegrityError, UsageError
from sidtrain.architectures import Architecture
from sidtrain.recipe import Recipe
from sidtrain.weights import checkpoint
from sidtrain.weights.checkpoint import Sidecar
from sidtrain.weights.unet import Unet, build

RECIPE = Recipe(width=2, resolutions=2)
SMALL = Architecture(width=2, levels=2)


def sidecar() -> Sidecar:
    return Sidecar(
        **checkpoint.input_of(RECIPE),
        recipe=RECIPE,
        device="phone",
        manifest_sums={"pairs.parquet": "00"},
        scenes={"train": ("00001",), "val": ()},
        left_out={"00002_00": ("PAIR201",)},
        tools=checkpoint.tools(),
        git_revision=checkpoint.git_revision(),
        initial_weights=checkpoint.SCRATCH,
        step=7,
        metrics={"as the test says": {"val_psnr_db": 20.0}},
    )


def save(folder: Path, seed: int = 0) -> Unet:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    model = build(SMALL)
    checkpoint.save(folder, model, sidecar())
    return model


def same(one: Unet, other: Unet) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def edit(folder: Path, **fields: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("name", ["", "model.safetensors"])
def test_a_checkpoint_comes_back_whole(tmp_path: Path, name: str) -> None:
    model = save(tmp_path / "run")
    loaded, contract = checkpoint.load(tmp_path / "run" / name)
    assert same(model, loaded)
    assert contract == sidecar().model_copy(update={"sha256": contract.sha256})
    assert len(contract.sha256) == 64


def test_the_weights_are_plain_safetensors(tmp_path: Path) -> None:
    model = save(tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert tensors.keys() == model.state_dict().keys()


def test_nothing_but_the_checkpoint_is_left_in_the_folder(tmp_path: Path) -> None:
    save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_a_flipped_bit_in_the_weights_is_seen(tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="SHA-256"):
        checkpoint.load(tmp_path)


def test_the_side_car_says_what_the_input_is(tmp_path: Path) -> None:
    save(tmp_path)
    record = json.loads((tmp_path / "model.json").read_text())
    said = {name: record[name] for name in ("cfa_kind", "packing", "levels", "ratio", "input_clip")}
    assert said == {
        "cfa_kind": "bayer",
        "packing": "by-phase",
        "levels": "declared",
        "ratio": "cap 300",
        "input_clip": 1.0,
    }
    assert record["architecture"] == SMALL.model_dump()


def test_the_revision_is_that_of_this_checkout_or_unknown() -> None:
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        assert checkpoint.git_revision() is None
        return
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert (checkpoint.git_revision() or "").removesuffix("-dirty") == head.stdout.strip()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("packing", "by-position"),
        ("cfa_kind", "xtrans"),
        ("levels", "measured"),
        ("ratio", "cap 100"),
        ("input_clip", 2.0),
        ("architecture", Architecture(width=2, levels=3).model_dump()),
    ],
)
def test_a_checkpoint_for_another_input_is_refused_with_the_reason(tmp_path: Path, field: str, value: object) -> None:
    save(tmp_path)
    edit(tmp_path, **{field: value})
    with pytest.raises(UsageError, match=f"its {field} is .*, but its recipe makes"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("version", [1, 2, 4, None])
def test_a_checkpoint_of_another_format_is_refused_with_what_to_do(tmp_path: Path, version: int | None) -> None:
    save(tmp_path)
    edit(tmp_path, format_version=version)
    with pytest.raises(UsageError, match=f"format_version is {version}, .*; use the sidcurate that made it, or train"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("architecture", [None, {"name": "sid"}, {"levels": 0}, {"sites": 4}])
def test_an_architecture_that_this_program_does_not_know_is_refused(tmp_path: Path, architecture: object) -> None:
    save(tmp_path)
    edit(tmp_path, architecture=architecture)
    with pytest.raises(UsageError, match="architecture"):
        checkpoint.load(tmp_path)


def test_weights_of_another_size_than_the_side_car_says_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    wider = RECIPE.model_copy(update={"width": 4})
    edit(tmp_path, architecture=Architecture(width=4, levels=2).model_dump(), recipe=wider.model_dump())
    with pytest.raises(IntegrityError, match="does not hold the weights"):
        checkpoint.load(tmp_path)


def test_weights_without_a_side_car_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(UsageError, match="no side-car"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format_version": 3}', "\x00\xff"])
def test_a_side_car_that_is_not_ours_is_refused(tmp_path: Path, content: str) -> None:
    save(tmp_path)
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(UsageError):
        checkpoint.load(tmp_path)


def test_a_broken_side_car_is_said_in_one_line_that_names_the_field(tmp_path: Path) -> None:
    save(tmp_path)
    edit(tmp_path, step="seven", metrics=[])
    with pytest.raises(UsageError, match=r"model\.json is no side-car.*: step: .*integer.*; restore it") as error:
        checkpoint.load(tmp_path)
    assert "\n" not in str(error.value)
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize("name", ["", "run", "run/model.safetensors"])
def test_a_path_without_a_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"^no such checkpoint: {tmp_path / name}; give the folder of a run"):
        checkpoint.load(tmp_path / name)


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"anything")
    with pytest.raises(UsageError, match="no side-car"):
        checkpoint.load(tmp_path / "weights.pt")


@pytest.mark.parametrize("done", ["staged", "committed"])
def test_a_save_that_was_cut_off_leaves_the_old_or_the_new_checkpoint(tmp_path: Path, done: str) -> None:
    """The moments at which a kill can strike: after the weights are staged, and after the side-car is replaced."""
    old, new = save(tmp_path / "run", seed=0), save(tmp_path / "next", seed=1)
    staged = (tmp_path / "next" / "model.safetensors").read_bytes()
    contract = (tmp_path / "next" / "model.json").read_bytes()
    (tmp_path / "run" / f".model.safetensors.{json.loads(contract)['sha256']}").write_bytes(staged)
    if done == "committed":
        (tmp_path / "run" / "model.json").write_bytes(contract)
    assert same(checkpoint.load(tmp_path / "run")[0], old if done == "staged" else new)


def test_who_reads_while_a_training_saves_gets_the_old_or_the_new_and_is_not_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the weights are staged and after the side-car is replaced: an evaluation may come at any moment."""
    old, write, read = save(tmp_path), checkpoint.write_whole, []

    def write_and_read(path: Path, content: bytes) -> None:
        write(path, content)
        read.append(checkpoint.load(tmp_path)[0])

    monkeypatch.setattr(checkpoint, "write_whole", write_and_read)
    new = save(tmp_path, seed=1)
    during_staging, during_commit = read
    assert same(during_staging, old)
    assert same(during_commit, new)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_a_whole_save_between_the_reading_of_side_car_and_weights_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path)
    read, saved = checkpoint._read_sidecar, []

    def read_and_save(weights: Path) -> Sidecar:
        found = read(weights)
        if not saved:
            saved.append(save(tmp_path, seed=1))
        return found

    monkeypatch.setattr(checkpoint, "_read_sidecar", read_and_save)
    assert same(checkpoint.load(tmp_path)[0], saved[0])


def test_what_a_save_that_was_cut_off_has_staged_goes_with_the_next(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / f".model.safetensors.{'0' * 64}").write_bytes(b"half a network")
    save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_the_training_state_comes_back(tmp_path: Path) -> None:
    state = {"step": 3, "tensor": torch.arange(3), "best": -float("inf"), "initial": ("scratch", None)}
    checkpoint.save_state(tmp_path / "state.pt", state)
    loaded = checkpoint.load_state(tmp_path / "state.pt")
    assert torch.equal(loaded.pop("tensor"), state.pop("tensor"))
    assert loaded == state


def test_the_state_of_a_training_on_a_gpu_can_be_read_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its execution then says where it goes on; and of several GPUs the first does not get the tensors of all."""
    with monkeypatch.context() as on_a_gpu:
        on_a_gpu.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        checkpoint.save_state(tmp_path / "state.pt", {"tensor": torch.arange(3)})
    assert torch.equal(checkpoint.load_state(tmp_path / "state.pt")["tensor"], torch.arange(3))


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


@pytest.mark.parametrize("content", [b"", b"no zip", "hostile"])
def test_a_training_state_that_is_torn_or_runs_code_is_refused(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "state.pt"
    if content == "hostile":
        torch.save({"step": Hostile()}, path)
    else:
        path.write_bytes(bytes(content))  # type: ignore[arg-type]
    with pytest.raises(IntegrityError, match="cannot be read"):
        checkpoint.load_state(path)


def test_a_state_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to resume"):
        checkpoint.load_state(tmp_path / "state.pt")


def test_a_flipped_bit_in_a_state_is_never_another_training(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    checkpoint.save_state(path, {"model": {"weight": torch.ones(100)}})
    content = bytearray(path.read_bytes())
    content[content.index(torch.ones(3).numpy().tobytes()) + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"state.pt cannot be read \(the checksum of its part .* is another one\)"):
        checkpoint.load_state(path)
