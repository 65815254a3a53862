"""From a folder of raws to a manifest: each read once, nothing lost, the same bytes every time."""

import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sidcurate import manifests, source, verdicts
from sidcurate.cli import main
from sidcurate.errors import UsageError
from sidcurate.ingest import gathering
from sidcurate.ingest.folder import ingest
from sidcurate.source import PairingRules, ToldPair
from sidcurate.storage import commits
from sidcurate.synthetic.dng import DngTags, write_dng

START = datetime(2026, 3, 1, 21, 0, 0)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """Three scenes of a small camera: a short at 1/10 s and a long at 10 s each."""
    folder = tmp_path / "My Camera"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for scene in range(3):
        light = rng.uniform(5, 150, (48, 64))
        for seconds, after_s in ((Fraction(1, 10), 0), (Fraction(10), 2)):
            mosaic = rng.poisson(light * float(seconds)) * 2 + 512
            tags = DngTags(
                exposure_time_s=seconds,
                f_number=Fraction(4),
                iso=800,
                focal_length_mm=Fraction(35),
                captured_at=START + timedelta(seconds=300 * scene + after_s),
                serial="7",
            )
            write_dng(folder / f"IMG_{2 * scene + (after_s > 0):04d}.dng", mosaic.astype(np.uint16), tags)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def sums(directory: Path) -> dict[str, str]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_fact_of_a_capture_has_its_source(session: Path, tmp_path: Path) -> None:
    row = ingest(session, tmp_path / "m/cam", jobs=1).captures.records()[0]
    assert (row.path, row.status, row.device) == ("IMG_0000.dng", "ok", "cam")
    assert (row.exposure_num, row.exposure_den, row.exposure_source) == (1, 10, "exif")
    assert (row.iso, row.iso_source, row.f_number, row.f_number_source) == (800, "exif", 4.0, "exif")
    assert (row.captured_at, row.captured_at_source) == (START, "exif")
    assert (row.camera_serial, row.camera_source) == ("7", "exif")
    assert (row.cfa, row.cfa_kind, row.width, row.height) == ("RGGB", "bayer", 64, 48)
    assert (row.black_level, row.white_level, row.bits_declared) == ((512,) * 4, (16383,) * 4, 14)
    assert row.black_source is not None
    assert row.dn_min is not None
    assert min(row.dn_min) >= 512
    assert row.sha256 == hashlib.sha256((session / row.path).read_bytes()).hexdigest()


def test_pairs_come_with_a_reason_and_a_split_of_two_sides(session: Path, tmp_path: Path) -> None:
    found = ingest(session, tmp_path / "m/cam", jobs=1)
    assert [(row.short_path, row.long_path, row.exposure_ratio) for row in found.pairs] == [
        (f"IMG_{number:04d}.dng", f"IMG_{number + 1:04d}.dng", 100) for number in (0, 2, 4)
    ]
    assert sorted(row.split for row in found.pairs) == ["test", "train", "val"]
    assert all("no gap of more than 60 s" in row.reason for row in found.pairs)


def test_a_second_run_reads_nothing_and_gives_the_same_bytes(session: Path, tmp_path: Path) -> None:
    directory = tmp_path / "m/cam"
    assert ingest(session, directory, jobs=1).read == 6
    before = sums(directory)
    assert ingest(session, directory, jobs=1).read == 0
    assert sums(directory) == before


def test_the_number_of_jobs_does_not_change_a_byte(session: Path, tmp_path: Path) -> None:
    ingest(session, tmp_path / "one/cam", jobs=1)
    ingest(session, tmp_path / "four/cam", jobs=4)
    assert sums(tmp_path / "one/cam") == sums(tmp_path / "four/cam")


def test_only_what_changed_is_read_again(session: Path, tmp_path: Path) -> None:
    directory = tmp_path / "m/cam"
    ingest(session, directory, jobs=1)
    write_dng(session / "IMG_0003.dng", np.full((48, 64), 600, np.uint16), DngTags(exposure_time_s=Fraction(20)))
    (session / "IMG_0005.dng").unlink()
    again = ingest(session, directory, jobs=1)
    assert again.read == 1
    assert [row.exposure_time_s for row in again.captures] == [0.1, 10, 0.1, 20, 0.1]


def test_a_scene_keeps_its_part_when_others_are_added(session: Path, tmp_path: Path) -> None:
    directory = tmp_path / "m/cam"
    hidden = [path.rename(tmp_path / path.name) for path in sorted(session.iterdir())[4:]]
    before = {row.scene_id: row.split for row in ingest(session, directory, jobs=1).pairs}
    for path in hidden:
        path.rename(session / path.name)
    after = {row.scene_id: row.split for row in ingest(session, directory, jobs=1).pairs}
    assert {name: after[name] for name in before} == before
    assert len(after) == 3


