"""What cards, disks and people do to a folder of raws: every file has a row, or a word that says why not."""

import json
import os
import socket
import subprocess
import sys
import time
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sidcurate import manifests
from sidcurate.cli import main
from sidcurate.ingest.folder import ingest
from sidcurate.places.scan import LEADS_OUT, LINKED_FOLDER, NOT_PLAIN, scan
from sidcurate.synthetic.dng import DngTags, write_dng
from tests.factories import write_source

START = datetime(2026, 3, 1, 21)
PIXELS = np.random.default_rng(0).integers(520, 4000, (32, 48), dtype=np.uint16)
NAMES = (
    "with space.dng",
    "new\nline.dng",
    "moon \U0001f319.dng",
    "cafe\u0301.dng",
    "caf\u00e9.dng",
    "n" * 251 + ".dng",
    "IMG.DNG",
    "img.dng",
    "[bold].dng",
    "-rf.dng",
)


def write(path: Path, after_s: float = 0, seconds: str = "1/10", **tags) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    taken = START + timedelta(seconds=after_s)
    write_dng(
        path.parent / "new", PIXELS, DngTags(exposure_time_s=Fraction(seconds), captured_at=taken, iso=800, **tags)
    )
    return (path.parent / "new").rename(path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def raws(tmp_path: Path) -> Path:
    (tmp_path / "cam").mkdir()
    return tmp_path / "cam"


def test_any_name_that_is_text_has_its_row_and_comes_through_every_table(raws: Path, tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        write(raws / name, after_s=number, seconds="10" if number == 0 else "1/10")
    assert run("ingest", raws, "--manifests", tmp_path / "m").exit_code == 0
    assert {row.path for row in manifests.load(tmp_path / "m/cam").captures} == set(NAMES)
    assert len(manifests.load(tmp_path / "m/cam").pairs) == len(NAMES) - 1
    for verb in ("validate", "report"):
        for output_format in ("table", "json") if verb == "validate" else ("text", "html"):
            output = ("--output", tmp_path / "page") if output_format == "html" else ()
            result = run(verb, "--device", "cam", "--manifests", tmp_path / "m", "--format", output_format, *output)
            assert result.exit_code in (0, 1)
    result = run("fsck", "--deep", "--manifests", tmp_path / "m", "--store", tmp_path / "s", "--runs", tmp_path / "r")
    assert (result.exit_code, f"raw ×{len(NAMES)}" in result.stdout) == (0, True)


def test_a_folder_whose_path_is_no_text_is_refused(tmp_path: Path) -> None:
    raws = tmp_path / os.fsdecode(b"caf\xe9") / "cam"
    write(raws / "a.dng")
    done = run("ingest", raws, "--manifests", tmp_path / "m")
    assert (done.exit_code, "a name that is no UTF-8, which no manifest can hold" in done.stderr) == (2, True)
    assert not (tmp_path / "m").exists()


def test_folders_that_are_links_in_a_circle_are_said(raws: Path, tmp_path: Path) -> None:
    write(raws / "a.dng")
    run("ingest", raws, "--manifests", tmp_path / "m", "--jobs", 1)
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    done = run("ingest", circle, "--manifests", tmp_path / "m")
    assert (done.exit_code, f"{circle} cannot be listed (Too many levels of" in done.stderr) == (2, True)
    done = run("ingest", raws, "--manifests", circle, "--jobs", 1)
    assert (done.exit_code, "is a link, which may lead anywhere" in done.stderr) == (5, True)
    write_source(tmp_path / "m/cam", root=str(circle))
    done = run("ingest", raws, "--manifests", tmp_path / "m")
    assert (done.exit_code, f"is the manifest of {circle}, not of {raws}" in done.stderr) == (2, True)


def test_what_is_no_plain_file_is_counted_and_stops_nothing(raws: Path, tmp_path: Path) -> None:
    write(raws / "a.dng")
    write(tmp_path / "elsewhere/b.dng")
    os.mkfifo(raws / "pipe.dng")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(os.path.relpath(raws / "plug.dng"))
    (raws / "circle.dng").symlink_to("circle.dng")
    (raws / "broken.dng").symlink_to("nowhere.dng")
    (raws / "loop").symlink_to(raws)
    (raws / "inside.dng").symlink_to("a.dng")
    (raws / "outside.dng").symlink_to(tmp_path / "elsewhere/b.dng")
    found = scan(raws)
    assert [file.path for file in found.raws] == ["a.dng", "inside.dng"]
    assert found.others == {NOT_PLAIN: 4, LINKED_FOLDER: 1, LEADS_OUT: 1}
    result = run("ingest", raws, "--manifests", tmp_path / "m")
    assert "no row for 1 link that leads out of the folder: copy the files in" in result.stdout


def test_folders_nested_deeper_than_python_calls_are_scanned(raws: Path) -> None:
    deep = raws
    for _ in range(1200):
        deep = deep / "d"
        deep.mkdir()
    write_dng(deep / "a.dng", PIXELS, DngTags())
    assert len(scan(raws).raws) == 1
    subprocess.run(["rm", "-r", raws], check=True)  # pytest's own cleaning would not come so deep.


def ingest_without_rights(unprivileged: list[str], raws: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    command = [*unprivileged, sys.executable, "-m", "sidcurate", "ingest", raws, "--manifests", tmp_path / "m"]
    return subprocess.run([*map(str, command), "--jobs", "1"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mode", [0, 0o444], ids=["closed", "names-only"])
def test_a_folder_without_permission_costs_its_own_files_and_is_said(
    raws: Path, tmp_path: Path, mode: int, unprivileged: list[str]
) -> None:
    write(raws / "a.dng")
    write(raws / "lost+found/b.dng")
    write(raws / "locked.dng").chmod(0)
    (raws / "lost+found").chmod(mode)
    done = ingest_without_rights(unprivileged, raws, tmp_path)
    (raws / "lost+found").chmod(0o755)
    assert "not listed: lost+found (Permission denied): nothing in it has a row" in done.stdout, done.stderr
    assert "unreadable: locked.dng: the file cannot be read (Permission denied)" in done.stdout
    assert done.returncode == 3
    assert len(manifests.load(tmp_path / "m/cam").captures) == 2


@pytest.mark.parametrize("mode", [0, 0o444], ids=["closed", "names-only"])
@pytest.mark.parametrize("locked", ["cam/DCIM", "cam", "."])
def test_a_card_without_permission_is_not_called_empty(
    raws: Path, tmp_path: Path, mode: int, locked: str, unprivileged: list[str]
) -> None:
    write(raws / "DCIM/a.dng")
    (tmp_path / locked).chmod(mode)
    done = ingest_without_rights(unprivileged, raws, tmp_path)
    (tmp_path / locked).chmod(0o755)
    why = "DCIM in it cannot be listed (Permission denied)" if locked == "cam/DCIM" else "cannot be listed (Permission"
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr


def test_a_folder_of_a_card_that_goes_away_in_the_middle_costs_its_own_files(raws: Path, tmp_path: Path) -> None:
    for number in range(40):
        write(raws / f"DCIM/IMG_{number:04d}.dng", after_s=number)

    def lose_the_folder(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("reading raws", 3):
            (raws / "DCIM").rename(tmp_path / "lost")

    found = ingest(raws, tmp_path / "m/cam", jobs=1, progress=lose_the_folder)
    assert len(found.captures) == 40
    assert {row.status_reason for row in found.unreadable} == {"the file cannot be read (No such file or directory)"}
    (tmp_path / "lost").rename(raws / "DCIM")
    again = ingest(raws, tmp_path / "m/cam", jobs=1)
    assert (again.read, again.unreadable) == (len(found.unreadable), [])


def test_many_thousand_files_are_scanned_in_the_time_of_a_few_listings(raws: Path) -> None:
    for number in range(100):
        (raws / f"IMG_{number:05d}.dng").touch()
    for number in range(20_000 - 100):
        os.link(raws / f"IMG_{number % 100:05d}.dng", raws / f"L{number:05d}.dng")

    def seconds(work) -> float:
        start = time.perf_counter()
        assert work() == 20_000
        return time.perf_counter() - start

    def listing() -> int:
        with os.scandir(raws) as entries:
            return sum(entry.stat().st_size == 0 for entry in entries)

    ratios = [seconds(lambda: len(scan(raws).raws)) / seconds(listing) for _ in range(5)]
    assert sorted(ratios)[2] < 12


def times_and_pairs(raws: Path, tmp_path: Path) -> list[tuple[str, str]]:
    found = ingest(raws, tmp_path / "m/cam", jobs=1)
    assert {row.path for row in found.captures} == {file.path for file in found.scan.raws}
    in_pairs = {path for row in found.pairs for path in (row.short_path, row.long_path)}
    assert in_pairs | {row.path for row in found.unpaired} == {row.path for row in found.captures}
    return [(row.short_path, row.long_path) for row in found.pairs]


def test_a_clock_that_goes_back_between_two_scenes_loses_no_frame(raws: Path, tmp_path: Path) -> None:
    write(raws / "IMG_0001.dng", after_s=3600)
    write(raws / "IMG_0002.dng", after_s=3602, seconds="10")
    write(raws / "IMG_0003.dng", after_s=0)  # The night on which the summer time ends.
    write(raws / "IMG_0004.dng", after_s=2, seconds="10")
    pairs = [("IMG_0003.dng", "IMG_0004.dng"), ("IMG_0001.dng", "IMG_0002.dng")]
    assert sorted(times_and_pairs(raws, tmp_path)) == sorted(pairs)


def test_a_clock_that_is_set_back_within_a_scene_parts_no_pair_or_says_so(raws: Path, tmp_path: Path) -> None:
    write(raws / "IMG_0001.dng", after_s=600)
    write(raws / "IMG_0002.dng", after_s=570, seconds="10")  # Set by half a minute between the two.
    write(raws / "IMG_0003.dng", after_s=9000)
    write(raws / "IMG_0004.dng", after_s=9000 - 3590, seconds="10")  # The summer time ends between the two.
    assert times_and_pairs(raws, tmp_path) == [("IMG_0001.dng", "IMG_0002.dng")]
    alone = {row.path: row.reason for row in manifests.load(tmp_path / "m/cam").unpaired}
    assert alone.keys() == {"IMG_0003.dng", "IMG_0004.dng"}
    assert all(alone.values())
    told = ("short,long\nIMG_0001.dng,IMG_0002.dng\nIMG_0003.dng,IMG_0004.dng\n", tmp_path / "pairs.csv")
    told[1].write_text(told[0])
    assert run("pair", "--device", "cam", "--manifests", tmp_path / "m", "--pairs", told[1]).exit_code == 0
    assert len(manifests.load(tmp_path / "m/cam").pairs) == 2


def test_two_cameras_that_shoot_at_once_into_one_folder_make_no_pair_that_passes(raws: Path, tmp_path: Path) -> None:
    for number, (name, serial, seconds) in enumerate(
        (("IMG_0001", "1", "1/10"), ("DSC_0001", "2", "1/10"), ("IMG_0002", "1", "10"), ("DSC_0002", "2", "5"))
    ):
        write(raws / f"{name}.dng", after_s=number, seconds=seconds, serial=serial)
    mixed = [pair for pair in times_and_pairs(raws, tmp_path) if pair[0][:3] != pair[1][:3]]
    assert ("DSC_0001.dng", "IMG_0002.dng") in mixed
    result = run("validate", "--device", "cam", "--manifests", tmp_path / "m", "--format", "json")
    found = json.loads(result.stdout)["manifests"][0]["findings"]
    assert [row["severity"] for row in found if row["code"] == "PAIR205"] == ["error"] * len(mixed)
    assert result.exit_code == 1


def test_a_card_with_two_cameras_is_read_whole_and_judged(raws: Path, tmp_path: Path) -> None:
    for number, serial in enumerate(("1", "1", "2")):
        write(raws / f"{serial}/IMG_{number}.dng", after_s=600 * number, serial=serial)
        write(raws / f"{serial}/IMG_{number}L.dng", after_s=600 * number + 2, seconds="10", serial=serial)
    assert len(times_and_pairs(raws, tmp_path)) == 3
    result = run("validate", "--device", "cam", "--manifests", tmp_path / "m", "--format", "json")
    assert "CAP106" in result.stdout


def test_triplets_of_raw_jpeg_and_xmp_are_one_capture_each(raws: Path, tmp_path: Path) -> None:
    for number, seconds in enumerate(("1/10", "10")):
        path = write(raws / f"IMG_{number}.dng", after_s=number, seconds=seconds)
        path.with_suffix(".JPG").write_bytes(b"\xff\xd8\xff")
        path.with_suffix(".xmp").write_text("<x/>")
    assert times_and_pairs(raws, tmp_path) == [("IMG_0.dng", "IMG_1.dng")]
    assert scan(raws).side_cars == 4


def test_a_scene_goes_on_where_the_numbers_start_again(raws: Path, tmp_path: Path) -> None:
    write(raws / "IMG_9999.dng", after_s=0)
    write(raws / "IMG_0001.dng", after_s=1, seconds="10")
    assert times_and_pairs(raws, tmp_path) == [("IMG_9999.dng", "IMG_0001.dng")]


def test_a_scene_goes_on_in_the_next_folder_of_a_card(raws: Path, tmp_path: Path) -> None:
    write(raws / "DCIM/100CANON/IMG_9998.dng", after_s=-600)
    write(raws / "DCIM/100CANON/IMG_9997.dng", after_s=-601, seconds="10")
    write(raws / "DCIM/100CANON/IMG_9999.dng", after_s=0)
    write(raws / "DCIM/101CANON/IMG_0001.dng", after_s=1, seconds="10")
    assert times_and_pairs(raws, tmp_path)[-1] == ("DCIM/100CANON/IMG_9999.dng", "DCIM/101CANON/IMG_0001.dng")
