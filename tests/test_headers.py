"""A scan of headers reads some kilobytes of a file, says nothing that a full ingest would not, and passes nothing."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sidcurate import manifests, verdicts
from sidcurate.cli import main
from sidcurate.errors import UsageError
from sidcurate.ingest import headers
from sidcurate.ingest.folder import ingest
from sidcurate.isolation import crew
from sidcurate.places.place import Folder, Place
from sidcurate.places.scan import RawFile, scan
from sidcurate.raws.directories import Read
from sidcurate.schemas import Capture
from sidcurate.synthetic.dng import DngTags, Stored, write_dng, write_stored
from sidcurate.tables.rows import table_of
from tests.fuzz import seeds
from tests.heads import ASCII, EXIF, HEIGHT, IMAGE, LENS, LONG, WIDTH, cr3, raf, tiff

SIZE = (96, 128)
# What a full ingest puts in the place of a scan's word: it has seen the file itself.
ADDED = {"status", "status_reason", "sha256"}


def write_frame(path: Path, seconds: str, **tags: object) -> None:
    light = np.random.default_rng(len(path.name)).uniform(5, 150, SIZE)
    mosaic = np.random.default_rng(1).poisson(light * float(Fraction(seconds))) * 2 + 512
    given = {"exposure_time_s": Fraction(seconds), "iso": 800, "f_number": Fraction(4), "serial": "7"} | tags
    write_dng(path, np.minimum(mosaic, 16383).astype(np.uint16), DngTags(**given))  # type: ignore[arg-type]


@pytest.fixture
def raws(tmp_path: Path) -> Path:
    """Four scenes of a DNG camera, by SID's names."""
    folder = tmp_path / "cam"
    folder.mkdir()
    for scene in range(4):
        write_frame(folder / f"{scene:05d}_00_0.1s.dng", "1/10")
        write_frame(folder / f"{scene:05d}_00_10s.dng", "10")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def only(folder: Path) -> Capture:
    (file,) = scan(folder).raws
    return headers.read_capture(Folder(folder), file, "cam")


def rows_of(place: Place, files: list[RawFile], jobs: int = 1) -> list[Capture]:
    """Return what headers say, in the order of the files."""
    with crew(jobs) as workers:
        found = dict(headers.read_captures(place, files, "cam", workers=workers))
    return [found[file] for file in files]


def same_where_known(header: Capture, full: Capture) -> set[str]:
    """Return the facts that a scan knows; each must be that of the full ingest."""
    known = {name for name, value in header.model_dump().items() if value is not None} - ADDED
    assert {name: getattr(header, name) for name in known} == {name: getattr(full, name) for name in known}
    return known


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"cfa": "GBRG", "black_level": (60.0, 61.0, 62.5, 63.0), "white_level": 1023},
        {"cfa": "RGGB", "black_level": None},
        {"iso": None, "f_number": None},
    ],
)
def test_what_a_scan_says_of_a_dng_a_full_ingest_says_too(tmp_path: Path, tags: dict) -> None:
    (tmp_path / "cam").mkdir()
    write_frame(tmp_path / "cam/a.dng", "1/10", **tags)
    header = only(tmp_path / "cam")
    (full,) = ingest(tmp_path / "cam", tmp_path / "m/cam", jobs=1).captures
    known = same_where_known(header, full)
    assert {"exposure_time_s", "exposure_source", "camera_serial", "width", "height", "cfa", "white_level"} <= known
    assert header.status == "header"
    assert (header.sha256, header.dn_min, header.clipped_fraction) == (None, None, None)


def test_a_scan_tells_that_a_dng_is_demosaiced(tmp_path: Path) -> None:
    (tmp_path / "cam").mkdir()
    write_dng(tmp_path / "cam/a.dng", np.full((*SIZE, 3), 600, np.uint16), DngTags(cfa=None))
    header = only(tmp_path / "cam")
    (full,) = ingest(tmp_path / "cam", tmp_path / "m/cam", jobs=1).captures
    assert {"cfa_kind", "cfa_reason", "width", "black_level", "white_level"} <= same_where_known(header, full)
    assert header.cfa_kind == "linear"
    where = ("--manifests", tmp_path / "h", "--device", "cam")
    run("ingest", tmp_path / "cam", *where, "--headers-only")
    found = json.loads(run("validate", *where, "--format", "json").stdout)["manifests"][0]["findings"]
    assert "CAP104" in {finding["code"] for finding in found}


