"""What the pixels of a pair say, on frames of a simulated sensor with known truth."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import rawpy
from skimage.transform import rotate

from sidcurate.align import PairFacts, measure_pair, trace
from sidcurate.schemas import LEAST_SIGNAL, SAME_SCENE_CORRELATION
from sidcurate.synthetic import scenes, sensor
from sidcurate.synthetic.bodies import BODIES
from sidcurate.synthetic.dng import DngTags
from sidcurate.synthetic.shots import Light, Readout, Settings, Shot

SIDE = 640
RATIO = 100
AS_PROMISED, AS_BUILT = Light(), Readout()
NEUTRAL = (0.52, 1.0, 0.65)  # a gray card in the evening
RGGB_14_BIT, GBRG_12_BIT = "nikond850", "gbrg12"
BODIES = BODIES | {"phone": replace(BODIES["oneplus7"], iso=100)}


@cache
def scene(seed: int):
    return scenes.dead_leaves(SIDE, SIDE, np.random.default_rng(seed))


@cache
def pattern(slug: str):
    return sensor.fixed_pattern(BODIES[slug], (SIDE, SIDE))


@dataclass(frozen=True)
class Planted:
    """One pair: which scene, how each frame departs from it, and the seed of the noise."""

    slug: str = RGGB_14_BIT
    scene: int = 3
    noise: int = 0
    ratio: int = RATIO
    short: Light = AS_PROMISED
    long: Light = AS_PROMISED
    short_readout: Readout = AS_BUILT
    picture: np.ndarray | None = None
    short_picture: np.ndarray | None = None

    def frames(self):
        """Return the traces of short and long frame, and the true zero of the pair by CFA position."""
        picture = scene(self.scene) if self.picture is None else self.picture
        rng = np.random.default_rng(self.noise)
        seen = picture if self.short_picture is None else self.short_picture
        short, short_zero = self._frame(seen, Fraction(10, self.ratio), self.short, self.short_readout, rng)
        long, long_zero = self._frame(picture, Fraction(10), self.long, AS_BUILT, rng)
        black = BODIES[self.slug].black_level
        return short, long, (short_zero - black) - (long_zero - black) / self.ratio

    def _frame(self, picture, time_s, light, readout, rng):
        body = BODIES[self.slug]
        settings = Settings(time_s, body.iso, body.f_number)
        shot = Shot(0, "short", 0, "frame", body, settings, DngTags(cfa=body.cfa), light, readout, neutral=NEUTRAL)
        seen = sensor.seen(picture, scene(self.scene + 1), light, 0.3)
        codes, truth = sensor.expose(seen, shot, pattern(self.slug), rng)
        levels = (body.black_level,) * 4, (body.white_level,) * 4
        return trace.measure(codes, body.cfa, *levels), np.array(truth.zero_dn)


def facts_of(**planted) -> PairFacts:
    short, long, _ = Planted(**planted).frames()
    return measure_pair(short, long)


def beyond(fact, limit: float) -> bool:
    """Whether a fact exceeds a limit by three standard errors."""
    return fact.value - 3 * fact.se > limit


def near(fact, truth: float, tolerance: float) -> bool:
    """Whether a fact is as near to the truth as asked, and no farther than its own error allows."""
    return abs(fact.value - truth) < tolerance and abs(fact.value - truth) < 4.5 * fact.se


@pytest.mark.parametrize("slug", [RGGB_14_BIT, GBRG_12_BIT])
@pytest.mark.parametrize("noise", [0, 1, 2])
def test_a_clean_pair_shows_its_ratio_and_zero_and_no_fault(slug, noise):
    short, long, zero = Planted(slug=slug, scene=noise, noise=noise).frames()
    facts = measure_pair(short, long)
    assert near(facts.measured_ratio, RATIO, 0.02 * RATIO)
    tolerance = 0.3 * BODIES[slug].dn_per_dn14
    assert all(near(fact, truth, tolerance) for fact, truth in zip(facts.zero_error_dn, zero, strict=True))
    assert facts.signal > LEAST_SIGNAL
    assert facts.correlation.value > 0.9
    assert facts.shift_px.value < 0.3
    assert facts.gain_departure.value < 0.05
    assert abs(facts.nonlinearity.value) < 0.05
    assert facts.moved_fraction.value < 0.002
    assert facts.focus_ratio.value == pytest.approx(1, abs=0.08)


def test_standard_errors_are_those_of_repeated_pairs():
    pairs = [Planted(noise=noise, ratio=300, slug="canon90d").frames() for noise in range(10)]
    facts = [measure_pair(short, long) for short, long, _ in pairs]
    ratio = [(fact.measured_ratio.value - 300) / fact.measured_ratio.se for fact in facts]
    shift = [axis.value / axis.se for fact in facts for axis in (fact.shift_y_px, fact.shift_x_px)]
    zero = [
        (got.value - true) / got.se
        for fact, pair in zip(facts, pairs, strict=False)
        for got, true in zip(fact.zero_error_dn, pair[2], strict=False)
    ]
    for scores in (ratio, shift, zero):
        assert 0.3 < np.sqrt(np.mean(np.square(scores))) < 1.8


@pytest.mark.parametrize("gain", [0.8, 1.25, 3.0])
def test_hidden_gain_is_measured(gain):
    facts = facts_of(short=Light(gain=gain))
    assert near(facts.measured_ratio, RATIO / gain, 0.02 * RATIO / gain)


def test_a_lifted_black_is_measured_and_leaves_the_ratio_alone():
    short, long, zero = Planted(short_readout=Readout(zero_dn14=3.0)).frames()
    facts = measure_pair(short, long)
    assert zero.min() > 2.9
    assert all(near(fact, truth, 0.3) for fact, truth in zip(facts.zero_error_dn, zero, strict=True))
    assert near(facts.measured_ratio, RATIO, 0.02 * RATIO)


@pytest.mark.parametrize("noise", [0, 1, 2])
@pytest.mark.parametrize("slug", [RGGB_14_BIT, "phone"])
def test_a_third_of_the_frame_that_moved_is_measured_and_leaves_the_light_alone(slug, noise):
    facts = facts_of(slug=slug, scene=noise, noise=noise, short=Light(moved_fraction=0.3))
    assert abs(facts.moved_fraction.value - 0.3) < 3 * facts.moved_fraction.se < 0.2
    assert facts.measured_ratio.value == pytest.approx(RATIO, rel=0.03)
    assert not beyond(facts.gain_departure, 0.1)


@pytest.mark.parametrize("noise", [0, 1, 2])
@pytest.mark.parametrize("light", [Light(shift_px=(2.2, -1.4)), Light(blur_px=3.0)], ids=["shifted", "soft"])
def test_light_that_crosses_the_edges_of_blocks_leaves_the_ratio_alone(light, noise):
    facts = facts_of(scene=noise, noise=noise, long=light)
    assert facts.measured_ratio.value == pytest.approx(RATIO, rel=0.02)


@pytest.mark.parametrize("shift", [(1.5, 0.0), (-0.7, 1.6), (6.0, -3.0), (20.0, 12.5), (-34.0, 40.0)])
def test_a_shift_is_measured_to_a_part_of_a_pixel(shift):
    facts = facts_of(long=Light(shift_px=shift))
    assert near(facts.shift_y_px, shift[0], 0.3)
    assert near(facts.shift_x_px, shift[1], 0.3)
    assert beyond(facts.shift_px, 1.0)


def test_the_short_frame_moving_shows_with_the_other_sign():
    facts = facts_of(short=Light(shift_px=(4.0, -2.0)))
    assert near(facts.shift_y_px, -4, 0.3)
    assert near(facts.shift_x_px, 2, 0.3)


def test_hot_pixels_shared_by_both_frames_do_not_hold_a_dark_pair_in_place():
    dark = scene(3) * np.float32(0.03)
    facts = facts_of(picture=dark, long=Light(shift_px=(-12.0, 16.0)))
    assert near(facts.shift_y_px, -12, 1)
    assert near(facts.shift_x_px, 16, 1)


def test_a_small_rotation_is_noticed_and_aligned():
    turned = rotate(scene(3), -0.3, order=3, mode="edge").astype(np.float32).clip(0)
    facts = facts_of(short_picture=turned)
    assert near(replace_se(facts.rotation_deg, 0.01), -0.3, 0.03)
    assert beyond(facts.shift_px, 1.0)
    assert abs(facts.measured_ratio.value / RATIO - 1) < 0.02


@pytest.mark.parametrize("seed", [2, 8])
def test_what_is_not_turned_is_not_turned_by_more_than_the_error_of_it(seed):
    assert near(facts_of(scene=seed, noise=seed).rotation_deg, 0, 0.02)


def replace_se(fact, least: float):
    """Return a fact with at least this standard error: the resampled picture itself is not exact."""
    return fact._replace(se=max(fact.se, least))


def test_a_gain_gradient_is_measured_and_leaves_zero_alone():
    short, long, zero = Planted(short=Light(gradient=0.2)).frames()
    facts = measure_pair(short, long)
    assert near(facts.gain_departure, 0.2, 0.02)
    assert beyond(facts.gain_departure, 0.15)
    assert all(abs(fact.value - truth) < 0.3 for fact, truth in zip(facts.zero_error_dn, zero, strict=True))


def test_a_moved_region_is_noticed_and_leaves_ratio_and_shift_alone():
    facts = facts_of(short=Light(moved_fraction=0.08))
    assert beyond(facts.moved_fraction, 0.02)
    assert near(facts.moved_fraction, 0.08, 0.03)
    assert facts.measured_ratio.value == pytest.approx(RATIO, rel=0.02)
    assert facts.shift_px.value < 0.3


def test_another_scene_is_recognized_and_nothing_else_is_claimed():
    facts = facts_of(short=Light(other_scene=True))
    assert facts.correlation.value + 3 * facts.correlation.se < 0.3
    assert facts == PairFacts(signal=facts.signal, correlation=facts.correlation)


def test_a_short_frame_without_light_has_no_signal():
    facts = facts_of(short=Light(gain=1e-9))
    assert facts == PairFacts(signal=facts.signal)
    assert facts.signal < LEAST_SIGNAL


def test_a_blank_long_frame_leaves_everything_open():
    assert facts_of(long=Light(gain=1e-9)) == PairFacts()


@pytest.mark.parametrize(
    ("short_px", "long_px"), [(0.0, 3.0), (3.0, 0.0), (0.0, 6.0), (6.0, 0.0), (0.0, 20.0), (20.0, 0.0)]
)
def test_defocus_is_noticed_and_which_frame_has_it(short_px, long_px):
    facts = facts_of(short=Light(blur_px=short_px), long=Light(blur_px=long_px))
    ratio = facts.focus_ratio
    assert beyond(ratio, 1.1) if long_px else ratio.value + 3 * ratio.se < 1 / 1.1
    assert not beyond(facts.shift_px, 1.0)
    assert (facts.measured_ratio is None) == (max(short_px, long_px) > 5)


def test_stripes_tell_the_shift_across_them_and_not_along():
    columns = np.arange(SIDE + 2 * scenes.MARGIN_PX)
    stripes = scenes.blurred(np.tile((0.2 + 0.6 * (columns // 12 % 2))[None, :, None], (len(columns), 1, 3)), 0.7)
    facts = facts_of(picture=stripes, long=Light(shift_px=(0.0, 4.0)))
    assert facts.shift_y_px is None
    assert facts.rotation_deg is None
    assert near(facts.shift_x_px, 4, 0.3)


def test_a_smooth_sky_has_no_shift():
    rows, columns = np.mgrid[: SIDE + 2 * scenes.MARGIN_PX, : SIDE + 2 * scenes.MARGIN_PX] / SIDE
    sky = np.repeat((0.5 + 0.3 * rows + 0.1 * columns)[..., None], 3, axis=2).astype(np.float32)
    facts = facts_of(picture=sky, long=Light(shift_px=(20.0, 0.0)))
    assert facts.shift_y_px is facts.shift_x_px is facts.shift_px is None


def test_a_clipped_sky_over_most_of_the_frame_does_not_spoil_the_rest():
    picture = scene(3).copy()
    picture[: round(0.6 * len(picture))] = 4
    short, long, _ = Planted(picture=picture).frames()
    facts = measure_pair(short, long)
    assert long.clipped_bins.mean() > 0.5
    assert near(facts.measured_ratio, RATIO, 0.02 * RATIO)
    assert facts.shift_px.value < 0.5
    assert facts.focus_ratio.value == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("seed", [0, 4, 5])
def test_a_band_below_a_clipped_sky_tells_the_light_even_where_its_focus_stays_open(seed):
    picture = scenes.night_scene("sky", SIDE, SIDE, np.random.default_rng(seed))
    facts = facts_of(picture=picture, short=Light(gain=1.5), noise=seed)
    assert facts.focus_ratio is None
    assert near(facts.measured_ratio, RATIO / 1.5, 0.02 * RATIO)


def test_codes_coarser_than_the_noise_leave_the_light_open():
    facts = facts_of(slug="gbrg12", short_readout=Readout(bits_dropped=6))
    assert facts.measured_ratio is facts.zero_error_dn is None


@pytest.mark.parametrize("noise", [0, 1, 2])
def test_a_phone_tells_ratio_and_zero_from_the_part_of_the_frame_whose_noise_covers_its_codes(noise):
    # 10 bits at low ISO: in the dark the noise is a fifth of a code, and the means are those of codes.
    picture = scene(noise) * np.float32(0.7)
    short, long, zero = Planted(slug="phone", picture=picture, noise=noise).frames()
    facts = measure_pair(short, long)
    assert near(facts.measured_ratio, RATIO, 0.02 * RATIO)
    assert all(near(fact, truth, 0.3 / 16) for fact, truth in zip(facts.zero_error_dn, zero, strict=True))


def test_another_scene_below_the_same_clipped_sky_is_another_scene():
    here, other = scene(3).copy(), scene(4).copy()
    for picture in (here, other):
        picture[: round(0.6 * len(picture))] = 4
    same, different = facts_of(picture=here), facts_of(picture=here, short_picture=other)
    assert same.correlation.value > 0.5
    assert different.correlation.value + 3 * different.correlation.se < SAME_SCENE_CORRELATION


def test_a_fence_is_no_likeness_of_two_scenes_and_no_unlikeness_of_one():
    here, other = (scenes.night_scene("fence", SIDE, SIDE, np.random.default_rng(seed)) for seed in (3, 4))
    same, different = facts_of(picture=here), facts_of(picture=here, short_picture=other)
    assert same.correlation.value > 0.6
    assert different.correlation.value < SAME_SCENE_CORRELATION
    assert different.shift_px is None


def test_a_run_of_zeros_makes_no_other_scene():
    short, long, _ = Planted().frames()
    bins = short.bins.copy()
    bins[:, 40, :] = 0
    facts = measure_pair(replace(short, bins=bins), long)
    assert facts.correlation.value > 0.8
    assert facts.shift_px.value < 0.3


def test_an_undeclared_black_leaves_the_zero_open_and_not_the_ratio():
    short, long, _ = Planted().frames()
    facts = measure_pair(replace(short, black_dn=np.full(4, np.nan)), replace(long, black_dn=np.full(4, np.nan)))
    assert near(facts.measured_ratio, RATIO, 0.02 * RATIO)
    assert facts.zero_error_dn is facts.gain_departure is None


def test_frames_that_cannot_be_laid_on_each_other_say_nothing():
    short, long, _ = Planted().frames()
    small = trace.measure(np.full((320, 640), 400, np.uint16), "RGGB", None, None)
    assert measure_pair(small, long) == PairFacts()
    assert measure_pair(replace(short, cfa="BGGR"), long) == PairFacts()


@pytest.mark.parametrize("size", [(16, 16), (48, 64), (130, 1000)])
@pytest.mark.parametrize("level", [0, 65535])
def test_frames_of_one_code_and_any_size_say_nothing(size, level):
    frame = trace.measure(np.full(size, level, np.uint16), "RGGB", None, None)
    assert measure_pair(frame, frame) == PairFacts()


@pytest.mark.parametrize("side", [16, 24, 33, 50, 90, 128])
def test_a_small_frame_of_noise_says_nothing(side):
    codes = np.random.default_rng(side).integers(500, 5000, (side, side + 7)).astype(np.uint16)
    frame = trace.measure(codes, "RGGB", (500,) * 4, (16383,) * 4)
    assert measure_pair(frame, frame) == PairFacts()


@pytest.mark.parametrize(
    ("size", "black", "lit_rows"),
    [((290, 34), 64, 290), ((640, 640), 64, 50), ((640, 640), 0, 50)],
    ids=["narrow", "nine tenths at black", "nine tenths at zero"],
)
def test_frames_that_hardly_tell_anything_are_measured_without_a_division_by_zero(size, black, lit_rows):
    rng = np.random.default_rng(0)
    picture = rng.random((size[0] // 4 + 1, size[1] // 4 + 1)).repeat(4, 0).repeat(4, 1)[: size[0], : size[1]]
    picture[lit_rows:] = 0
    short, long = (
        trace.measure((black + rng.poisson(picture * light)).astype(np.uint16), "RGGB", (black,) * 4, (4095,) * 4)
        for light in (300, 3000)
    )
    with np.errstate(all="raise", under="ignore"):
        facts = measure_pair(short, long)
    assert facts.signal > LEAST_SIGNAL
    assert facts.measured_ratio is None or near(facts.measured_ratio, 10, 0.2)


def read(path, white: float | None = None) -> trace.Trace:
    with rawpy.imread(str(path)) as raw:
        cfa = "".join(raw.color_desc.decode()[index] for index in raw.raw_pattern.ravel())
        white = (float(white or raw.white_level),) * 4
        return trace.measure(raw.raw_image_visible.copy(), cfa, tuple(raw.black_level_per_channel), white)


@pytest.mark.shared
def test_the_pairs_of_three_real_scene_sessions_show_their_nominal_ratio_and_no_fault(shared):
    shorts = [path for path in sorted((shared / "sessions").glob("*/*.dng")) if not path.stem.endswith("_10s")]
    told = 0
    for path in shorts:
        name, time_s = path.stem.rsplit("_", 1)
        facts = measure_pair(read(path), read(path.with_name(f"{name}_10s.dng")))
        ratio = 10 / float(time_s[:-1])
        assert facts.correlation is None or facts.correlation.value > 0.9, path
        assert facts.focus_ratio is None or facts.focus_ratio.value == pytest.approx(
            1, abs=3 * facts.focus_ratio.se + 0.1
        ), path
        if facts.measured_ratio is None:
            continue
        told += 1
        assert abs(facts.measured_ratio.value - ratio) < 3 * facts.measured_ratio.se + 0.01 * ratio, path
        assert not beyond(facts.shift_px, 1.0), path
        assert not beyond(facts.gain_departure, 0.15), path
        assert facts.moved_fraction is None or facts.moved_fraction.value < 0.005, path
    assert told >= 26, "of 30; the darkest have 0.2 DN of light in codes of 1 DN"


# Frame of the bracket, and the share by which its measured ratio may miss the nominal one: None where the pixels must
# say that they cannot tell. The frames have 8 bits, and sites saturate between code 160 and 235, whatever the header
# says. The darker the frame, the more of it lies below one code, cut off at 0: its means bend, then tell nothing.
REAL_BRACKET = {
    "1fff": (3 / 2, 0.03),
    "0fff": (3, 0.03),
    "07ff": (6, 0.05),
    "03ff": (12, 0.25),
    "01ff": (24, None),
    "00ff": (48, None),
    "007f": (96, None),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL_BRACKET)
def test_a_real_bracket_shows_its_nominal_ratios_as_far_as_8_bit_codes_allow(shared, name):
    nominal, tolerance = REAL_BRACKET[name]
    long, short = (read(shared / f"raws/mcr/C00400_{frame}.dng", white=180) for frame in ("2fff", name))
    facts = measure_pair(short, long)
    assert facts.correlation.value + 3 * facts.correlation.se > SAME_SCENE_CORRELATION
    assert facts.shift_px is None or not beyond(facts.shift_px, 1.0)
    assert (facts.measured_ratio is None) == (tolerance is None)
    if tolerance is not None:
        assert near(facts.measured_ratio, nominal, tolerance * nominal)


@pytest.mark.shared
def test_saturation_below_the_declared_white_shows_as_light_that_is_not_linear(shared):
    long, short = (read(shared / f"raws/mcr/C00400_{name}.dng") for name in ("2fff", "07ff"))
    facts = measure_pair(short, long)
    assert beyond(facts.nonlinearity, 0.15)
    assert facts.measured_ratio is None or abs(facts.measured_ratio.value - 6) < 3 * facts.measured_ratio.se
