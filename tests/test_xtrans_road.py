"""The whole road with an X-Trans camera, by the commands that a person would type: nine planes in, 27 out."""

import json

import numpy as np
import pytest
import rawpy
from test_finetune import read_log
from test_rgb16 import decoded_png

from sidtrain.weights import checkpoint
from tests.roads import Road, travel
from tests.verbs import run

RECIPE = """
base = "sid-fuji"
width = 4
resolutions = 2
patch = 32
batch = 2
unit = "steps"
duration = 120
schedule = [[0, 3e-3]]
validate_every = 60
adjust_maximum_thr = 0.0
device_type = "cpu"
"""
# The least that LibRaw renders is 512 a side; this frame has no whole period of the array along either.
HEIGHT, WIDTH = 517, 532


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    return travel(tmp_path_factory.mktemp("xtrans"), "fujixt2", RECIPE, (HEIGHT, WIDTH), 1)


def test_the_pairs_are_judged_and_pass(road: Road) -> None:
    assert "4 of 4 pairs pass" in road.judged
    assert {capture.cfa_kind for capture in road.manifest.captures} == {"xtrans"}
    assert {capture.black_level for capture in road.manifest.captures} == {(1024.0,)}


def test_the_network_takes_nine_planes_with_the_levels_of_sid_and_learns(road: Road) -> None:
    model, sidecar = checkpoint.load(road.run)
    assert (model.down[0][0].in_channels, model.last.out_channels) == (9, 27)
    assert sidecar.cfa_kind == "xtrans"
    for pair in json.loads((road.run / "pairs.json").read_text()):
        assert (pair["black_by_plane"], pair["white_by_plane"]) == ([1024] * 9, [16383] * 9)
    before, *_, after = (line["val_psnr_db"] for line in read_log(road.run) if "val_psnr_db" in line)
    assert after > before + 5


def test_the_enhanced_short_has_the_figure_that_evaluate_gives_it(road: Road) -> None:
    """The picture of the one verb, against LibRaw's own rendering of the long frame, cut here by hand."""
    (pair,) = road.pairs("test")
    png = road.folder / "enhanced.png"
    how = ("--checkpoint", road.run, "--output", png, "--ratio", pair.exposure_ratio, "--device-type", "cpu")
    run("enhance", road.folder / "raws" / pair.short_path, *how)
    picture = decoded_png(png.read_bytes()) / 65535
    with rawpy.imread(str(road.folder / "raws" / pair.long_path)) as raw:
        target = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16, adjust_maximum_thr=0) / 65535
        letters = np.array(list("RGBG"))[raw.raw_pattern]
    top, left = next(
        start
        for start in np.ndindex(6, 6)
        if "".join(np.roll(letters, (-start[0], -start[1]), (0, 1)).ravel()) == "RBGBRGGGRGGBGGBGGRBRGRBGGGBGGRGGRGGB"
    )
    height, width = (HEIGHT - top) // 6 * 6, (WIDTH - left) // 6 * 6
    assert picture.shape == (height, width, 3)
    target = target[top : top + height, left : left + width]
    figure = road.score(pair, "network").psnr_db
    assert -10 * np.log10(((picture - target) ** 2).mean()) == pytest.approx(figure, abs=1e-3)
    assert road.evaluation.networks[0].origin == "from scratch"


def test_the_default_recipe_says_which_one_takes_such_frames(road: Road) -> None:
    refused = run("finetune", *road.at, "--runs", road.folder / "runs", exit_code=2)
    assert "the recipe's network takes bayer frames only; train it with --recipe sid-fuji" in refused.stderr
