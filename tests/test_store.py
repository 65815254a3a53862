"""The store: decoded once, whole or absent, and never another raw than the manifest's."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rawpy
import small_session

from sidcurate import cfa
from sidcurate.errors import IntegrityError, MissingResourceError, UnreadableRawError, UsageError
from sidcurate.manifests import Manifest
from sidcurate.raws import raw
from sidcurate.schemas import Capture
from sidcurate.storage import entries
from sidtrain.data import store
from sidtrain.data.store import Entry, RenderingRecord, StoreSettings
from sidtrain.normalization import LevelsPolicy

PLAIN = StoreSettings(adjust_maximum_thr=0.0)
BLOCK = 4096  # for the header of an array and the record beside it


def captures(manifest: Manifest) -> dict[str, Capture]:
    return {capture.path: capture for capture in manifest.captures}


def build(manifest: Manifest, folder: Path, settings: StoreSettings = PLAIN, **changed: object) -> list[Entry]:
    arguments = {"pairs": manifest.pairs, "captures": captures(manifest), "raw_root": folder / "raws", "jobs": 1}
    return store.build(store=folder / "store", settings=settings, **(arguments | changed))  # type: ignore[arg-type]


def decoded(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "store").iterdir()}


@pytest.mark.parametrize("phase", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_planes_levels_and_target_follow_the_phase(tmp_path: Path, phase: str) -> None:
    manifest = small_session.write_session(tmp_path, ["train"], cfa=phase, size=(50, 66))
    (entry,) = build(manifest, tmp_path)
    top, left = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}[phase]
    height, width = (50 - top) // 2, (66 - left) // 2
    assert entry.planes.shape == (4, height, width)
    assert entry.target.shape == (2 * height, 2 * width, 3)
    with rawpy.imread(str(tmp_path / "raws" / manifest.pairs[0].short_path)) as opened:
        mosaic = opened.raw_image_visible[top:, left:].copy()
    for plane, (row, column) in enumerate([(0, 0), (0, 1), (1, 1), (1, 0)]):
        assert np.array_equal(entry.planes[plane], mosaic[row::2, column::2][:height, :width])
        position = (row + top) % 2 * 2 + (column + left) % 2
        assert entry.black[plane] == small_session.BLACK + position
    assert entry.white.tolist() == [small_session.WHITE] * 4


def test_the_target_is_a_libraw_rendering_of_the_long_frame(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"], cfa="BGGR")
    for threshold in (0.0, 0.75):
        (entry,) = build(manifest, tmp_path, StoreSettings(threshold))
        with rawpy.imread(str(tmp_path / "raws" / manifest.pairs[0].long_path)) as opened:
            image = opened.postprocess(
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
    assert sorted(name.split(".", 1)[1] for name in new) == ["target.json"] * 2 + ["target.npy"] * 2


def test_another_libraw_decodes_anew_and_mixes_with_no_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    build(manifest, tmp_path)
    before = decoded(tmp_path)
    monkeypatch.setattr(raw, "LIBRAW", "0.99.0")
    build(manifest, tmp_path)
    after = decoded(tmp_path)
    assert len(after) == 2 * len(before)
    assert {name: after[name] for name in before} == before


def test_shorts_that_share_a_long_frame_share_its_target(tmp_path: Path) -> None:
    build(small_session.write_session(tmp_path, ["train"], shorts=3), tmp_path)
    kinds = sorted(name.split(".", 1)[1] for name in decoded(tmp_path))
    assert kinds == ["planes.json"] * 3 + ["planes.npy"] * 3 + ["target.json", "target.npy"]


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
    assert needed == 2 * (4 + 12) * 24 * 32 + 2 * BLOCK
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(needed, 1, needed - 1))
    with pytest.raises(MissingResourceError, match="--store"):
        build(manifest, tmp_path)
    assert decoded(tmp_path) == {}


def test_the_known_size_is_the_size_on_disk_up_to_a_block_a_frame(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train", "val"], cfa="GRBG")
    folder = tmp_path / "store"
    needed = store.missing_bytes(manifest.pairs, captures(manifest), tmp_path / "raws", folder, PLAIN)
    build(manifest, tmp_path)
    assert needed - 4 * BLOCK < sum(path.stat().st_size for path in folder.iterdir()) <= needed
    assert store.missing_bytes(manifest.pairs, captures(manifest), tmp_path / "raws", folder, PLAIN) == 0


def test_a_frame_that_is_not_bayer_is_refused(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    changed = captures(manifest)
    short = manifest.pairs[0].short_path
    changed[short] = changed[short].model_copy(update={"cfa_kind": "xtrans"})
    with pytest.raises(UsageError, match=r'xtrans.*takes bayer.*architecture = "xtrans"'):
        build(manifest, tmp_path, captures=changed)


def test_a_frame_without_levels_is_refused_before_any_is_decoded(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    changed = captures(manifest)
    short = manifest.pairs[0].short_path
    changed[short] = changed[short].model_copy(update={"black_level": None})
    with pytest.raises(UsageError, match="CAP121"):
        build(manifest, tmp_path, captures=changed)
    assert not (tmp_path / "store").exists()


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
    assert {entry.levels for entry in entries} == {"declared"}
    assert {entry.enlargement for entry in entries} == {2}


@pytest.mark.parametrize("phase", ["RGGB", "BGGR"])
def test_packed_by_position_nothing_is_cropped_and_each_site_keeps_its_level(tmp_path: Path, phase: str) -> None:
    manifest = small_session.write_session(tmp_path, ["train"], cfa=phase)
    (entry,) = build(manifest, tmp_path, StoreSettings(0.0, packing="by-position"))
    with rawpy.imread(str(tmp_path / "raws" / manifest.pairs[0].short_path)) as opened:
        mosaic = opened.raw_image_visible.copy()
    assert entry.target.shape == (50, 66, 3)
    for plane, (row, column) in enumerate([(0, 0), (0, 1), (1, 1), (1, 0)]):
        assert np.array_equal(entry.planes[plane], mosaic[row::2, column::2])
        assert entry.black[plane] == small_session.BLACK + 2 * row + column


def test_a_crop_is_the_top_left_of_both_and_decodes_nothing(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"], cfa="BGGR")
    (whole,) = build(manifest, tmp_path)
    before = decoded(tmp_path)
    (entry,) = build(manifest, tmp_path, StoreSettings(0.0, crop=(40, 9000)))
    assert decoded(tmp_path) == before
    assert entry.planes.shape == (4, 19, 32)  # rows 1 to 38 of the 40
    assert np.array_equal(entry.planes, whole.planes[:, :19])
    assert np.array_equal(entry.target, whole.target[:38])


def test_levels_are_those_of_the_policy_and_decode_nothing(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train", "val"], cfa="BGGR")
    declared, _ = build(manifest, tmp_path)
    before = decoded(tmp_path)
    pairs = [manifest.pairs[0].model_copy(update={"zero_error_dn": (1.0, 2.0, 3.0, 4.0)}), manifest.pairs[1]]
    told, untold = build(manifest, tmp_path, StoreSettings(0.0, levels=LevelsPolicy("measured")), pairs=pairs)
    assert decoded(tmp_path) == before
    assert (told.levels, untold.levels) == ("measured", "declared")
    assert (told.black - declared.black).tolist() == [4, 3, 1, 2]  # R, G, B, G of a BGGR mosaic
    assert np.array_equal(told.white, declared.white)


def test_fixed_multipliers_make_other_targets_with_their_own_record(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"], cfa="BGGR")
    (camera,) = build(manifest, tmp_path)
    (fixed,) = build(manifest, tmp_path, StoreSettings(0.0, white_balance=(2.5, 1.0, 1.25)))
    assert len(list((tmp_path / "store").glob("*.target.npy"))) == 2
    assert not np.array_equal(camera.target, fixed.target)
    with rawpy.imread(str(tmp_path / "raws" / manifest.pairs[0].long_path)) as opened:
        red, green, blue, _ = opened.camera_whitebalance
    assert camera.rendering == RenderingRecord(white_balance=(red / green, 1.0, blue / green), maximum_adjusted=False)
    assert fixed.rendering == RenderingRecord(white_balance=(2.5, 1.0, 1.25), maximum_adjusted=False)


def test_the_record_says_whether_the_maximum_was_adjusted(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"] * 5, cfa="BGGR")
    without = build(manifest, tmp_path)
    entries = build(manifest, tmp_path, StoreSettings(0.4))
    acted = [entry.rendering.maximum_adjusted for entry in entries if entry.rendering]
    pairs = zip(entries, without, strict=True)
    assert acted == [not np.array_equal(entry.target, plain.target) for entry, plain in pairs]
    assert set(acted) == {True, False}
    assert not any(entry.rendering.maximum_adjusted for entry in without if entry.rendering)


@pytest.mark.parametrize("half", ["*.target.json", "*.target.npy", "*.planes.json", "*.planes.npy"])
def test_half_an_entry_is_made_again(tmp_path: Path, half: str) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    build(manifest, tmp_path)
    path = next((tmp_path / "store").glob(half))
    before = path.read_bytes()
    path.unlink()
    (entry,) = build(manifest, tmp_path)
    assert entry.rendering
    assert path.read_bytes() == before


def test_a_link_that_leads_out_of_the_raws_is_not_followed(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    path = tmp_path / "raws" / manifest.pairs[0].short_path
    path.rename(tmp_path / "elsewhere.dng")
    path.symlink_to(tmp_path / "elsewhere.dng")
    with pytest.raises(UnreadableRawError, match=f"{path.name}: the path is a link that leads out of the folder"):
        build(manifest, tmp_path)


def test_the_ratio_of_the_names_stands_with_the_entry(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    named = captures(manifest)
    pair = manifest.pairs[0]
    for path, seconds in ((pair.short_path, 0.033), (pair.long_path, 10.0)):
        named[path] = named[path].model_copy(update={"name_exposure_time_s": seconds})
    assert [entry.name_ratio for entry in build(manifest, tmp_path, captures=named)] == [10 / 0.033]
    assert [entry.name_ratio for entry in build(manifest, tmp_path)] == [None]


XTRANS = "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"


def test_an_xtrans_pair_is_packed_and_rendered_for_a_network_that_takes_it(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"], cfa=XTRANS, size=(520, 530))
    with pytest.raises(UsageError, match=r'xtrans.*takes bayer frames only.*sid-fuji.*architecture = "xtrans"'):
        build(manifest, tmp_path)
    (entry,) = build(manifest, tmp_path, StoreSettings(0.0, cfa_kind="xtrans"))
    layout = cfa.layout(XTRANS)
    top, left = layout.offset
    assert entry.planes.shape == (9, (520 - top) // 6 * 2, (530 - left) // 6 * 2)
    assert entry.target.shape == (3 * entry.planes.shape[1], 3 * entry.planes.shape[2], 3)
    assert (entry.enlargement, entry.black.tolist()) == (3, [64.0] * 9)
    raws = tmp_path / "raws"
    with rawpy.imread(str(raws / manifest.pairs[0].short_path)) as opened:
        assert np.array_equal(entry.planes, layout.pack(opened.raw_image_visible))
        colors = layout.pack(opened.raw_colors_visible)
    assert [set(plane.ravel().tolist()) for plane in colors] == [{"RGB".index(color)} for color in "RGBRBGGGG"]
    with rawpy.imread(str(raws / manifest.pairs[0].long_path)) as opened:
        image = opened.postprocess(
            use_camera_wb=True, no_auto_bright=True, output_bps=16, user_flip=0, adjust_maximum_thr=0
        )
    height, width = entry.target.shape[:2]
    assert np.array_equal(entry.target, image[top : top + height, left : left + width])


def test_an_xtrans_frame_too_small_for_libraw_says_so(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"], cfa=XTRANS, size=(512, 510))
    with pytest.raises(
        UnreadableRawError, match="LibRaw renders X-Trans from 512 px a side on, this frame has 510x512"
    ):
        build(manifest, tmp_path, StoreSettings(0.0, cfa_kind="xtrans"))


def test_a_bayer_pair_is_refused_by_a_network_for_xtrans(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train"])
    with pytest.raises(UsageError, match=r"bayer.*takes xtrans frames only.*recipe.*device"):
        build(manifest, tmp_path, StoreSettings(0.0, cfa_kind="xtrans"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_render_what_rawpy_renders_in_this_process_bit_for_bit(tmp_path: Path, jobs: int) -> None:
    manifest = small_session.write_session(tmp_path, ["train"] * 4, cfa="GBRG", size=(120, 160))
    entries = build(manifest, tmp_path, StoreSettings(0.75), jobs=jobs)
    for pair, entry in zip(manifest.pairs, entries, strict=True):
        with rawpy.imread(str(tmp_path / "raws" / pair.long_path)) as opened:
            image = opened.postprocess(use_camera_wb=True, half_size=False, no_auto_bright=True, output_bps=16)
        assert np.array_equal(entry.target, image[1:119])


STANDING_STILL = """
import sys, time
from pathlib import Path
from sidcurate import manifests
from sidtrain.data import store

