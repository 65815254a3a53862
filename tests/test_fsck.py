"""Damage of each kind is found, named, and comes with what to do; nothing is changed by looking."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from factories import write_source

from sidcurate import fsck as examine
from sidcurate import manifests
from sidcurate.align import trace
from sidcurate.cli import main
from sidcurate.ingest.folder import ingest
from sidcurate.schemas import Capture, Pair
from sidcurate.storage import commits, entries
from tests.torture import steps

MADE_FROM = {"raw": "a" * 64}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ingested")
    steps.write_raws(folder / "raws")
    ingest(folder / "raws", folder / "m" / "cam", jobs=1)
    return folder


@pytest.fixture
def folder(ingested, tmp_path) -> Path:
    """A manifest with traces, its raws, a store of one entry and one checkpoint."""
    for path in sorted(ingested.rglob("*")):
        if path.is_file():
            copy = tmp_path / path.relative_to(ingested)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    directory = tmp_path / "m" / "cam"
    write_source(directory, root=str(tmp_path / "raws"))
    entries.write(entry(tmp_path), np.ones((4, 8, 8), np.uint16), MADE_FROM, None)
    run = tmp_path / "runs" / "cam" / "device"
    run.mkdir(parents=True)
    (run / "model.safetensors").write_bytes(b"weights")
    sidecar = {"sha256": manifests.sha256_of(run / "model.safetensors")}
    (run / "model.json").write_text(json.dumps(sidecar))
    with zipfile.ZipFile(run / "state.pt", "w") as archive:
        archive.writestr("data/0", bytes(4096))
    return tmp_path


def entry(folder: Path) -> Path:
    return folder / "stores" / f"{entries.key(MADE_FROM)}.planes.npy"


def fsck(folder: Path, *arguments: str) -> Result:
    places = ("--manifests", folder / "m", "--store", folder / "stores", "--runs", folder / "runs")
    return CliRunner().invoke(main, ["fsck", *map(str, places), *arguments])


def faults(folder: Path, *arguments: str) -> list[tuple[str, str]]:
    result = fsck(folder, "--format", "json", *arguments)
    found = json.loads(result.stdout)["faults"]
    assert result.exit_code == (5 if found else 0), result.output
    assert not any(";" in fault["fault"] for fault in found), "what to do stands beside it"
    assert all(fault["cure"] for fault in found)
    return [(Path(fault["path"]).name, fault["fault"]) for fault in found]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path: Path, at: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1
    path.write_bytes(content)


def test_all_is_well_and_stays_as_it_was(folder) -> None:
    before = contents(folder)
    result = fsck(folder, "--deep")
    assert result.exit_code == 0, result.output
    looked_at = "checkpoint ×1, raw ×4, source ×1, state ×1, store entry ×1, table ×3, trace ×4"
    assert (result.stdout, result.stderr) == (f"0 damaged; looked at: {looked_at}\n", "")
    assert contents(folder) == before


def test_where_nothing_is_to_be_looked_at_it_is_no_clean_bill(tmp_path) -> None:
    result = fsck(tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"nothing to look at: no manifest under {tmp_path / 'm'}, no frame in {tmp_path / 'stores'}" in result.stderr
    assert "name them with --manifests, --store and --runs" in result.stderr


def test_each_damaged_table_is_named(folder) -> None:
    for name in ("pairs.parquet", "captures.parquet"):
        flip(folder / "m" / "cam" / name)
    assert faults(folder) == [
        (name, "is damaged or was changed by hand: its SHA-256 is not the one in SHA256SUMS")
        for name in ("captures.parquet", "pairs.parquet")
    ]
    assert "not looked at: the raws and traces of cam" in fsck(folder).stderr


def test_a_lost_record_and_a_file_that_it_does_not_name_are_found(folder) -> None:
    directory = folder / "m" / "cam"
    (directory / "findings.parquet").write_bytes(b"")
    assert faults(folder) == [("findings.parquet", "SHA256SUMS does not name it")]
    (directory / "SHA256SUMS").unlink()
    ((name, fault),) = faults(folder, "--device", "cam")
    assert (name, "cannot be read" in fault) == ("SHA256SUMS", True)


def test_the_tables_of_a_newer_version_are_no_reason_to_move_them_away(folder) -> None:
    directory = folder / "m" / "cam"
    table = pq.read_table(directory / "pairs.parquet")
    newer = table.set_column(0, table.schema.field(0), pa.array([2] * len(table), pa.int64()))
    pq.write_table(newer, directory / "pairs.parquet")
    sums = {name: manifests.sha256_of(directory / name) for name in manifests.FILES[:3]}
    record = commits.record_of(sums)
    for added, words in (
        (b"", "pairs.parquet has schema version 2, this sidcurate reads 1\n  upgrade it (`pip install -U sidcurate`)"),
        (b"0" * 64 + b"  new.parquet\n", "which this version does not know\n  if a newer sidcurate wrote it, upgrade"),
    ):
        (directory / "SHA256SUMS").write_bytes(record + added)
        assert words in fsck(folder).stdout


def test_a_commit_that_was_cut_off_is_found_until_a_verb_writes(folder) -> None:
    directory = folder / "m" / "cam"
    digest = manifests.load(directory).sums["pairs.parquet"]
    (directory / "pairs.parquet").rename(directory / f".pairs.parquet.{digest}")
    assert faults(folder) == [("pairs.parquet", "a commit was cut off before its last rename")]
    CliRunner().invoke(main, ["validate", "--manifests", str(folder / "m")])
    assert faults(folder) == []


def test_a_raw_that_is_gone_or_cut_is_found_without_a_hash_and_a_flipped_one_with(folder) -> None:
    cut, flipped, gone, _ = sorted((folder / "raws").iterdir())
    times = {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in (cut, flipped, gone)}
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    flip(flipped)
    seen = {**times, flipped.name: (flipped.stat().st_size, flipped.stat().st_mtime_ns)}
    write_source(folder / "m" / "cam", root=str(folder / "raws"), seen=seen)
    found = faults(folder)
    assert [name for name, _ in found] == [cut.name, gone.name]
    assert found[1][1] == "it is not there, no plain file, or a link that leads out of the folder"
    assert (flipped.name, "its SHA-256 is not the one that was ingested") in faults(folder, "--deep")


def test_a_raw_that_a_link_took_the_place_of_is_not_looked_for_outside(folder) -> None:
    first, *_ = sorted((folder / "raws").iterdir())
    first.rename(folder / "outside.dng")
    first.symlink_to(folder / "outside.dng")
    assert [name for name, _ in faults(folder, "--deep")] == [first.name]
    first.unlink()
    (folder / "outside.dng").rename(folder / "raws" / "inside.dng")
    first.symlink_to("inside.dng")
    assert faults(folder, "--deep") == []
    (folder / "raws").rename(folder / "real")
    (folder / "raws").symlink_to("real")
    assert faults(folder, "--deep") == []


def test_raws_in_a_folder_that_a_link_took_the_place_of_are_not_looked_for_outside(folder) -> None:
    first, *_ = sorted((folder / "raws").iterdir())
    night = folder / "raws" / "night"
    night.mkdir()
    first.rename(night / first.name)
    ingest(folder / "raws", folder / "m" / "cam", jobs=1)
    assert faults(folder, "--deep") == []
    night.rename(folder / "night")
    night.symlink_to("../night")
    assert [name for name, _ in faults(folder, "--deep")] == [first.name]


def test_a_pipe_in_the_place_of_a_raw_is_not_waited_for(folder) -> None:
    empty = folder / "raws" / "empty.dng"
    empty.touch()
    ingest(folder / "raws", folder / "m" / "cam", jobs=1)
    empty.unlink()
    os.mkfifo(empty)
    places = ("--manifests", folder / "m", "--store", folder / "stores", "--runs", folder / "runs")
    command = [sys.executable, "-m", "sidcurate", "fsck", "--deep", *map(str, places)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, "empty.dng: it is not there, no plain file" in done.stdout) == (5, True)


def test_files_that_cannot_be_read_are_named_with_all_that_is_damaged_besides(folder, unprivileged) -> None:
    locked, flipped, *_ = sorted((folder / "raws").iterdir())
    weights = folder / "runs" / "cam" / "device" / "model.safetensors"
    flip(flipped)
    for path in (locked, weights):
        path.chmod(0)
    places = ("--manifests", folder / "m", "--store", folder / "stores", "--runs", folder / "runs")
    sidcurate = [*unprivileged, sys.executable, "-m", "sidcurate"]
    found = subprocess.run([*sidcurate, "fsck", "--deep", *places], capture_output=True, text=True, check=False)
    assert found.returncode == 5, found.stderr
    assert f"raw {locked}: it cannot be read (Permission denied)" in found.stdout
    assert f"raw {flipped}: its SHA-256 is not the one that was ingested" in found.stdout
    assert f"checkpoint {weights}: it cannot be read (Permission denied)" in found.stdout
    judged = subprocess.run(
        [*sidcurate, "validate", "--deep", *places[:2]], capture_output=True, text=True, check=False
    )
    assert judged.returncode == 3
    assert f"{locked} cannot be read (Permission denied); make it readable, or judge without" in judged.stderr


def test_a_folder_of_raws_that_is_gone_is_one_fault(folder) -> None:
    (folder / "raws").rename(folder / "elsewhere")
    assert faults(folder) == [("raws", "the folder of the raws is not there")]
    (folder / "m" / "cam" / "source.json").unlink()
    assert faults(folder) == []
    assert "not looked at: the raws of cam: nothing says where they are" in fsck(folder).stderr


def test_a_damaged_trace_is_found(folder) -> None:
    cut, flipped, packed, other = sorted((folder / "m" / "cam" / "traces").iterdir())
    cut.write_bytes(cut.read_bytes()[:-40])
    flip(flipped)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bins.npy", bytes(10_000_000))
    trace.save(other, trace.measure(np.full((32, 48), 600, np.uint16), "RGGB", None, None))
    assert {name for name, _ in faults(folder)} == {cut.name, packed.name}
    found = dict(faults(folder, "--deep"))
    assert found.keys() == {cut.name, flipped.name, packed.name, other.name}
    assert "its members are packed" in found[packed.name]
    assert found[other.name] == "it is of a frame of (32, 48), the raw has (64, 64) (height, width)"
    assert "checksum" in found[flipped.name] or "CRC" in found[flipped.name]


def test_one_flipped_bit_in_the_pixels_of_the_store_is_found_by_their_sum(folder) -> None:
    flip(entry(folder))
    assert faults(folder) == []
    fault = "is damaged (its SHA-256 is not the one in its record)"
    assert faults(folder, "--deep") == [(entry(folder).name, fault)]
    assert "delete it, and the next training decodes it anew" in fsck(folder, "--deep").stdout


def test_a_cut_entry_and_a_damaged_record_are_found_without_reading_the_pixels(folder) -> None:
    whole = entry(folder).read_bytes()
    for content in (whole[:-2], whole[:40], b""):
        entry(folder).write_bytes(content)
        assert [name for name, _ in faults(folder)] == [entry(folder).name]
    entry(folder).write_bytes(whole)
    flip(entries.record_path(entry(folder)))
    ((name, fault),) = faults(folder)
    assert name == entry(folder).name
    assert fault.startswith(f"{entries.record_path(entry(folder)).name} is damaged (")


def test_half_an_entry_is_no_damage_and_other_files_are_none_of_ours(folder) -> None:
    entries.record_path(entry(folder)).unlink()
    (folder / "stores" / "notes.npy").write_bytes(b"")
    assert faults(folder, "--deep") == []
    assert "not looked at: 1 file in " in fsck(folder).stderr


def test_weights_are_held_to_their_side_car(folder) -> None:
    weights = folder / "runs" / "cam" / "device" / "model.safetensors"
    flip(weights)
    assert faults(folder) == [("model.safetensors", "its SHA-256 is not the one in its side-car")]
    for text in ("[]", "{", "{}", "5"):
        weights.with_suffix(".json").write_text(text)
        assert "side-car model.json" in faults(folder)[0][1]
    weights.with_suffix(".json").unlink()
    assert faults(folder) == [("model.safetensors", "its side-car model.json is not there")]


def test_weights_whose_last_rename_is_due_are_whole_and_lost_ones_are_found_by_their_side_car(folder) -> None:
    weights = folder / "runs" / "cam" / "device" / "model.safetensors"
    digest = manifests.sha256_of(weights)
    waiting = weights.rename(weights.with_name(f".{weights.name}.{digest}"))
    weights.write_bytes(b"those of before")
    assert faults(folder) == []
    flip(waiting)
    assert faults(folder) == [("model.safetensors", "its SHA-256 is not the one in its side-car")]
    waiting.unlink()
    weights.unlink()
    assert faults(folder) == [("model.safetensors", "it is not there, but model.json is")]


def test_a_state_to_go_on_from_is_held_to_its_own_checksums(folder) -> None:
    state = folder / "runs" / "cam" / "device" / "state.pt"
    flip(state)
    assert faults(folder) == []
    assert faults(folder, "--deep") == [("state.pt", "the checksum of its part data/0 is another one")]
    state.write_bytes(state.read_bytes()[:-30])
    assert faults(folder) == [("state.pt", "File is not a zip file")]


def test_a_source_that_cannot_be_understood_is_a_fault_and_hides_no_other(folder) -> None:
    path = folder / "m" / "cam" / "source.json"
    path.write_text('{"root": 5}')
    flip(entry(folder))
    assert faults(folder, "--deep")[0] == ("source.json", "root: Input should be a valid string")
    assert [name for name, _ in faults(folder, "--deep")] == ["source.json", entry(folder).name]
    path.unlink()
    path.symlink_to("elsewhere")
    assert faults(folder) == [("source.json", "is a link, which may lead anywhere")]


def test_what_is_said_of_buckets_is_looked_at_too(folder) -> None:
    path = folder / "m" / "cam" / "remote.json"
    path.write_text('{"s3://team/cam": {"records": [5]}}')
    assert faults(folder) == [("remote.json", "s3://team/cam.records.0: Input should be a valid string")]
    path.write_text('{"s3://team/cam": {"records": []}}')
    assert faults(folder) == []
    assert "remote ×1" in fsck(folder).stdout


def test_a_source_whose_last_rename_is_due_is_found_until_a_verb_writes(folder) -> None:
    directory = folder / "m" / "cam"
    waiting = commits.staged(directory, "source.json", manifests.sha256_of(directory / "SHA256SUMS"))
    (directory / "source.json").rename(waiting)
    assert faults(folder) == [("source.json", "a commit was cut off before its last rename")]
    CliRunner().invoke(main, ["validate", "--manifests", str(folder / "m")])
    assert faults(folder) == []


def test_an_ingest_that_was_cut_off_is_said_and_is_no_damage(folder) -> None:
    (folder / "m" / "cam" / ".unfinished.jsonl").write_bytes(b"torn")
    (folder / "m" / "begun").mkdir()
    (folder / "m" / "begun" / ".unfinished.jsonl").write_bytes(b"")
    result = fsck(folder, "--deep")
    assert result.exit_code == 0
    assert result.stderr.count("an ingest runs, or was cut off; the next one goes on from what it has read") == 2


def test_what_writers_leave_beside_a_manifest_is_no_damage(folder) -> None:
    directory = folder / "m" / "cam"
    for name in (f".{'0' * 16}.part", f".pairs.parquet.{'a' * 64}", f".source.json.{'b' * 64}"):
        (directory / name).write_bytes(b"never committed")
    (directory / "traces" / f"{'c' * 64}.npz").write_bytes(b"of a raw that is gone")
    (directory / "traces" / f".{'0' * 16}.part").write_bytes(b"")
    (folder / "stores" / f".{'0' * 16}.part").write_bytes(b"")
    (folder / "runs" / "cam" / "device" / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"st')
    assert faults(folder, "--deep") == []


def test_all_that_takes_its_time_is_told_to_its_end(folder) -> None:
    told: dict[str, tuple[int, int]] = {}
    found = examine.Examination()
    directory = folder / "m/cam"
    examine.examine_manifest(found, directory, lambda stage, *counts: told.update({stage: counts}), deep=True)
    captures, pairs = (len(manifests.load(directory).rows(model)) for model in (Capture, Pair))
    assert told == {
        "reading captures": (captures, captures),
        "reading pairs": (pairs, pairs),
        "looking at the traces": (captures, captures),
        "looking at the raws": (captures, captures),
    }


def test_every_format_says_the_same(folder) -> None:
    flip(folder / "m" / "cam" / "pairs.parquet")
    table, as_csv = fsck(folder), fsck(folder, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(as_csv.stdout))
    assert row["kind"] == "table"
    assert f"table {row['path']}: {row['fault']}\n  {row['cure']}\n1 damaged; looked at: " in table.stdout


def test_an_unknown_device_names_those_that_exist(folder) -> None:
    result = fsck(folder, "--device", "nikon")
    assert (result.exit_code, "there: cam" in result.stderr) == (2, True)
