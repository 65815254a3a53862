"""One raw through a network: metered, whole, upright, and nothing written where nobody asked for it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_rgb16 import decoded_png, decoded_tiff

from sidcurate import cfa
from sidcurate.cli import main
from sidcurate.errors import UnreadableRawError, UsageError
from sidcurate.raws import raw
from sidcurate.synthetic.dng import DngTags, write_dng
from sidtrain.data import patches, shot
from sidtrain.data.shot import MIDDLE, Metered, Shot
from sidtrain.enhance import Enhanced, enhance, upright
from sidtrain.normalization import Zero
from sidtrain.recipe import Recipe
from sidtrain.weights import checkpoint
from sidtrain.weights.checkpoint import Sidecar
from sidtrain.weights.unet import architecture_of, build

BLACK, WHITE = 64, 1023
XTRANS = "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"
RECIPE = Recipe(width=2, resolutions=2)


def write_raw(folder: Path, mosaic: np.ndarray | None = None, **tags) -> Path:
    """Write a raw of a gradient with noise, lit at a hundredth of white."""
    if mosaic is None:
        rng = np.random.default_rng(0)
        mosaic = BLACK + rng.poisson(np.linspace(1, 20, 48)[:, None] * np.linspace(0.5, 1, 66))
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"black_level": (float(BLACK),), "white_level": WHITE, "exposure_time_s": Fraction(1, 10), "iso": 800}
    write_dng(folder / "frame.dng", mosaic.astype(np.uint16), DngTags(**{**facts, **tags}))
    return folder / "frame.dng"


def write_checkpoint(folder: Path, recipe: Recipe = RECIPE, zeros: tuple[Zero, ...] = ()) -> Path:
    torch.manual_seed(0)
    unknown = dict.fromkeys(
        ("device", "manifest_sums", "scenes", "left_out", "git_revision", "initial_weights", "step")
    )
    sidecar = Sidecar(**checkpoint.input_of(recipe), **unknown, recipe=recipe, tools={}, metrics={}, zeros=zeros)
    folder.mkdir(parents=True)
    checkpoint.save(folder, build(architecture_of(recipe)), sidecar)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "small")


def expected(path: Path, run: Path, ratio: float) -> np.ndarray:
    """Return the picture by the parts: LibRaw's mosaic, packed, normalized, the network whole, rounded."""
    frame = raw.read(path)
    planes = cfa.layout(frame.sensor.cfa).pack(frame.mosaic)
    x = patches.network_input(planes, np.full(4, BLACK, np.float32), np.full(4, WHITE, np.float32), ratio)
    model, _ = checkpoint.load(run)
    with torch.inference_mode():
        rgb = model(torch.from_numpy(x)[None])[0].permute(1, 2, 0).numpy()
    return np.rint(rgb.clip(0, 1) * np.float32(65535)).astype(np.uint16)


