"""One thing is told of in the singular, wherever it is counted."""

import re
from pathlib import Path

from click.testing import CliRunner

from sidcurate.cli import main
from sidcurate.counted import counted
from sidcurate.verdicts import tally
from tests.small_session import write_session

WRONG = re.compile(r"(?<![\d.,])1 (?:other )?(?:raws|pairs|scenes|files|side-cars|captures|frames)\b.*")


def test_only_one_is_singular() -> None:
    assert [counted(count, "pair") for count in range(3)] == ["0 pairs", "1 pair", "2 pairs"]
    assert counted(2, "link that leads", "links that lead") == "2 links that lead"
    assert [tally(1, 0), tally(2, 1)] == ["1 of 1 pair passes, 0 left out", "1 of 2 pairs pass, 1 left out"]


def test_a_folder_with_one_of_everything_is_told_in_the_singular(tmp_path: Path) -> None:
    raws = tmp_path / "raws"
    write_session(tmp_path, ["train"])
    for name in ("a.jpg", "notes.txt"):
        (raws / name).write_bytes(b"\0")
    (raws / "away.dng").symlink_to(tmp_path / "manifests/phone/captures.parquet")
    (raws / "gone.dng").write_bytes(b"\0")
    told = []
    where = ("--manifests", str(tmp_path / "m"), "--device", "phone")
    for verb, *more in (["ingest", str(raws)], ["ingest", str(raws)], ["validate"], ["report"]):
        told.append(CliRunner().invoke(main, [verb, *more, *where], catch_exceptions=False).stdout)
        (raws / "gone.dng").unlink(missing_ok=True)
    assert "1 pair in 1 scene (1 train)" in told[0]
    assert "1 side-car and 2 other files skipped" in told[0]
    assert "no row for 1 link that leads out of the folder" in told[0]
    assert "1 raw of the last ingest is not there any more" in told[1]
    assert [match[0] for match in map(WRONG.search, "\n".join(told).splitlines()) if match] == []
