"""Subsets of the training pairs: nested, stratified by ratio, one scene after another, a function of the seed."""

from collections import Counter

import pytest

from sidcurate.errors import UsageError
from sidcurate.schemas import Pair
from sidtrain.study.subsets import nested

RATIOS = (100.0, 250.0, 300.0)


def pairs(scenes: int = 12, shorts: int = 1) -> list[Pair]:
    return [
        Pair(
            device="phone",
            pair_id=f"{scene:05d}_{burst:02d}",
            scene_id=f"{scene:05d}",
            burst_index=burst,
            short_path="short",
            long_path="long",
            reason="made here",
            exposure_ratio=RATIOS[(scene + burst) % 3],
        )
        for scene in range(scenes)
        for burst in range(shorts)
    ]


def ids(subset: list[Pair]) -> list[str]:
    return [pair.pair_id for pair in subset]


def test_each_subset_lies_in_the_larger_ones() -> None:
    found = nested(pairs(), (2, 4, 6, 12), repeat=0, seed=0)
    assert [len(subset) for subset in found.values()] == [2, 4, 6, 12]
    for small, large in ((2, 4), (4, 6), (6, 12)):
        assert ids(found[small]) == ids(found[large])[:small]


@pytest.mark.parametrize("repeat", range(5))
def test_every_length_keeps_the_shares_of_the_ratios(repeat: int) -> None:
    found = nested(pairs(), range(1, 13), repeat, seed=0)
    for count, subset in found.items():
        shares = Counter(pair.exposure_ratio for pair in subset)
        assert max(shares[ratio] for ratio in RATIOS) - min(shares[ratio] for ratio in RATIOS) <= (count % 3 != 0)


@pytest.mark.parametrize("repeat", range(5))
def test_a_scene_gives_a_second_pair_only_after_all_have_given_one(repeat: int) -> None:
    chosen = nested(pairs(scenes=6, shorts=3), (6,), repeat, seed=0)[6]
    assert Counter(pair.scene_id for pair in chosen).most_common(1)[0][1] <= 2
    alike = [pair.model_copy(update={"exposure_ratio": 100.0}) for pair in pairs(scenes=6, shorts=3)]
    assert len({pair.scene_id for pair in nested(alike, (6,), repeat, seed=0)[6]}) == 6


def test_a_subset_depends_on_seed_and_repeat_alone() -> None:
    first = ids(nested(pairs(), (4,), repeat=1, seed=3)[4])
    assert ids(nested(pairs()[::-1], (4,), repeat=1, seed=3)[4]) == first
    others = [ids(nested(pairs(), (4,), repeat, seed)[4]) for repeat, seed in ((0, 3), (2, 3), (1, 4))]
    assert first not in others


@pytest.mark.parametrize("count", [0, 13])
def test_more_pairs_than_there_are_cannot_be_drawn(count: int) -> None:
    with pytest.raises(UsageError, match="12 usable training pairs"):
        nested(pairs(), (2, count), repeat=0, seed=0)