def test_a_scan_knows_of_other_containers_what_their_exif_says(tmp_path: Path) -> None:
    for name, content in {"a.cr3": cr3(IMAGE, EXIF), "b.raf": raf(IMAGE, EXIF), "c.nef": tiff(IMAGE, EXIF)}.items():
        (tmp_path / name).write_bytes(content + bytes(5000))
    rows = rows_of(Folder(tmp_path), scan(tmp_path).raws)
    assert {(row.status, row.exposure_den, row.iso, row.f_number, row.lens_model) for row in rows} == {
        ("header", 30, 1600, 2.8, "EF 35mm")
    }
    assert {(row.width, row.cfa, row.black_level, row.libraw_iso) for row in rows} == {(None, None, None, None)}


def test_a_later_ingest_completes_the_rows_as_if_there_had_been_no_scan(raws: Path, tmp_path: Path) -> None:
    directory = tmp_path / "m/cam"
    assert ingest(raws, directory, headers_only=True).read == 8
    again = ingest(raws, directory, headers_only=True)
    assert (again.read, {row.status for row in again.captures}) == (0, {"header"})
    assert ingest(raws, directory, jobs=1).read == 8
    ingest(raws, tmp_path / "one/cam", jobs=1)
    assert manifests.load(directory).sums == manifests.load(tmp_path / "one/cam").sums


def test_a_scan_keeps_what_was_read_in_full_and_reads_only_what_changed(raws: Path, tmp_path: Path) -> None:
    directory = tmp_path / "m/cam"
    ingest(raws, directory, jobs=1)
    write_frame(raws / "00000_00_0.1s.dng", "1/25")
    shutil.copy(raws / "00001_00_0.1s.dng", raws / "00009_00_0.1s.dng")
    found = ingest(raws, directory, headers_only=True)
    assert found.read == 2
    assert [row.path for row in found.captures if row.status == "header"] == ["00000_00_0.1s.dng", "00009_00_0.1s.dng"]
    assert [pair.unmeasured_reason is None for pair in found.pairs] == [False, True, True, True]


