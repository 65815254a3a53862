"""Which frames become a pair, which one is long, and what is said of the rest."""

import tracemalloc
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import PurePosixPath

import pytest

from sidcurate.errors import UsageError
from sidcurate.pairs.pairing import pair, pair_as_told, read_told_pairs
from sidcurate.schemas import Capture
from sidcurate.source import ToldPair

START = datetime(2026, 3, 1, 21, 0, 0)


def frame(path: str, seconds: Fraction | int | None, after_s: float | None = None, **facts: object) -> Capture:
    """A readable capture, `after_s` seconds into the session."""
    time = Fraction(seconds) if seconds is not None else None
    exposure = {} if time is None else {"exposure_num": time.numerator, "exposure_den": time.denominator}
    return Capture(
        device="canon90d",
        path=path,
        size_bytes=1,
        status="ok",
        exposure_time_s=None if time is None else float(time),
        captured_at=None if after_s is None else START + timedelta(seconds=after_s),
        **exposure,
        **facts,
    )


def as_pairs(captures: list[Capture]) -> set[tuple[str, str]]:
    return {(row.short_path, row.long_path) for row in pair(captures).pairs}


def test_sid_names_make_scenes_in_short_and_long_folders() -> None:
    captures = [
        frame("short/00001_00_0.04s.dng", Fraction(1, 25)),
        frame("short/00001_00_0.1s.dng", Fraction(1, 10)),
        frame("short/00001_01_0.1s.dng", Fraction(1, 10)),
        frame("short/00002_00_0.1s.dng", Fraction(1, 10)),
        frame("long/00001_00_10s.dng", 10),
        frame("long/00002_00_10s.dng", 10),
    ]
    found = pair(captures)
    assert [row.pair_id for row in found.pairs] == ["00001_00_0.04s", "00001_00_0.1s", "00001_01", "00002_00"]
    assert [row.burst_index for row in found.pairs] == [0, 0, 1, 0]
    assert {row.scene_id for row in found.pairs} == {"00001", "00002"}
    assert found.pairs[0].exposure_ratio == 250
    assert "00001" in found.pairs[0].reason
    assert "10 s is the longest" in found.pairs[0].reason
    assert found.unpaired == []


def test_the_ratio_is_of_the_recorded_times_whatever_the_names_say() -> None:
    captures = [frame("00001_00_0.1s.dng", Fraction(1, 4)), frame("00001_00_10s.dng", 8)]
    assert [row.exposure_ratio for row in pair(captures).pairs] == [32]


def test_scenes_of_camera_names_are_parted_by_time() -> None:
    captures = [
        frame("IMG_0001.CR3", Fraction(1, 10), 0),
        frame("IMG_0002.CR3", 10, 5),
        frame("IMG_0003.CR3", Fraction(1, 10), 5 + 10 + 61),
        frame("IMG_0004.CR3", 10, 5 + 10 + 70),
    ]
    assert as_pairs(captures) == {("IMG_0001.CR3", "IMG_0002.CR3"), ("IMG_0003.CR3", "IMG_0004.CR3")}
    why = "no gap of more than 60 s between its frames; 10 s is the longest of its 2 exposures"
    assert [row.reason for row in pair(captures).pairs] == [why] * 2


def test_a_gap_counts_from_the_end_of_the_latest_frame_where_a_bracket_shares_a_second() -> None:
    captures = [frame("IMG_1.CR3", 30, 0), frame("IMG_2.CR3", 1, 0), frame("IMG_3.CR3", 1, 30 + 55)]
    assert as_pairs(captures) == {("IMG_2.CR3", "IMG_1.CR3"), ("IMG_3.CR3", "IMG_1.CR3")}


def test_a_gap_counts_from_the_end_of_the_exposure() -> None:
    captures = [frame("IMG_0001.CR3", 30, 0), frame("IMG_0002.CR3", Fraction(1, 10), 30 + 60)]
    assert as_pairs(captures) == {("IMG_0002.CR3", "IMG_0001.CR3")}


def test_a_folder_whose_frames_are_far_apart_is_one_scene() -> None:
    captures = [frame("bike/a.nef", 10, 0), frame("bike/b.nef", Fraction(1, 10), 900), frame("c.nef", 10, 5000)]
    found = pair(captures)
    assert [(row.scene_id, row.pair_id) for row in found.pairs] == [("bike", "bike_00")]
    assert [row.reason for row in found.unpaired] == ["alone in its scene (no other frame within 60 s of it)"]


@pytest.mark.parametrize("turn", [1, -1])
def test_a_folder_with_a_camera_s_own_folders_in_it_is_no_scene_whichever_frame_comes_first(turn: int) -> None:
    captures = [frame("card/a.nef", Fraction(1, 10), 0), frame("card/100CANON/b.nef", 10, 900)]
    assert as_pairs(captures[::turn]) == set()


def test_frames_without_time_name_or_folder_stay_unpaired_with_the_reason() -> None:
    found = pair([frame("a.dng", 10), frame("b.dng", Fraction(1, 10))])
    assert found.pairs == []
    assert {row.reason for row in found.unpaired} == {"alone in its scene (no time, name or folder tells its scene)"}


