"""Manifests: one schema a table, committed together, never silently different."""

import json
import subprocess
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from factories import write_source
from pydantic import ValidationError

from sidcurate import manifests, source, verdicts
from sidcurate.cli import main
from sidcurate.errors import IntegrityError, UsageError
from sidcurate.schemas import Capture, Finding, Pair
from sidcurate.synthetic.dng import DngTags, write_dng
from sidcurate.tables.bounded import GROUP_ROWS, Packed
from sidcurate.tables.rows import Rows, table_of


def capture(path: str = "a.dng", **facts: object) -> Capture:
    return Capture(**{"device": "cam", "path": path, "size_bytes": 1, "status": "ok", **facts})


def pair(pair_id: str = "s_00", **facts: object) -> Pair:
    fixed = {"device": "cam", "scene_id": "s", "burst_index": 0, "short_path": "a.dng", "long_path": "b.dng"}
    return Pair(**{**fixed, "pair_id": pair_id, "reason": "told", **facts})


def finding(**facts: object) -> Finding:
    fixed = {"device": "cam", "code": "PAIR201", "name": "exposure-ratio-outside-range", "severity": "error"}
    return Finding(**{**fixed, "subject_kind": "pair", "subject_id": "s_00", "paths": (), "message": "m", **facts})


def validated(directory, findings: list[Finding]) -> manifests.Manifest:
    sums = manifests.load(directory).sums
    manifests.save(directory, {Finding: findings}, judged={"sums": dict(sums)})
    return manifests.load(directory)


def test_records_come_back_as_they_went(tmp_path) -> None:
    rows = [
        capture(black_level=(511.5, 512.0, 512.0, 512.0), dn_min=(1, 2, 3, 4), exposure_time_s=1 / 30),
        capture("b.dng", status="unreadable", status_reason="torn"),
    ]
    manifests.save(tmp_path / "cam", {Capture: rows, Pair: []})
    assert manifests.load(tmp_path / "cam").captures == rows


def test_the_arrow_schema_does_not_depend_on_the_rows(tmp_path) -> None:
    for name, rows in (("none", []), ("nulls", [capture()]), ("full", [capture(iso=100, f_number=2.0)])):
        manifests.save(tmp_path / name, {Capture: rows})
        assert pq.read_schema(tmp_path / name / "captures.parquet").equals(manifests.arrow_schema(Capture))
    assert manifests.arrow_schema(Capture).field("black_level").type == pa.list_(pa.float64())


def test_others_read_the_tables(tmp_path) -> None:
    manifests.save(tmp_path / "cam", {Capture: [capture(white_level=(1023.0,) * 4)]})
    query = f"select path, white_level[1] from '{tmp_path}/cam/captures.parquet'"
    assert duckdb.sql(query).fetchall() == [("a.dng", 1023.0)]
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "cam", check=True)


def test_the_same_rows_are_the_same_bytes(tmp_path) -> None:
    for name in ("one", "two"):
        manifests.save(tmp_path / name, {Capture: [capture()], Pair: [pair()]})
    assert (tmp_path / "one/SHA256SUMS").read_bytes() == (tmp_path / "two/SHA256SUMS").read_bytes()


@pytest.mark.parametrize("count", [0, 3, GROUP_ROWS + 1])
def test_an_older_table_stays_packed_with_nulls_for_what_it_lacks(tmp_path, count: int) -> None:
    rows = table_of(Capture, [capture(f"{number:05d}.dng", noise_dn=2.0) for number in range(count)])
    manifests.save(tmp_path / "cam", {Capture: rows.drop_columns(["noise_dn"])})
    found = manifests.load(tmp_path / "cam").tables[Capture]
    assert isinstance(found, Packed) == bool(count)
    assert Rows.of(Capture, found).arrow("noise_dn").null_count == count
    assert Rows.of(Capture, found).arrow("path").to_pylist() == rows.column("path").to_pylist()