def test_told_exposure_times_replace_the_headers_until_they_are_forgotten(session: Path, tmp_path: Path) -> None:
    told = tmp_path / "times.csv"
    told.write_text("path,exposure_time_s\nIMG_0000.dng,1/25\n")
    options = ("ingest", session, "--manifests", tmp_path / "m", "--jobs", "1")

    def short(*more: object) -> tuple[object, ...]:
        result = run(*options, *more)
        assert result.exit_code == 0
        manifest = manifests.load(tmp_path / "m/my-camera")
        row = manifest.captures[0]
        assert ("1 with an exposure time from --times" in result.output) == (row.exposure_source == "override")
        return row.exposure_num, row.exposure_den, row.exposure_source, manifest.pairs[0].exposure_ratio

    assert short() == (1, 10, "exif", 100)
    before = sums(tmp_path / "m/my-camera")
    assert short("--times", told) == (1, 25, "override", 250)
    assert short() == (1, 25, "override", 250), "kept, as the pairing is"
    assert short("--no-times") == (1, 10, "exif", 100)
    assert sums(tmp_path / "m/my-camera") == before


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("IMG_0000.dng,0", "line 2 of .*'0' is no exposure time"),
        ("IMG_0000.dng,1/0", "is no exposure time"),
        ("IMG_0000.dng,soon", "is no exposure time"),
        ("IMG_0000.dng,1e-30", "is no exposure time"),
        ("IMG_0000.dng,1/25\nIMG_0000.dng,1/30", "line 3 of .*stands there twice"),
        ("../IMG_0000.dng,1/25", "no raw of this folder"),
    ],
)
def test_exposure_times_that_cannot_be_are_refused(session: Path, tmp_path: Path, rows: str, reason: str) -> None:
    told = tmp_path / "times.csv"
    told.write_text(f"path,exposure_time_s\n{rows}\n")
    result = run("ingest", session, "--manifests", tmp_path / "m", "--times", told)
    assert result.exit_code == 2
    assert re.search(reason, result.stderr)
    assert not (tmp_path / "m").exists()


def test_one_bad_file_costs_one_row_with_the_reason(session: Path, tmp_path: Path) -> None:
    (session / "empty.CR2").touch()
    content = (session / "IMG_0001.dng").read_bytes()
    (session / "torn.dng").write_bytes(content[: len(content) // 8])
    result = run("ingest", session, "--manifests", tmp_path / "m", "--jobs", "2")
    assert result.exit_code == 3
    rows = {row.path: row for row in manifests.load(tmp_path / "m/my-camera").captures}
    assert len(rows) == 8
    assert rows["empty.CR2"].status == "unreadable"
    assert rows["empty.CR2"].status_reason
    assert rows["torn.dng"].exposure_time_s == 10, "what the header still says is kept"
    assert "unreadable: empty.CR2: cannot be decoded" in result.stdout


def test_the_summary_names_cameras_pairs_and_what_is_next(session: Path, tmp_path: Path) -> None:
    (session / "IMG_0000.JPG").touch()
    result = run("ingest", session, "--manifests", tmp_path / "m")
    assert result.exit_code == 0
    assert "6 raws, 6 of them read now; 1 side-car and 0 other files skipped" in result.stdout
    assert "Synthetic, 64x48, RGGB, 14 bit, black 512, white 16383" in result.stdout
    assert "3 pairs in 3 scenes (1 train, 1 val, 1 test)" in result.stdout
    told = shlex.split(result.stderr.split("next: sidcurate ")[1])
    assert told == ["validate", "--device", "my-camera", "--manifests", str(tmp_path / "m")]
    assert run(*told).exit_code == 0, "what it says to type next finds the manifest"
    (session / "empty.dng").touch()
    again = run("ingest", session, "--manifests", tmp_path / "m").stdout
    assert "     1  unknown camera, unreadable\n" in again


def test_a_dry_run_writes_nothing(session: Path, tmp_path: Path) -> None:
    result = run("ingest", session, "--manifests", tmp_path / "m", "--dry-run")
    assert "3 pairs" in result.stdout
    assert not (tmp_path / "m").exists()


def test_ingest_leaves_the_raws_as_they_are(session: Path, tmp_path: Path) -> None:
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in session.iterdir()}
    ingest(session, tmp_path / "m/cam", jobs=2)
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in session.iterdir()} == before


