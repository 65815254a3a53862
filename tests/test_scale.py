"""Large manifests: the memory of a verb is bounded by what it must keep of each row, not by all that a row holds."""

import os

import numpy as np
import pytest
from benchmarks.tables import DEVICE, manifest_tables
from benchmarks.validate_rate import peak_mb

from sidcurate import manifests
from sidcurate.synthetic.dng import DngTags, write_dng

FEW, MANY = 20_000, 80_000
FEW_RAWS, MANY_RAWS = 1_000, 9_000


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    found = {}
    for pairs in (FEW, MANY):
        found[pairs] = tmp_path_factory.mktemp(str(pairs))
        manifests.save(found[pairs] / DEVICE, manifest_tables(pairs))
    return found


@pytest.mark.parametrize(
    ("arguments", "most_mb_a_thousand"),
    [
        (["validate", "--no-files", "--dry-run"], 1.5),
        (["pair", "--device", DEVICE, "--dry-run"], 3.5),
        (["report", "--device", DEVICE], 1.5),
        (["report", "--device", DEVICE, "--format", "json"], 1.5),
        (["fsck", "--deep"], 1.5),
    ],
    ids=["validate", "pair", "report", "report-json", "fsck"],
)
def test_memory_grows_little_with_the_pairs(roots, arguments, most_mb_a_thousand):
    few, many = (peak_mb([*arguments, "--manifests", str(roots[pairs])]) for pairs in (FEW, MANY))
    assert many - few < most_mb_a_thousand * (MANY - FEW) / 1000


def test_memory_of_an_ingest_grows_little_with_the_raws(tmp_path):
    raws, first = tmp_path / "raws", tmp_path / "first.dng"
    write_dng(first, np.full((16, 16), 600, np.uint16), DngTags(iso=800))
    peaks = []
    for count in (FEW_RAWS, MANY_RAWS):
        folder = raws / str(count)
        folder.mkdir(parents=True)
        for number in range(count):
            os.link(first, folder / f"{number // 4:05d}_{number % 4:02d}_{number % 4 + 1}s.dng")
        peaks.append(peak_mb(["ingest", str(folder), "--headers-only", "--manifests", str(tmp_path / "m")]))
    assert peaks[1] - peaks[0] < 6 * (MANY_RAWS - FEW_RAWS) / 1000