def test_a_newer_schema_says_to_upgrade(tmp_path) -> None:
    directory = tmp_path / "cam"
    manifests.save(directory, {Capture: [capture()]})
    table = pq.read_table(directory / "captures.parquet")
    newer = table.set_column(0, table.schema.field(0), pa.array([2], pa.int64()))
    pq.write_table(newer, directory / "captures.parquet")
    (directory / "SHA256SUMS").write_text(f"{manifests.sha256_of(directory / 'captures.parquet')}  captures.parquet\n")
    with pytest.raises(IntegrityError, match="schema version 2, this sidcurate reads 1; upgrade"):
        manifests.load(directory)


def test_sums_that_name_another_file_are_refused(tmp_path) -> None:
    directory = tmp_path / "cam"
    manifests.save(directory, {Capture: [capture()]})
    (directory / "SHA256SUMS").write_text(f"{'0' * 64}  ../../etc/passwd\n")
    with pytest.raises(IntegrityError, match="which this version does not know"):
        manifests.load(directory)


@pytest.mark.parametrize("judged", [b"5", b"{", b"{}", b'{"sums": 5}', b"[" * 100_000])
def test_findings_that_do_not_say_by_what_are_refused(tmp_path, judged: bytes) -> None:
    directory = tmp_path / "cam"
    manifests.save(directory, {Capture: [capture()], Finding: [finding()]})
    path = directory / "findings.parquet"
    table = pq.read_table(path).replace_schema_metadata({"sidcurate.judged": judged})
    pq.write_table(table, path)
    lines = (f"{manifests.sha256_of(directory / name)}  {name}\n" for name in ("captures.parquet", path.name))
    (directory / "SHA256SUMS").write_text("".join(lines))
    with pytest.raises(IntegrityError, match=r"findings.parquet does not say what it was judged by"):
        manifests.load(directory)


@pytest.mark.parametrize("verb", ["split", "pair"])
def test_what_was_made_from_older_tables_is_not_written(tmp_path, verb: str, monkeypatch) -> None:
    directory = tmp_path / "cam"
    manifests.save(directory, {Capture: [capture()], Pair: [pair()]})
    real = manifests.load

    def overtaken(folder: Path, *progress: object) -> manifests.Manifest:
        manifest = real(folder, *progress)
        manifests.save(directory, {Capture: [capture(iso=2)], Pair: []})
        return manifest

    monkeypatch.setattr(manifests, "load", overtaken)
    result = CliRunner().invoke(main, [verb, "--device", "cam", "--manifests", str(tmp_path)])
    assert (result.exit_code, "changed by another process meanwhile" in result.stderr) == (2, True)
    assert real(directory).pairs == []


def test_an_unknown_device_names_those_that_exist(tmp_path) -> None:
    manifests.save(tmp_path / "cam", {Capture: [capture()]})
    with pytest.raises(UsageError, match=r"no manifest of device 'nikon' .*there: cam.*sidcurate ingest"):
        manifests.find(tmp_path, "nikon")


def test_pairs_with_an_error_of_their_own_or_of_a_frame_are_left_out(tmp_path) -> None:
    directory = tmp_path / "cam"
    pairs = [pair(), pair("t_00", short_path="t.dng"), pair("u_00", short_path="u.dng", long_path="v.dng")]
    manifests.save(directory, {Capture: [capture()], Pair: pairs})
    frame = finding(code="CAP111", subject_kind="capture", subject_id="v.dng")
    warned = finding(code="PAIR207", severity="warning", subject_id="t_00")
    kept, left_out = verdicts.judged_pairs(validated(directory, [finding(), frame, warned]))
    assert [row.pair_id for row in kept] == ["t_00"]
    assert left_out == {"s_00": ("PAIR201",), "u_00": ("CAP111",)}


