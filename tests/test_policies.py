"""What a recipe asks of a manifest's data, and what is said of the pairs before they are trained on."""

from pathlib import Path

import numpy as np
import pytest
import small_session

from sidcurate import manifests
from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Capture, Pair
from sidtrain.data import policies
from sidtrain.data.store import Entry, RenderingRecord, StoreSettings
from sidtrain.normalization import LevelsPolicy
from sidtrain.recipe import Recipe


def with_white_balance(manifest: Manifest, by_scene: list[tuple[float, float, float] | None]) -> Manifest:
    """The manifest with the multipliers of its long frames replaced, scene by scene; the shorts get wild ones."""
    longs = {pair.long_path: int(pair.scene_id) for pair in manifest.pairs}
    captures = [
        capture.model_copy(
            update={"white_balance": by_scene[longs[capture.path]] if capture.path in longs else (9.0, 1.0, 9.0)}
        )
        for capture in manifest.captures
    ]
    manifests.save(manifest.directory, {Capture: captures, Pair: manifest.pairs})  # type: ignore[type-var]
    return manifests.load(manifest.directory)


def entry(number: int, white_balance: tuple[float, ...] | None = (2.0, 1.0, 1.5), **facts: object) -> Entry:
    pair = Pair(
        device="phone",
        pair_id=f"{number:05d}_00",
        scene_id=f"{number:05d}",
        burst_index=0,
        short_path="short",
        long_path=f"long{number}",
        reason="made here",
        exposure_ratio=303.0,
    )
    rendering = RenderingRecord(white_balance=white_balance, maximum_adjusted=bool(facts.pop("adjusted", False)))
    levels = np.full(4, 64, np.float32), np.full(4, 1023, np.float32)
    target = np.zeros((8, 8, 3), np.uint16)
    return Entry(pair, np.zeros((4, 4, 4), np.uint16), *levels, target, rendering=rendering, **facts)  # type: ignore[arg-type]


def test_the_settings_carry_every_field_that_entries_depend_on(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path)
    recipe = Recipe(adjust_maximum_thr=0.5, packing="by-position", crop=(40, 60), levels="override", bits_override=10)
    settings = policies.store_settings(recipe, manifest)
    override = LevelsPolicy("override", None, 10)
    assert settings == StoreSettings(0.5, None, "by-position", "bayer", (40, 60), override)
    assert policies.store_settings(Recipe(architecture="xtrans"), manifest).cfa_kind == "xtrans"


def test_fixed_multipliers_are_the_medians_over_the_long_frames_of_training(tmp_path: Path) -> None:
    manifest = small_session.write_session(tmp_path, ["train", "train", "train", "train", "val", "test"], shorts=2)
    whites = [(2.0, 1.0, 1.0), (2.2, 1.0, 1.4), (3.0, 1.0, 1.5), None, (8.0, 1.0, 8.0), (8.0, 1.0, 8.0)]
    manifest = with_white_balance(manifest, whites)
    assert policies.device_white_balance(manifest) == (2.2, 1.0, 1.4)
    assert policies.store_settings(Recipe(white_balance="fixed"), manifest).white_balance == (2.2, 1.0, 1.4)
    assert policies.store_settings(Recipe(), manifest).white_balance is None


def test_the_multipliers_of_a_checkpoint_go_before_those_of_the_manifest(tmp_path: Path) -> None:
    manifest = with_white_balance(small_session.write_session(tmp_path, ["train"]), [(2.0, 1.0, 1.0)])
    own = (1.5, 1.0, 1.75)
    assert policies.store_settings(Recipe(white_balance="fixed"), manifest, own).white_balance == own
    assert policies.store_settings(Recipe(), manifest, own).white_balance is None


def test_fixed_multipliers_of_frames_that_state_none_are_an_error(tmp_path: Path) -> None:
    manifest = with_white_balance(small_session.write_session(tmp_path, ["train"]), [None])
    with pytest.raises(UsageError, match=r'phone.*white_balance = "camera"'):
        policies.store_settings(Recipe(white_balance="fixed"), manifest)


def test_the_spread_is_that_of_the_channel_that_varies_most() -> None:
    entries = [entry(0, (2.0, 1.0, 1.5)), entry(1, (2.1, 1.0, 1.8)), entry(2, None)]
    assert policies.white_balance_spread(entries) == pytest.approx(0.2)
    assert policies.white_balance_spread([entry(0, None)]) == 0


def test_a_white_balance_that_varies_is_warned_of_unless_it_is_fixed() -> None:
    varied = [entry(0, (2.0, 1.0, 1.5)), entry(1, (2.0, 1.0, 1.8))]
    (warning,) = policies.remarks(varied, Recipe())
    assert "20%" in warning
    assert 'white_balance = "fixed"' in warning
    assert list(policies.remarks(varied, Recipe(white_balance="fixed"))) == []
    assert list(policies.remarks([entry(0), entry(1, (2.0, 1.0, 1.6))], Recipe())) == []


def test_how_many_pairs_tell_their_zero_is_said() -> None:
    entries = [entry(0, levels="measured"), entry(1, levels="measured"), entry(2)]
    (said,) = policies.remarks(entries, Recipe(levels="measured"))
    assert said == "levels: measured for 2 pairs, declared for 1 pair"
    assert list(policies.remarks(entries, Recipe())) == []


def test_how_many_targets_took_their_maximum_for_white_is_said() -> None:
    (said,) = policies.remarks([entry(0, adjusted=True), entry(1), entry(2)], Recipe())
    assert "1 of 3 targets" in said
    assert "adjust_maximum_thr = 0.0" in said


def test_the_table_says_of_each_pair_what_it_is_used_with() -> None:
    first, second = policies.table([entry(0, levels="measured", adjusted=True), entry(1)], Recipe())
    assert first == {
        "pair_id": "00000_00",
        "split": None,
        "levels": "measured",
        "black_by_plane": [64.0] * 4,
        "white_by_plane": [1023.0] * 4,
        "amplification_ratio": 300.0,
        "white_balance": (2.0, 1.0, 1.5),
        "maximum_adjusted": True,
    }
    assert (second["levels"], second["maximum_adjusted"]) == ("declared", False)
