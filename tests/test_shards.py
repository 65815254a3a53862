"""A folder ingested in shards and merged has the bytes of one ingest, or the shards are refused."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sidcurate.cli import main
from sidcurate.ingest import shards
from sidcurate.ingest.folder import ingest, ingest_shard
from sidcurate.ingest.shards import Shard
from sidcurate.pairs import traces
from sidcurate.places.scan import scan
from sidcurate.synthetic.dng import DngTags, write_dng
from tests.test_journal import kill_after

SCENES, COUNT = 6, 3


def write_frame(path: Path, seconds: str, scene: int, light: np.ndarray) -> None:
    mosaic = np.random.default_rng(scene).poisson(light * float(Fraction(seconds))) * 2 + 512
    start = datetime(2026, 3, 1, 21) + timedelta(seconds=300 * scene + (seconds == "10"))
    tags = DngTags(exposure_time_s=Fraction(seconds), iso=800, f_number=Fraction(4), captured_at=start)
    write_dng(path, mosaic.astype(np.uint16), tags)


@pytest.fixture(scope="module")
def raws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes of two frames, and a file that cannot be read."""
    folder = tmp_path_factory.mktemp("session") / "cam"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for scene in range(SCENES):
        light = rng.uniform(5, 150, (96, 128))
        for seconds in ("1/10", "10"):
            write_frame(
                folder / f"{'more/' * (scene > 3)}IMG_{scene}_{'long' if seconds == '10' else 'short'}.dng",
                seconds,
                scene,
                light,
            )
    (folder / "broken.dng").write_bytes(b"II*\0" + bytes(60))
    return folder