@pytest.mark.parametrize("letters", cfa.PHASE_OFFSETS)
def test_the_picture_is_the_network_s_whatever_the_phase(tmp_path: Path, run: Path, letters: str):
    path = write_raw(tmp_path, cfa=letters)
    made = enhance(path, run, 40, device_type="cpu")
    top, left = cfa.phase_offset(letters)
    assert made.picture.shape == ((48 - top) // 2 * 2, (66 - left) // 2 * 2, 3)
    assert np.abs(made.picture.astype(int) - expected(path, run, 40)).max() <= 1
    assert made.picture.std() > 100  # a picture, not a flat field


def test_an_odd_side_loses_its_last_line(tmp_path: Path, run: Path):
    mosaic = np.full((47, 65), BLACK + 10)
    assert enhance(write_raw(tmp_path, mosaic), run, device_type="cpu").picture.shape == (46, 64, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_exif_says_of_row_0_and_column_0(orientation: int):
    image = np.zeros((3, 4), int)
    image[0] += 1  # row 0
    image[:, 0] += 2  # column 0
    row_0, column_0 = {
        1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
        5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
    }[orientation]  # fmt: skip
    turned = upright(image, orientation)
    sides = {"top": turned[0], "bottom": turned[-1], "left": turned[:, 0], "right": turned[:, -1]}
    assert np.all(sides[row_0] & 1)
    assert np.all(sides[column_0] & 2)


def test_the_header_s_orientation_turns_the_picture_and_not_what_the_network_sees(tmp_path: Path, run: Path):
    lying = enhance(write_raw(tmp_path / "lying"), run, 40, device_type="cpu")
    standing = enhance(write_raw(tmp_path / "standing", orientation=6), run, 40, device_type="cpu")
    assert standing.orientation == 6
    assert np.array_equal(standing.picture, np.rot90(lying.picture, -1))


# Metering.


def shot_of(light: np.ndarray) -> Shot:
    """Return a shot of shares of white, with levels that differ by plane."""
    black, white = np.float32([100, 200, 300, 400]), np.float32([10100, 10200, 10300, 10400])
    planes = black[:, None, None] + 10000 * np.broadcast_to(light, (4, *light.shape))
    return Shot(np.rint(planes).astype(np.uint16), black, white, "declared", 1)


@pytest.mark.parametrize("ratio", [1.27, 12.7, 127])
def test_auto_brings_an_even_field_to_the_stated_mean(ratio: float):
    metered = shot.metered(shot_of(np.full((8, 8), MIDDLE / ratio)), None)
    assert metered == Metered(pytest.approx(ratio, rel=0.01), pytest.approx(MIDDLE, rel=0.005))


def test_a_lamp_counts_as_white_and_no_more():
    field = np.full((20, 20), 0.001)
    field[0, :20] = 1.0  # a twentieth of the frame
    metered = shot.metered(shot_of(field), None)
    assert metered.ratio == pytest.approx((MIDDLE - 0.05) / 0.95 / 0.001, rel=0.01)


@pytest.mark.parametrize(("light", "most", "ratio"), [(0.0, 300, 300), (0.0001, 250, 250), (0.5, 300, 1)])
def test_auto_stays_within_its_span_and_tells_the_mean(light: float, most: float, ratio: float):
    assert shot.metered(shot_of(np.full((8, 8), light)), None, (1, most)) == Metered(
        ratio, pytest.approx(light * ratio)
    )


def test_auto_stays_within_what_the_network_was_trained_with(tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", RECIPE.model_copy(update={"ratio": "cap 5"}))
    assert enhance(write_raw(tmp_path), run, device_type="cpu").metered.ratio == 5


def test_levels_and_packing_are_the_recipe_s(tmp_path: Path):
    how = {"levels": "override", "black_override": 60.0, "bits_override": 11, "packing": "by-position"}
    recipe = RECIPE.model_copy(update=how)
    taken = shot.read(write_raw(tmp_path, cfa="BGGR", black_level=None), recipe)
    assert (set(taken.black), set(taken.white)) == ({60.0}, {2047.0})
    assert taken.planes.shape == (4, 24, 33)  # nothing is cropped


def test_levels_by_position_become_levels_by_plane(tmp_path: Path):
    taken = shot.read(write_raw(tmp_path, cfa="BGGR", black_level=(60.0, 61.0, 62.0, 63.0)), RECIPE)
    assert taken.black.tolist() == [63, 62, 60, 61]


ZEROS = (
    Zero(camera_model="Synthetic", cfa="BGGR", iso=800, zero_error_dn=(1.0, 2.0, 3.0, 4.5), pairs=2),
    Zero(camera_model="Synthetic", cfa="BGGR", iso=None, zero_error_dn=(0.5,) * 4, pairs=3),
    Zero(camera_model="Other", cfa="BGGR", iso=800, zero_error_dn=(30.0,) * 4, pairs=9),
)


@pytest.mark.parametrize(
    ("header", "black", "levels"),
    [
        ({}, [68.5, 67, 65, 66], "device"),
        ({"iso": 1600}, [64.5] * 4, "device"),
        ({"model": "Third"}, [64] * 4, "declared"),
    ],
)
def test_black_moves_by_what_the_training_pairs_of_this_body_told(
    tmp_path: Path, header: dict, black: list[float], levels: str
):
    path = write_raw(tmp_path, cfa="BGGR", black_level=(64.0,) * 4, **header)
    taken = shot.read(path, RECIPE.model_copy(update={"levels": "measured"}), ZEROS)
    assert (taken.black.tolist(), taken.levels) == (black, levels)
    assert shot.read(path, RECIPE, ZEROS).levels == "declared"


def test_an_xtrans_raw_goes_through_an_xtrans_network(tmp_path: Path):
    run = write_checkpoint(tmp_path / "run", RECIPE.model_copy(update={"architecture": "xtrans"}))
    made = enhance(write_raw(tmp_path, cfa=XTRANS), run, 10, device_type="cpu")
    assert made.picture.shape[0] % 6 == made.picture.shape[1] % 6 == 0
    assert min(made.picture.shape[:2]) >= 48 - 11


# What is no raw for the network.


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"cfa": "RRGGRRGGGGBBGGBB"}, "quad-Bayer"),
        ({"cfa": XTRANS}, "X-Trans"),
        ({"black_level": None}, "black or white level is unknown"),
        ({"black_level": (1023.0,)}, "not below white"),
    ],
)
def test_a_raw_that_the_network_cannot_take_is_refused(tmp_path: Path, run: Path, tags: dict, words: str):
    with pytest.raises(UsageError, match=words):
        enhance(write_raw(tmp_path, **tags), run, 10, device_type="cpu")


def test_a_demosaiced_raw_is_refused(tmp_path: Path, run: Path):
    path = write_raw(tmp_path, np.full((48, 66, 3), 100), cfa=None)
    with pytest.raises(UsageError, match="already demosaiced"):
        enhance(path, run, 10, device_type="cpu")


def test_what_no_reader_decodes_is_unreadable(tmp_path: Path, run: Path):
    (tmp_path / "notes.NEF").write_text("no raw")
    with pytest.raises(UnreadableRawError, match=r"notes\.NEF"):
        enhance(tmp_path / "notes.NEF", run, 10, device_type="cpu")


def test_a_ratio_that_is_no_factor_is_refused(tmp_path: Path, run: Path):
    with pytest.raises(UsageError, match="positive"):
        enhance(tmp_path / "any.dng", run, -1.0, device_type="cpu")


