"""Networks from raw to raw: planes in, planes out, and the long frame's own planes as what they learn."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rawpy
import small_session
import torch
from reference_networks import port
from test_enhance import write_checkpoint, write_raw
from test_finetune import TINY, manifest, train
from test_patches import entry
from test_unet import parameters

from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidtrain import enhance, recipe
from sidtrain.architectures import NETWORKS, Architecture
from sidtrain.data import feed, patches, policies, store
from sidtrain.data.store import Entry, StoreSettings
from sidtrain.evaluation import tiles
from sidtrain.evaluation.preview import preview
from sidtrain.normalization import LevelsPolicy
from sidtrain.recipe import Recipe
from sidtrain.training import finetune, runs
from sidtrain.weights import checkpoint, published
from sidtrain.weights.unet import Unet, architecture_of, build

RAW = StoreSettings(0.0, target="raw")
XTRANS = "RBGBRGGGRGGBGGBGGRBRGRBGGGBGGRGGRGGB"
LONG_BLACK = np.array([10, 20, 30, 40], np.float32)
LONG_WHITE = np.array([900, 910, 920, 930], np.float32)


def network(name: str, **numbers: int) -> Unet:
    return build(NETWORKS[name].model_copy(update={"target": "raw", **numbers}))


def store_of(folder: Path, found: Manifest, settings: StoreSettings = RAW) -> list[Entry]:
    captures = {capture.path: capture for capture in found.captures}
    return store.build(found.pairs, captures, folder / "raws", folder / "store", settings, jobs=1)


def raw_entry(size: tuple[int, int] = (20, 24)) -> Entry:
    """An entry whose target is planes with levels of their own, some of them beyond black and white."""
    codes = np.random.default_rng(7).integers(0, 1023, (4, *size), np.uint16)
    return replace(entry(size=size), target=codes.transpose(1, 2, 0), target_levels=(LONG_BLACK, LONG_WHITE))


def naive_target(codes: np.ndarray) -> np.ndarray:
    black, white = (levels.astype(float)[:, None, None] for levels in (LONG_BLACK, LONG_WHITE))
    return np.clip((codes.astype(float) - black) / (white - black), 0, 1)


def test_the_last_layer_has_a_channel_for_each_plane() -> None:
    """SID's network with bias has 12 x 33 parameters in its last layer, of X-Trans 27 x 33."""
    assert parameters(network("sid")) == 7_760_748 - 12 * 33 + 4 * 33 == 7_760_484
    assert parameters(network("xtrans")) == 7_762_683 - 27 * 33 + 9 * 33


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(1, 1), (13, 7), (17, 31)])
def test_planes_of_any_size_come_out_as_large_as_they_went_in(name: str, size: tuple[int, int]) -> None:
    model, planes = network(name, width=2), NETWORKS[name].in_planes
    x = torch.rand(1, planes, *size)
    with torch.no_grad():
        output = model(x)[0].permute(1, 2, 0)
    assert output.shape == (*size, planes)
    np.testing.assert_allclose(tiles.picture(model, x[0].numpy()), output, atol=1e-6)


def test_nothing_is_shuffled_between_the_last_layer_and_the_planes() -> None:
    model, last = network("sid", width=2, levels=2), []
    model.last.register_forward_hook(lambda module, inputs, output: last.append(output))
    assert torch.equal(model(torch.rand(1, 4, 5, 6)), last[0])


@pytest.mark.parametrize("phase", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_the_target_is_the_long_frame_packed_as_its_short(tmp_path: Path, phase: str) -> None:
    found = small_session.write_session(tmp_path, ["train"], cfa=phase)
    (made,) = store_of(tmp_path, found)
    top, left = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}[phase]
    height, width = (50 - top) // 2, (66 - left) // 2
    assert (made.planes.shape, made.target.shape, made.enlargement) == ((4, height, width), (height, width, 4), 1)
    assert isinstance(made.target, np.memmap)
    with rawpy.imread(str(tmp_path / "raws" / found.pairs[0].long_path)) as opened:
        mosaic = opened.raw_image_visible[top:, left:].astype(float)
    wanted = patches.target_picture(made)
    for plane, (row, column) in enumerate([(0, 0), (0, 1), (1, 1), (1, 0)]):
        black = small_session.BLACK + (row + top) % 2 * 2 + (column + left) % 2
        light = (mosaic[row::2, column::2][:height, :width] - black) / (small_session.WHITE - black)
        np.testing.assert_allclose(wanted[..., plane], light.clip(0, 1), atol=1e-6)


