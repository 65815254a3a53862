"""Damaged files end in a row: a short, seeded slice of `make fuzz`, and every file that ever did not."""

import resource
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sidcurate import tiff
from sidcurate.errors import UnreadableRawError
from sidcurate.isolation import Crew, crew
from sidcurate.raws import raw
from sidcurate.tiff import LONG, SHORT
from tests.fuzz import seeds
from tests.fuzz.mutations import MUTATIONS, mutate
from tests.fuzz.run import damaged, read_damaged
from tests.heads import DOUBLE, EXPOSURE, FLOAT, ISO
from tests.test_raw import COMPRESSION, WHITE, bare_dng, noise

FILES = 300


@pytest.fixture(scope="module")
def workers() -> Iterator[Crew]:
    with crew(2) as found:
        yield found


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    return seeds.synthetic()


def test_a_slice_of_the_damaged_files_ends_in_rows(whole: dict[str, bytes], workers: Crew, tmp_path: Path) -> None:
    files = list(damaged(range(FILES), whole, seed=1))
    outcomes = list(read_damaged(files, tmp_path / "files", workers, tmp_path / "manifest"))
    assert [outcome for outcome in outcomes if outcome.ending not in ("read", "refused")] == []
    endings = [outcome.ending for outcome in outcomes]
    assert min(endings.count("read"), endings.count("refused")) > FILES / 10, "both kinds of damage must occur"


def test_the_whole_files_are_what_they_are_taken_for(whole: dict[str, bytes], workers: Crew, tmp_path: Path) -> None:
    files = [(number, name, content) for number, (name, content) in enumerate(sorted(whole.items()))]
    endings = {row.name: row.ending for row in read_damaged(files, tmp_path / "f", workers, tmp_path / "m")}
    assert {name for name, ending in endings.items() if ending == "read"} >= {"RGGB.dng", "GBRG.dng", "linear.dng"}


def test_a_number_gives_the_same_damage_every_time_and_every_mutation_does_some(whole: dict[str, bytes]) -> None:
    content = whole["RGGB.dng"]
    assert mutate(content, (1, 2)) == mutate(content, (1, 2)) != mutate(content, (1, 3))
    for mutation in MUTATIONS:
        copies = [bytearray(content) for _ in range(20)]
        for seed, copy in enumerate(copies):
            mutation(copy, np.random.default_rng(seed))
        assert sum(copy != content for copy in copies) >= 10, mutation.__name__


# Each entry broke something once; what is written here is what was broken in it.
BROKE_ONCE = {
    "a white level of zero": [tiff.numbers(WHITE, LONG, 0)],
    "a loop of sub-directories": [tiff.numbers(330, LONG, *[8] * 300_000)],
    "a CFA that no reader knows": [tiff.numbers(33421, SHORT, 1, 1)],
    "an ISO of a third": [tiff.rationals(ISO, [Fraction(1, 3)])],
    "an exposure of 1e300 s": [tiff.Entry(EXPOSURE, DOUBLE, 1, struct.pack("<d", 1e300))],
    "an ISO of 1e38": [tiff.Entry(ISO, FLOAT, 1, struct.pack("<f", 1e38))],
    "a white level of 1e300": [tiff.Entry(WHITE, DOUBLE, 1, struct.pack("<d", 1e300))],
}


@pytest.mark.parametrize("name", BROKE_ONCE)
def test_what_broke_once_ends_in_a_row(name: str, workers: Crew, tmp_path: Path) -> None:
    path = bare_dng(tmp_path / "a.dng", noise(), "RGGB", *BROKE_ONCE[name])
    (outcome,) = read_damaged([(0, "a.dng", path.read_bytes())], tmp_path / "f", workers, tmp_path / "m")
    assert outcome.ending in ("read", "refused"), outcome.why


def test_a_large_frame_of_one_code_is_read(workers: Crew, tmp_path: Path) -> None:
    """As a damaged header makes one; it once divided by its detail."""
    path = bare_dng(tmp_path / "a.dng", np.full((1024, 1024), 512, np.uint16))
    (outcome,) = read_damaged([(0, "a.dng", path.read_bytes())], tmp_path / "f", workers, tmp_path / "m")
    assert outcome.ending == "read", outcome.why


@pytest.mark.parametrize("compression", [1, 7, 8, 34892])
@pytest.mark.parametrize("side", [20_000, 60_000])
def test_a_header_that_lies_about_its_size_is_refused_before_anything_is_unpacked(
    tmp_path: Path, side: int, compression: int
) -> None:
    sides = [tiff.numbers(code, LONG, side) for code in (256, 257, 278)]
    path = bare_dng(tmp_path / "a.dng", noise(), "RGGB", *sides, tiff.numbers(COMPRESSION, SHORT, compression))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableRawError, match=rf"its header states {side}x{side} pixels, but the file has \d+ byte"):
        raw.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