@pytest.fixture(scope="module")
def whole(raws: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "cam"
    ingest(raws, directory, jobs=1)
    return directory


@pytest.fixture(scope="module")
def all_shards(raws: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sharded")
    for number in range(COUNT, 0, -1):
        ingest_shard(raws, root / "cam", Shard(number, COUNT), jobs=1)
    return root / "cam.shards"


@pytest.fixture
def made(all_shards: Path, tmp_path: Path) -> Path:
    """Three finished shards, to be spoilt."""
    return Path(shutil.copytree(all_shards, tmp_path / "m/cam.shards"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def merge(made: Path, *more: object) -> Result:
    return run("manifest", "merge", *sorted(made.iterdir()), "--manifests", made.parent, "--jobs", 1, *more)


def content(directory: Path) -> dict[str, str]:
    """Hash every file of a folder but the lock of its writers."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_each_raw_is_in_one_shard_and_stays_there_when_others_come(raws: Path) -> None:
    files = [file.path for file in scan(raws).raws]
    owners = {path: [n for n in range(1, COUNT + 1) if Shard(n, COUNT).owns(path)] for path in files}
    assert all(len(owner) == 1 for owner in owners.values())
    assert {owner[0] for owner in owners.values()} == {1, 2, 3}
    many = [sum(Shard(n, 7).owns(f"IMG_{k:05d}.CR3") for k in range(7000)) for n in range(1, 8)]
    assert min(many) > 900, "no shard is left idle"


def test_merged_shards_have_the_bytes_of_one_ingest_though_one_was_killed(
    raws: Path, whole: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "m/cam"
    second = directory.with_name("cam.shards") / "2-of-3"
    kill_after(1, raws, directory, signal.SIGKILL, "--shard", "2/3")
    assert not (second / "SHA256SUMS").exists()
    refused = run("manifest", "merge", second, "--manifests", tmp_path / "m")
    assert (refused.exit_code, "2-of-3 holds no finished shard" in refused.stderr) == (2, True)
    for number in (3, 1, 2):
        done = run("ingest", raws, "--manifests", tmp_path / "m", "--shard", f"{number}/3", "--jobs", 2)
        assert done.exit_code in (0, 3), done.stderr
        assert f"shard {number}/3: {directory}.shards/{number}-of-3\n" in done.stdout
    assert not directory.exists(), "a shard changes nothing but its own folder"
    before = content(second.parent)
    for _ in range(2):  # The second time changes nothing.
        assert merge(second.parent).exit_code == 3, "one raw cannot be read, as in the ingest"
        assert content(directory) == content(whole)
    assert content(second.parent) == before


def test_shards_on_other_machines_are_merged_from_wherever_they_were_copied_to(
    made: Path, whole: Path, tmp_path: Path
) -> None:
    for folder in sorted(made.iterdir()):
        folder.rename(tmp_path / f"artifact {folder.name}")
    folders = sorted(tmp_path.glob("artifact*"), reverse=True)
    done = run("manifest", "merge", *folders, folders[0], "--manifests", made.parent, "--jobs", 1)
    assert done.exit_code == 3
    assert "13 raws of 3 shards, 1 of them unreadable\n6 pairs in 6 scenes" in done.stdout
    assert done.stderr == f"next: sidcurate validate --device cam --manifests {made.parent}\n"
    assert content(made.parent / "cam") == content(whole)


def test_a_shard_reads_again_only_what_changed_and_keeps_what_the_manifest_knows(raws: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(raws, tmp_path / "cam"))
    directory = tmp_path / "m/cam"
    ingest(folder, directory, jobs=1)
    shutil.copy(folder / "IMG_0_short.dng", folder / "IMG_9_short.dng")
    mine = dict.fromkeys((1, 2, 3), 0)
    for number in mine:
        mine[number] = ingest_shard(folder, directory, Shard(number, COUNT), jobs=1).read
        assert ingest_shard(folder, directory, Shard(number, COUNT), jobs=1).read <= 1, "what is unreadable, at most"
    assert sum(mine.values()) <= 2, "the new raw, and the broken one, which has no hash"
    merged = merge(directory.with_name("cam.shards"))
    assert merged.exit_code == 3
    assert merged.stderr == f"next: sidcurate validate --device cam --manifests {directory.parent}\n"
    ingest(folder, tmp_path / "one/cam", jobs=1)
    merged, one = content(directory), content(tmp_path / "one/cam")
    assert {name: merged[name] for name in ("captures.parquet", "source.json")} == {
        name: one[name] for name in ("captures.parquet", "source.json")
    }


def test_told_times_and_pairs_go_into_the_shards_and_through_the_merge(raws: Path, tmp_path: Path) -> None:
    times, told = tmp_path / "times.csv", tmp_path / "pairs.csv"
    times.write_text("path,exposure_time_s\nIMG_0_short.dng,1/25\n")
    told.write_text("short,long\nIMG_0_short.dng,IMG_1_long.dng\n")
    given = ("--times", times, "--pairs", told, "--device", "cam", "--jobs", 1)
    for number in (1, 2, 3):
        run("ingest", raws, "--manifests", tmp_path / "m", "--shard", f"{number}/3", *given)
    assert merge(tmp_path / "m/cam.shards").exit_code == 3
    run("ingest", raws, "--manifests", tmp_path / "one", *given)
    assert content(tmp_path / "m/cam") == content(tmp_path / "one/cam")


def test_a_dry_run_writes_nothing(made: Path, raws: Path) -> None:
    done = merge(made, "--dry-run")
    assert "6 pairs in 6 scenes" in done.stdout
    assert "dry run: nothing was written" in done.stderr
    assert not (made.parent / "cam").exists()
    done = run("ingest", raws, "--manifests", made.parent / "x", "--shard", "1/3", "--dry-run", "--jobs", 1)
    assert "dry run: nothing was written" in done.stderr
    assert not (made.parent / "x").exists()


def restate(folder: Path, **changes: object) -> None:
    """Commit a shard anew with another statement."""
    part = shards.load(folder)
    source = {name: changes.pop(name) for name in ("root", "reader", "times", "pairing") if name in changes}
    said = json.loads(part.statement.model_dump_json()) | changes
    said["source"] |= source
    shards.save(folder, shards.Statement.model_validate(said), part.rows.records())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"root": "/elsewhere"}, "the folder of the raws differs"),
        ({"reader": "0, LibRaw 0.1"}, "the reader differs"),
        ({"times": {"IMG_0_short.dng": "1/25"}}, "what exposure times were given differs"),
        ({"pairing": {"scene_gap_s": 5.0}}, "the way of pairing differs"),
        ({"listing": "0"}, "has changed between its shards; run them all again"),
    ],
)
def test_shards_of_another_ingest_are_refused(made: Path, changes: dict, why: str) -> None:
    restate(made / "2-of-3", **changes)
    done = merge(made)
    assert done.exit_code == 2
    assert why in done.stderr
    assert not (made.parent / "cam").exists()


def test_shards_of_another_count_device_or_reader_are_refused(made: Path, raws: Path) -> None:
    ingest_shard(raws, made.parent / "cam", Shard(1, 2), jobs=1)
    assert "the number of shards differs (2, 3)" in merge(made).stderr
    shutil.rmtree(made / "1-of-2")
    ingest_shard(raws, made.parent / "other", Shard(2, 3), jobs=1)
    done = run("manifest", "merge", made / "1-of-3", made.parent / "other.shards/2-of-3", "--manifests", made.parent)
    assert "the device differs (cam, other)" in done.stderr
    for folder in made.iterdir():
        restate(folder, reader="0, LibRaw 0.1")
    assert "merge them with the sidcurate that made them" in merge(made).stderr


def test_a_missing_shard_is_named_with_what_makes_it(made: Path, raws: Path) -> None:
    shutil.rmtree(made / "3-of-3")
    done = merge(made)
    assert done.exit_code == 2
    assert f"shard 3/3 of cam is missing; make it: `sidcurate ingest {raws} --device cam --shard 3/3`" in done.stderr


def test_two_different_runs_of_one_shard_are_refused(made: Path) -> None:
    shutil.copytree(made / "2-of-3", made / "copy")
    restate(made / "copy", listing="0")
    assert f"{made}/2-of-3 and {made}/copy are both shard 2/3, and differ" in merge(made).stderr


@pytest.mark.parametrize("name", ["captures.parquet", "shard.json", "SHA256SUMS", "traces"])
def test_a_damaged_shard_is_refused_with_its_name(made: Path, name: str) -> None:
    path = made / "2-of-3" / name
    path = sorted(path.iterdir())[0] if name == "traces" else path
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    done = merge(made)
    assert done.exit_code == 5
    assert str(path) in done.stderr
    assert not (made.parent / "cam/SHA256SUMS").exists()


def test_a_trace_that_is_gone_is_named_with_what_makes_it(made: Path) -> None:
    part = shards.load(made / "2-of-3")
    (made / "2-of-3/traces" / traces.path(made, part.rows.records()[0].sha256 or "").name).unlink()
    done = merge(made)
    assert done.exit_code == 5
    assert "--device cam --shard 2/3" in done.stderr


def test_rows_that_a_shard_does_not_own_are_refused(made: Path) -> None:
    restate(made / "2-of-3", number=1)
    done = merge(made)
    assert done.exit_code == 5
    assert "its captures are not those that its shard.json names" in done.stderr


def test_no_verb_takes_a_shard_for_a_manifest(made: Path) -> None:
    one = run("validate", "--device", "cam", "--manifests", made.parent)
    assert (one.exit_code, f"run `sidcurate manifest merge {made}/*`" in one.stderr) == (2, True)
    none = run("validate", "--manifests", made.parent)
    assert (none.exit_code, "there is no manifest under" in none.stderr) == (2, True)
    for verb in (["validate"], ["pair", "--device", "1-of-3"], ["report", "--device", "1-of-3"]):
        inside = run(*verb, "--manifests", made)
        assert (inside.exit_code, "is a shard, not yet a manifest" in inside.stderr) == (2, True)


def test_fsck_calls_no_shard_a_damaged_manifest(made: Path) -> None:
    done = run("fsck", "--manifests", made, "--store", made / "none", "--runs", made / "none")
    assert (done.exit_code, done.stdout, "nothing to look at: no manifest" in done.stderr) == (2, "", True)


def test_a_manifest_is_no_shard(whole: Path) -> None:
    done = run("manifest", "merge", whole, "--manifests", whole.parent)
    assert (done.exit_code, "is a manifest, not a shard of one" in done.stderr) == (2, True)


@pytest.mark.parametrize("value", ["0/3", "4/3", "1", "1/0", "-1/3", "1/3/3", "a/b"])
def test_a_shard_that_cannot_be_is_a_usage_error(raws: Path, tmp_path: Path, value: str) -> None:
    done = run("ingest", raws, "--manifests", tmp_path, "--shard", value)
    assert (done.exit_code, "the first of eight is 1/8" in done.stderr) == (2, True)


def test_two_shards_run_at_the_same_time(raws: Path, whole: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sidcurate", "ingest", raws, "--manifests", tmp_path, "--jobs", "1", "--shard"]
    running = [
        subprocess.Popen([*map(str, command), f"{number}/3"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for number in (1, 2, 3)
    ]
    assert {process.wait(timeout=120) for process in running} <= {0, 3}
    assert merge(tmp_path / "cam.shards").exit_code == 3
    assert content(tmp_path / "cam") == content(whole)