def test_the_store_renders_nothing_and_keeps_both_kinds_of_target_apart(tmp_path: Path) -> None:
    found = small_session.write_session(tmp_path, ["train"], shorts=2)
    store_of(tmp_path, found)
    raw_names = {path.name for path in (tmp_path / "store").iterdir()}
    assert sorted(name.split(".", 1)[1] for name in raw_names) == ["planes.json"] * 3 + ["planes.npy"] * 3
    rendered = store_of(tmp_path, found, StoreSettings(0.0))
    new = {path.name for path in (tmp_path / "store").iterdir()} - raw_names
    assert sorted(name.split(".", 1)[1] for name in new) == ["target.json", "target.npy"]
    assert {made.target.shape[-1] for made in rendered} == {3}
    assert {made.target.shape[-1] for made in store_of(tmp_path, found, replace(RAW, adjust_maximum_thr=0.5))} == {4}
    assert {path.name for path in (tmp_path / "store").iterdir()} == raw_names | new


def test_an_xtrans_frame_of_any_size_is_a_target(tmp_path: Path) -> None:
    """Smaller than LibRaw would render it."""
    found = small_session.write_session(tmp_path, ["train"], cfa=XTRANS, size=(50, 62))
    (made,) = store_of(tmp_path, found, replace(RAW, cfa_kind="xtrans", crop=(36, 60)))
    assert (made.planes.shape, made.target.shape) == ((9, 12, 20), (12, 20, 9))
    drawn = Recipe(architecture="xtrans", target="raw", patch=5)
    for number in range(20):
        patch = patches.cut([[made]], drawn, 5, number).patch
        assert patch.input.shape == patch.target.shape == (9, 5, 5)


def test_an_override_holds_for_both_frames_and_a_measured_zero_for_the_short_alone(tmp_path: Path) -> None:
    found = small_session.write_session(tmp_path, ["train"], cfa="RGGB", zeros=[(1.0, 2.0, 3.0, 4.0)])
    (measured,) = store_of(tmp_path, found, replace(RAW, levels=LevelsPolicy("measured")))
    assert measured.black.tolist() == [65, 67, 71, 69]
    assert measured.target_levels is not None
    assert measured.target_levels[0].tolist() == [64, 65, 67, 66]
    (override,) = store_of(tmp_path, found, replace(RAW, levels=LevelsPolicy("override", (50.0,), 9)))
    assert override.target_levels is not None
    assert [levels.tolist() for levels in override.target_levels] == [[50] * 4, [511] * 4]


@pytest.mark.parametrize("augmentation", ["none", "sid", "phase-true"])
def test_a_patch_of_the_target_is_the_naive_one_at_the_place_of_its_input(augmentation: str) -> None:
    """The target of this entry is its own short, so that the two patches must agree, whatever the turn."""
    same = raw_entry()
    same = replace(same, target=same.planes.transpose(1, 2, 0), target_levels=(same.black, same.white))
    how = Recipe(target="raw", patch=8, offset_draw="inclusive", augmentation=augmentation, ratio="none")  # type: ignore[arg-type]
    for number in range(60):
        patch = patches.cut([[same]], how, 8, number).patch
        assert patch.input.std() > 0.1
        np.testing.assert_allclose(patch.target, patch.input, atol=1e-6)
        assert patch.target.flags.c_contiguous


def test_a_patch_of_the_target_equals_the_naive_slice() -> None:
    made, how = raw_entry(), Recipe(target="raw", patch=8, offset_draw="inclusive", augmentation="none")
    wanted = naive_target(made.target.transpose(2, 0, 1))
    assert (wanted == 0).sum() > 10 < (wanted == 1).sum()
    seen = set()
    for number in range(40):
        cut = patches.cut([[made]], how, 8, number)
        top, left = next(
            place
            for place in np.ndindex(13, 17)
            if np.array_equal(made.planes[:, place[0] : place[0] + 8, place[1] : place[1] + 8], cut.planes)
        )
        np.testing.assert_allclose(cut.patch.target, wanted[:, top : top + 8, left : left + 8], atol=1e-6)
        seen.add((top, left))
    assert len(seen) > 20
    np.testing.assert_allclose(patches.target_picture(made).transpose(2, 0, 1), wanted, atol=1e-6)
    assert (patches.target_picture(made) == 1).sum() == (wanted == 1).sum()  # to the last bit


@pytest.mark.parametrize("augmentation", ["sid", "phase-true"])
def test_a_device_makes_of_the_windows_what_the_cpu_makes(augmentation: str) -> None:
    how = Recipe(target="raw", patch=8, offset_draw="inclusive", augmentation=augmentation)  # type: ignore[arg-type]
    cuts = [patches.cut([[raw_entry()]], how, 8, number) for number in range(40)]
    there, here = feed.windows(cuts).to(torch.device("cpu")), feed.converted(cuts)
    np.testing.assert_allclose(there.input, here.input, atol=1e-6)
    np.testing.assert_allclose(there.target, here.target, atol=1e-6)


def test_the_central_crop_cuts_both_alike() -> None:
    crop = patches.central(raw_entry((20, 25)), 10)
    assert np.array_equal(crop.target, raw_entry((20, 25)).target[5:15, 7:17])


