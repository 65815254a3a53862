"""From SID's own lists to a manifest without raws, and what the rules say of it."""

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sidcurate import manifests
from sidcurate.cli import main
from sidcurate.errors import UsageError
from sidcurate.ingest import sidlist
from sidcurate.ingest.folder import ingest
from sidcurate.ingest.matching import pair_again
from sidcurate.manifests import Manifest
from sidcurate.source import PairingRules
from sidcurate.synthetic.dng import DngTags, write_dng

TRAIN = """\
./Sony/short/00001_00_0.04s.ARW ./Sony/long/00001_00_10s.ARW ISO200 F8
./Sony/short/00001_00_0.1s.ARW ./Sony/long/00001_00_10s.ARW ISO200 F8
./Sony/short/00001_01_0.1s.ARW ./Sony/long/00001_00_10s.ARW ISO200 F8
./Sony/short/00207_00_0.033s.ARW ./Sony/long/00207_00_10s.ARW ISO25600 F5.6
./Sony/short/00207_01_0.033s.ARW ./Sony/long/00207_00_10s.ARW ISO25600 F5.6
./Sony/short/00207_02_0.033s.ARW ./Sony/long/00207_00_10s.ARW ISO12800 F5.6
"""
TEST = """\
./Sony/short/10003_00_0.1s.ARW ./Sony/long/10003_00_10s.ARW ISO200 F9
./Sony/short/10034_00_0.1s.ARW ./Sony/long/10034_00_10s.ARW ISO200 F9
"""
VAL = "./Sony/short/20005_00_0.04s.ARW ./Sony/long/20005_00_10s.ARW ISO200 F13\n"


@pytest.fixture
def lists(tmp_path: Path) -> list[Path]:
    paths = []
    for name, text in (("train", TRAIN), ("test", TEST), ("val", VAL)):
        paths.append(tmp_path / f"Sony_{name}_list.txt")
        paths[-1].write_text(text)
    return paths


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def ingest_lists(paths: list[Path], root: Path, *more: object) -> Result:
    return run("ingest", *(f"--sid-list={path}" for path in paths), "--manifests", root, *more)


@pytest.fixture
def manifest(lists: list[Path], tmp_path: Path) -> Manifest:
    assert ingest_lists(lists, tmp_path / "m").exit_code == 0
    return manifests.load(tmp_path / "m/sony")


def test_a_listed_capture_knows_what_the_list_says_and_nothing_else(manifest: Manifest):
    row = next(row for row in manifest.captures if row.path == "short/00207_00_0.033s.ARW")
    known = {name: value for name, value in row.model_dump().items() if value is not None}
    assert known == {
        "schema_version": 1,
        "device": "sony",
        "path": "short/00207_00_0.033s.ARW",
        "status": "listed",
        "exposure_num": 33,
        "exposure_den": 1000,
        "exposure_time_s": 0.033,
        "exposure_source": "name",
        "name_exposure_time_s": 0.033,
        "iso": 25600,
        "iso_source": "name",
        "f_number": 5.6,
        "f_number_source": "name",
    }


def test_the_first_digit_of_a_scene_is_its_part(manifest: Manifest):
    parts = {row.scene_id: row.split for row in manifest.pairs}
    assert parts == {"00001": "train", "00207": "train", "10003": "test", "20005": "val"}


def test_the_pairs_are_those_of_the_list_under_unique_names(manifest: Manifest):
    assert [(row.pair_id, row.exposure_ratio) for row in manifest.pairs[:4]] == [
        ("00001_00_0.04s", 250),
        ("00001_00_0.1s", 100),
        ("00001_01", 100),
        ("00207_00", pytest.approx(303.03, abs=0.01)),
    ]
    assert {row.reason for row in manifest.pairs} == {"SID's list says so"}


def test_a_row_s_iso_is_the_short_frame_s_and_the_long_has_that_of_most_rows(manifest: Manifest):
    isos = {row.path: row.iso for row in manifest.captures}
    assert isos["short/00207_02_0.033s.ARW"] == 12800
    assert isos["long/00207_00_10s.ARW"] == 25600


def test_a_withdrawn_scene_is_left_out_with_its_source(manifest: Manifest):
    assert [row.path for row in manifest.unpaired] == ["long/10034_00_10s.ARW", "short/10034_00_0.1s.ARW"]
    (reason,) = {row.reason for row in manifest.unpaired}
    assert reason.startswith(
        "scene 10034 is left out: its short and long frames do not lie on each other (README of SID"
    )
    assert "https://github.com/cchen156/Learning-to-See-in-the-Dark" in reason


