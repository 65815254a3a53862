"""Protocols: each judges the frames that it says, in the arithmetic that it says, and none mixes with another."""

from pathlib import Path

import numpy as np
import pytest
import small_session
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sidcurate.cli.evaluate import command
from sidcurate.errors import UsageError
from sidcurate.schemas import Pair, Unpaired
from sidtrain.evaluation import metrics, protocols
from sidtrain.evaluation.protocols import PROTOCOLS
from sidtrain.evaluation.scores import Score, compare, summarize


def pair(scene_id: str, burst_index: int = 0) -> Pair:
    return Pair(
        device="sony",
        pair_id=f"{scene_id}_{burst_index:02d}",
        scene_id=scene_id,
        burst_index=burst_index,
        short_path="s",
        long_path="l",
        reason="told",
    )


def score(picture: str, scene_id: str, psnr_db: float, protocol: str = "sid-00") -> Score:
    return Score(
        protocol=protocol,
        scene_id=scene_id,
        pair_id=f"{scene_id}_00",
        exposure_ratio=100.0,
        amplification_ratio=100.0,
        picture=picture,
        psnr_db=psnr_db,
        psnr_aligned_db=None,
        ssim=psnr_db / 100,
    )


PAIRS = [pair(scene, burst) for scene in ("10003", "10034", "10045", "10172") for burst in (0, 1)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("device-srgb-float-v1", [row.pair_id for row in PAIRS]),
        ("sid-paper", [row.pair_id for row in PAIRS]),
        ("seed2-legacy", [row.pair_id for row in PAIRS]),
        ("sid-00", ["10003_00", "10034_00", "10045_00", "10172_00"]),
        ("sid-00-88", ["10003_00"]),
    ],
)
def test_a_protocol_judges_the_frames_that_it_names(name, expected):
    assert [row.pair_id for row in PROTOCOLS[name].judged(PAIRS)] == expected


def picture_and_target() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    target = np.linspace(0, 1, 60 * 50 * 3, dtype=np.float32).reshape(60, 50, 3)
    return (0.7 * target + random.normal(0, 0.1, target.shape)).astype(np.float32), target


def test_sid_s_protocols_compare_what_stands_in_an_8_bit_png():
    output, target = picture_and_target()
    written = [np.floor(np.clip(image, 0, 1).astype(np.float64) * 255 + 0.5) for image in (target, output)]
    marks = PROTOCOLS["sid-paper"].marks(output, target, "matlab")
    assert marks.psnr_db == pytest.approx(peak_signal_noise_ratio(*written, data_range=255), abs=1e-4)
    scaled = [np.float32(image / 255) for image in written]
    assert marks.ssim == pytest.approx(metrics.ssim(scaled[1], scaled[0], "matlab"), abs=1e-9)


def test_seed_2_s_figures_are_those_of_its_arithmetic():
    output, target = picture_and_target()
    marks = PROTOCOLS["seed2-legacy"].marks(output, target, "uniform7")
    written = [np.floor(np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)) for image in (target, output)]
    wanted, shown = (image.astype(np.uint8) for image in written)
    wrapped = (shown - wanted) ** 2
    assert wrapped.dtype == np.uint8
    assert marks.psnr_db == pytest.approx(10 * np.log10(255**2 / wrapped.mean()))
    gray = [np.rint(image @ [0.299, 0.587, 0.114]).astype(np.uint8) for image in written]
    assert marks.ssim == pytest.approx(structural_similarity(*gray), abs=1e-6)
    assert marks.psnr_aligned_db is None


def test_random_pictures_score_7_7_db_in_float_and_27_9_in_seed2_legacy():
    # Any code of 8 bits as likely as any other: the mean square of the difference is (256^2 - 1) / 6.
    output, target = np.random.default_rng(0).integers(256, size=(2, 300, 300, 3)).astype(np.float32) / 255
    found = {
        name: PROTOCOLS[name].marks(output, target, PROTOCOLS[name].ssim_variants[0]).psnr_db
        for name in ("device-srgb-float-v1", "sid-paper", "seed2-legacy")
    }
    assert found["device-srgb-float-v1"] == pytest.approx(7.75, abs=0.03)
    assert found["sid-paper"] == pytest.approx(7.75, abs=0.03)
    assert found["seed2-legacy"] == pytest.approx(27.9, abs=0.05)


def test_the_aligned_figure_forgives_a_cast_and_the_first_does_not():
    _, target = picture_and_target()
    cast = target * np.float32([0.5, 0.8, 0.6])
    for name in ("device-srgb-float-v1", "sid-paper"):
        marks = PROTOCOLS[name].marks(cast, target, "gaussian")
        assert marks.psnr_db < 15
        assert marks.psnr_aligned_db > 45


def planes_and_target() -> tuple[np.ndarray, np.ndarray]:
    """Dim planes, so that no gain here reaches white; one plane is black."""
    random = np.random.default_rng(0)
    target = (0.6 * random.random((40, 50, 4))).astype(np.float32)
    target[..., 3] = 0
    return (target + random.normal(0, 0.05, target.shape)).clip(0).astype(np.float32), target


def test_raw_compares_planes_as_they_are():
    output, target = planes_and_target()
    marks = PROTOCOLS["raw"].marks(output, target, "uniform7")
    assert marks.psnr_db == pytest.approx(-10 * np.log10(((output - target).astype(float) ** 2).mean()), abs=1e-4)
    by_plane = [structural_similarity(output[..., i], target[..., i], data_range=1.0) for i in range(4)]
    assert marks.ssim == pytest.approx(np.mean(by_plane), abs=1e-5)
    assert PROTOCOLS["raw"].ssim_variants == ("uniform7", "gaussian")