@pytest.mark.parametrize(
    "difference", [{"iso": 100}, {"f_number": 2.0}, {"focal_length_mm": 85.0}, {"camera_serial": "other"}]
)
def test_other_settings_do_not_unpair(difference: dict[str, object]) -> None:
    common = {"iso": 800, "f_number": 8.0, "focal_length_mm": 35.0, "camera_serial": "one"}
    captures = [frame("a.dng", Fraction(1, 10), 0, **common), frame("b.dng", 10, 3, **common | difference)]
    assert as_pairs(captures) == {("a.dng", "b.dng")}


def test_equal_exposures_are_a_pair_whose_brighter_frame_is_long() -> None:
    captures = [frame("a.dng", 1, 0, iso=3200, f_number=8.0), frame("b.dng", 1, 3, iso=100, f_number=8.0)]
    assert as_pairs(captures) == {("b.dng", "a.dng")}
    assert pair(captures).pairs[0].exposure_ratio == 1


def test_of_equal_long_frames_one_with_a_time_comes_before_one_without() -> None:
    longs = [frame("00001_00_10s.dng", 10), frame("00001_01_10s.dng", 10, 5)]
    assert as_pairs([*longs, frame("00001_00_1s.dng", 1, 0)]) == {("00001_00_1s.dng", "00001_01_10s.dng")}


def test_the_longest_exposure_is_long_though_another_promises_more_light() -> None:
    assert as_pairs([frame("a.dng", 1, 0, iso=3200), frame("b.dng", 10, 3, iso=100)]) == {("a.dng", "b.dng")}


def test_a_folder_tells_the_long_frame_though_another_is_longer() -> None:
    captures = [frame("long/00001_00_10s.dng", 10), frame("00001_00_1s.dng", 1), frame("00001_00_30s.dng", 30)]
    assert as_pairs(captures) == {("00001_00_1s.dng", "long/00001_00_10s.dng")}


def test_a_second_long_frame_is_spare_where_there_are_shorts() -> None:
    captures = [frame("a.dng", 10, 0), frame("b.dng", 10, 15), frame("c.dng", Fraction(1, 10), 30)]
    found = pair(captures)
    assert as_pairs(captures) == {("c.dng", "a.dng")}
    assert [(row.path, row.reason) for row in found.unpaired] == [
        ("b.dng", "a spare long frame: a.dng is the long one of its scene")
    ]


@pytest.mark.parametrize("night", ["", "night 2/"])
def test_unknown_exposure_is_paired_where_the_folder_tells_its_part(night: str) -> None:
    told = [frame(f"short/{night}00001_00_1s.dng", None), frame(f"long/{night}00001_00_10s.dng", 10)]
    assert [row.exposure_ratio for row in pair(told).pairs] == [None]


def test_unknown_exposure_is_paired_nowhere_else() -> None:
    untold = pair([frame("00001_00_1s.dng", None), frame("00001_00_10s.dng", 10)])
    assert untold.pairs == []
    assert "exposure time is unknown" in untold.unpaired[0].reason


def test_an_unreadable_frame_is_in_no_pair() -> None:
    broken = frame("00001_00_0.1s.dng", Fraction(1, 10)).model_copy(update={"status": "unreadable"})
    found = pair([broken, frame("00001_00_10s.dng", 10)])
    assert found.pairs == []
    assert [row.reason for row in found.unpaired] == [
        "its pixels could not be read",
        "alone in its scene but for 00001_00_0.1s.dng, which could not be read",
    ]


def test_a_frame_whose_partners_cannot_be_read_names_them_where_a_time_tells_them() -> None:
    unreadable = {"status": "unreadable"}
    near = [frame(f"IMG_{n}.CR3", Fraction(1, 10), n).model_copy(update=unreadable) for n in (2, 1)]
    far = frame("IMG_9.CR3", Fraction(1, 10), 500).model_copy(update=unreadable)
    timeless = frame("IMG_8.CR3", None).model_copy(update=unreadable)
    found = pair([frame("IMG_0.CR3", 10, 0), *near, far, timeless, frame("IMG_5.CR3", 10, 1000)])
    assert [row.reason for row in found.unpaired if row.path in {"IMG_0.CR3", "IMG_5.CR3"}] == [
        "alone in its scene but for IMG_1.CR3 and 1 more, which could not be read",
        "alone in its scene (no other frame within 60 s of it)",
    ]


def test_numbered_names_order_frames_of_one_second() -> None:
    shorts = [frame(f"IMG_{number}.CR3", Fraction(1, 10), 0) for number in (10002, 9999, 10001)]
    found = pair([*shorts, frame("IMG_10003.CR3", 10, 1)])
    assert [(row.short_path, row.burst_index) for row in found.pairs] == [
        ("IMG_9999.CR3", 0),
        ("IMG_10001.CR3", 1),
        ("IMG_10002.CR3", 2),
    ]