def test_a_manifest_of_another_folder_is_not_overwritten(session: Path, tmp_path: Path) -> None:
    run("ingest", session, "--manifests", tmp_path / "m", "--device", "cam")
    other = tmp_path / "other"
    other.mkdir()
    write_dng(other / "a.dng", np.full((8, 8), 600, np.uint16), DngTags())
    before = sums(tmp_path / "m/cam")
    result = run("ingest", other, "--manifests", tmp_path / "m", "--device", "cam")
    assert result.exit_code == 2
    assert "name another with --device" in result.stderr
    assert sums(tmp_path / "m/cam") == before


def test_a_damaged_manifest_is_refused_and_left_as_it_is(session: Path, tmp_path: Path) -> None:
    directory = tmp_path / "m/my-camera"
    run("ingest", session, "--manifests", tmp_path / "m")
    (directory / "pairs.parquet").write_bytes(b"torn")
    before = sums(directory)
    result = run("ingest", session, "--manifests", tmp_path / "m")
    assert result.exit_code == 5
    assert "pairs.parquet is damaged" in result.stderr
    assert "move the folder away" in result.stderr
    assert sums(directory) == before


@pytest.mark.parametrize("what", ["missing", "empty", "no raws"])
def test_a_folder_without_raws_is_a_message_not_a_traceback(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "folder"
    if what != "missing":
        folder.mkdir()
    if what == "no raws":
        (folder / "a.jpg").touch()
    result = run("ingest", folder, "--manifests", tmp_path / "m")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"sidcurate: {folder}")
    assert not (tmp_path / "m").exists()