# The verb.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw in a folder of its own, and an empty folder to work in."""
    write_raw(tmp_path / "raws", orientation=8)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def invoke(folder: Path, run: Path, *arguments: str, exit_code: int = 0):
    command = ["enhance", str(folder / "raws" / "frame.dng"), "--checkpoint", str(run), "--device-type", "cpu"]
    result = CliRunner().invoke(main, [*command, *arguments])
    assert result.exit_code == exit_code, result.output
    return result


def by_call(folder: Path, run: Path, ratio: float | None) -> Enhanced:
    return enhance(folder / "raws" / "frame.dng", run, ratio, device_type="cpu")


def test_a_png_in_the_current_folder_with_what_was_done(folder: Path, run: Path):
    result = invoke(folder, run)
    assert result.stdout == "frame.png\n"
    made = by_call(folder, run, None)
    assert np.array_equal(decoded_png(Path("frame.png").read_bytes()), made.picture)
    assert f"ratio {made.metered.ratio:g} (auto): the network's input has a mean of 12.7 % of white\n" in result.stderr
    assert "orientation 8" in result.stderr
    assert [path.name for path in (folder / "raws").iterdir()] == ["frame.dng"]


def test_a_tiff_where_it_is_asked_for_with_a_ratio_beyond_the_network_s(folder: Path, run: Path):
    result = invoke(folder, run, "--ratio", "400", "--output", str(folder / "out.tif"))
    assert np.array_equal(decoded_tiff(folder / "out.tif"), by_call(folder, run, 400).picture)
    assert "ratios of 1 to 300" in result.stderr


def test_a_network_of_measured_levels_says_what_it_knows_of_the_camera_s_zero(folder: Path):
    recipe = RECIPE.model_copy(update={"levels": "measured", "ratio": "exif"})
    unknown = write_checkpoint(folder / "unknown", recipe)
    assert "WARNING: black is the declared one" in invoke(folder, unknown, "--ratio", "400").stderr
    assert np.array_equal(decoded_png(Path("frame.png").read_bytes()), by_call(folder, unknown, 400).picture)
    zero = ZEROS[0].model_copy(update={"cfa": "RGGB", "zero_error_dn": (-4.0,) * 4})
    known = write_checkpoint(folder / "known", recipe, zeros=(zero,))
    talk = invoke(folder, known, "--ratio", "400", "--overwrite").stderr
    assert "plus the zero error that the network's training pairs had" in talk
    assert "WARNING" not in talk
    assert by_call(folder, known, 400).metered.mean > by_call(folder, unknown, 400).metered.mean


def test_a_picture_that_is_there_is_replaced_only_when_asked(folder: Path, run: Path):
    Path("frame.png").write_bytes(b"mine")
    assert "--overwrite" in invoke(folder, run, exit_code=2).stderr
    assert Path("frame.png").read_bytes() == b"mine"
    invoke(folder, run, "--overwrite")
    assert Path("frame.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--output", "a.jpg"), ".png, .tif, .tiff"),
        (("--output", "nowhere/a.png"), "no folder nowhere"),
        (("--ratio", "bright"), "neither 'auto' nor a positive number"),
        (("--ratio", "0"), "neither 'auto' nor a positive number"),
        (("--ratio", "nan"), "neither 'auto' nor a positive number"),
        (("--checkpoint", "gone"), "no such checkpoint"),
    ],
)
def test_a_wrong_request_says_what_to_do_and_writes_nothing(folder: Path, run: Path, arguments: tuple, words: str):
    assert words in invoke(folder, run, *arguments, exit_code=2).stderr
    assert not list(Path().iterdir())


def test_the_folder_of_the_raws_gets_no_picture_unasked(folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder / "raws")
    assert "--output" in invoke(folder, run, exit_code=2).stderr
    assert "raw itself" in invoke(folder, run, "--output", "frame.dng", "--overwrite", exit_code=2).stderr
    invoke(folder, run, "--output", "frame.png")


def test_a_folder_that_takes_no_file_is_refused_before_the_network_runs(folder: Path, run: Path):
    result = invoke(folder, run, "--output", "/proc/self/a.png", exit_code=4)
    assert "/proc/self takes no file" in result.stderr
    assert "ratio" not in result.stderr


def test_an_unreadable_raw_exits_with_3(folder: Path, run: Path):
    (folder / "raws" / "frame.dng").write_bytes(b"")
    assert "copy it again" in invoke(folder, run, exit_code=3).stderr


@pytest.mark.shared
@pytest.mark.parametrize("name", ["00_rggb", "01_grbg", "02_gbrg", "03_bggr", "04_odd_size_511x509", "30_orientation6"])
def test_rewritten_frames_of_a_real_camera(shared: Path, run: Path, name: str):
    made = enhance(shared / "raws" / "variants" / f"{name}.dng", run, device_type="cpu")
    height, width = made.picture.shape[:2]
    assert min(height, width) >= 508
    assert height % 2 == width % 2 == 0
    assert made.orientation == (6 if "orientation" in name else 1)
