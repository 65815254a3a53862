"""A file is whole or absent."""

import pytest

from sidcurate.durable import whole_file, write_whole


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "table"
    write_whole(path, b"old")

    def fail() -> None:
        with whole_file(path) as stream:
            stream.write(b"half of the new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == ["table"]
    assert path.read_bytes() == b"old"


def test_a_reader_sees_the_old_file_until_the_block_ends(tmp_path) -> None:
    path = tmp_path / "table"
    write_whole(path, b"old")
    with whole_file(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