def test_the_same_number_in_another_folder_is_another_scene(tmp_path: Path):
    path = tmp_path / "list.txt"
    path.write_text("Fuji/short/10034_00_0.1s.RAF Fuji/long/10034_00_10s.RAF ISO800 F4\n")
    found = sidlist.listed(sidlist.read([path]), "fuji")
    assert (len(found.pairs), found.unpaired) == (1, [])


def test_validate_judges_what_is_known_and_counts_the_rest_as_skipped(manifest: Manifest, tmp_path: Path):
    result = run("validate", "--manifests", tmp_path / "m")
    assert result.exit_code == 1
    assert "exposure ratios: 100× (3), 303× (3), 250× (2)" in result.stdout
    judged = manifests.load(manifest.directory)
    assert [(row.code, row.subject_id) for row in judged.findings if row.severity == "error"] == [
        ("PAIR202", "00207_02")
    ]
    assert {row.code for row in judged.findings if row.severity == "warning"} == {"SET301"}
    assert judged.judged
    skipped = judged.judged["skipped"]
    assert {
        "CAP101",
        "CAP102",
        "CAP104",
        "CAP112",
        "CAP121",
        "PAIR211",
        "PAIR221",
        "PAIR232",
        "SET304",
        "SET305",
    } <= set(skipped)
    assert not {"CAP111", "CAP113", "PAIR201", "PAIR202", "PAIR203"} & set(skipped)


def test_the_report_counts_no_listed_capture_as_unreadable(manifest: Manifest, tmp_path: Path):
    result = run("report", "--device", "sony", "--manifests", tmp_path / "m")
    assert "Captures: 14, 0 unreadable, 2 in no pair" in result.stdout


def test_listed_captures_can_be_paired_anew_by_their_names(manifest: Manifest):
    again = pair_again(manifest.directory, PairingRules())
    assert {row.scene_id for row in again.pairs} == {"00001", "00207", "10003", "10034", "20005"}


def test_raws_that_are_ingested_later_keep_the_split_of_the_list(manifest: Manifest, tmp_path: Path):
    for role, scene, seconds in (("short", "10003", "0.1"), ("long", "10003", "10")):
        path = tmp_path / "Sony" / role / f"{scene}_00_{seconds}s.dng"
        path.parent.mkdir(parents=True)
        write_dng(path, np.full((32, 32), 600, np.uint16), DngTags(exposure_time_s=Fraction(seconds)))
    found = ingest(tmp_path / "Sony", manifest.directory, jobs=1)
    assert [(row.scene_id, row.split) for row in found.pairs] == [("10003", "test")]


def test_a_list_never_overwrites_what_was_read_from_raws(lists: list[Path], tmp_path: Path):
    raws = tmp_path / "Sony"
    raws.mkdir()
    write_dng(raws / "a.dng", np.full((32, 32), 600, np.uint16), DngTags())
    run("ingest", raws, "--manifests", tmp_path / "m")
    before = manifests.load(tmp_path / "m/sony").sums
    result = ingest_lists(lists, tmp_path / "m")
    assert result.exit_code == 2
    assert "name another with --device" in result.stderr
    assert manifests.load(tmp_path / "m/sony").sums == before


def test_the_same_lists_give_the_same_bytes(lists: list[Path], tmp_path: Path):
    for root, order in (("one", lists), ("two", lists[::-1]), ("one", lists)):
        assert ingest_lists(order, tmp_path / root).exit_code == 0
    one, two = (manifests.load(tmp_path / root / "sony").sums for root in ("one", "two"))
    assert one["captures.parquet"] == two["captures.parquet"]
    assert one["pairs.parquet"] == two["pairs.parquet"]


def test_a_dry_run_of_a_list_writes_nothing(lists: list[Path], tmp_path: Path):
    result = ingest_lists(lists, tmp_path / "m", "--dry-run", "--device", "alpha7s")
    assert "14 raws listed, none of them read" in result.stdout
    assert "scene 10034 is left out" in result.stdout
    assert "8 pairs in 4 scenes (6 train, 1 val, 1 test)" in result.stdout
    assert not (tmp_path / "m").exists()