def test_more_raws_than_a_manifest_can_hold_are_refused_before_one_is_read(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MOST_ROWS", 5)
    result = run("ingest", session, "--manifests", tmp_path / "m")
    assert result.exit_code == 2
    assert "6 raws are more than the 5 that a manifest can hold; ingest the folders in theirs" in result.stderr
    assert not (tmp_path / "m").exists()


def test_a_csv_of_pairs_is_kept_for_the_next_ingest(session: Path, tmp_path: Path) -> None:
    directory = tmp_path / "m/cam"
    told = PairingRules(told=(ToldPair(short="IMG_0000.dng", long="IMG_0003.dng", scene_id="told"),))
    ingest(session, directory, rules=told, jobs=1)
    again = ingest(session, directory, jobs=1)
    assert [(row.pair_id, row.long_path) for row in again.pairs] == [("told_00", "IMG_0003.dng")]
    assert run("pair", "--device", "cam", "--manifests", tmp_path / "m").exit_code == 0
    assert len(manifests.load(directory).pairs) == 3


class Killed(BaseException): ...


@contextmanager
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the writer die when its commit is on the disk, and no file has its own name yet."""

    def die(folder: Path, names: dict[str, str]) -> None:
        if names:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(commits, "_give_names", die)
        with pytest.raises(Killed):
            yield


def test_rules_and_times_are_committed_with_the_rows_that_they_made(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = (ToldPair(short="IMG_0000.dng", long="IMG_0005.dng", scene_id="odd"),)
    given = {"IMG_0000.dng": Fraction(1, 5)}
    with cut_off(monkeypatch):
        ingest(session, tmp_path / "m/cam", jobs=1, rules=PairingRules(told=told), times=given)
    assert not (tmp_path / "m/cam/source.json").exists()
    assert source.read(tmp_path / "m/cam").times == given
    again = ingest(session, tmp_path / "m/cam", jobs=1)
    assert (again.read, [row.scene_id for row in again.pairs]) == (0, ["odd"])
    assert again.captures.records()[0].exposure_time_s == 0.2


def test_a_raw_that_is_put_back_after_a_commit_that_was_cut_off_is_read_again(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(session, tmp_path / "m/cam", jobs=1)
    path, kept = session / "IMG_0000.dng", tmp_path / "copy.dng"
    shutil.copy2(path, kept)
    write_dng(path, np.full((48, 64), 700, np.uint16), DngTags(exposure_time_s=Fraction(1, 10), iso=100))
    with cut_off(monkeypatch):
        ingest(session, tmp_path / "m/cam", jobs=1)
    assert manifests.load(tmp_path / "m/cam").captures[0].iso == 100
    kept.replace(path)
    assert ingest(session, tmp_path / "m/cam", jobs=1).captures.records()[0].iso == 800


def test_what_others_commit_during_an_ingest_is_not_overwritten(session: Path, tmp_path: Path) -> None:
    ingest(session, tmp_path / "m/cam", jobs=1)
    os.utime(session / "IMG_0000.dng")

    def split(stage: str, done: int, total: int | None) -> None:
        where = ("--manifests", tmp_path / "m", "--device", "cam")
        if stage == "reading raws":
            assert run("split", *where, "--train", 2, "--val", 0, "--test", 1).exit_code == 0

    with pytest.raises(UsageError, match="was changed by another process meanwhile, nothing was written; run again"):
        ingest(session, tmp_path / "m/cam", jobs=1, progress=split)
    chosen = [row.split for row in manifests.load(tmp_path / "m/cam").pairs]
    again = ingest(session, tmp_path / "m/cam", jobs=1)
    assert ([row.split for row in again.pairs], again.read) == (chosen, 0)


def test_findings_that_are_committed_during_an_ingest_are_no_hindrance(session: Path, tmp_path: Path) -> None:
    directory = tmp_path / "m/cam"
    ingest(session, directory, jobs=1)
    (session / "IMG_0000.dng").unlink()
    shutil.copy(session / "IMG_0002.dng", session / "IMG_0009.dng")

    def validate(stage: str, done: int, total: int | None) -> None:
        if stage == "reading raws":  # Another stage ends when the tables are new.
            assert run("validate", "--manifests", tmp_path / "m", "--no-files").exit_code in (0, 1)

    found = ingest(session, directory, jobs=1, progress=validate)
    manifest = manifests.load(directory)
    assert (manifest.captures, found.gone) == (found.captures.records(), 1)
    assert "captures.parquet" in (verdicts.why_unjudged(manifest) or "nothing"), "the findings are of the old tables"


def test_no_scene_is_not_divided(session: Path, tmp_path: Path) -> None:
    for path in sorted(session.glob("*.dng"))[1:]:
        path.unlink()
    where = ("--manifests", tmp_path / "m", "--device", "cam")
    run("ingest", session, *where)
    done = run("split", *where)
    assert (done.exit_code, "cam has no pair without an error, so no scene to divide" in done.stderr) == (2, True)


def test_a_split_is_kept_though_nobody_reads_it_to_its_end(session: Path, tmp_path: Path) -> None:
    where = ("--manifests", str(tmp_path / "m"), "--device", "cam")
    run("ingest", session, *where)
    reader, writer = os.pipe()
    os.close(reader)
    split = [sys.executable, "-m", "sidcurate", "split", *where, "--train", "1", "--val", "0", "--test", "1"]
    assert subprocess.run(split, stdout=writer, check=False).returncode == 128 + signal.SIGPIPE
    os.close(writer)
    assert sorted(row.split or "" for row in manifests.load(tmp_path / "m/cam").pairs) == ["", "test", "train"]


def test_split_selects_scenes_by_count(session: Path, tmp_path: Path) -> None:
    run("ingest", session, "--manifests", tmp_path / "m", "--device", "cam")
    result = run("split", "--device", "cam", "--manifests", tmp_path / "m", "--train", 1, "--val", 0, "--test", 1)
    assert result.exit_code == 0
    splits = [row.split for row in manifests.load(tmp_path / "m/cam").pairs]
    assert sorted(map(str, splits)) == ["None", "test", "train"]


def test_raws_that_are_away_do_not_give_their_manifest_to_others(session: Path, tmp_path: Path) -> None:
    run("ingest", session, "--manifests", tmp_path / "m", "--device", "cam")
    before = sums(tmp_path / "m/cam")
    session.rename(tmp_path / "unmounted")
    other = tmp_path / "other"
    other.mkdir()
    write_dng(other / "a.dng", np.full((8, 8), 600, np.uint16), DngTags())
    result = run("ingest", other, "--manifests", tmp_path / "m", "--device", "cam")
    assert result.exit_code == 2
    assert 'set "root" in' in result.stderr
    assert sums(tmp_path / "m/cam") == before


@pytest.mark.parametrize(("name", "slug"), [("cam\n", "cam"), ("cam.shards", "cam-shards"), ("cam.old", "cam.old")])
def test_a_device_is_a_name_on_one_line_and_none_of_a_folder_of_shards(session: Path, name: str, slug: str) -> None:
    done = run("ingest", session, "--dry-run", "--jobs", 1, "--device", name)
    assert f"manifest: manifests/{slug}\n" in done.stdout


def test_every_verb_takes_the_name_that_ingest_took(session: Path, tmp_path: Path) -> None:
    where = ("--manifests", tmp_path / "m", "--device", "My Phone 90")
    run("ingest", session, *where)
    assert (tmp_path / "m/my-phone-90").is_dir()
    for verb in ("pair", "split", "validate", "report", "fsck"):
        assert run(verb, *where).exit_code in (0, 1), verb
    (tmp_path / "m/my-phone-90").rename(tmp_path / "m/phone.old")
    assert run("report", "--manifests", tmp_path / "m", "--device", "phone.old").exit_code == 0, "a slug is no other"


def test_raws_that_are_gone_are_counted(session: Path, tmp_path: Path) -> None:
    run("ingest", session, "--manifests", tmp_path / "m")
    (session / "IMG_0005.dng").unlink()
    assert (
        "1 raw of the last ingest is not there any more" in run("ingest", session, "--manifests", tmp_path / "m").stdout
    )


def test_a_name_of_undecodable_bytes_is_said_and_stops_nothing(session: Path, tmp_path: Path) -> None:
    (session / "IMG_0005.dng").rename(session / os.fsdecode(b"\xff\xfe.dng"))
    result = run("ingest", session, "--manifests", tmp_path / "m")
    assert result.exit_code == 0
    assert "no row for 1 file with a name that is no UTF-8: rename" in result.stdout


def test_nothing_is_written_among_the_raws(session: Path) -> None:
    result = run("ingest", session, "--manifests", session / "manifests")
    assert result.exit_code == 2
    assert "name another with --manifests" in result.stderr
    assert not (session / "manifests").exists()


def test_a_manifest_that_would_be_the_folder_of_the_raws_is_refused_by_name(session: Path) -> None:
    raws = session.rename(session.with_name("cam"))
    result = run("ingest", raws, "--manifests", raws.parent)
    assert result.exit_code == 2
    assert f"the manifest, {raws}, would be in {raws.resolve()}, where nothing is written" in result.stderr


def test_a_reader_that_raises_anything_costs_one_row(session: Path, tmp_path: Path) -> None:
    content = bytearray((session / "IMG_0001.dng").read_bytes())
    for position in range(8, 400, 7):
        (session / f"flipped_{position}.dng").write_bytes(content[:position] + b"\xf3" + content[position + 1 :])
    result = run("ingest", session, "--manifests", tmp_path / "m", "--jobs", 2)
    assert result.exit_code in (0, 3)
    assert len(manifests.load(tmp_path / "m/my-camera").captures) == 6 + len(range(8, 400, 7))


@pytest.mark.shared
@pytest.mark.parametrize("device", ["canon90d", "oneplus7", "nikond850"])
def test_real_sessions_give_ten_pairs_of_known_ratio(shared: Path, tmp_path: Path, device: str) -> None:
    found = ingest(shared / "sessions" / device, tmp_path / device)
    assert len(found.pairs) == 10
    assert len(found.unpaired) == 0
    assert {row.exposure_ratio for row in found.pairs} <= {100, 250, 300}
    assert {row.cfa for row in found.captures} == {"BGGR" if device == "oneplus7" else "RGGB"}


@pytest.mark.shared
def test_real_raws_are_read_or_refused_one_row_each(shared: Path, tmp_path: Path) -> None:
    result = run("ingest", shared / "raws", "--manifests", tmp_path / "m")
    assert result.exit_code == 3
    rows = {row.path: row for row in manifests.load(tmp_path / "m/raws").captures}
    assert len(rows) == sum(path.is_file() and path.name != "README.md" for path in (shared / "raws").rglob("*"))
    sony = rows["sony-a7r3/_DSC2164.ARW"]
    assert (sony.iso, sony.exposure_den, sony.cfa, sony.width, sony.height) == (3200, 640, "RGGB", 5184, 3464)
    assert rows["canon-x4/colorchart.dng"].sha256 == rows["broken/UPPER no ext"].sha256
    assert rows["canon-g1/RAW_CANON_G1.CRW"].cfa_kind == "other"
    assert rows["canon-6d-linear/canon_eos_6d_linear.dng"].cfa_kind == "linear"
    assert rows["headers/canon_r6.cr3"].status == "unreadable"
    assert rows["headers/canon_r6.cr3"].camera_model
    assert rows["headers/nikon_z9_iso65535.dng"].iso == 102400
    undecodable = ("broken/", "headers/", "variants/22_monochrome_blackiszero.dng")  # LibRaw takes no BlackIsZero DNG
    for path, row in rows.items():
        assert path.startswith(undecodable) or row.status == "ok", row.status_reason
        assert row.status == "ok" or row.status_reason


@pytest.mark.shared
def test_a_time_that_libraw_tells_is_the_camera_s_in_every_zone(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    (row,) = ingest(shared / "raws/canon-g1", tmp_path / "m/cam", jobs=1).captures
    assert (row.captured_at, row.captured_at_source) == (datetime(2007, 11, 25, 20, 27, 54), "libraw")
