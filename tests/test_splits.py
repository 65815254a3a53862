"""Splits by scene: deterministic, balanced, and never moving a scene behind one's back."""

from collections import Counter

import pytest

from sidcurate.errors import UsageError
from sidcurate.pairs.splits import Counts, assign, counts, default_counts

SCENES = [f"{number:05d}" for number in range(40)]


@pytest.mark.parametrize("scenes", range(2, 200))
def test_both_sides_have_scenes_whenever_there_are_two(scenes: int) -> None:
    sizes = default_counts(scenes)
    assert sizes.train > 0
    assert sizes.test > 0
    assert sizes.train + sizes.val + sizes.test == scenes


def test_order_does_not_matter_and_the_seed_does() -> None:
    sizes = Counts(20, 10, 10)
    assert assign(SCENES, sizes) == assign(SCENES[::-1], sizes)
    assert assign(SCENES, sizes) != assign(SCENES, sizes, seed=1)


def test_the_division_of_a_seed_is_a_promise() -> None:
    """A change here would move scenes between the parts of everybody's data."""
    assert assign(["00001", "00002", "00003"], Counts(1, 1, 1)) == {"00001": "val", "00002": "train", "00003": "test"}


def test_a_subset_leaves_the_other_scenes_without_a_part() -> None:
    parts = assign(SCENES, Counts(10, 0, 10))
    assert Counter(parts.values()) == {"train": 10, "test": 10}


def test_labels_are_balanced_in_every_part() -> None:
    labels = {name: "indoor" if number < 12 else "outdoor" for number, name in enumerate(SCENES)}
    parts = assign(SCENES, Counts(10, 0, 10), labels=labels)
    assert Counter((part, labels[name]) for name, part in parts.items()) == {
        ("train", "indoor"): 5,
        ("train", "outdoor"): 5,
        ("test", "indoor"): 5,
        ("test", "outdoor"): 5,
    }


def test_new_scenes_do_not_move_old_ones() -> None:
    before = assign(SCENES[:20], default_counts(20))
    after = assign(SCENES, default_counts(40), kept=before)
    assert {name: after[name] for name in before} == before
    assert len(after) == 40


def test_more_scenes_than_there_are_is_an_error() -> None:
    with pytest.raises(UsageError, match="31 train, 0 val and 10 test scenes are asked for, 40 can be had"):
        assign(SCENES, Counts(31, 0, 10))


def test_a_scene_without_a_label_is_named() -> None:
    with pytest.raises(UsageError, match="no label for scene 00001"):
        assign(["00000", "00001"], Counts(1, 0, 1), labels={"00000": "indoor"})


def test_counts_fill_what_is_not_set() -> None:
    assert counts(20, train=10, test=10) == Counts(10, 0, 10)
    assert counts(20, test=4) == Counts(14, 2, 4)
    assert counts(20, val=6) == Counts(9, 6, 5)
    assert counts(20, test=19) == Counts(0, 1, 19)
    assert counts(20, test=21) == Counts(0, 0, 21), "which `assign` refuses"
    assert counts(20) == default_counts(20)