def test_pairs_do_not_depend_on_the_order_of_the_captures() -> None:
    """Not even the names of scenes whose folders would give them one."""
    folders = [f"{parent}{number}" for parent in ("a/b", "a-b") for number in range(3)]
    named = [frame(f"{folder}/00001_00_{s}s.dng", s) for folder in folders for s in (1, 10)]
    timed = [frame(f"{folder}/IMG_{s}.dng", s, s) for folder in folders for s in (1, 10)]
    found = pair([*named, *timed])
    assert found == pair([*timed, *named][::-1])
    assert [row.scene_id for row in found.pairs if row.long_path.startswith("a/b0")] == ["a-b0-00001~2", "a-b0-IMG_1~2"]


def test_a_csv_overrides(tmp_path) -> None:
    captures = [frame("a.dng", Fraction(1, 10), 0), frame("b.dng", 10, 3), frame("c.dng", Fraction(1, 10), 500)]
    table = tmp_path / "pairs.csv"
    table.write_text("short,long,scene_id\nc.dng,b.dng,bridge\n")
    found = pair_as_told(captures, read_told_pairs(table))
    assert [(row.pair_id, row.short_path, row.exposure_ratio) for row in found.pairs] == [("bridge_00", "c.dng", 100)]
    assert [row.path for row in found.unpaired] == ["a.dng"]


@pytest.mark.parametrize(
    ("long", "scene_id"), [("b.dng", "b"), ("night/b.dng", "night-b"), ("b", "b"), ("b.old.dng", "b.old")]
)
def test_a_csv_without_scenes_names_each_by_its_long_frame(tmp_path, long: str, scene_id: str) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(f"short,long\na.dng,{long}\n")
    assert read_told_pairs(table) == [ToldPair(short="a.dng", long=long, scene_id=scene_id)]


@pytest.mark.parametrize("name", ["IMG_1.dng", "IMG.2.dng", "IMG_3", ".dng", "IMG_4."])
def test_a_scene_has_the_name_of_its_first_frame_without_its_ending(name: str) -> None:
    (alone,) = pair([frame(name, 1, 0)]).unpaired
    assert alone.scene_id == PurePosixPath(name).stem


@pytest.mark.parametrize(
    ("long", "says"),
    [("x.dng", "'x.dng' is no capture"), ("a.dng", "same file")],
)
def test_a_wrong_row_of_the_csv_is_named(long: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"row 1 .*{says}"):
        pair_as_told([frame("a.dng", 1)], [ToldPair(short="a.dng", long=long, scene_id="s")])


def test_a_csv_without_the_columns_says_which(tmp_path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("dark,bright\na,b\n")
    with pytest.raises(UsageError, match="short,long"):
        read_told_pairs(table)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("a", "b", "A"), ("a", "b", "B")], "'a.dng' stands in scene A too"),
        ([("a", "b", "A"), ("a", "b", "A")], "stands there twice"),
        ([("a", "b", "A"), ("c", "d", "A")], "scene A has two long frames"),
    ],
)
def test_a_csv_cannot_put_a_frame_on_both_sides_of_a_split(rows: list[tuple[str, str, str]], says: str) -> None:
    told = [ToldPair(short=f"{short}.dng", long=f"{long}.dng", scene_id=scene) for short, long, scene in rows]
    with pytest.raises(UsageError, match=says):
        pair_as_told([frame(f"{name}.dng", 1) for name in "abcd"], told)


@pytest.mark.parametrize("line", ["a.dng", "a.dng,", ","])
def test_a_line_of_the_csv_that_lacks_a_frame_is_named(tmp_path, line: str) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(f"short,long\nx.dng,y.dng\n{line}\n")
    with pytest.raises(UsageError, match=r"line 3 of .* has no"):
        read_told_pairs(table)


def test_folders_of_like_names_are_different_scenes() -> None:
    names = ("00001_00_0.1s.dng", "00001_00_10s.dng")
    captures = [
        frame(f"{folder}/{name}", s) for folder in ("a/b", "a-b") for name, s in zip(names, (1, 10), strict=True)
    ]
    found = pair(captures)
    assert len({row.scene_id for row in found.pairs}) == 2
    assert len({row.pair_id for row in found.pairs}) == 2


def test_any_gap_in_seconds_will_do() -> None:
    captures = [frame("a.dng", 1, 0), frame("b.dng", 10, 1e6)]
    assert len(pair(captures, scene_gap_s=1e300).pairs) == 1


def test_progress_is_told_before_the_first_scene_and_after_each() -> None:
    captures = [frame(f"{n:05d}_00_{t}s.dng", t) for n in range(3) for t in (1, 10)]
    told: list[tuple[int, int]] = []
    pair(captures, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 6), (2, 6), (4, 6), (6, 6)]


def test_a_million_captures_in_no_pair_take_a_third_of_a_gigabyte() -> None:
    captures = [frame(f"IMG_{n:04d}.dng", 1) for n in range(2000)]
    tracemalloc.start()
    found = pair(captures)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.unpaired) == 2000
    assert taken / 2000 < 400