def test_a_preview_shows_each_color_by_the_mean_of_its_planes() -> None:
    planes = np.random.default_rng(0).random((3, 5, 4)).astype(np.float32)
    red, green, blue, other = planes.transpose(2, 0, 1)
    expected = np.stack([red, (green + other) / 2, blue], axis=-1)
    np.testing.assert_allclose(preview(planes), expected ** (1 / 2.2), atol=1e-6)
    balanced = np.clip(expected * [2.0, 1.0, 1.5], 0, 1)
    np.testing.assert_allclose(preview(planes, (2.0, 1.0, 1.5)), balanced ** (1 / 2.2), atol=1e-6)
    assert preview(np.zeros((2, 2, 9), np.float32) - 1).max() == 0


def test_the_recipe_is_the_device_s_with_another_target() -> None:
    assert recipe.load("raw") == recipe.load("device").model_copy(update={"target": "raw"})
    assert architecture_of(recipe.load("raw")) == Architecture(target="raw")


def test_a_fixed_white_balance_is_of_a_rendering(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('target = "raw"\nwhite_balance = "fixed"\n')
    with pytest.raises(UsageError, match=r"white_balance 'fixed' is of a rendering, target 'raw' has none"):
        recipe.load(tmp_path / "mine.toml")


def test_a_run_learns_planes_and_says_so(session: Path, tmp_path: Path) -> None:
    how = TINY.model_copy(update={"target": "raw", "width": 4, "duration": 60, "schedule": ((0, 3e-3),)})
    train(session, tmp_path / "run", how)
    model, sidecar = checkpoint.load(tmp_path / "run")
    assert (sidecar.target, sidecar.architecture.target, model.last.out_channels) == ("raw", "raw", 4)
    assert "float planes against those of the long frame, linear" in next(iter(sidecar.metrics))
    for pair in json.loads((tmp_path / "run" / "pairs.json").read_text()):
        assert sorted(pair["target_black_by_plane"]) == [64, 65, 66, 67]
        assert "maximum_adjusted" not in pair
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    before, *_, after = (line["val_psnr_db"] for line in log if "val_psnr_db" in line)
    assert after > before + 3
    assert [path.suffix for path in (tmp_path / "run" / runs.PICTURES).iterdir()][-1] == ".png"


def test_weights_do_not_go_from_one_target_to_the_other(session: Path, tmp_path: Path) -> None:
    train(session, tmp_path / "rendered")
    as_planes = TINY.model_copy(update={"target": "raw"})
    with pytest.raises(
        UsageError, match=r'network of target "rendered", the recipe says target = "raw": its last layer'
    ):
        finetune.initial_network(as_planes, tmp_path / "rendered")


def test_a_checkpoint_and_a_state_of_before_there_were_targets_are_of_renderings(
    session: Path,
    tmp_path: Path,
) -> None:
    def stop(done: finetune.Done) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(session, tmp_path / "run", on_step=stop)
    state = checkpoint.load_state(tmp_path / "run" / runs.STATE)
    before = json.loads(state["recipe"])
    assert before.pop("target") == "rendered"
    checkpoint.save_state(tmp_path / "run" / runs.STATE, state | {"recipe": json.dumps(before)})
    train(session, tmp_path / "run", resume=True)

    path = tmp_path / "run" / "model.json"
    content = json.loads(path.read_text())
    for part in (content, content["recipe"], content["architecture"]):
        assert part.pop("target") == "rendered"
    path.write_text(json.dumps(content))
    model, sidecar = checkpoint.load(tmp_path / "run")
    assert (sidecar.target, model.last.out_channels) == ("rendered", 12)


def test_a_side_car_whose_target_is_not_its_recipe_s_is_refused(tmp_path: Path) -> None:
    run = write_checkpoint(tmp_path / "run", Recipe(width=2, resolutions=2, target="raw"))
    path = run / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"target": "rendered"}))
    with pytest.raises(UsageError, match="its target is 'rendered', but its recipe makes 'raw'"):
        checkpoint.load(run)


def test_enhance_makes_no_picture_of_planes(tmp_path: Path) -> None:
    run = write_checkpoint(tmp_path / "run", Recipe(width=2, resolutions=2, target="raw"))
    with pytest.raises(UsageError, match=r'planes of a mosaic, which are for a raw developer.*target = "rendered"'):
        enhance.enhance(write_raw(tmp_path / "raws"), run, device_type="cpu")


@pytest.mark.parametrize("bias", [True, False])
def test_weights_of_a_raw_network_of_sid_s_layers_can_be_imported(tmp_path: Path, bias: bool) -> None:
    """Such networks have the names of SID's ports; there is no order of colors to ask for."""
    state = port(bias=bias)
    state["conv10_1.weight"], state["conv10_1.bias"] = torch.randn(4, 32, 1, 1), torch.randn(4)
    torch.save(state, tmp_path / "raw.pth")
    model, sidecar = published.imported(published.read(tmp_path / "raw.pth"), Recipe(target="raw"))
    assert sidecar.target == "raw"
    assert torch.equal(model.last.weight, state["conv10_1.weight"])


def test_the_settings_of_the_store_say_the_target(session: Path) -> None:
    assert policies.store_settings(Recipe(target="raw"), manifest(session)).target == "raw"
