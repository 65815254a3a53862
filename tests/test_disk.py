"""What ingest asks of the disk, seen from its system calls: nothing twice, and what comes next before its turn."""

import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sidcurate.synthetic.dng import DngTags, write_dng

ROOT = Path(__file__).parents[1]


@pytest.fixture
def raws(strace: None, tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for number, seconds in enumerate(("0.1", "10") * 2):
        path = tmp_path / f"cam/folder {number % 2}/{number // 2:05d}_00_{seconds}s.dng"
        path.parent.mkdir(parents=True, exist_ok=True)
        mosaic = rng.poisson(100, (96, 128)) + 512
        write_dng(path, mosaic.astype(np.uint16), DngTags(exposure_time_s=Fraction(seconds)))
    (tmp_path / "cam/broken.dng").write_bytes(b"no raw at all")
    return tmp_path / "cam"


def calls_of_ingest(raws: Path) -> list[str]:
    """Return the system calls by which an ingest of a folder opens, reads or asks for files."""
    log = raws.parent / "calls"
    ingest = [sys.executable, "-m", "sidcurate", "ingest", raws, "--manifests", raws.parent / "m", "--jobs", "2"]
    trace = ["strace", "-f", "-y", "--seccomp-bpf", "-s", "4096", "-o", log]
    done = subprocess.run(
        [*trace, "-e", "trace=open,openat,openat2,read,pread64,mmap,fadvise64", *ingest],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 3, done.stderr
    return log.read_text(errors="replace").splitlines()


def raws_in(raws: Path, calls: list[str]) -> set[str]:
    return set(re.findall(rf"{re.escape(str(raws))}/(?:[^/\">]+/)?([^/\">]+\.dng)", "\n".join(calls)))


def test_a_second_ingest_opens_no_raw_and_one_that_was_touched_only_that(raws: Path) -> None:
    names = {path.name for path in raws.rglob("*.dng")}
    assert len(names) == 5
    assert raws_in(raws, calls_of_ingest(raws)) == names
    assert raws_in(raws, calls_of_ingest(raws)) == set()
    touched = raws / "folder 1/00001_00_10s.dng"
    os.utime(touched, (0, 0))
    assert raws_in(raws, calls_of_ingest(raws)) == {touched.name}


def test_the_disk_is_asked_for_the_raws_to_come_while_others_are_decoded(raws: Path) -> None:
    """Threads ask, who end with their worker: of the last few raws it may be that nobody does any more."""
    for number in range(5, 15):
        shutil.copy(raws / "folder 1/00001_00_10s.dng", raws / f"folder 1/{number:05d}_00_10s.dng")
    ahead = [call for call in calls_of_ingest(raws) if re.search(r"fadvise64\(.*WILLNEED", call)]
    in_order = [path.name for path in sorted(raws.rglob("*.dng"), key=lambda path: path.relative_to(raws).as_posix())]
    assert len(ahead) == len(raws_in(raws, ahead)), "nothing twice"
    assert set(in_order[2:-6]) <= raws_in(raws, ahead) <= set(in_order[2:]), "the first two are begun at once"
