"""The whole road from raw to raw, by the commands that a person would type; every figure computed again by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import rawpy
import small_session
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from test_evaluate import write_checkpoint

from sidcurate.errors import UsageError
from sidtrain.evaluation import evaluate
from sidtrain.recipe import Recipe
from sidtrain.weights import checkpoint
from tests.roads import Road, travel
from tests.verbs import run

RECIPE = """
base = "raw"
width = 4
resolutions = 2
patch = 32
batch = 2
duration = 200
schedule = [[0, 5e-3], [150, 1e-3]]
levels = "declared"
device_type = "cpu"
"""
HEIGHT, WIDTH = 192, 256
XTRANS = "RBGBRGGGRGGBGGBGGRBRGRBGGGBGGRGGRGGB"
SMALL = Recipe(width=2, resolutions=2, target="raw")


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    return travel(tmp_path_factory.mktemp("raw"), "oneplus7", RECIPE, (HEIGHT, WIDTH), 2)


def planes(road: Road, path: str, amplification: float = 1.0) -> np.ndarray:
    """Return the planes of a raw, by rawpy and slices alone."""
    with rawpy.imread(str(road.folder / "raws" / path)) as raw:
        letters = np.array(list("RGBG"))[raw.raw_pattern]
        top, left = np.argwhere(letters == "R")[0]
        light = raw.raw_image_visible.astype(float) - np.array(raw.black_level_per_channel)[raw.raw_colors_visible]
        light = light[top : HEIGHT - top, left : WIDTH - left] / (raw.white_level - raw.black_level_per_channel[0])
    sites = [light[row::2, column::2] for row, column in ((0, 0), (0, 1), (1, 1), (1, 0))]
    return np.clip(np.stack(sites, axis=-1) * amplification, 0, 1)


def psnr(output: np.ndarray, target: np.ndarray) -> float:
    return float(-10 * np.log10(((output.clip(0, 1) - target) ** 2).mean()))


def test_no_frame_was_rendered(road: Road) -> None:
    assert {path.name.split(".", 1)[1] for path in (road.folder / "store").iterdir()} == {"planes.npy", "planes.json"}
    assert road.evaluation.adjust_maximum_thr is None


def test_the_amplified_short_has_the_figures_that_a_hand_computes(road: Road) -> None:
    for pair in road.pairs("test"):
        score = road.score(pair, "amplified")
        shown, wanted = planes(road, pair.short_path, score.amplification_ratio), planes(road, pair.long_path)
        assert score.psnr_db == pytest.approx(psnr(shown, wanted), abs=1e-3)
        told = wanted < 1
        gain = (shown * wanted)[told].sum() / (shown**2)[told].sum()
        assert score.psnr_aligned_db == pytest.approx(psnr(gain * shown, wanted), abs=1e-3)


def test_the_gaussian_and_the_mean_color_are_of_planes(road: Road) -> None:
    longs = [planes(road, pair.long_path) for pair in road.pairs("train")]
    mean = np.mean([long.mean((0, 1)) for long in longs], axis=0)
    assert road.evaluation.mean_color == pytest.approx(tuple(mean), abs=1e-5)
    sigma = road.evaluation.gaussian_sigma_px
    for pair in road.pairs("test"):
        score, wanted = road.score(pair, "gaussian"), planes(road, pair.long_path)
        blurred = gaussian_filter(planes(road, pair.short_path, score.amplification_ratio), (sigma, sigma, 0))
        assert score.psnr_db == pytest.approx(psnr(blurred, wanted), abs=1e-2)
        flat = np.broadcast_to(mean, wanted.shape)
        assert road.score(pair, "mean-color").psnr_db == pytest.approx(psnr(flat, wanted), abs=1e-3)


def test_the_network_s_figure_is_that_of_its_planes(road: Road) -> None:
    model, _ = checkpoint.load(road.run)
    for pair in road.pairs("test"):
        score = road.score(pair, "network")
        short = planes(road, pair.short_path, score.amplification_ratio).astype(np.float32)
        with torch.no_grad():
            output = model(torch.from_numpy(short.transpose(2, 0, 1))[None])[0].permute(1, 2, 0).numpy()
        assert score.psnr_db == pytest.approx(psnr(output, planes(road, pair.long_path)), abs=1e-3)
        assert score.psnr_db > road.score(pair, "amplified").psnr_db + 3


def test_the_record_and_the_table_name_the_protocol_and_the_alignment(road: Road) -> None:
    assert (road.evaluation.protocol, road.evaluation.ssim_variant) == ("raw", "uniform7")
    assert road.evaluation.alignment == "frame"
    assert "one gain a frame" in road.evaluation.definition
    assert "test scenes, raw, SSIM uniform7" in road.table
    assert "aligned: PSNR after one gain a frame" in road.table
    with Image.open(road.run / "evaluation-raw.png") as panel:
        assert np.asarray(panel).std() > 10


def test_raw_is_the_protocol_of_such_a_network_unless_another_is_asked_for(road: Road) -> None:
    told = run("evaluate", *road.at, "--checkpoint", road.run, "--split", "val", "--format", "json")
    assert json.loads(told.stdout)["protocol"] == "raw"
    refused = run("evaluate", *road.at, "--checkpoint", road.run, "--protocol", "sid-00", exit_code=2)
    assert "protocol sid-00 does not judge network, which puts out the planes of the sensor" in refused.stderr
    assert "use --protocol raw" in refused.stderr


def test_a_network_of_pictures_is_not_judged_by_planes_nor_beside_them(road: Road, tmp_path: Path) -> None:
    pictures = write_checkpoint(tmp_path / "pictures", device="oneplus7", train=(), val=())
    refused = run("evaluate", *road.at, "--checkpoint", pictures, "--protocol", "raw", exit_code=2)
    assert "network, which puts out a rendered picture" in refused.stderr
    assert "use --protocol device-srgb-float-v1" in refused.stderr
    both = ("--checkpoint", road.run, "--checkpoint", pictures)
    refused = run("evaluate", *road.at, *both, exit_code=2)
    assert "protocol raw does not judge pictures, which" in refused.stderr
    assert "use --protocol device-srgb-float-v1, apart from the others" in refused.stderr


def test_the_list_of_runs_tells_the_protocol(road: Road) -> None:
    (row,) = json.loads(run("runs", "--runs", road.folder / "runs", "--format", "json").stdout)["runs"]
    protocols = [score["protocol"] for score in row["scores"]]
    assert "float planes" in protocols[0]
    assert set(protocols[1:]) == {"raw"}


def test_an_xtrans_network_is_judged_by_its_nine_planes(tmp_path: Path) -> None:
    """Frames smaller than LibRaw would render."""
    manifest = small_session.write_session(tmp_path, ["train", "test"], cfa=XTRANS, size=(50, 62))
    recipe = SMALL.model_copy(update={"architecture": "xtrans"})
    network = write_checkpoint(tmp_path / "run", train=("00000",), val=(), recipe=recipe)
    written = evaluate.evaluate(manifest, {"network": network}, tmp_path / "store", jobs=1)
    assert len(written.evaluation.mean_color) == 9
    assert written.evaluation.protocol == "raw"


def test_networks_of_other_levels_have_no_one_target(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train", "test"])
    override = SMALL.model_copy(update={"levels": "override", "bits_override": 9})
    measured = SMALL.model_copy(update={"levels": "measured", "adjust_maximum_thr": 0.0})
    checkpoints = {
        name: write_checkpoint(tmp_path / name, train=("00000",), val=(), recipe=recipe)
        for name, recipe in (("plain", SMALL), ("measured", measured), ("override", override))
    }
    with pytest.raises(UsageError, match=r"another levels \(plain declared, measured measured, override .*bits 9\)"):
        evaluate.evaluate(manifest, checkpoints, tmp_path / "store", jobs=1)
    del checkpoints["override"]
    evaluation = evaluate.evaluate(manifest, checkpoints, tmp_path / "store", tmp_path, jobs=1).evaluation
    assert {used.name for used in evaluation.networks} == {"plain", "measured"}
