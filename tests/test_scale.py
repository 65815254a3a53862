"""Large manifests: the memory of a verb is bounded by what it must keep of each row, not by all that a row holds."""

import pytest
from benchmarks.scale_rate import link_raws
from benchmarks.tables import DEVICE, manifest_tables
from benchmarks.validate_rate import peak_mb

from sidcurate import manifests

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
    raws = [link_raws(tmp_path / str(count), count) for count in (FEW_RAWS, MANY_RAWS)]
    ingest = ["ingest", "--headers-only", "--manifests", str(tmp_path / "m")]
    few, many = (peak_mb([*ingest, str(folder)]) for folder in raws)
    assert many - few < 6 * (MANY_RAWS - FEW_RAWS) / 1000
