"""A list is somebody else's file: whatever stands in it, it is refused in words or names raws of the folder only."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sidcurate import csvfile, manifests
from sidcurate.cli import main
from sidcurate.errors import UsageError
from sidcurate.ingest import sidlist, times
from sidcurate.pairs import pairing
from sidcurate.synthetic.dng import DngTags, write_dng

SECRETS = ("../secret.dng", "/etc/passwd", "raws/../../secret.dng", "link.dng", "a.dng\0", ".", "..", "/", "a.dng/", "")
LINE = "Sony/short/00001_00_0.1s.ARW Sony/long/00001_00_10s.ARW ISO200 F8"


@pytest.fixture
def raws(tmp_path: Path) -> Path:
    folder = tmp_path / "cam"
    folder.mkdir()
    for name in ("a.dng", "b.dng"):
        write_dng(folder / name, np.full((32, 32), 600, np.uint16), DngTags())
    write_dng(tmp_path / "secret.dng", np.full((32, 32), 600, np.uint16), DngTags())
    (folder / "link.dng").symlink_to("../secret.dng")
    return folder


@pytest.mark.parametrize("path", SECRETS)
@pytest.mark.parametrize(("option", "columns"), [("--pairs", "short,long"), ("--times", "path,exposure_time_s")])
def test_a_path_that_is_no_raw_of_the_folder_is_refused(
    raws: Path, tmp_path: Path, path: str, option: str, columns: str
) -> None:
    table = io.StringIO()
    csv.writer(table).writerow([path, "a.dng" if option == "--pairs" else "1/10"])
    (tmp_path / "list.csv").write_text(f"{columns}\n{table.getvalue()}")
    arguments = ["ingest", str(raws), "--manifests", str(tmp_path / "m"), option, str(tmp_path / "list.csv")]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 2
    assert result.stderr.startswith("sidcurate: ")
    assert not (tmp_path / "m/cam/SHA256SUMS").exists()


def test_a_scene_name_is_never_a_path(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("short,long,scene_id\na.dng,b.dng,../../out\n")
    assert pairing.read_told_pairs(tmp_path / "list.csv")[0].scene_id == "..-..-out"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("short,long\na.dng,b.dng\n".encode("utf-16"), "save it as UTF-8"),
        ("short,long\nä.dng,b.dng\n".encode("latin-1"), "save it as UTF-8"),
        (b"short,long\na.dng\0,b.dng\n", "a NUL byte; save|NUL"),
        (b"short,long\n" + b"a" * 200_000 + b",b.dng\n", "field larger than field limit"),
        (b'short,long\n"a.dng,b.dng\n', "no long"),
        (b"short,long\na.dng\n", "line 2 .* has no long"),
        (b'short,long\n\n"a\nb.dng",c.dng\na.dng\n', "line 5 .* has no long"),
        (b"\x1f\x8b\x08\x00", "save it as UTF-8"),
        (b"", "needs the columns short,long .* its first line is ''"),
        (b"short;long\na.dng;b.dng\n", "separated by commas, .* its first line is 'short;long'"),
    ],
)
def test_what_is_no_table_is_refused_with_what_to_do(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(UsageError, match=word):
        pairing.read_told_pairs(tmp_path / "list.csv")


def test_a_list_without_end_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "list.csv").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(UsageError, match="more than 256 MB"):
        csvfile.read_text(tmp_path / "list.csv")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lists_as_other_systems_write_them_are_read(tmp_path: Path, newline: str, mark: str) -> None:
    (tmp_path / "list.csv").write_bytes(f"{mark}short,long{newline}a.dng,b.dng{newline}".encode())
    assert pairing.read_told_pairs(tmp_path / "list.csv")[0].long == "b.dng"
    (tmp_path / "list.txt").write_bytes(f"{mark}{LINE}{newline}".encode())
    assert sidlist.read([tmp_path / "list.txt"])[0].iso == 200


@pytest.mark.parametrize(
    "text", ["1e999999999", "1e-999999999", "9" * 5000, "1/" + "9" * 5000, "nan", "inf", "-1", "1_0"]
)
def test_a_time_that_would_take_for_ever_to_work_out_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "times.csv").write_text(f"path,exposure_time_s\na.dng,{text}\n")
    with pytest.raises(UsageError, match="is no exposure time"):
        times.read_times(tmp_path / "times.csv")


names = st.one_of(st.text(max_size=40), st.sampled_from([*SECRETS, "a.dng", "b.dng", "short/x.dng"]))
once = settings(max_examples=60)


@once
@given(rows=st.lists(st.tuples(names, names, names), max_size=4))
def test_any_table_is_refused_in_words_or_names_captures_only(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    table = io.StringIO(newline="")
    csv.writer(table).writerows([("short", "long", "scene_id"), *rows])
    (tmp_path / "list.csv").write_bytes(table.getvalue().encode("utf-8", "surrogatepass"))
    try:
        told = pairing.read_told_pairs(tmp_path / "list.csv")
        pairing.check_told(told, {"a.dng", "b.dng"})
    except UsageError:
        return
    assert {path for row in told for path in (row.short, row.long)} <= {"a.dng", "b.dng"}
    assert not any("/" in row.scene_id or "\0" in row.scene_id for row in told)


@once
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode), st.just(LINE.encode())))
def test_any_bytes_are_a_list_of_sid_or_are_refused_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    try:
        rows = sidlist.read([tmp_path / "list.txt"])
    except UsageError:
        return
    assert all(row.short.startswith("short/") and ".." not in row.short for row in rows)


def test_a_list_never_opens_what_it_names(tmp_path: Path) -> None:
    """The manifest of a list knows names only: no file of these exists."""
    (tmp_path / "list.txt").write_text(LINE)
    sidlist.ingest_lists(sidlist.read([tmp_path / "list.txt"]), tmp_path / "m/sony")
    assert {row.status for row in manifests.load(tmp_path / "m/sony").captures} == {"listed"}
