"""Nested subsets of the training pairs, to see how many pairs a camera needs. No torch."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from sidcurate.counted import counted
from sidcurate.errors import UsageError
from sidcurate.schemas import Pair
from sidtrain.evaluation.scores import nominal_ratio

# The random stream of a seed that subsets are drawn from; patches have streams of their own.
_SUBSETS = 3


def nested(pairs: Sequence[Pair], counts: Sequence[int], repeat: int, seed: int) -> dict[int, list[Pair]]:
    """Return a subset of each count: all are beginnings of one random order, so that each lies in the larger ones.

    At every length the shares of the exposure ratios are as near to those of all pairs as whole pairs allow, and among
    the pairs of a ratio those of scenes that have given the fewest come first.

    Args:
        pairs: the training pairs to choose from.
        counts: how many pairs each subset has.
        repeat: number of the repeat; each has an order of its own.
        seed: the recipe's.

    Raises:
        UsageError: a count is more than there are pairs, or less than one.
    """
    for count in counts:
        if not 1 <= count <= len(pairs):
            raise UsageError(
                f"a subset of {counted(count, 'pair')} cannot be drawn from "
                f"{counted(len(pairs), 'usable training pair')}; ask for 1 to {len(pairs)}, or give "
                "more scenes to the training with `sidcurate split`"
            )
    random = np.random.default_rng((seed, _SUBSETS, repeat))
    by_name = sorted(pairs, key=lambda pair: pair.pair_id)
    order = list(_stratified([by_name[place] for place in random.permutation(len(by_name))]))
    return {count: order[:count] for count in counts}


def _stratified(shuffled: Sequence[Pair]) -> Iterator[Pair]:
    ratios = [nominal_ratio(pair.exposure_ratio or 0) for pair in shuffled]
    shares = {ratio: count / len(shuffled) for ratio, count in Counter(ratios).items()}
    left = list(zip(shuffled, ratios, strict=True))
    given: Counter[float] = Counter()
    scenes: Counter[str] = Counter()
    while left:
        # What each ratio lacks of its share; of equal lacks the first in the shuffled order.
        lack = {ratio: shares[ratio] * (given.total() + 1) - given[ratio] for _, ratio in left}
        ratio = max(lack, key=lambda each: lack[each])
        place, (pair, _) = min(
            ((place, row) for place, row in enumerate(left) if row[1] == ratio),
            key=lambda found: (scenes[found[1][0].scene_id], found[0]),
        )
        given[ratio] += 1
        scenes[pair.scene_id] += 1
        del left[place]
        yield pair