def test_brightness_alignment_forgives_a_wrong_exposure_and_only_that():
    output, target = planes_and_target()
    plain = PROTOCOLS["raw"].marks(output, target, "uniform7")
    darker = PROTOCOLS["raw"].marks(output * np.float32(0.8), target, "uniform7")
    assert darker.psnr_aligned_db == pytest.approx(plain.psnr_aligned_db, abs=1e-4)
    assert darker.psnr_db < plain.psnr_db - 3
    gain = float((output * target).sum() / (output**2).sum())
    aligned = -10 * np.log10(((gain * output - target).astype(float) ** 2).mean())
    assert plain.psnr_aligned_db == pytest.approx(aligned, abs=1e-4)
    cast = target * np.float32([0.5, 0.8, 0.6, 1])
    assert PROTOCOLS["raw"].marks(cast, target, "uniform7").psnr_aligned_db < 30


def test_brightness_alignment_leaves_out_what_is_white_in_the_target():
    """What is lost there tells nothing of the exposure; it counts in the PSNR all the same."""
    output, target = planes_and_target()
    target[:10] = 1
    clean = np.where(target < 1, target / 2, np.float32(0.3))
    assert metrics.frame_gain(clean, target) == pytest.approx([2] * 4)
    marks = PROTOCOLS["raw"].marks(clean, target, "uniform7")
    assert marks.psnr_aligned_db == pytest.approx(-10 * np.log10((0.6 - 1) ** 2 / 4), abs=1e-4)
    assert metrics.frame_gain(np.zeros_like(target), target).tolist() == [1] * 4
    assert metrics.frame_gain(output, np.ones_like(target)).tolist() == [1] * 4


def test_each_protocol_says_what_it_aligns():
    found = {name: protocol.alignment for name, protocol in PROTOCOLS.items()}
    assert found.pop("raw") == "frame"
    assert found.pop("seed2-legacy") is None
    assert set(found.values()) == {"color"}


def test_a_network_is_judged_by_what_it_puts_out():
    for name, protocol in PROTOCOLS.items():
        fits, other = ("raw", "rendered") if name == "raw" else ("rendered", "raw")
        protocols.require_target(protocol, {"a": fits})
        refused = f"protocol {name} does not judge b, which puts out .*use --protocol {protocols.default(other)}"
        with pytest.raises(UsageError, match=f"{refused}, apart from the others$"):
            protocols.require_target(protocol, {"a": fits, "b": other})
        with pytest.raises(UsageError, match=f"{refused}$"):
            protocols.require_target(protocol, {"b": other})
    assert (protocols.default("raw"), protocols.default("rendered")) == ("raw", protocols.DEFAULT)


def test_sid_00_88_is_refused_where_none_of_its_three_scenes_ever_was(tmp_path: Path):
    manifest = small_session.write_session(tmp_path)
    with pytest.raises(UsageError, match=r"phone has none of the scenes .*\(10034, 10045, 10172\); use sid-00"):
        protocols.usable("sid-00-88", manifest)
    withdrawn = Unpaired(device="phone", path="x.dng", scene_id="10034", reason="withdrawn")
    object.__setattr__(manifest, "unpaired", [withdrawn])
    assert protocols.usable("sid-00-88", manifest).without_withdrawn


def test_an_unknown_protocol_is_refused_with_the_names(tmp_path: Path):
    with pytest.raises(UsageError, match=r"no protocol 'sid': there are device-srgb-float-v1, sid-paper"):
        protocols.usable("sid", small_session.write_session(tmp_path))


def test_a_window_that_the_protocol_has_not_is_refused():
    with pytest.raises(UsageError, match="'uniform7' is not that of protocol sid-00: it has matlab"):
        protocols.ssim_variant(PROTOCOLS["sid-00"], "uniform7")
    assert protocols.ssim_variant(PROTOCOLS["sid-00"], None) == "matlab"
    assert protocols.ssim_variant(PROTOCOLS["device-srgb-float-v1"], "uniform7") == "uniform7"


def test_the_command_offers_the_protocols_that_there_are():
    (option,) = (parameter for parameter in command.params if parameter.name == "protocol")
    assert tuple(option.type.choices) == tuple(PROTOCOLS)
    assert f"[default: {protocols.DEFAULT}; {protocols.RAW} for" in option.help


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_every_protocol_says_in_words_what_it_is(protocol):
    for words in (protocol.space, protocol.frames, protocol.correction, protocol.metric):
        assert words in protocol.definition


def test_a_table_of_two_protocols_is_refused():
    mixed = [score("network", "a", 20.0), score("amplified", "a", 10.0, protocol="seed2-legacy")]
    for table in (summarize, lambda rows: compare(rows, ["network"])):
        with pytest.raises(
            UsageError, match=r"figures of 2 protocols \(seed2-legacy, sid-00\) do not go into one table"
        ):
            table(mixed)


def test_networks_are_compared_with_the_trivial_pictures_and_once_with_each_other():
    scenes = "abcde"
    rows = [score(name, scene, base + i) for i, scene in enumerate(scenes) for name, base in
            (("tuned", 25.0), ("scratch", 22.0), ("zero", 18.0), ("amplified", 10.0))]  # fmt: skip
    comparisons = [row for row in compare(rows, ["tuned", "scratch", "zero"]) if row.metric == "psnr_db"]
    found = {(row.picture, row.against): row.difference.mean for row in comparisons}
    assert found == pytest.approx({
        ("tuned", "amplified"): 15, ("scratch", "amplified"): 12, ("zero", "amplified"): 8,
        ("tuned", "scratch"): 3, ("tuned", "zero"): 7, ("scratch", "zero"): 4,
    })  # fmt: skip
    assert {row.difference.n for row in comparisons} == {5}
    assert [row.picture for row in summarize(rows)[:4]] == ["tuned", "scratch", "zero", "amplified"]