GOOD = "Sony/short/00001_00_0.1s.ARW Sony/long/00001_00_10s.ARW ISO200 F8"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the lists have no rows"),
        ("\n \n", "the lists have no rows"),
        ("a,b,c", "line 1 is not of the form FOLDER/short/"),
        (GOOD + "\n\n" + GOOD.replace("ISO200", "ISO0"), "line 3 is not of the form"),
        (GOOD.replace("F8", "F0.0"), "is not of the form"),
        (GOOD.replace("00001_00_10s", "00002_00_10s"), "is not of the form"),
        (GOOD.replace("00001", "30001"), "is not of the form"),
        (GOOD.replace("Sony/long", "Fuji/long"), "is not of the form"),
        (GOOD.replace("short/00001", "short/../../00001"), "is not of the form"),
        (GOOD + "\n" + GOOD, "line 2 names short/00001_00_0.1s.ARW, as list.txt line 1 does"),
        (GOOD + "\n" + GOOD.replace("Sony", "Fuji").replace("0.1s", "0.2s"), "the lists name raws of Fuji and Sony"),
        (
            "short/00003_02_400.0s.nef long/00003_01_400s.nef ISO800 ISO100",
            "no exposure times, so nothing tells a ratio",
        ),
    ],
)
def test_what_is_no_list_of_sid_is_refused_with_the_line(tmp_path: Path, text: str, message: str):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        sidlist.read([path])


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read as a list"):
        sidlist.read([path])


def test_a_time_of_zero_in_a_name_is_unknown(tmp_path: Path):
    path = tmp_path / "list.txt"
    path.write_text(GOOD.replace("0.1s", "0.0s"))
    short = sidlist.listed(sidlist.read([path]), "sony").captures[1]
    assert (short.exposure_time_s, short.exposure_num) == (None, None)


@pytest.mark.parametrize("more", [("--jobs", "2"), ("--scene-gap", "0"), (".",)])
def test_an_option_that_lists_cannot_follow_is_refused(lists: list[Path], tmp_path: Path, more: tuple[str, ...]):
    result = ingest_lists(lists, tmp_path / "m", *more)
    assert result.exit_code == 2
    assert "--sid-list takes everything from the lists" in result.stderr


def test_ingest_of_nothing_says_what_to_name():
    result = run("ingest")
    assert result.exit_code == 2
    assert "name the FOLDER that holds the raws" in result.stderr


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "rows", "scenes", "first_bursts", "by_ratio"),
    [
        ("Sony_train", 1865, 161, 280, (587, 457, 753, 68)),
        ("Sony_val", 234, 20, 36, (72, 62, 89, 11)),
        ("Sony_test", 598, 50, 93, (182, 180, 208, 28)),
        ("Fuji_train", 1655, 135, 286, (805, 427, 0, 423)),
        ("Fuji_val", 218, 17, 38, (109, 67, 0, 42)),
        ("Fuji_test", 524, 41, 94, (203, 156, 0, 165)),
    ],
)
def test_the_real_lists_have_the_counts_that_are_known(
    shared: Path, name: str, rows: int, scenes: int, first_bursts: int, by_ratio: tuple[int, ...]
):
    found = sidlist.read([shared / "sid-lists" / f"{name}_list.txt"])
    result = sidlist.listed(found, "sid")
    times = {row.path: row.exposure_time_s or 0 for row in result.captures}
    ratios = Counter(round(times[row.long] / times[row.short], 2) for row in found)
    assert len(found) == rows
    assert len({row.scene_id for row in found}) == scenes
    assert sum("_00_" in row.short for row in found) == first_bursts
    assert tuple(ratios[ratio] for ratio in (100, 250, 300, 303.03)) == by_ratio
    assert ratios.total() == sum(by_ratio)


@pytest.mark.shared
def test_the_real_test_list_without_the_withdrawn_scenes_has_562_pairs(shared: Path):
    pairs = sidlist.listed(sidlist.read([shared / "sid-lists/Sony_test_list.txt"]), "sony").pairs
    first = Counter(round(row.exposure_ratio or 0) for row in pairs if row.burst_index == 0)
    assert len(pairs) == 562
    assert (first[100], first[250], first[300] + first[303]) == (27, 27, 34)


@pytest.mark.shared
def test_the_audit_of_all_of_sid_finds_one_wrong_iso_and_no_wrong_ratio(shared: Path, tmp_path: Path):
    for camera, wrong in (("Sony", {("PAIR202", "00207_02_0.033s")}), ("Fuji", set())):
        lists = [shared / "sid-lists" / f"{camera}_{part}_list.txt" for part in ("train", "val", "test")]
        assert ingest_lists(lists, tmp_path / "m").exit_code == 0
        assert run("validate", "--device", camera.lower(), "--manifests", tmp_path / "m").exit_code == bool(wrong)
        findings = manifests.load(tmp_path / "m" / camera.lower()).findings
        assert {(row.code, row.subject_id) for row in findings if row.severity == "error"} == wrong


@pytest.mark.shared
@pytest.mark.parametrize("name", ["NikonD850_list.txt", "SonyA7S2_list.txt"])
def test_the_lists_of_led_are_refused_with_the_reason(shared: Path, name: str):
    with pytest.raises(UsageError, match="as LED's lists do"):
        sidlist.read([shared / "sid-lists" / name])
