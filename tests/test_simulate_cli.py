"""`sidcurate simulate` says what it does, in one line on stdout, and refuses what it cannot do."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import rawpy
from click.testing import CliRunner, Result

from sidcurate.cli import main
from sidcurate.synthetic.faults import FAULTS

SMALL = ("--scenes", "2", "--size", "64x96")


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *arguments])


def test_a_session_is_written_and_summed_up_in_one_line(tmp_path: Path) -> None:
    out = tmp_path / "session"
    result = simulate(str(out), *SMALL, "--device", "oneplus7", "--shorts", "2", "--fault", "shifted=6@2")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"6 frames of 2 scenes (oneplus7, 1 with a fault) in {out}\n"
    assert f"sidcurate ingest {out}" in result.stderr
    assert len(list(out.glob("*.dng"))) == 6
    assert (out / "truth.json").is_file()


def test_the_next_command_can_be_copied_whatever_the_folder_is_called(tmp_path: Path) -> None:
    out = tmp_path / "my night; é"
    result = simulate(str(out), "--scenes", "1", "--size", "64x64")
    assert shlex.split(result.stderr) == ["next:", "sidcurate", "ingest", str(out), "--device", "canon90d"]


def test_a_dry_run_names_the_files_and_writes_nothing(tmp_path: Path) -> None:
    result = simulate(str(tmp_path / "out"), *SMALL, "--names", "camera", "--fault", "lens-cap@2", "--dry-run")
    assert result.stdout.splitlines() == [
        "IMG_0001.dng             long",
        "IMG_0002.dng             short",
        "IMG_0003.dng             long",
        "IMG_0004.dng             short lens-cap",
    ]
    assert not (tmp_path / "out").exists()


def test_another_iso_stands_in_the_header_and_the_long_frame_stays_well_exposed(tmp_path: Path) -> None:
    out = tmp_path / "session"
    assert simulate(str(out), *SMALL, "--iso", "3200").exit_code == 0
    with rawpy.imread(str(out / "00001_00_10s.dng")) as raw:
        assert raw.other.iso_speed == 3200
        assert 2048 + 400 < np.median(raw.raw_image_visible) < 10000


def test_the_list_of_faults_names_each_with_its_rule() -> None:
    lines = simulate("--list-faults").stdout.splitlines()[1:]
    assert [tuple(line.split()[:2]) for line in lines] == [(fault.name, fault.code) for fault in FAULTS.values()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "box-brownie"), "canon90d"),
        (("--size", "big"), "768x1024"),
        (("--ratios", "100,x"), "100,250,300"),
        (("--fault", "nonsense"), "--list-faults"),
        (("--size", "8x8"), "too small"),
        (("--fault", "shifted=6@3-1"), "'3-1' holds no scene; write 1-3"),
    ],
)
def test_a_wrong_option_is_exit_2_with_what_to_do(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = simulate(str(tmp_path / "out"), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = simulate(str(tmp_path), *SMALL)
    assert result.exit_code == 2
    assert "not an empty folder" in result.stderr
