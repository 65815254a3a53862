"""The store: decoded once, whole or absent, and never another raw than the manifest's."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rawpy
import small_session

from sidcurate.errors import IntegrityError, MissingResourceError, UnreadableRawError, UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Capture
from sidtrain import store
from sidtrain.store import Entry, StoreSettings

PLAIN = StoreSettings(adjust_maximum_thr=0.0)


def captures(manifest: Manifest) -> dict[str, Capture]:
    return {capture.path: capture for capture in manifest.captures}


def build(manifest: Manifest, folder: Path, settings: StoreSettings = PLAIN, **changed: object) -> list[Entry]:
    arguments = {"pairs": manifest.pairs, "captures": captures(manifest), "raw_root": folder / "raws", **changed}
    return store.build(store=folder / "store", settings=settings, jobs=1, **arguments)  # type: ignore[arg-type]


def decoded(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "store").iterdir()}


@pytest.mark.parametrize("cfa", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_planes_levels_and_target_follow_the_phase(tmp_path: Path, cfa: str) -> None:
    manifest = small_session.write_session(tmp_path, ["train"], cfa=cfa, size=(50, 66))
    (entry,) = build(manifest, tmp_path)
    top, left = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}[cfa]
    height, width = (50 - top) // 2, (66 - left) // 2
    assert entry.planes.shape == (4, height, width)
    assert entry.target.shape == (2 * height, 2 * width, 3)
    with rawpy.imread(str(tmp_path / "raws" / manifest.pairs[0].short_path)) as raw:
        mosaic = raw.raw_image_visible[top:, left:].copy()
    for plane, (row, column) in enumerate([(0, 0), (0, 1), (1, 1), (1, 0)]):
        assert np.array_equal(entry.planes[plane], mosaic[row::2, column::2][:height, :width])
        position = (row + top) % 2 * 2 + (column + left) % 2
        assert entry.black[plane] == small_session.BLACK + position
    assert entry.white.tolist() == [small_session.WHITE] * 4


def test_the_target_is_a_libraw_rendering_of_the_long_frame(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"], cfa="BGGR")
    for threshold in (0.0, 0.75):
        (entry,) = build(manifest, tmp_path, StoreSettings(threshold))
        with rawpy.imread(str(tmp_path / "raws" / manifest.pairs[0].long_path)) as raw:
            image = raw.postprocess(
                use_camera_wb=True, no_auto_bright=True, output_bps=16, user_flip=0, adjust_maximum_thr=threshold
            )
        assert np.array_equal(entry.target, image[1:49, 1:65])


def test_pixels_stay_on_the_disk_until_they_are_asked_for(tmp_path: Path) -> None:
    (entry,) = build(small_session.write_session(tmp_path, ["train"]), tmp_path)
    assert isinstance(entry.planes, np.memmap)
    assert isinstance(entry.target, np.memmap)


def test_a_second_run_decodes_nothing(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train", "val"])
    reports: list[tuple[int, int]] = []
    build(manifest, tmp_path, progress=lambda done, total: reports.append((done, total)))
    before = decoded(tmp_path)
    shutil.rmtree(tmp_path / "raws")
    build(manifest, tmp_path, progress=lambda done, total: reports.append((done, total)))
    assert decoded(tmp_path) == before
    assert reports == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4), (0, 0)]


def test_a_changed_setting_renders_targets_anew_and_keeps_the_planes(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train", "val"])
    build(manifest, tmp_path)
    before = decoded(tmp_path)
    build(manifest, tmp_path, StoreSettings(0.75))
    new = decoded(tmp_path).keys() - before.keys()
    assert len(new) == 2
    assert all(name.endswith(".target.npy") for name in new)


def test_shorts_that_share_a_long_frame_share_its_target(tmp_path: Path) -> None:
    build(small_session.write_session(tmp_path, ["train"], shorts=3), tmp_path)
    assert sorted(name.split(".")[1] for name in decoded(tmp_path)) == ["planes", "planes", "planes", "target"]


def test_a_raw_that_changed_since_ingest_is_refused(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    path = tmp_path / "raws" / manifest.pairs[0].short_path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"SET305.*sidcurate ingest"):
        build(manifest, tmp_path)


def test_a_raw_that_is_gone_is_named(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    (tmp_path / "raws" / manifest.pairs[0].long_path).unlink()
    with pytest.raises(UnreadableRawError, match=r"SET304.*00000_00_10s"):
        build(manifest, tmp_path)


def test_too_little_space_is_said_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    needed = store.missing_bytes(manifest.pairs, captures(manifest), tmp_path / "raws", tmp_path / "store", PLAIN)
    assert needed == 2 * (4 + 12) * 24 * 32
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(needed, 1, needed - 1))
    with pytest.raises(MissingResourceError, match="--store"):
        build(manifest, tmp_path)
    assert decoded(tmp_path) == {}


def test_the_known_size_is_the_size_on_disk(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train", "val"], cfa="GRBG")
    folder = tmp_path / "store"
    needed = store.missing_bytes(manifest.pairs, captures(manifest), tmp_path / "raws", folder, PLAIN)
    build(manifest, tmp_path)
    headers = 128 * 4  # of the .npy format
    assert sum(path.stat().st_size for path in folder.iterdir()) == needed + headers
    assert store.missing_bytes(manifest.pairs, captures(manifest), tmp_path / "raws", folder, PLAIN) == 0


def test_a_frame_that_is_not_bayer_is_refused(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    changed = captures(manifest)
    short = manifest.pairs[0].short_path
    changed[short] = changed[short].model_copy(update={"cfa_kind": "xtrans"})
    with pytest.raises(UsageError, match="xtrans"):
        build(manifest, tmp_path, captures=changed)


def test_a_frame_without_levels_is_refused(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    changed = captures(manifest)
    short = manifest.pairs[0].short_path
    changed[short] = changed[short].model_copy(update={"black_level": None})
    with pytest.raises(UsageError, match="CAP121"):
        build(manifest, tmp_path, captures=changed)


def test_a_pair_of_two_sizes_is_refused(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    changed = captures(manifest)
    long = manifest.pairs[0].long_path
    changed[long] = changed[long].model_copy(update={"width": 60})
    with pytest.raises(UsageError, match="PAIR206"):
        build(manifest, tmp_path, captures=changed)


def test_what_a_killed_writer_leaves_is_no_entry(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    (entry,) = build(manifest, tmp_path)
    planes = np.array(entry.planes)
    path = Path(str(entry.planes.filename))  # type: ignore[attr-defined]
    path.with_name(f".{path.name}.{os.getpid()}").write_bytes(path.read_bytes()[:100])
    path.unlink()
    (again,) = build(manifest, tmp_path)
    assert np.array_equal(again.planes, planes)


def test_a_file_of_the_store_that_was_cut_is_named(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    build(manifest, tmp_path)
    path = next((tmp_path / "store").glob("*.target.npy"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=f"{path.name}.*delete it"):
        build(manifest, tmp_path)


def test_an_entry_knows_its_pair(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train", "val"])
    entries = build(manifest, tmp_path)
    assert [entry.pair for entry in entries] == list(manifest.pairs)
    assert {field.name for field in dataclasses.fields(Entry)} == {"pair", "planes", "black", "white", "target"}
