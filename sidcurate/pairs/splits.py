"""Train, val and test by scene, never by pair: the frames of one scene must not stand on both sides."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidcurate.counted import counted
from sidcurate.csvfile import read_csv
from sidcurate.errors import UsageError
from sidcurate.schemas import Pair, Split

# With fewer test scenes no interval is worth stating, so that ten scenes are the fewest that get as many.
_TEST_SCENES_FOR_A_VERDICT = 5


@dataclass(frozen=True)
class Counts:
    """How many scenes each part gets."""

    train: int
    val: int
    test: int


def default_counts(scenes: int) -> Counts:
    """Return a default division: about 70, 10 and 20 % as in SID, but with test scenes before all.

    >>> default_counts(2), default_counts(10), default_counts(50)
    (Counts(train=1, val=0, test=1), Counts(train=4, val=1, test=5), Counts(train=35, val=5, test=10))
    """
    if scenes < 2:
        return Counts(train=scenes, val=0, test=0)
    enough = scenes >= 2 * _TEST_SCENES_FOR_A_VERDICT
    test = max(round(0.2 * scenes), _TEST_SCENES_FOR_A_VERDICT) if enough else max(1, scenes // 3)
    val = 0 if scenes < 3 else max(1, round(0.1 * scenes))
    return Counts(scenes - val - test, val, test)


def counts(scenes: int, *, train: int | None = None, val: int | None = None, test: int | None = None) -> Counts:
    """Return the default division with some parts set: what is not set for validation and training is what is left."""
    default = default_counts(scenes)
    test = default.test if test is None else test
    val = max(0, min(default.val, scenes - test - (train or 0))) if val is None else val
    return Counts(max(0, scenes - test - val) if train is None else train, val, test)


def assign(
    scenes: Iterable[str],
    counts: Counts,
    *,
    seed: int = 0,
    labels: Mapping[str, str] | None = None,
    kept: Mapping[str, Split] | None = None,
) -> dict[str, Split]:
    """Return the part of each scene: a function of the scene's name and the seed, not of the order or the machine.

    Scenes beyond the counts get no part. With labels every part holds an equal share of each label.

    Args:
        scenes: names of the scenes.
        counts: scenes a part.
        seed: another seed draws another division.
        labels: label by scene, such as indoor and outdoor.
        kept: parts given earlier that must not change, because a network may have been trained on them.

    Raises:
        UsageError: more scenes are asked for than there are, or a scene has no label.
    """
    names = sorted(set(scenes))
    kept = {name: kept[name] for name in names if name in kept} if kept else {}
    wanted = counts.train + counts.val + counts.test
    if wanted > len(names):
        asked = f"{counts.train} train, {counts.val} val and {counted(counts.test, 'test scene')} are asked for"
        raise UsageError(f"{asked}, {len(names)} can be had (scenes that `validate` keeps out do not count)")
    queue = [name for name in _shuffled(names, seed, labels) if name not in kept]
    result = dict(kept)
    sizes: dict[Split, int] = {"test": counts.test, "val": counts.val, "train": counts.train}
    for split, size in sizes.items():
        missing = max(0, size - sum(part == split for part in kept.values()))
        result.update(dict.fromkeys(queue[:missing], split))
        queue = queue[missing:]
    return result


def apply(pairs: Sequence[Pair], parts: Mapping[str, Split]) -> list[Pair]:
    """Return the pairs with the part of their scene."""
    return [pair.model_copy(update={"split": parts.get(pair.scene_id)}) for pair in pairs]


def read_labels(path: Path) -> dict[str, str]:
    """Return label by scene from a CSV with the columns scene_id and label.

    Raises:
        UsageError: the file cannot be read or a column is missing.
    """
    return {row["scene_id"]: row["label"] for _, row in read_csv(path, ("scene_id", "label"))}


def _shuffled(names: Sequence[str], seed: int, labels: Mapping[str, str] | None) -> list[str]:
    """Return the names by the hash of seed and name; with labels, label by label in turn."""
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    if labels is None:
        return order
    unlabeled = [name for name in order if name not in labels]
    if unlabeled:
        raise UsageError(
            f"no label for scene {unlabeled[0]} ({counted(len(unlabeled), 'such scene')}); give every scene one"
        )
    groups = [[name for name in order if labels[name] == label] for label in sorted(set(labels.values()))]
    return [name for turn in itertools.zip_longest(*groups) for name in turn if name is not None]