def test_training_is_refused_before_validate_and_after_a_change(tmp_path) -> None:
    directory = tmp_path / "cam"
    manifests.save(directory, {Capture: [capture()], Pair: [pair()]})
    with pytest.raises(UsageError, match="never validated; run `sidcurate validate --device cam`"):
        verdicts.judged_pairs(manifests.load(directory))
    validated(directory, [])
    manifests.save(directory, {Pair: [pair(split="train")]})
    with pytest.raises(UsageError, match=r"changed since it was validated \(pairs.parquet\)"):
        verdicts.judged_pairs(manifests.load(directory))


def test_a_manifest_with_a_fault_as_a_whole_is_refused(tmp_path) -> None:
    directory = tmp_path / "cam"
    manifests.save(directory, {Capture: [capture()], Pair: [pair()]})
    whole = finding(code="SET306", subject_kind="manifest", subject_id="cam", message="no test scenes")
    with pytest.raises(UsageError, match="cannot be used: SET306 no test scenes"):
        verdicts.judged_pairs(validated(directory, [whole]))


def test_the_root_of_the_raws_is_a_pointer_that_a_person_can_mend(tmp_path) -> None:
    directory = tmp_path / "cam"
    directory.mkdir()
    write_source(directory, root=str(tmp_path / "gone"))
    with pytest.raises(UsageError, match='set "root" in'):
        source.raw_root(directory)
    (directory / "source.json").write_text(json.dumps({"root": str(tmp_path)}))
    assert source.raw_root(directory) == tmp_path


@pytest.mark.parametrize("path", ["/etc/passwd", "../raw.dng", "a/../../raw.dng", "a\0.dng", ""])
def test_a_path_cannot_lead_out_of_the_raws(path: str) -> None:
    with pytest.raises(ValidationError):
        capture(path)
    with pytest.raises(ValidationError):
        pair(short_path=path)


def test_a_folder_that_cannot_be_written_is_a_message(tmp_path) -> None:
    (tmp_path / "raws").mkdir()
    write_dng(tmp_path / "raws/a.dng", np.full((8, 8), 600, np.uint16), DngTags())
    (tmp_path / "m").write_text("a file where the folder should be")
    result = CliRunner().invoke(main, ["ingest", str(tmp_path / "raws"), "--manifests", str(tmp_path / "m")])
    assert result.exit_code == 2
    result = CliRunner().invoke(main, ["ingest", str(tmp_path / "raws"), "--manifests", str(tmp_path / "m/deeper")])
    assert result.exit_code == 4
    assert "Not a directory" in result.stderr


def test_a_frame_keeps_unknown_integers_integers(tmp_path) -> None:
    manifests.save(tmp_path / "cam", {Capture: [capture(iso=100), capture("b.dng")]})
    table = manifests.frame(tmp_path / "cam", Capture)
    assert table["iso"].dtype == "Int64"
    assert table["iso"].isna().tolist() == [False, True]
    with pytest.raises(IntegrityError, match="no table of findings"):
        manifests.frame(tmp_path / "cam", Finding)


def test_the_committed_example_loads() -> None:
    manifest = manifests.load(Path(__file__).parents[1] / "manifests/examples/oneplus7")
    assert (len(manifest.captures), len(manifest.pairs)) == (12, 6)
    assert verdicts.judged_pairs(manifest)[1] == {}


def test_empty_sums_are_no_empty_manifest(tmp_path) -> None:
    manifests.save(tmp_path / "cam", {Capture: [capture()]})
    (tmp_path / "cam" / "SHA256SUMS").write_text("")
    with pytest.raises(IntegrityError, match="is empty or not as it was written; move the folder away"):
        manifests.load(tmp_path / "cam")


@pytest.mark.parametrize(
    "content", ["[1]", "null", "{", '{"root": 5}', '{"seen": [1]}', '{"pairing": {"scene_gap_s": "x"}}']
)
def test_a_source_that_was_edited_wrongly_is_a_message(tmp_path, content: str) -> None:
    (tmp_path / "source.json").write_text(content)
    with pytest.raises(IntegrityError, match=r"source.json: .*; mend it, or delete it and ingest again"):
        source.read(tmp_path)
