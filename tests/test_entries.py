"""Entries of a store: each is what its name and its record say, or is refused in words."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidcurate.errors import IntegrityError
from sidcurate.storage import entries
from sidcurate.storage.entries import RenderingRecord

PIXELS = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
MADE_FROM = {"format": 3, "raw": "a" * 64, "rendering": {"adjust_maximum_thr": 0.75, "white_balance": (2.5, 1, 1e-5)}}
RENDERING = RenderingRecord(white_balance=(2.0, 1.0, 1.5), maximum_adjusted=True)


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(store: Path) -> Path:
    path = store / f"{entries.key(MADE_FROM)}.target.npy"
    entries.write(path, PIXELS, MADE_FROM, RENDERING)
    return path


def test_an_entry_comes_back_as_it_was_and_as_numpy_writes_it(entry: Path, tmp_path: Path) -> None:
    array, record = entries.read(entry, PIXELS.shape)
    assert np.array_equal(array, PIXELS)
    assert isinstance(array, np.memmap)
    assert record.rendering == RENDERING
    entries.check(entry)
    np.save(tmp_path / "plain.npy", PIXELS)
    assert entry.read_bytes() == (tmp_path / "plain.npy").read_bytes()


def test_a_transposed_array_comes_back_as_it_looks(tmp_path: Path) -> None:
    path = tmp_path / f"{entries.key({})}.planes.npy"
    entries.write(path, PIXELS.T[:, ::-1], {}, None)
    assert np.array_equal(entries.read(path)[0], PIXELS.T[:, ::-1])
    entries.check(path)


def test_every_flipped_bit_is_found(entry: Path) -> None:
    for path in (entry, entries.record_path(entry)):
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            with pytest.raises(
                IntegrityError, match=r"is damaged .*; delete it, and the next training decodes it anew"
            ):
                entries.check(entry)
        path.write_bytes(whole)
    entries.check(entry)


def test_pixels_of_another_shape_are_refused_when_they_are_opened(entry: Path) -> None:
    with pytest.raises(IntegrityError, match=r"it holds uint16 of \(4, 5, 6\), not uint16 of \(4, 6, 5\)"):
        entries.read(entry, (4, 6, 5))


def test_a_record_that_a_person_changed_is_refused(entry: Path) -> None:
    path = entries.record_path(entry)
    path.write_text(json.dumps(json.loads(path.read_bytes())))
    with pytest.raises(IntegrityError, match="it is not as it was written"):
        entries.read(entry)


def test_a_record_of_before_entries_were_sealed_is_told_from_a_damaged_one(entry: Path) -> None:
    entries.record_path(entry).write_text(json.dumps({"sha256": "0" * 64, "rendering": None}))
    with pytest.raises(IntegrityError, match=r"was written by an older version of sidcurate; delete it"):
        entries.read(entry)


def test_an_entry_under_the_name_of_another_is_refused(entry: Path) -> None:
    other = entry.with_name(f"{entries.key({})}.target.npy")
    entries.record_path(entry).rename(entries.record_path(other))
    entry.rename(other)
    with pytest.raises(IntegrityError, match="its name is not the hash of what it says"):
        entries.read(other)


def test_what_is_no_entry_is_told_from_what_is_and_from_halves_of_one(entry: Path, tmp_path: Path) -> None:
    half = tmp_path / f"{'c' * 64}.planes.npy"
    half.write_bytes(b"")
    alone = tmp_path / f"{'d' * 64}.planes.json"
    alone.write_bytes(b"")
    for other in ("notes.txt", "0.planes.npy", f".{'e' * 16}.part", "cover.final.npy"):
        (tmp_path / other).write_bytes(b"")
    assert entries.found(tmp_path) == ([entry], [half, alone])


class Harm:
    """What a pickle does when it is read: here, make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("as_array", [False, True], ids=["a pickle alone", "an array of objects"])
def test_no_pickle_is_read(entry: Path, tmp_path: Path, as_array: bool) -> None:
    harm = Harm(tmp_path / "done")
    with entry.open("wb") as stream:
        np.save(stream, np.array([harm], object)) if as_array else pickle.dump(harm, stream)
    with pytest.raises(IntegrityError, match="is damaged"):
        entries.read(entry)
    assert not harm.folder.exists()


HEADS = [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", b"\x93NUMPY\x09\x00\x10\x00"]
TEXTS = [
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (4, 5, 6), }",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (1 << 70,), }",
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (%d, 4), }" % (1 << 62),
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (-4, 5, 6), }",
    b"(" * 5000,
    b"'''",
    b"  x\n y",
    b"__import__('os').system('true')",
    b"-" * 9000 + b"1",
]
once = settings(max_examples=80)


@once
@given(
    content=st.one_of(
        st.sampled_from(HEADS), st.binary(max_size=300), st.sampled_from(TEXTS), st.text().map(str.encode)
    )
)
def test_whatever_stands_in_the_header_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    entry = write(tmp_path)
    for head in (b"", b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little")):
        entry.write_bytes(head + content)
        with pytest.raises(IntegrityError, match=r"is damaged"):
            entries.read(entry)


@once
@given(content=st.one_of(st.binary(max_size=300), st.sampled_from([b"[" * 10**5, b"null", b"{}", b'{"sha256":1e999}'])))
def test_whatever_stands_in_the_record_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    entry = write(tmp_path)
    entries.record_path(entry).write_bytes(content)
    with pytest.raises(IntegrityError, match=r"is damaged|are read|an older version"):
        entries.read(entry)
