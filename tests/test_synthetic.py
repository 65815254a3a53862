"""The synthetic sensor keeps its word: readers agree on its files, and its noise, pattern and faults are as stated."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import exifread
import numpy as np
import pytest
import rawpy
from scipy.stats import tukeylambda

from sidcurate.errors import MissingResourceError, UsageError
from sidcurate.synthetic import noise
from sidcurate.synthetic.bodies import BODIES, Body, body_named
from sidcurate.synthetic.dng import DngTags, write_dng
from sidcurate.synthetic.faults import FAULTS
from sidcurate.synthetic.plan import Plan, planned_shots
from sidcurate.synthetic.planting import planted_fault, requested_fault
from sidcurate.synthetic.scenes import MARGIN_PX, blurred, dead_leaves
from sidcurate.synthetic.sensor import expose, fixed_pattern, generator
from sidcurate.synthetic.session import TRUTH_FILE, simulate

CANON = body_named("canon90d")
BAYER = [body for body in BODIES.values() if body.cfa and len(body.cfa) == 4]
FUJI = body_named("fujixt2")
SMALL = Plan(CANON, scenes=1, size=(64, 96))


def exif_of(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        tags = exifread.process_file(file, details=False, extract_thumbnail=False)
    return {name: str(value) for name, value in tags.items()}


def mosaic_of(path: Path) -> np.ndarray:
    with rawpy.imread(str(path)) as raw:
        return raw.raw_image_visible.copy()


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def flat_frames(body: Body, radiance: float, count: int, size: tuple[int, int] = (256, 256)) -> list[np.ndarray]:
    shot = replace(planned_shots(Plan(body, scenes=1, size=size))[0])
    shot = replace(shot, neutral=(1.0, 1.0, 1.0))
    picture, pattern = np.full((*size, 3), radiance, np.float32), fixed_pattern(body, size)
    return [expose(picture, shot, pattern, generator(number))[0].astype(float) for number in range(count)]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_both_readers_agree_on_every_tag(body: Body, tmp_path: Path) -> None:
    size = (512, 520) if body is FUJI else SMALL.size
    simulate(tmp_path / "out", replace(SMALL, body=body, size=size, ratios=(Fraction(250),)))
    path = tmp_path / "out" / "00001_00_0.04s.dng"
    tags = exif_of(path)
    assert (tags["Image Make"], tags["Image Model"]) == (body.make, body.model)
    assert (tags["EXIF BodySerialNumber"], tags["EXIF LensModel"]) == (body.serial, body.lens_model)
    assert tags["EXIF ExposureTime"] == "1/25"
    assert tags["EXIF ISOSpeedRatings"] == str(body.iso)
    with rawpy.imread(str(path)) as raw:
        assert raw.other.shutter_speed == pytest.approx(1 / 25)
        assert raw.other.iso_speed == body.iso
        assert raw.other.aperture == pytest.approx(float(Fraction(tags["EXIF FNumber"]))) == float(body.f_number)
        assert raw.other.focal_length == pytest.approx(float(Fraction(tags["EXIF FocalLength"])))
        assert raw.other.timestamp.strftime("%Y:%m:%d %H:%M:%S") == tags["EXIF DateTimeOriginal"]
        assert raw.lens.model == body.lens_model
        assert set(raw.black_level_per_channel) == {body.black_level}
        assert raw.sizes.flip == 0
        if body.cfa is None:
            assert raw.raw_pattern is None
            assert raw.raw_image_visible.ndim == 3
        else:
            assert "".join("RGBG"[index] for index in raw.raw_pattern.flat) == body.cfa
            assert raw.white_level == body.white_level
            assert raw.raw_image_visible.shape == size


def test_a_dng_keeps_black_by_position_orientation_and_white_balance(tmp_path: Path) -> None:
    tags = DngTags(cfa="GBRG", black_level=(10.0, 20.0, 30.0, 40.0), orientation=6, as_shot_neutral=(0.5, 1.0, 0.25))
    write_dng(tmp_path / "a.dng", np.zeros((32, 32), np.uint16), tags)
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        by_position = [raw.black_level_per_channel[index] for index in raw.raw_pattern.flat]
        assert by_position == [10, 20, 30, 40]
        assert raw.sizes.flip == 6
        assert raw.camera_whitebalance[:3] == pytest.approx([2.0, 1.0, 4.0])
    assert exif_of(tmp_path / "a.dng")["Image Orientation"] == "Rotated 90 CW"


def test_a_fractional_black_and_a_zone_stand_in_the_file_as_given(tmp_path: Path) -> None:
    tags = DngTags(black_level=(511.5,), captured_at=datetime(2026, 1, 2, 3, 4, 5, 670000), utc_offset_min=-90)
    write_dng(tmp_path / "a.dng", np.zeros((32, 32), np.uint16), tags)
    exif = exif_of(tmp_path / "a.dng")
    assert exif["Image BlackLevel"] == "1023/2"
    assert (exif["EXIF SubSecTimeOriginal"], exif["EXIF OffsetTimeOriginal"]) == ("67", "-01:30")


@pytest.mark.parametrize(
    ("time_s", "text"), [((0, 0), "0/0"), ((1, 0), "1/0"), ((0, 1), "0"), (Fraction(1, 30), "1/30")]
)
def test_an_exposure_time_is_written_as_it_is_given(time_s: Fraction, text: str, tmp_path: Path) -> None:
    write_dng(tmp_path / "a.dng", np.zeros((32, 32), np.uint16), DngTags(exposure_time_s=time_s))
    assert exif_of(tmp_path / "a.dng")["EXIF ExposureTime"] == text


def test_tags_of_none_are_left_out(tmp_path: Path) -> None:
    tags = DngTags(make=None, model=None, black_level=None, white_level=None)
    write_dng(tmp_path / "a.dng", np.zeros((32, 32), np.uint16), tags)
    exif = exif_of(tmp_path / "a.dng")
    assert not {"Image Make", "Image BlackLevel", "EXIF ExposureTime", "EXIF ISOSpeedRatings"} & set(exif)


@pytest.mark.parametrize("tags", [DngTags(iso=70000), DngTags(cfa=None), DngTags(exposure_time_s=(1 << 40, 1))])
def test_a_tag_that_does_not_fit_is_refused_and_leaves_no_file(tags: DngTags, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_dng(tmp_path / "a.dng", np.zeros((32, 32), np.uint16), tags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.shared
def test_the_calibrations_are_the_published_ones(shared: Path) -> None:
    published = json.loads((shared / "noise" / "eld.json").read_text())
    ours = {
        "CanonEOS5D4": noise.EOS_5D4,
        "CanonEOS70D": noise.EOS_70D,
        "CanonEOS700D": noise.EOS_700D,
        "NikonD850": noise.D850,
        "SonyA7S2": noise.A7S2,
    }
    for name, calibration in ours.items():
        camera = published[name]
        read, row = camera["Profile-1"]["G_scale"], camera["Profile-1"]["R_scale"]
        assert calibration.gain_at_iso_100 == camera["Kmin"]
        assert camera["Kmax"] / camera["Kmin"] == pytest.approx(64, rel=1e-3)
        assert calibration.read == (read["slope"], read["bias"])
        assert calibration.row == (row["slope"], row["bias"])
        assert calibration.tukey_shape == pytest.approx(np.median(camera["G_shape"]), abs=1e-6)
        assert list(calibration.color_bias_dn) in [
            pytest.approx(measured, abs=1e-6) for measured in camera["color_bias"]
        ]


@pytest.mark.parametrize("body", BAYER, ids=lambda body: body.slug)
def test_a_flat_field_has_the_gain_and_the_read_noise_of_its_body(body: Body) -> None:
    means, variances = [], []
    for radiance in (0.0, 0.1, 0.3, 0.6):
        first, second = flat_frames(body, radiance, 2)
        means.append((first + second).mean() / 2)
        variances.append((first - second).var() / 2)
    gain, _ = np.polyfit(means, variances, 1)
    expected = body.noise(body.iso)
    read = tukeylambda.var(expected.tukey_shape) * expected.tukey_scale_dn**2
    assert gain == pytest.approx(expected.gain_dn_per_e, rel=0.03)
    assert variances[0] == pytest.approx(read + expected.row_scale_dn**2 + 1 / 12, rel=0.12)


def test_iso_multiplies_the_gain() -> None:
    assert CANON.noise(1600).gain_dn_per_e == pytest.approx(4 * CANON.noise(400).gain_dn_per_e)


@pytest.mark.parametrize("body", BAYER, ids=lambda body: body.slug)
def test_the_zero_of_a_dark_frame_is_the_true_one(body: Body) -> None:
    frames = np.stack(flat_frames(body, 0.0, 8))
    not_hot = fixed_pattern(body, (256, 256)).dark_e_per_s == 0
    views = [np.s_[row::2, column::2] for row, column in np.ndindex(2, 2)]
    measured = np.array([frames[:, *view][:, not_hot[view]].mean() for view in views])
    error = measured - body.black_level - np.array(body.zero_error_dn)
    standard_error = np.hypot(body.noise(body.iso).row_scale_dn / 32, frames.std() / 512)
    assert np.abs(error).max() < 0.1 * body.dn_per_dn14 + 4 * standard_error


def test_the_frames_of_a_body_share_their_fixed_pattern_and_hot_pixels() -> None:
    frames = flat_frames(CANON, 0.02, 8)
    one, other = np.mean(frames[:4], axis=0), np.mean(frames[4:], axis=0)
    second = np.mean(flat_frames(replace(CANON, serial="second"), 0.02, 4), axis=0)
    hot, also_hot = (set(np.argsort(mean, axis=None)[-3:]) for mean in (one, other))
    assert hot == also_hot
    assert hot.isdisjoint(np.argsort(second, axis=None)[-3:])


@pytest.mark.parametrize("slug", ["oneplusnord2", "fujixt2"])
def test_signal_follows_the_filter_array(slug: str) -> None:
    body = body_named(slug)
    shot = planned_shots(Plan(body, scenes=1))[0]
    picture = np.zeros((66, 66, 3), np.float32)
    picture[..., 0] = 0.5
    codes, _ = expose(picture, shot, fixed_pattern(body, (66, 66)), generator(1))
    side = {4: 2, 36: 6}[len(body.cfa or "")]
    share = (codes - body.black_level) / (body.white_level - body.black_level)
    for (row, column), letter in zip(np.ndindex(side, side), body.cfa or "", strict=True):
        level = np.median(share[row::side, column::side])
        assert 0.15 < level < 0.4 if letter == "R" else abs(level) < 0.01


@pytest.mark.parametrize("body", BAYER, ids=lambda body: body.slug)
def test_the_light_of_a_pair_has_the_stated_ratio_and_zero(body: Body, tmp_path: Path) -> None:
    truth = simulate(tmp_path / "out", Plan(body, scenes=1, size=(512, 512)))
    pair = truth.pairs[0]
    assert pair.light_ratio == pytest.approx(100)
    short, long = (mosaic_of(tmp_path / "out" / path).astype(float) for path in (pair.short_path, pair.long_path))
    unclipped = long < 0.9 * body.white_level
    zero = truth.frames[1].zero_dn
    signal = [
        sum(
            (frame[row::2, column::2] - zero[2 * row + column])[unclipped[row::2, column::2]].sum()
            for row, column in np.ndindex(2, 2)
        )
        for frame in (short, long)
    ]
    assert signal[1] / signal[0] == pytest.approx(100, rel=0.03)


def test_a_scene_is_dim_textured_and_has_few_lights() -> None:
    scene = dead_leaves(256, 320, generator(5))
    assert scene.shape == (256 + 2 * MARGIN_PX, 320 + 2 * MARGIN_PX, 3)
    green = scene[..., 1]
    assert np.percentile(green, 98) == pytest.approx(1.0)
    assert 0.05 < np.median(green) < 0.5
    assert green.max() > 2
    blocks = np.log(green[:352, :416] + 1e-3).reshape(11, 32, 13, 32).std(axis=(1, 3))
    assert blocks.min() > 0.03


def test_a_whole_pixel_shift_moves_the_picture_and_nothing_else() -> None:
    scene = dead_leaves(64, 64, generator(5))
    assert blurred(scene, 0.0, (3.0, -2.0)) == pytest.approx(np.roll(scene, (3, -2), (0, 1)), abs=1e-4)


def test_the_long_frame_is_well_exposed(tmp_path: Path) -> None:
    truth = simulate(tmp_path / "out", Plan(CANON, scenes=3, size=(256, 256)))
    for frame in truth.frames:
        assert frame.clipped_fraction < 0.03
    for frame in truth.frames[::2]:
        white = (CANON.white_level - CANON.black_level) / CANON.noise(CANON.iso).gain_dn_per_e
        assert 0.04 < frame.median_electrons / white < 0.4


def test_the_light_of_scenes_has_different_colors_and_that_of_a_pair_the_same() -> None:
    shots = planned_shots(Plan(CANON, scenes=4))
    neutrals = [shot.neutral for shot in shots]
    assert len(set(neutrals)) == 4
    assert neutrals[0::2] == neutrals[1::2]


def test_the_camera_keeps_one_white_balance_as_who_shoots_pairs_sets_it() -> None:
    assert len({shot.tags.as_shot_neutral for shot in planned_shots(Plan(CANON, scenes=4))}) == 1


def test_capture_times_lie_seconds_apart_within_a_scene_and_minutes_between_scenes() -> None:
    shots = planned_shots(Plan(CANON, scenes=2, shorts=2, names="camera"))
    times = [shot.tags.captured_at for shot in shots]
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert [shot.name for shot in shots] == [f"IMG_{number:04d}.dng" for number in range(1, 7)]
    assert max(gaps[0], gaps[1], gaps[3], gaps[4]) <= 12
    assert gaps[2] > 120


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    plan = replace(SMALL, scenes=2, faults=(requested_fault("shifted=3@2"),))
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        simulate(tmp_path / name, replace(plan, seed=seed))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert not set(digests(tmp_path / "a").values()) & set(digests(tmp_path / "c").values())


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("clean") / "out"
    simulate(folder, replace(SMALL, scenes=2))
    return digests(folder)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_the_frames_that_it_concerns_and_no_other(
    name: str, clean: dict[str, str], tmp_path: Path
) -> None:
    truth = simulate(tmp_path / "out", replace(SMALL, scenes=2, faults=(planted_fault(name, scenes={2}),)))
    now = digests(tmp_path / "out")
    long, short = "00002_00_10s.dng", "00002_00_0.04s.dng"
    concerned = {"short": {short}, "long": {long}, "both": {short, long}}[FAULTS[name].frames]
    kept = {path for path in clean if path != TRUTH_FILE and now.get(path) == clean[path]}
    unchanged_bytes = {short} if name == "duplicate-file" else set()
    assert kept == set(clean) - concerned - {TRUTH_FILE} | unchanged_bytes
    if name != "unpaired":
        assert FAULTS[name].code in truth.pairs[1].codes
    assert truth.pairs[0].codes == ()


def test_a_duplicate_has_the_same_bytes_under_another_name(tmp_path: Path) -> None:
    simulate(tmp_path / "out", replace(SMALL, faults=(planted_fault("duplicate-file"),)))
    sums = digests(tmp_path / "out")
    assert sums["00001_00_0.1s-copy.dng"] == sums["00001_00_0.1s.dng"]


def test_two_exposure_times_make_the_readers_disagree(tmp_path: Path) -> None:
    simulate(tmp_path / "out", replace(SMALL, faults=(planted_fault("reader-disagreement", 3),)))
    path = tmp_path / "out" / "00001_00_0.1s.dng"
    assert exif_of(path)["EXIF ExposureTime"] == "1/10"
    with rawpy.imread(str(path)) as raw:
        assert raw.other.shutter_speed == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["unreadable-file", "truncated-pixels"])
def test_a_truncated_file_is_refused_by_the_reader(name: str, tmp_path: Path) -> None:
    simulate(tmp_path / "out", replace(SMALL, faults=(planted_fault(name),)))
    with pytest.raises(rawpy.LibRawError):
        mosaic_of(tmp_path / "out" / "00001_00_0.1s.dng")


def test_damage_takes_the_stated_share_of_the_rows(tmp_path: Path) -> None:
    for name in ("zero-tail", "repeated-rows", "constant-rows"):
        simulate(tmp_path / name, replace(SMALL, faults=(planted_fault(name, 0.25),)))
    tails = {
        name: mosaic_of(tmp_path / name / "00001_00_0.1s.dng")[48:]
        for name in ("zero-tail", "repeated-rows", "constant-rows")
    }
    assert not tails["zero-tail"].any()
    assert (tails["repeated-rows"][2:] == tails["repeated-rows"][:-2]).all()
    assert len(np.unique(tails["constant-rows"])) == 1


def test_dropped_bits_leave_a_code_step_in_the_long_frame(tmp_path: Path) -> None:
    simulate(tmp_path / "out", replace(SMALL, faults=(planted_fault("bit-depth-drop", 2),)))
    assert not (mosaic_of(tmp_path / "out" / "00001_00_10s.dng") % 4).any()
    assert (mosaic_of(tmp_path / "out" / "00001_00_0.1s.dng") % 4).any()


def test_faults_of_the_light_are_in_the_truth(tmp_path: Path) -> None:
    faults = tuple(
        map(requested_fault, ("hidden-gain=1.5@1", "black-off=8@2", "shifted=6@3", "iso-changed=2@4", "lens-cap@5"))
    )
    plan = Plan(CANON, scenes=5, size=(64, 64), ratios=(Fraction(100),), faults=faults)
    gain, black, shift, iso, cap = simulate(tmp_path / "out", plan).pairs
    assert gain.light_ratio == pytest.approx(100 / 1.5)
    assert black.zero_error_dn is not None
    assert np.mean(black.zero_error_dn) == pytest.approx(0.99 * (8 + np.mean(CANON.zero_error_dn)), abs=0.1)
    assert np.hypot(shift.shift_y_px, shift.shift_x_px) == pytest.approx(6)
    assert iso.light_ratio == pytest.approx(50)
    assert cap.light_ratio is None


def test_overexposure_clips_the_stated_share_of_the_long_frame_and_keeps_the_ratio(tmp_path: Path) -> None:
    truth = simulate(tmp_path / "out", replace(SMALL, size=(256, 256), faults=(planted_fault("overexposed", 0.3),)))
    assert truth.frames[0].clipped_fraction == pytest.approx(0.3, abs=0.02)
    assert truth.frames[1].clipped_fraction < 0.01
    assert truth.pairs[0].light_ratio == pytest.approx(100)


def test_the_truth_file_holds_the_truth(tmp_path: Path) -> None:
    truth = simulate(tmp_path / "out", SMALL)
    stored = json.loads((tmp_path / "out" / TRUTH_FILE).read_text())
    assert stored == json.loads(truth.to_json())
    assert {frame["path"] for frame in stored["frames"]} == set(digests(tmp_path / "out")) - {TRUTH_FILE}


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        simulate(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingResourceError, match="cannot be written"):
        simulate(tmp_path / "file" / "out", SMALL)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("", "NAME"),
        ("nonsense", "list-faults"),
        ("shifted=x", "not a number"),
        ("shifted=nan", "outside"),
        ("shifted=999", "outside"),
        ("iso-zero=2", "no strength"),
        ("shifted@1,b", "no scene number"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_the_reason(request_: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        requested_fault(request_)


def test_a_fault_that_does_not_go_with_the_plan_is_refused() -> None:
    for plan, message in (
        (replace(SMALL, faults=(requested_fault("shifted@7"),)), "scene 7"),
        (replace(SMALL, names="camera", faults=(requested_fault("wrong-name"),)), "--names sid"),
        (replace(SMALL, faults=(requested_fault("wrong-name=100"),)), "would be called"),
        (replace(SMALL, body=body_named("galaxys22"), faults=(requested_fault("phase-changed"),)), "linear DNG"),
    ):
        with pytest.raises(UsageError, match=message):
            planned_shots(plan)


def test_an_xtrans_frame_that_libraw_would_not_render_is_not_shot() -> None:
    assert Plan(FUJI, size=(512, 512))
    with pytest.raises(UsageError, match="too small for fujixt2: take 512 px a side or more"):
        Plan(FUJI, size=(511, 600))


def test_a_changed_phase_starts_one_column_later_in_any_array() -> None:
    for body, phase in ((CANON, "GRBG"), (FUJI, "GRGGBGGBGGRGRGRBGBGBGGRGGRGGBGBGBRGR")):
        _, short = planned_shots(Plan(body, scenes=1, faults=(planted_fault("phase-changed"),)))
        assert short.tags.cfa == phase


@pytest.mark.parametrize("changes", [{"scenes": 0}, {"ratios": ()}, {"ratios": (Fraction(1),)}, {"size": (8, 64)}])
def test_a_plan_that_cannot_be_shot_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(SMALL, **changes)


def test_scenes_and_ranges_are_read_from_a_request() -> None:
    assert requested_fault("shifted=6@1,3-5").scenes == {1, 3, 4, 5}
    assert requested_fault("lens-cap").scenes is None


@pytest.mark.parametrize("device", BODIES)
def test_a_plan_without_faults_has_none(device: str) -> None:
    shots = planned_shots(Plan(body_named(device), scenes=12))
    assert len(shots) == 24
    assert not any(shot.faults for shot in shots)


def test_an_unknown_body_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="canon90d"):
        body_named("box-brownie")
