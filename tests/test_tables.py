"""Parquet that means harm: what it would unfold to is known before it does, and a wrong one is named as such."""

import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidcurate import manifests
from sidcurate.errors import IntegrityError
from sidcurate.schemas import SCHEMA_VERSION, Capture, Pair
from sidcurate.tables import bounded, pages

SCHEMA = pa.schema(
    [
        pa.field("schema_version", pa.int64()),
        pa.field("path", pa.string()),
        pa.field("black_level", pa.list_(pa.float64())),
        pa.field("paths", pa.list_(pa.string())),
    ]
)
WHERE = Path("captures.parquet")


def parquet(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **{"compression": "zstd", "write_page_checksum": True, **options})
    return buffer.getvalue()


def rows(count: int = 2, version: int | None = 1) -> pa.Table:
    columns = [[version] * count, ["a.dng"] * count, [[1.0, 2.0]] * count, [["a", "b"]] * count]
    return pa.table(columns, schema=SCHEMA)


def with_column(name: str, values: pa.Array) -> pa.Table:
    table = rows(len(values))
    return table.set_column(table.schema.get_field_index(name), name, values)


def parse(content: bytes) -> pa.Table:
    return bounded.parse(WHERE, content)


def test_a_table_comes_back_as_it_went_with_its_key_values() -> None:
    table = rows().replace_schema_metadata({"who": "me"})
    found = parse(parquet(table))
    assert found.equals(table)
    assert found.schema.metadata[b"who"] == b"me"
    assert parse(parquet(rows(0))).equals(rows(0))


def packed_table(monkeypatch, group: int) -> tuple[bounded.Packed, pa.Table]:
    """Eleven rows, packed by so many, with a text, lists of texts and numbers that differ by row, some unknown."""
    monkeypatch.setattr(bounded, "GROUP_ROWS", 4)
    table = pa.table(
        [
            [None, *range(10)],
            [f"{number % 7}.dng" for number in range(10)] + [None],
            [[1.0] * (number % 3) or None for number in range(11)],
            [[f"a{number}", "b"] * (number % 3) for number in range(11)],
        ],
        schema=SCHEMA,
    )
    return bounded.Packed(WHERE, parquet(table, row_group_size=group)), table


@pytest.mark.parametrize("group", [4, 3, 11])
def test_a_packed_table_is_read_by_batch_by_column_and_in_parts(monkeypatch, group: int) -> None:
    packed, table = packed_table(monkeypatch, group)
    batches = list(packed.batches())
    assert max(batch.num_rows for batch in batches) <= 4
    assert pa.concat_tables(batches).equals(table)
    assert (packed.num_rows, packed.schema) == (11, SCHEMA)
    for name in SCHEMA.names:
        whole = table.column(name).combine_chunks()
        assert bounded.plainly(packed.column(name)).equals(whole)
        for start in range(12):
            for count in range(12 - start):
                assert packed.slice(start, count).column(name).equals(whole.slice(start, count))


def test_an_empty_packed_table_has_empty_columns() -> None:
    packed = bounded.Packed(WHERE, parquet(rows(0)))
    assert list(packed.batches()) == []
    for field in SCHEMA:
        for column in (packed.slice(0, 0).column(field.name), bounded.plainly(packed.column(field.name))):
            assert (column.type, len(column)) == (field.type, 0)


@pytest.mark.parametrize(("bound", "most", "whole"), [("_MOST_UNPACKED_BYTES", 70, 1), ("_MOST_BYTES_AT_ONCE", 30, 0)])
def test_text_is_counted_in_each_batch_and_over_all(monkeypatch, bound: str, most: int, whole: int) -> None:
    packed, _ = packed_table(monkeypatch, 4)
    monkeypatch.setattr(bounded, bound, most)
    monkeypatch.setattr(bounded, "_check_sizes", lambda metadata: None)
    seen = packed.batches()
    assert [next(seen).num_rows for _ in range(whole)] == [4] * whole
    with pytest.raises(IntegrityError, match="has more text when it is unpacked"):
        list(seen)


def big_list() -> pa.Table:
    return with_column("black_level", pa.array([[0.0] * (1 << 21)]))


def big_text() -> pa.Table:
    once = pa.array(["x" * (1 << 20)])
    return with_column("path", pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), once))


def big_text_in_lists() -> pa.Table:
    names = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), pa.array(["x" * (1 << 20)]))
    return with_column("paths", pa.ListArray.from_arrays(pa.array(range(1_000_001), pa.int32()), names))


def many_rows() -> pa.Table:
    count = (1 << 22) + 1
    return pa.table([pa.nulls(count, field.type) for field in SCHEMA], schema=SCHEMA)


BOMBS = {
    "rows": (many_rows, "has more rows than any manifest of ours"),
    "a list": (big_list, "has more values in a row than any manifest of ours"),
    "a text": (big_text, "has more text when it is unpacked than any manifest of ours"),
    "texts in lists": (big_text_in_lists, "has more text when it is unpacked than any manifest of ours"),
}