def stand_still(done, total):
    if done == 2:
        print("two are decoded", flush=True)
        time.sleep(600)

folder = Path(sys.argv[1])
manifest = manifests.load(folder / "manifests" / "phone")
captures = {capture.path: capture for capture in manifest.captures}
settings = store.StoreSettings(0.0)
if __name__ == "__main__":
    store.build(manifest.pairs, captures, folder / "raws", folder / "store", settings, 2, stand_still)
"""


def test_a_build_that_was_killed_goes_on_with_what_is_whole(tmp_path: Path) -> None:
    """Its workers decode a few frames more meanwhile, never all."""
    manifest = small_session.write_session(tmp_path, ["train"] * 6, size=(400, 600))
    script, folder = tmp_path / "killed.py", tmp_path / "store"
    script.write_text(STANDING_STILL)
    command = [sys.executable, script, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"two are decoded\n"
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    left = {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*.json")}
    reports: list[tuple[int, int]] = []
    entries = build(manifest, tmp_path, progress=lambda done, total: reports.append((done, total)))
    assert 2 <= len(left) < 12
    assert reports[0] == (0, 12 - len(left))
    assert {name: decoded(tmp_path)[name] for name in left} == left
    layout = cfa.layout("BGGR")
    for pair, entry in zip(manifest.pairs, entries, strict=True):
        assert np.array_equal(entry.planes, layout.pack(raw.read(tmp_path / "raws" / pair.short_path).mosaic))
        target = raw.render(tmp_path / "raws" / pair.long_path, adjust_maximum_thr=0.0).image
        assert np.array_equal(entry.target, layout.crop(target))


FEW_FILES = """
import resource, sys
from pathlib import Path
from sidcurate import manifests
from sidcurate.errors import MissingResourceError
from sidtrain.data import store