def test_an_interrupted_scan_goes_on(raws: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_captures = headers.read_captures

    def interrupted(*given, **more):  # type: ignore[no-untyped-def]
        for number, reading in enumerate(read_captures(*given, **more)):
            if number == 5:
                raise KeyboardInterrupt
            yield reading

    monkeypatch.setattr(headers, "read_captures", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ingest(raws, tmp_path / "m/cam", headers_only=True)
    monkeypatch.undo()
    assert ingest(raws, tmp_path / "m/cam", headers_only=True).read == 3


def test_the_rules_skip_what_a_header_cannot_tell_and_judge_what_it_does(raws: Path, tmp_path: Path) -> None:
    write_frame(raws / "00000_00_0.1s.dng", "1/10", iso=1600)
    write_frame(raws / "00001_00_0.1s.dng", "1")
    (raws / "x.crw").write_bytes(b"II\x1a\0\0\0HEAPCCDR" + bytes(1000))
    where = ("--manifests", tmp_path / "m", "--device", "cam")
    done = run("ingest", raws, *where, "--headers-only")
    assert "9 raws, 9 of them read now" in done.stdout
    done = run("validate", *where, "--format", "json")
    (found,) = json.loads(done.stdout)["manifests"]
    assert {finding["code"] for finding in found["findings"]} == {
        "CAP112",
        "PAIR201",
        "PAIR202",
        "SET301",
        "SET303",
    }
    assert found["skipped"]["CAP101"] == {"nobody has read its pixels": 9}
    assert found["skipped"]["CAP103"] == {"the file was not hashed": 9}
    assert found["skipped"]["CAP111"] == {"its Exif tags do not tell, and LibRaw was not asked": 1}
    of_pixels = ("CAP102", "CAP122", "CAP123", "PAIR211", "PAIR221", "PAIR231", "PAIR232")
    assert [found["checked"][code] for code in ("CAP101", *of_pixels)] == [0] * 8


def test_nothing_is_trained_on_that_only_a_header_tells_of(raws: Path, tmp_path: Path) -> None:
    ingest(raws, tmp_path / "m/cam", headers_only=True)
    run("validate", "--manifests", tmp_path / "m")
    with pytest.raises(UsageError, match="of 8 raws of cam only the header was read; run `sidcurate ingest`"):
        verdicts.judged_pairs(manifests.load(tmp_path / "m/cam"))
    report = run("report", "--manifests", tmp_path / "m", "--device", "cam")
    assert "of 8 raws of cam only the header was read" in report.stdout


# By workers, where there are many.


class Stuck(Folder):
    """A disk that does not give one of its files."""

    seconds: ClassVar[float] = 3.0

    @contextmanager
    def opened(self, file: RawFile) -> Iterator[Read]:
        if file.path == "00001_00_0.1s.dng":
            time.sleep(60)
        with super().opened(file) as read:
            yield read


class Wide(Folder):
    """A place that is asked for several files at once."""

    at_once: ClassVar[int] = 3


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "_FEW", 0)
    monkeypatch.setattr(headers, "_AT_ONCE", 3)


@pytest.mark.parametrize("place", [Folder, Wide])
def test_workers_read_what_one_process_reads(raws: Path, place: type, request: pytest.FixtureRequest) -> None:
    files = scan(raws).raws
    alone = rows_of(place(raws), files)
    request.getfixturevalue("few_are_many")
    assert rows_of(place(raws), files, jobs=2) == alone
    assert [row.path for row in alone] == [file.path for file in files]


@pytest.mark.usefixtures("few_are_many")
def test_a_file_that_is_not_given_costs_one_row(raws: Path) -> None:
    rows = {row.path: row for row in rows_of(Stuck(raws), scan(raws).raws, jobs=2)}
    stuck = rows.pop("00001_00_0.1s.dng")
    assert (stuck.status, stuck.sha256) == ("unreadable", None)
    assert "took longer than 3 s" in (stuck.status_reason or "")
    assert {row.status for row in rows.values()} == {"header"}
    assert len(rows) == 7


# Within bounds.


class Counted:
    """Reads of a handle, counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes, pread = 0, os.pread

        def counted(handle: int, count: int, start: int) -> bytes:
            found = pread(handle, count, start)
            self.bytes += len(found)
            return found

        monkeypatch.setattr(os, "pread", counted)


def scattered(apart: int) -> bytes:
    """A TIFF whose texts each lie so far from the last that nothing is read twice."""
    head = tiff(dict.fromkeys((271, 272, 50708, 50735, 42036, 42033, 306, 37520), (ASCII, b"x" * 200)))
    content = bytearray(head.ljust(9 * apart, b"\0"))
    for number in range(8):
        row = 10 + 12 * number
        place = (number + 1) * apart
        content[row + 8 : row + 12] = place.to_bytes(4, "little")
        content[place : place + 200] = b"x" * 200
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        tiff(IMAGE, EXIF),
        cr3(IMAGE, EXIF),
        raf(IMAGE, EXIF),
        scattered(1 << 18),
        cr3(IMAGE, {LENS: (ASCII, b"x" * 2**20)}),
    ],
    ids=["tiff", "cr3", "raf", "scattered", "long-text"],
)
def test_no_more_than_half_a_megabyte_of_a_file_is_read(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.dng").write_bytes(content.ljust(3 << 20, b"\0"))
    counted = Counted(monkeypatch)
    assert only(tmp_path).status == "header"
    assert 0 < counted.bytes <= headers.MOST_BYTES == 512 << 10


def test_a_scattered_header_is_read_as_far_as_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dng").write_bytes(tiff(IMAGE, EXIF).ljust(1 << 20, b"\0"))
    monkeypatch.setattr(headers, "_FIRST_BYTES", 16)
    monkeypatch.setattr(headers, "_MORE_BYTES", 16)
    assert only(tmp_path).lens_model == "EF 35mm", "in pieces of any size"
    (tmp_path / "a.dng").write_bytes(scattered(1 << 12).ljust(1 << 20, b"\0"))
    monkeypatch.setattr(headers, "MOST_BYTES", 16 + 512 + 3 * 201)  # The first piece, the directory, three texts.
    row = only(tmp_path)
    assert (row.status, row.camera_model, row.lens_model) == ("header", "x" * 200, None)


@pytest.mark.usefixtures("strace")
def test_the_system_sees_no_whole_file_read(raws: Path, tmp_path: Path) -> None:
    with (raws / "big.dng").open("wb") as stream:
        stream.write((raws / "00000_00_10s.dng").read_bytes())
        stream.truncate(64 << 20)
    log = tmp_path / "calls"
    command = [sys.executable, "-m", "sidcurate", "ingest", raws, "--manifests", tmp_path / "m", "--headers-only"]
    trace = ["strace", "-f", "-y", "-qq", "-s", "0", "-e", "trace=read,pread64,readv,preadv,mmap", "-o", log]
    traced = subprocess.run([*map(str, trace), *map(str, command)], capture_output=True, text=True, check=False)
    assert traced.returncode == 0, traced.stderr
    calls = [line for line in log.read_text(errors="replace").splitlines() if f"<{raws}/" in line]
    assert {line.split("(")[0].split()[-1] for line in calls} == {"pread64"}
    of_big = [int(line.rpartition("= ")[2]) for line in calls if "/big.dng>" in line]
    assert 0 < sum(of_big) <= 512 << 10


def test_a_file_that_changes_leads_out_or_is_none_has_a_row_that_says_so(raws: Path, tmp_path: Path) -> None:
    files = scan(raws).raws[:5]
    (raws / files[0].path).write_bytes(b"II*\0 another")
    (raws / files[1].path).unlink()
    (raws / files[2].path).unlink()
    (raws / files[2].path).symlink_to(tmp_path)
    (raws / files[3].path).unlink()
    os.mkfifo(raws / files[3].path)
    rows = rows_of(Folder(raws), files)
    assert [row.status for row in rows] == ["unreadable"] * 4 + ["header"]
    for row, words in zip(rows, ("changed while", "No such file", "leads out", "no plain file"), strict=False):
        assert words in (row.status_reason or "")


def test_damaged_heads_neither_raise_nor_pass_for_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = [*seeds.synthetic().values(), tiff(IMAGE, EXIF), cr3(IMAGE, EXIF), raf(IMAGE, EXIF)]
    path = tmp_path / "a.dng"
    for number in range(1500):
        content = np.frombuffer(whole[number % len(whole)], np.uint8).copy()
        at = rng.integers(0, min(len(content), 2000), rng.integers(1, 12))
        content[at] = rng.integers(0, 256, len(at))
        path.write_bytes(content.tobytes()[: rng.integers(8, len(content) + 1)])
        if files := scan_if_any(tmp_path):
            row = headers.read_capture(Folder(tmp_path), files[0], "cam")
            assert row.status in ("header", "unreadable")
            assert row.sha256 is None
            assert table_of(Capture, [row]).num_rows == 1


def scan_if_any(folder: Path) -> list:
    try:
        return scan(folder).raws
    except UsageError:
        return []


def head_alone(path: Path) -> None:
    write_dng(path, np.zeros((512, 512), np.uint16), DngTags())
    path.write_bytes(path.read_bytes()[:-524288])


def cut_header(path: Path) -> None:
    write_frame(path, "1/10")
    path.write_bytes(path.read_bytes()[:100])


NO_PIXELS = {
    "the file is empty": lambda path: path.write_bytes(b""),
    "it is a JPEG by its content": lambda path: path.write_bytes(b"\xff\xd8\xff\xe0\0\x04JF\xff\xc0" + bytes(100)),
    "the file ends within its header": cut_header,
    "within its header; copy": lambda path: path.write_bytes(tiff({254: (LONG, 1), 330: (LONG, 1 << 20)})),
    "its header states 512x512 pixels, but the file has": head_alone,
    "LibRaw cannot read JPEG XL": lambda path: write_stored(
        path, SIZE, Stored([bytes(5000)], compression=52546), DngTags()
    ),
}


@pytest.mark.parametrize("reason", NO_PIXELS)
def test_what_cannot_have_pixels_is_unreadable_to_a_scan_as_to_a_full_ingest(tmp_path: Path, reason: str) -> None:
    (tmp_path / "cam").mkdir()
    NO_PIXELS[reason](tmp_path / "cam/a.dng")
    header = only(tmp_path / "cam")
    (full,) = ingest(tmp_path / "cam", tmp_path / "m/cam", jobs=1).captures
    assert (header.status, full.status) == ("unreadable", "unreadable")
    assert reason in (header.status_reason or "")
    assert full.status_reason in (f"cannot be decoded: {header.status_reason}", LIBRAW_S_OWN)


LIBRAW_S_OWN = (
    "cannot be decoded: the file ends early: LibRaw says 'Input/output error'; copy it again from the card, or convert "
    "it to DNG"
)


def test_a_scan_says_that_a_file_is_cut_off_within_its_pixels(raws: Path, tmp_path: Path) -> None:
    cut = raws / "00000_00_10s.dng"
    cut.write_bytes(cut.read_bytes()[: -SIZE[0] * SIZE[1]])
    where = ("--manifests", tmp_path / "m", "--device", "cam")
    done = run("ingest", raws, *where, "--headers-only")
    assert f"cut off: {cut.name}: 50 % of the bytes of its pixels are missing; copy it again" in done.stdout
    done = run("validate", *where, "--format", "json", "--select", "CAP102")
    ((finding,),) = (found["findings"] for found in json.loads(done.stdout)["manifests"])
    assert (finding["subject_id"], finding["measured"], finding["limit_high"]) == (cut.name, 0.5, 0.005)


CR3 = cr3(IMAGE | {WIDTH: (LONG, 96), HEIGHT: (LONG, 64)}, EXIF)


@pytest.mark.parametrize("lost", [0, 16, 64])
@pytest.mark.parametrize("content", [CR3, cr3(IMAGE, EXIF, wide=True), raf(IMAGE, EXIF)], ids=["cr3", "wide", "raf"])
def test_a_scan_says_what_a_cr3_or_raf_lacks_of_its_pixels(tmp_path: Path, content: bytes, lost: int) -> None:
    (tmp_path / "a.raw").write_bytes(content[: len(content) - lost])
    row = only(tmp_path)
    assert (row.status, row.missing_fraction, row.exposure_den) == ("header", lost / 64, 30)


@pytest.mark.parametrize("lost", [66, 80])
def test_a_cr3_that_ends_before_its_media_has_none(tmp_path: Path, lost: int) -> None:
    (tmp_path / "a.cr3").write_bytes(CR3[:-lost])
    assert only(tmp_path).missing_fraction == 1


@pytest.mark.parametrize(
    "content",
    [cr3(IMAGE | {WIDTH: (LONG, 6000), HEIGHT: (LONG, 4000)}, EXIF), raf(IMAGE, EXIF, (4000, 6000))],
    ids=["cr3", "raf"],
)
def test_a_cr3_or_raf_too_small_for_its_pixels_is_unreadable_to_a_scan(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.raw").write_bytes(content)
    row = only(tmp_path)
    assert (row.status, row.exposure_den) == ("unreadable", 30)
    assert "its header states 6000x4000 pixels, but the file has" in (row.status_reason or "")


@pytest.mark.shared
def test_a_scan_passes_no_real_head_that_states_its_pixels(shared: Path, tmp_path: Path) -> None:
    for name in ("CanonRaw.cr3", "canon_r6.cr3", "FujiFilm.raf", "Nikon.nef", "DNG.dng", "sony_a7iii.ARW"):
        shutil.copy(shared / "raws/headers" / name, tmp_path)
    rows = [headers.read_capture(Folder(tmp_path), file, "cam") for file in scan(tmp_path).raws]
    passed = {row.path: row.missing_fraction for row in rows if row.status == "header"}
    assert passed == {"canon_r6.cr3": pytest.approx(1, abs=1e-5)}, "it has bytes enough, of previews alone"


@pytest.mark.parametrize(("more", "why"), [(["--shard", "1/2"], "leave --shard out"), ([], "")])
def test_options_that_do_not_go_together_are_refused(raws: Path, tmp_path: Path, more: list, why: str) -> None:
    done = run("ingest", raws, "--manifests", tmp_path / "m", "--headers-only", *more)
    assert (done.exit_code, why in done.stderr) == (2 if more else 0, True)


@pytest.mark.shared
def test_of_real_raws_a_scan_says_only_what_a_full_ingest_says(shared: Path, tmp_path: Path) -> None:
    names = ["sony-a7r3/_DSC2164.ARW", "bmpcc/test.dng", "canon-x4/colorchart.dng", "mcr/C00400_007f.dng"]
    names += ["canon-6d-linear/canon_eos_6d_linear.dng", "minimal-10bit/test_640x480.dng"]
    names += ["variants/23_monochrome_linearraw.dng", "variants/24_linear_rgb.dng"]
    folder = tmp_path / "cam"
    folder.mkdir()
    for name in names:
        shutil.copy(shared / "raws" / name, folder)
    scanned = rows_of(Folder(folder), scan(folder).raws)
    for header, full in zip(scanned, ingest(folder, tmp_path / "m/cam", jobs=2).captures, strict=True):
        same_where_known(header, full)
