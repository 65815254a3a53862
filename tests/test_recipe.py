"""The recipe: SID's values by default, every field checked, every mistake said."""

import subprocess
import sys
from pathlib import Path

import pytest

from sidcurate.errors import UsageError
from sidtrain import recipe
from sidtrain.normalization import LevelsPolicy
from sidtrain.recipe import Recipe

FOUR_AND_BITS = LevelsPolicy("override", (1.0, 2.0, 3.0, 4.5), 10)


def test_an_empty_recipe_is_sids() -> None:
    assert recipe.load("sid") == Recipe()
    assert (Recipe().patch, Recipe().ratio, Recipe().adjust_maximum_thr) == (512, "cap 300", 0.75)
    assert (Recipe().levels, Recipe().white_balance, Recipe().packing) == ("declared", "camera", "by-phase")
    assert (Recipe().loss, Recipe().batch, Recipe().keep, Recipe().bursts) == ("l1", 1, "last", "first")


def test_sids_fuji_training_differs_from_its_sony_training_in_network_and_levels() -> None:
    fuji = recipe.load("sid-fuji")
    own = {"architecture": "xtrans", "levels": "override", "black_override": 1024, "bits_override": 14}
    assert fuji == Recipe.model_validate(own)
    assert (fuji.patch, fuji.cfa_kind) == (512, "xtrans")


def test_sid_drops_the_rate_after_epoch_2000_and_stops_after_epoch_4000() -> None:
    scenes = 161
    assert Recipe().rate(2001 * scenes - 1, scenes) == 1e-4  # the last step of epoch 2000
    assert Recipe().rate(2001 * scenes, scenes) == 1e-5
    assert Recipe().steps(scenes) == 4001 * scenes


def test_epochs_are_counted_in_patches_whatever_the_batch() -> None:
    how = Recipe(batch=4, duration=3, schedule=((0, 1e-3), (2, 1e-4)))
    assert how.steps(10) == 8  # 30 patches, the last batch is full
    assert [how.rate(step, 10) for step in (4, 5)] == [1e-3, 1e-4]  # patch 20 opens epoch 2


def test_the_device_recipe_is_short_and_keeps_the_best_and_measures_the_zero() -> None:
    device = recipe.load("device")
    assert device.levels == "measured"
    assert (device.unit, device.duration, device.steps(7), device.keep) == ("steps", 1500, 1500, "best")
    assert {device.rate(0, 7), device.rate(1499, 7)} == {1e-4, 1e-5}


def test_every_recipe_that_comes_with_the_program_loads() -> None:
    assert list(recipe.known())[:5] == ["demo", "device", "raw", "sid", "sid-fuji"]
    for name in recipe.known():
        assert isinstance(recipe.load(name), Recipe)


def test_the_white_of_device_recipes_does_not_depend_on_one_hot_pixel() -> None:
    assert recipe.load("device").adjust_maximum_thr == recipe.load("demo").adjust_maximum_thr == 0


def test_a_file_overrides_single_fields(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('patch = "fit"\nwidth = 8\n')
    assert recipe.load(path) == Recipe(patch="fit", width=8)


def test_a_patch_is_a_number_a_set_or_what_fits(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for text, sides in (("64", (64,)), ("[1, 2, 4]", (1, 2, 4)), ('"fit"', ())):
        path.write_text(f"patch = {text}\n")
        assert recipe.load(path).sides == sides


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", LevelsPolicy("declared")),
        ('levels = "measured"', LevelsPolicy("measured")),
        ('levels = "override"\nblack_override = 400', LevelsPolicy("override", (400.0,), None)),
        ('levels = "override"\nblack_override = [1, 2, 3, 4.5]\nbits_override = 10', FOUR_AND_BITS),
    ],
)
def test_levels_are_read_as_a_policy(tmp_path: Path, text: str, policy: LevelsPolicy) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert recipe.load(path).levels_policy == policy


def test_the_network_says_which_arrays_it_takes(tmp_path: Path) -> None:
    assert Recipe().cfa_kind == "bayer"
    assert Recipe(architecture="xtrans").cfa_kind == "xtrans"


def test_a_crop_is_height_and_width(tmp_path: Path) -> None:
    path = tmp_path / "seed.toml"
    path.write_text("crop = [2800, 4000]")
    assert recipe.load(path).crop == (2800, 4000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patch = ", "not TOML"),
        ("pach = 64", "pach"),
        ('patch = "large"', "patch"),
        ("patch = 0", "at least 1"),
        ("width = 32.5", "width"),
        ("batch = 0", "batch"),
        ('loss = "l3"', "loss"),
        ("patch = []", "patch"),
        ("patch = [64, 0]", "patch"),
        ("patch = [64, 32.5]", "patch"),
        ('architecture = "a12"', "a12.*sid.*a10"),
        ('architecture = "xtrans"\naugmentation = "phase-true"', "phase-true"),
        ('packing = "by-position"\naugmentation = "phase-true"', "phase-true"),
        ('packing = "by-color"', "packing"),
        ('levels = "override"', "black_override"),
        ("bits_override = 12", "levels = 'override'"),
        ('levels = "measured"\nblack_override = 512', "only then"),
        ('levels = "override"\nbits_override = 17', "bits_override"),
        ('levels = "override"\nblack_override = []', "black_override"),
        ("crop = [4000]", "crop"),
        ("crop = [0, 2800]", "crop"),
        ('ratio = "cap"', "random A-B"),
        ('ratio = "300"', "random A-B"),
        ('ratio = "fixed 0"', "above 0"),
        ('ratio = "random 300-100"', "larger one last"),
        ("adjust_maximum_thr = 1.0", "adjust_maximum_thr"),
        ("resolutions = 0", "resolutions"),
        ("resolutions = 9", "resolutions"),
        ("seed = 18446744073709551616", "seed"),
        ("schedule = []", "must start at 0"),
        ("schedule = [[5, 1e-4]]", "must start at 0"),
        ("schedule = [[0, 1e-4], [9, 1e-5], [3, 1e-6]]", "rise"),
        ("schedule = [[0, -1e-4]]", "not positive"),
        ("input_clip = inf", "input_clip"),
        ("steps = 60", "steps: no such field; fields: base, .*duration"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as error:
        recipe.load(path)
    assert str(path) in str(error.value)
    assert "Value error" not in str(error.value)


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"demo, device, raw, sid, sid-fuji, seed1-\.\.\. or seed2-\.\.\. "):
        recipe.load("nikon")
    with pytest.raises(UsageError, match=r"seed2-lr0, .*seed2-lr7"):
        recipe.load("seed2-lr77")


def test_a_file_can_stand_on_a_recipe_that_comes_with_the_program(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "device"\nduration = 200\nschedule = [[0, 1e-4]]\n')
    expected = recipe.load("device").model_dump() | {"duration": 200, "schedule": ((0, 1e-4),)}
    assert recipe.load(path).model_dump() == expected
    path.write_text('base = "devise"\n')
    with pytest.raises(
        UsageError, match=r"mine.toml: no recipe 'devise' comes with the program; .*demo, device, raw, sid"
    ):
        recipe.load(path)


def test_every_field_is_described() -> None:
    assert all(field.description for field in Recipe.model_fields.values())


def test_recipes_need_no_torch() -> None:
    code = "import sys, sidtrain.recipe, sidtrain.data.store, sidtrain.data.patches; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