folder, soft, hard = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
manifest = manifests.load(folder / "manifests" / "phone")
captures = {capture.path: capture for capture in manifest.captures}
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        how = store.StoreSettings(0.0)
        made = store.build(manifest.pairs, captures, folder / "raws", folder / "store", how, jobs=1)
        print(len(made), len({id(entry.target.base) for entry in made}))
    except MissingResourceError as error:
        print(error)
"""


def test_more_frames_than_a_process_may_open_files_are_mapped_and_a_shared_target_once(tmp_path: Path) -> None:
    """A mapped file counts as an open one; shells allow 1,024, SID's training set has more."""
    manifest = small_session.write_session(tmp_path, ["train"] * 2, size=(34, 36), shorts=60)
    build(manifest, tmp_path)
    (tmp_path / "few.py").write_text(FEW_FILES)

    def told(*limits: int) -> str:
        command = [sys.executable, tmp_path / "few.py", tmp_path, *limits]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout

    assert told(64, 4096) == "120 2\n"
    said = (
        "the store has 122 files for these pairs, and the system lets this process open no more (Too many open files)"
    )
    assert said in told(64, 100)


def test_where_the_whole_system_has_no_file_left_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the limit of the process may be none at all."""

    def refuse(pixels: Path, shape: object) -> None:
        raise OSError(errno.ENFILE, "Too many open files in system")

    monkeypatch.setattr(entries, "read", refuse)
    monkeypatch.setattr(resource, "getrlimit", lambda what: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with pytest.raises(MissingResourceError, match=r"2 files .*open no more \(Too many open files in system\): raise"):
        store._opened({Path("a"): (1,), Path("b"): (1,)})
