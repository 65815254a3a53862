"""The benchmark of the rules judges real pairs, counts honestly and gives the same table for the same seed."""

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sidcurate.benchmark.grades import CLEAN, DEVICES, GRID, Grade, chosen
from sidcurate.benchmark.scores import Rate, broken_promise, scores
from sidcurate.benchmark.trials import Outcome, outcome, run, trials
from sidcurate.cli import main
from sidcurate.errors import UsageError
from sidcurate.rules import RULES
from sidcurate.synthetic.bodies import body_named
from sidcurate.synthetic.faults import FAULTS
from sidcurate.synthetic.plan import Plan
from sidcurate.synthetic.scenes import MARGIN_PX, night_scene
from sidcurate.synthetic.sensor import generator
from sidcurate.synthetic.session import TRUTH_FILE, simulate

SIZE = (256, 384)
CANON = body_named("canon90d")
GROSS = tuple(grade for grade in chosen(["other-scene", "shifted"]) if grade.strength in (None, 6))
GROSS = tuple(grade for grade in GROSS if grade.condition == "plain" and grade.fault)


@pytest.fixture(scope="module")
def gross() -> list[Outcome]:
    return run(list(trials(GROSS, scenes=2, clean=2, size=SIZE, seed=1)), jobs=2)


def a_pair(grade: Grade, **facts: object) -> Outcome:
    trial = next(trials([grade], scenes=1, clean=0, size=SIZE, seed=0))
    silent = Outcome(trial, 20.0, (), (), {}, None, None, None)
    return replace(silent, **facts)  # type: ignore[arg-type]


def test_gross_faults_are_found_in_every_lit_pair_and_clean_pairs_are_not_accused(gross: list[Outcome]) -> None:
    found = scores(gross)
    assert [score.grade.fault for score in found.grades] == ["shifted", "other-scene"]
    assert all(score.found == score.as_error == Rate(score.found.of, score.found.of) for score in found.grades)
    assert min(score.found.of for score in found.grades) >= 1
    assert sum(score.pairs for score in found.clean) == 2
    assert all(score.with_error.count == 0 for score in found.clean)


def test_what_is_measured_is_held_against_the_truth(gross: list[Outcome]) -> None:
    shifted = [pair for pair in gross if pair.trial.grade.fault == "shifted"]
    assert all(pair.shift_error_px is not None and pair.shift_error_px < 0.3 for pair in shifted)
    lit = next(pair for pair in gross if pair.trial.grade == CLEAN and pair.trial.device.slug == "canon90d")
    assert lit.ratio_error is not None
    assert abs(lit.ratio_error) < 0.1


def test_the_same_seed_gives_the_same_outcomes_whatever_the_workers(gross: list[Outcome]) -> None:
    again = list(trials(GROSS, scenes=2, clean=2, size=SIZE, seed=1))
    assert [outcome(trial) for trial in again] == gross
    other = next(trials(GROSS, scenes=1, clean=0, size=SIZE, seed=2))
    assert other.seed != gross[0].trial.seed


def test_the_grid_covers_every_rule_that_pixels_can_break() -> None:
    pixel_rules = {"CAP102", "CAP121", "CAP122", "CAP123", "PAIR206", "PAIR231", "PAIR232"}
    pixel_rules |= {code for code in RULES if code.startswith(("PAIR21", "PAIR22"))}
    assert pixel_rules <= {grade.codes[0] for grade in GRID if grade.codes}


@pytest.mark.parametrize("grade", GRID, ids=lambda grade: f"{grade.condition}-{grade.fault}={grade.strength}")
def test_every_grade_can_be_planted_in_every_device(grade: Grade) -> None:
    for trial in trials([grade], scenes=12, clean=0, size=SIZE, seed=0):
        assert (len(trial.plan.faults) == 1) == (grade.fault is not None)


def test_the_devices_have_three_phases_and_three_depths() -> None:
    assert {device.cfa for device in DEVICES} == {"RGGB", "BGGR", "GBRG"}
    assert {device.white_level.bit_length() for device in DEVICES} == {10, 12, 14}


# A grade states black-off as a share of the range, not in DN as the fault does.
@pytest.mark.parametrize("name", sorted({grade.fault for grade in GRID if grade.fault} - {"black-off"}))
def test_a_fault_of_default_strength_raises_its_rule(name: str) -> None:
    strength = FAULTS[name].strength
    grade = Grade(name, strength and strength.default, (FAULTS[name].code,))
    pair = outcome(next(trials([grade], scenes=1, clean=0, size=(512, 512), seed=1)))
    assert FAULTS[name].code in pair.errors + pair.warnings


def likeness(picture: np.ndarray, columns: int) -> float:
    """Correlation of a picture with itself, moved."""
    return float(np.corrcoef(picture[:, :-columns].ravel(), picture[:, columns:].ravel())[0, 1])


