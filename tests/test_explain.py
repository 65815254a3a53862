"""`sidcurate validate --explain`: what is said and drawn of one pair."""

import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageFont

from sidcurate.align import trace
from sidcurate.cli import main
from sidcurate.errors import UsageError
from sidcurate.explain import drawing
from sidcurate.explain.account import explain
from sidcurate.explain.pictures import FitPicture, MovedPicture, ShiftPicture
from sidcurate.rules import RULES, Limits
from sidcurate.validation import Standard

DEVICE = "canon90d"
CLEAN, SHIFTED, BRIGHT, MOVED, OTHER = (f"{number:05d}_00" for number in range(1, 6))
FAULTS = ("shifted=6@2", "hidden-gain=3@3", "scene-moved=0.2@4", "other-scene@5")
STANDARD = Standard()


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Manifests of a session with a clean pair and four faulty ones; its raws are gone."""
    folder = tmp_path_factory.mktemp("explain")
    raws = folder / "raws"
    faults = [part for fault in FAULTS for part in ("--fault", fault)]
    shot = run("simulate", raws, "--scenes", 5, "--ratios", 100, "--size", "512x640", *faults)
    assert shot.exit_code == 0, shot.output
    assert run("ingest", raws, "--device", DEVICE, "--manifests", folder / "manifests", "--jobs", 1).exit_code == 0
    shutil.rmtree(raws)
    return folder / "manifests"


@pytest.fixture(scope="module")
def explained(root):
    return {pair_id: explain(root / DEVICE, pair_id, STANDARD) for pair_id in (CLEAN, SHIFTED, BRIGHT, MOVED, OTHER)}


def row_of(explanation, code):
    return next(row for row in explanation.rows if row.code == code)


def test_every_rule_of_pairs_has_a_row_with_its_limit(explained):
    rows = {row.code: row for row in explained[CLEAN].rows}
    assert set(rows) == {code for code in RULES if code.startswith("PAIR")}
    assert all(row.outcome == "pass" and not row.why for row in rows.values())
    assert rows["PAIR221"].allowed == RULES["PAIR221"].limit_in_words(Limits())
    assert explained[CLEAN].verdict == f"{DEVICE} {CLEAN} passes"
    assert not explained[CLEAN].has_errors


def test_rows_say_what_the_record_says(explained):
    bright = explained[BRIGHT]
    pair, row = bright.view.pair, row_of(bright, "PAIR211")
    value, error = row.pair.removesuffix("×").split(" ± ")
    assert float(value) == pytest.approx(pair.measured_ratio, abs=float(error))
    assert float(error) == pytest.approx(pair.measured_ratio_se, rel=0.5)
    assert 30 < float(value) < 37
    assert (row_of(bright, "PAIR201").short, row_of(bright, "PAIR201").long) == ("1/10 s", "10 s")
    short = bright.view.short
    assert row_of(bright, "PAIR232").short.startswith(f"{short.noise_dn:.1f}"[:2])
    shift = row_of(explained[SHIFTED], "PAIR221").pair
    assert f"{explained[SHIFTED].view.pair.shift_y_px:+.1f} px down" in shift


def test_the_zero_is_told_in_dn_and_in_what_its_limit_is_told_in(explained):
    clean = explained[CLEAN]
    pair, short = clean.view.pair, clean.view.short
    worst = max(abs(zero) for zero in pair.zero_error_dn) * pair.exposure_ratio
    share = float(row_of(clean, "PAIR212").pair.partition(" DN: ")[2].removesuffix(" % after amplification"))
    assert share == pytest.approx(100 * worst / (short.white_level[0] - short.black_level[0]), rel=0.01)


def test_a_fault_is_named_and_what_needs_its_absence_is_not_judged(explained):
    shifted = explained[SHIFTED]
    assert shifted.has_errors
    assert shifted.verdict.startswith(f"{DEVICE} {SHIFTED} is left out: shifted (PAIR221)")
    assert row_of(shifted, "PAIR221").outcome == "error"
    assert (row_of(shifted, "PAIR222").outcome, row_of(shifted, "PAIR222").why) == ("not judged", "needs PAIR221")
    assert [finding.code for finding in shifted.findings] == ["PAIR221"]


def test_what_the_pixels_cannot_tell_is_not_given_a_figure(explained):
    assert row_of(explained[OTHER], "PAIR211").pair == "not told"
    assert isinstance(explained[OTHER].pictures.moved, str)
    assert explained[OTHER].pictures.shift.peak is None


def test_ignored_and_unselected_rules_say_so(root):
    standard = Standard(ignore={"PAIR221": "a test chart on rails"}, select=["PAIR221", "PAIR223"])
    explanation = explain(root / DEVICE, SHIFTED, standard)
    assert row_of(explanation, "PAIR221").why == "ignored: a test chart on rails"
    assert row_of(explanation, "PAIR223").outcome == "pass"
    assert row_of(explanation, "PAIR211").why == "not selected"


def test_the_fit_lies_where_the_light_does(explained):
    clean, bright = (explained[name].pictures.fit for name in (CLEAN, BRIGHT))
    assert isinstance(clean, FitPicture)
    slope = np.polyfit(bright.long_dn, bright.short_dn, 1)[0]
    assert 1 / slope == pytest.approx(bright.fitted[1], rel=0.05)
    assert bright.nominal == 100
    assert clean.fitted[1] == pytest.approx(clean.nominal, rel=0.03)


def test_without_a_declared_black_the_light_is_drawn_from_the_darkest_block(root, explained, tmp_path):
    directory = shutil.copytree(root / DEVICE, tmp_path / DEVICE)
    for file in (directory / "traces").iterdir():
        trace.save(file, replace(trace.load(file), black_dn=np.full(4, np.nan)))
    fit, declared = explain(directory, CLEAN, STANDARD).pictures.fit, explained[CLEAN].pictures.fit
    assert fit.window == pytest.approx(declared.window, rel=0.1, abs=0.1 * declared.window[3])


@pytest.mark.parametrize("name", [CLEAN, SHIFTED])
def test_the_surface_is_highest_where_the_shift_was_measured(explained, name):
    shift = explained[name].pictures.shift
    assert isinstance(shift, ShiftPicture)
    highest = np.unravel_index(shift.surface.argmax(), shift.surface.shape)
    places = np.linspace(-shift.span_px, shift.span_px, len(shift.surface))
    np.testing.assert_allclose(places[list(highest)], shift.peak, atol=0.5)


def test_the_map_shows_the_part_that_moved(explained):
    moved, clean = (explained[name].pictures.moved for name in (MOVED, CLEAN))
    assert isinstance(moved, MovedPicture)
    far = [float(np.nanmean(np.abs(picture.departure_se) > 5)) for picture in (moved, clean)]
    assert far[0] > 0.05
    assert far[1] < 0.01


def test_the_png_is_a_picture_that_tells_pairs_apart(root, explained, tmp_path):
    pictures = {}
    for name in (CLEAN, SHIFTED):
        file = tmp_path / "new" / f"{name}.png"
        done = run("validate", "--manifests", root, "--device", DEVICE, "--explain", name, "--png", file)
        assert done.exit_code == (name == SHIFTED)
        with Image.open(file) as image:
            assert (image.format, image.size) == ("PNG", drawing.SIZE)
            pictures[name] = np.asarray(image, float)
    clean, shifted = pictures.values()
    assert clean.std() > 20
    assert 2 < np.abs(clean - shifted)[:, 480:900].mean() < 200
    with Image.open(BytesIO(drawing.png(explained[OTHER]))) as image:
        assert image.size == drawing.SIZE


def test_the_png_says_what_is_wrong_and_what_to_do(explained, monkeypatch):
    written = []
    draw_text = ImageDraw.ImageDraw.text

    def listening(draw, place, text, *rest, **options):
        written.append(text)
        draw_text(draw, place, text, *rest, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", listening)
    drawing.png(explained[SHIFTED])
    page = " ".join(written)
    (finding,) = explained[SHIFTED].findings
    assert f"PAIR221: {finding.message}" in page
    assert all(ImageFont.load_default(14).getlength(line) < drawing.SIZE[0] - 40 for line in written)


def test_the_terminal_shows_facts_verdict_and_three_pictures(root, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    done = run("validate", "--manifests", root, "--device", DEVICE, "--explain", BRIGHT)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"{DEVICE} {BRIGHT} is left out: light-contradicts-exposure (PAIR211)"
    assert max(map(len, lines)) <= 100
    assert sum(line.count("┌") for line in lines) == 3
    assert "# fitted" in done.stdout
    assert "+ nominal 100×" in done.stdout
    assert not list((root / DEVICE).glob("findings*"))


def test_a_missing_trace_is_said_and_the_facts_still_stand(root, tmp_path):
    shutil.copytree(root, tmp_path / "manifests")
    shutil.rmtree(tmp_path / "manifests" / DEVICE / "traces")
    file = tmp_path / "pair.png"
    seen = ["validate", "--manifests", tmp_path / "manifests", "--device", DEVICE, "--explain", CLEAN]
    done = run(*seen)
    assert done.exit_code == 0
    words = " ".join(done.stdout.split())
    assert "PAIR221 pass" in words
    assert "is not kept" in words
    assert run(*seen, "--png", file).exit_code == 0
    with Image.open(file) as image:
        assert image.size == drawing.SIZE


def test_the_one_manifest_that_is_there_needs_no_name(root, tmp_path):
    assert run("validate", "--manifests", root, "--explain", CLEAN).stdout.startswith(f"{DEVICE} {CLEAN} passes")
    for name in ("one", "other"):
        shutil.copytree(root / DEVICE, tmp_path / name)
    done = run("validate", "--manifests", tmp_path, "--explain", CLEAN)
    assert (done.exit_code, "needs the --device of the pair, one of one, other" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("0002_00", r"'0002_00'; close to it: 00002_00,"),
        ("00004", r"'00004'; close to it: 00004_00 \(of 5\)"),
        ("moon", r"'moon'; it has 00001_00, 00002_00, 00003_00 \(of 5\)"),
    ],
)
def test_an_unknown_pair_names_those_that_are_close(root, asked, words):
    with pytest.raises(UsageError, match=words):
        explain(root / DEVICE, asked, STANDARD)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--explain", CLEAN, "--device", DEVICE, "--device", "phone"], "no manifest of device 'phone'"),
        (["--png", "pair.png"], "--explain PAIR"),
        (["--explain", CLEAN, "--device", DEVICE, "--format", "json"], "--format json"),
        (["--explain", CLEAN, "--device", DEVICE, "--deep"], "--deep"),
    ],
)
def test_what_does_not_go_together_is_refused(root, arguments, words):
    done = run("validate", "--manifests", root, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
