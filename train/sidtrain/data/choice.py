"""Which pairs of a manifest a training uses. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidcurate import verdicts
from sidcurate.counted import counted
from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Pair, Split


@dataclass(frozen=True)
class Chosen:
    """Pairs that a training uses, and the codes that keep each other pair out."""

    train: Sequence[Pair]
    val: Sequence[Pair]
    left_out: Mapping[str, tuple[str, ...]]


def choose(manifest: Manifest) -> Chosen:
    """Return the pairs of the training and validation scenes that no finding of severity error concerns.

    Raises:
        UsageError: the manifest is not validated, or has no usable training pair.
    """
    usable, left_out = verdicts.judged_pairs(manifest)
    by_split: dict[Split | None, list[Pair]] = {}
    for pair in usable:
        by_split.setdefault(pair.split, []).append(pair)
    if "train" not in by_split:
        raise UsageError(
            f"{manifest.device} has no usable training pair: {counted(len(manifest.pairs), 'pair')}, {len(left_out)} "
            "left out; see `sidcurate validate` for the reasons and `sidcurate split` for the scenes"
        )
    return Chosen(by_split["train"], by_split.get("val", []), left_out)