def test_sceneries_are_what_they_are_called() -> None:
    inside = np.s_[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX, 1]
    sceneries = ("leaves", "fence", "black", "sky")
    leaves, fence, black, sky = (night_scene(name, 96, 192, generator(5))[inside] for name in sceneries)
    period = 12
    assert likeness(fence, period) > 0.7 > likeness(leaves, period)
    assert likeness(fence, period // 2) < 0.5
    assert np.mean(black < 0.01) > 0.8
    assert np.mean(sky == np.median(sky)) == pytest.approx(0.6, abs=0.01)


def test_a_vignetted_session_loses_its_corners(tmp_path: Path) -> None:
    plan = Plan(CANON, scenes=1, size=(96, 96))
    plain, dark = (simulate(tmp_path / name, replace(plan, scenery=name)) for name in ("leaves", "vignetted"))
    assert dark.frames[0].median_electrons < 0.8 * plain.frames[0].median_electrons


@pytest.mark.parametrize("fault", ["black-off", "shifted"])
def test_the_command_of_a_trial_shoots_its_pair_again(fault: str, tmp_path: Path) -> None:
    trial = next(trials(chosen([fault]), scenes=1, clean=0, size=(64, 96), seed=3))
    simulate(tmp_path / "here", trial.plan)
    _, verb, _, *options = shlex.split(trial.command)
    assert CliRunner().invoke(main, [verb, str(tmp_path / "there"), *options]).exit_code == 0
    assert (tmp_path / "here" / TRUTH_FILE).read_bytes() == (tmp_path / "there" / TRUTH_FILE).read_bytes()


def test_a_lens_cap_takes_no_pair_out_of_the_count() -> None:
    cap = chosen(["lens-cap"])[0]
    (lit,) = run(list(trials([cap], scenes=1, clean=0, size=SIZE, seed=0)), jobs=1)
    assert scores([lit]).grades[0].found == Rate(1, 1)


def test_a_skip_is_a_miss() -> None:
    skipped = a_pair(GROSS[0], skipped={"PAIR221": "the pixels cannot tell"})
    (score,) = scores([skipped]).grades
    assert (score.found, score.skipped) == (Rate(0, 1), Rate(1, 1))
    assert broken_promise(skipped) == "PAIR221 was skipped (the pixels cannot tell)"


def test_an_error_of_another_rule_breaks_the_promise_even_where_the_fault_is_found() -> None:
    both = a_pair(GROSS[0], errors=("PAIR211", "PAIR221"))
    assert scores([both]).grades[0].other_errors == {"PAIR211": 1}
    assert "PAIR211" in (broken_promise(both) or "")


def test_a_fault_found_with_a_wrong_figure_breaks_the_promise() -> None:
    assert broken_promise(a_pair(GROSS[0], errors=("PAIR221",), shift_error_px=0.29)) is None
    assert "+0.4 px" in (broken_promise(a_pair(GROSS[0], errors=("PAIR221",), shift_error_px=0.4)) or "")


def test_dim_pairs_are_counted_apart_and_promised_nothing() -> None:
    dim = a_pair(GROSS[0], electrons=1.0)
    (score,) = scores([dim]).grades
    assert (score.found, score.found_in_dim) == (Rate(0, 0), Rate(0, 1))
    assert broken_promise(dim) is None


@pytest.mark.parametrize(
    ("count", "of", "low", "high"), [(0, 1000, 0, 0.00383), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1)]
)
def test_intervals_are_wilson_s(count: int, of: int, low: float, high: float) -> None:
    assert Rate(count, of).interval == pytest.approx((low, high), abs=1e-4)


def test_an_unknown_fault_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UsageError, match=r"no fault 'moon'; it has zero-tail, .*shifted"):
        chosen(["moon"])


def test_the_verb_prints_what_it_ran_and_every_row() -> None:
    asked = [
        "benchmark-rules",
        "--size",
        "128x128",
        "--scenes",
        "1",
        "--clean",
        "1",
        "--faults",
        "portrait",
        "--jobs",
        "1",
    ]
    page = CliRunner().invoke(main, [*asked, "--format", "json"])
    assert page.exit_code == 0, page.output
    record = json.loads(page.stdout)
    assert record["caption"] == (
        "2 pairs: `sidcurate benchmark-rules --seed 0 --size 128x128 --scenes 1 --clean 1 --faults portrait`"
    )
    assert record["grades"][0]["fault"] == "portrait"
    assert record["grades"][0]["found"] == {
        "count": 1,
        "of": 1,
        "share": 1.0,
        "low": pytest.approx(0.2065, abs=1e-4),
        "high": 1.0,
    }
    assert record["clean"][0]["pairs"] == 1
    (row,) = csv.DictReader(CliRunner().invoke(main, [*asked, "--format", "csv"]).stdout.splitlines())
    assert (row["fault"], row["codes"], row["found.count"], row["found.of"]) == ("portrait", "PAIR206", "1", "1")
    table = CliRunner().invoke(main, [*asked, "--format", "markdown"])
    assert "| portrait | PAIR206 | **1/1** |" in table.stdout
    assert "*2 pairs: `sidcurate benchmark-rules --seed 0" in table.stdout
