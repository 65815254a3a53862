"""A second ingest of an unchanged folder looks at its files and reads none: system calls are the witness."""

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
def raws(tmp_path: Path) -> Path:
    if shutil.which("strace") is None:
        pytest.skip("no strace on this machine")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    rng = np.random.default_rng(1)
    for number, seconds in enumerate(("0.1", "10") * 2):
        path = tmp_path / f"cam/folder {number % 2}/{number // 2:05d}_00_{seconds}s.dng"
        path.parent.mkdir(parents=True, exist_ok=True)
        mosaic = rng.poisson(100, (96, 128)) + 512
        write_dng(path, mosaic.astype(np.uint16), DngTags(exposure_time_s=Fraction(seconds)))
    (tmp_path / "cam/broken.dng").write_bytes(b"no raw at all")
    return tmp_path / "cam"


def opened_by_ingest(raws: Path) -> set[str]:
    """Return the names of the files below the folder that an ingest of it opens or maps."""
    log = raws.parent / "calls"
    ingest = [sys.executable, "-m", "sidcurate", "ingest", raws, "--manifests", raws.parent / "m", "--jobs", "2"]
    trace = ["strace", "-f", "-y", "--seccomp-bpf", "-s", "4096", "-o", log]
    done = subprocess.run(
        [*trace, "-e", "trace=open,openat,openat2,read,pread64,mmap", *ingest],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 3, done.stderr
    return set(re.findall(rf"{re.escape(str(raws))}/(?:[^/\">]+/)?([^/\">]+\.dng)", log.read_text(errors="replace")))


def test_a_second_ingest_opens_no_raw_and_one_that_was_touched_only_that(raws: Path) -> None:
    names = {path.name for path in raws.rglob("*.dng")}
    assert len(names) == 5
    assert opened_by_ingest(raws) == names
    assert opened_by_ingest(raws) == set()
    touched = raws / "folder 1/00001_00_10s.dng"
    os.utime(touched, (0, 0))
    assert opened_by_ingest(raws) == {touched.name}