@pytest.mark.parametrize(("make", "message"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_before_it_unfolds(make, message: str) -> None:
    content = parquet(make())
    assert len(content) < 2_000_000
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(IntegrityError, match=message):
        parse(content)
    assert pa.default_memory_pool().max_memory() - before < 1 << 28


def test_what_unpacks_to_too_many_bytes_is_refused(monkeypatch) -> None:
    content = parquet(with_column("black_level", pa.array([[float(i)] for i in range(2000)])), use_dictionary=False)
    assert parse(content).num_rows == 2000
    monkeypatch.setattr(bounded, "_MOST_UNPACKED_BYTES", 8000)
    with pytest.raises(IntegrityError, match="has more bytes when it is unpacked"):
        parse(content)


def test_what_unpacks_to_too_many_bytes_at_once_is_refused(monkeypatch) -> None:
    table = with_column("path", pa.array([f"{number:05d}.dng" for number in range(4000)]))
    monkeypatch.setattr(bounded, "_MOST_BYTES_AT_ONCE", 40_000)
    assert parse(parquet(table, row_group_size=1000)).num_rows == 4000
    with pytest.raises(IntegrityError, match="has more bytes to unpack at once than any manifest of ours"):
        parse(parquet(table))


def unsigned(value: int, length: int) -> bytes:
    """A number as Thrift writes it, in more bytes than it needs."""
    return bytes(value >> 7 * place & 127 | 128 for place in range(length - 1)) + bytes([value >> 7 * (length - 1)])


def test_a_footer_that_makes_its_pages_small_is_refused_before_they_unfold() -> None:
    content = parquet(pa.table({"path": ["x" * (64 << 20)]}), write_statistics=False)
    group = pq.read_metadata(io.BytesIO(content)).row_group(0)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    forged = content[footer:]
    for size in {group.total_byte_size, group.column(0).total_uncompressed_size}:
        forged = forged.replace(unsigned(2 * size, 4), unsigned(2 * 100, 4))
    told = pq.read_metadata(io.BytesIO(content[:footer] + forged)).row_group(0).column(0)
    assert told.total_uncompressed_size == 100
    with pytest.raises(IntegrityError, match="has pages that are larger than its footer says"):
        parse(content[:footer] + forged)


@pytest.mark.parametrize(
    "header",
    [
        bytes([0x25, 2, 0x15, 2, 0]),
        bytes([0x25, 1, 0x15, 2, 0]),
        bytes([0x25, 2, 0]),
        bytes([0x1C] * 5000),
        bytes([0x25] + [0xFF] * 11),
        bytes([0x19, 0x15]),
        bytes([0x05]),
        b"",
    ],
    ids=["cut", "negative", "half a size", "nested", "a long number", "a list", "a field without number", "nothing"],
)
def test_what_is_no_page_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match=r"page|number|footer"):
        pages.unpacked_bytes(header, 0, len(header) or 1)


@pytest.mark.parametrize(("start", "count"), [(-5, 5), (0, 6), (5, -5)])
def test_pages_outside_of_the_file_are_refused(start: int, count: int) -> None:
    page = bytes([0x25, 2, 0x15, 0, 0])
    assert pages.unpacked_bytes(page, 0, 5) == 1
    with pytest.raises(ValueError, match="outside of the file"):
        pages.unpacked_bytes(page, start, count)


def test_a_page_that_was_changed_is_known_by_its_own_checksum() -> None:
    """As other readers of the tables know it too, which take no notice of SHA256SUMS."""
    content = bytearray(bounded.written(SCHEMA, [rows()]))
    chunk = pq.read_metadata(io.BytesIO(content)).row_group(0).column(1)
    content[chunk.dictionary_page_offset + chunk.total_compressed_size - 1] ^= 1
    with pytest.raises(IntegrityError, match="CRC checksum verification failed"):
        parse(bytes(content))


def test_encodings_that_hide_their_size_are_refused() -> None:
    content = parquet(rows(), use_dictionary=False, column_encoding={"path": "DELTA_BYTE_ARRAY"})
    with pytest.raises(IntegrityError, match="has other encodings than any manifest of ours"):
        parse(content)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"PAR1" + b"\xff" * 8 + b"PAR1", b"a,b\n1,2\n"])
def test_what_is_no_parquet_file_is_refused(content: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"captures.parquet (is not a readable Parquet file|has a footer larger)"):
        parse(content)


WHOLE = parquet(rows())


@settings(max_examples=150)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 64), st.binary(max_size=32))
def test_changed_bytes_are_refused_or_a_valid_table(at: int, cut: int, put: bytes) -> None:
    try:
        found = parse(WHOLE[:at] + put + WHOLE[at + cut :])
    except IntegrityError:
        return
    found.validate(full=True)


def small_manifest(folder: Path) -> Path:
    directory = folder / "cam"
    rows = {
        Capture: [Capture(device="cam", path="a.dng", size_bytes=1, status="ok", iso=100)],
        Pair: [
            Pair(
                device="cam",
                pair_id="s_00",
                scene_id="s",
                burst_index=0,
                short_path="a.dng",
                long_path="b.dng",
                reason="told",
            )
        ],
    }
    manifests.save(directory, rows)
    return directory


def flips(path: Path, rng: random.Random, sample: int) -> list[int]:
    bits = 8 * path.stat().st_size
    return list(range(bits)) if path.name == manifests.SUMS else rng.sample(range(bits), sample)


def test_a_flipped_bit_is_never_another_table(tmp_path) -> None:
    directory = small_manifest(tmp_path)
    whole = manifests.load(directory)
    rng = random.Random(5)
    for path in sorted(directory.iterdir()):
        content = path.read_bytes()
        for bit in flips(path, rng, 300) if content else ():
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            with pytest.raises(IntegrityError):
                manifests.load(directory)
        path.write_bytes(content)
    assert manifests.load(directory) == whole


def test_every_released_version_has_an_example_that_loads() -> None:
    examples = Path(__file__).parents[1] / "manifests" / "examples"
    loaded = [manifests.load(directory) for directory in manifests.directories(examples)]
    versions = {capture.schema_version for manifest in loaded for capture in manifest.captures}
    assert versions == set(range(1, SCHEMA_VERSION + 1)), "keep an example of each version, add one of the new"
