"""What counts as a raw in a folder."""

import os
import tracemalloc

import pytest

from sidcurate.errors import UsageError
from sidcurate.places.scan import scan


def write(folder, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_raws_are_found_by_extension_in_any_case_and_by_content(tmp_path) -> None:
    write(
        tmp_path,
        {
            "a.CR3": b"",
            "b.NeF": b"text",
            "deep/er/no_extension": b"II*\x00 and more",
            "odd.bin": b"FUJIFILMCCD-RAW ",
            "eos.dat": b"\x00\x00\x00\x18ftypcrx ",
        },
    )
    assert [file.path for file in scan(tmp_path).raws] == [
        "a.CR3",
        "b.NeF",
        "deep/er/no_extension",
        "eos.dat",
        "odd.bin",
    ]


def test_side_cars_pictures_and_hidden_files_are_skipped_and_counted(tmp_path) -> None:
    write(
        tmp_path,
        {
            "a.dng": b"",
            "a.JPG": b"",
            "a.xmp": b"",
            "scan.TIFF": b"II*\x00",
            "notes.txt": b"hello",
            "._a.dng": b"the resource fork that a Mac leaves on a card",
        },
    )
    found = scan(tmp_path)
    assert [file.path for file in found.raws] == ["a.dng"]
    assert found.side_cars == 2
    assert found.others == {".tiff": 1, ".txt": 1}


def test_a_loop_of_links_and_a_pipe_do_not_stop_the_scan(tmp_path) -> None:
    write(tmp_path, {"day/a.dng": b""})
    (tmp_path / "day" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.dng")
    assert [file.path for file in scan(tmp_path).raws] == ["day/a.dng"]


def test_a_missing_and_an_empty_folder_say_what_to_do(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"cannot be listed \(No such file or directory\); give the folder"):
        scan(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"holds no raw files: there is no file at all; copy the raws"):
        scan(tmp_path)
    write(tmp_path, {"a.jpg": b""})
    with pytest.raises(UsageError, match=r"holds no raw files: only 1 JPEG, HEIC or side-car; set the camera to raw"):
        scan(tmp_path)
    write(tmp_path, {"a.txt": b""})
    with pytest.raises(UsageError, match=r"2 other files, 1 of them JPEG, HEIC or side-cars; known extensions: .3fr"):
        scan(tmp_path)


def test_what_the_listing_holds_of_a_file_goes_as_the_file_comes(tmp_path) -> None:
    for number in range(2000):
        (tmp_path / f"IMG_{number:06d}.dng").touch()
    scan(tmp_path)
    tracemalloc.start()
    found = scan(tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 400 * len(found.raws)
