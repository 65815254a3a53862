"""What a recipe asks of a manifest's data: the settings of the store, and what to say of the pairs. No torch."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from sidcurate import cfa, verdicts
from sidcurate.counted import counted
from sidcurate.errors import UsageError
from sidcurate.manifests import Manifest
from sidcurate.schemas import Capture
from sidtrain import normalization
from sidtrain.data import patches
from sidtrain.data.store import Entry, StoreSettings
from sidtrain.normalization import Zero
from sidtrain.recipe import Recipe

# A tenth in one multiplier moves its channel by 4.4 % (the target's gamma is about 1 / 2.2): 35 dB at a mean of 0.4,
# a quarter of the error of a good network, which cannot see from the short what the camera chose for the long frame.
WHITE_BALANCE_SPREAD: Final = 0.1


def store_settings(
    recipe: Recipe,
    manifest: Manifest,
    white_balance: tuple[float, ...] | None = None,
    zeros: Iterable[Zero] | None = None,
) -> StoreSettings:
    """Return what the store needs to know of a recipe, for the pairs of a manifest.

    Args:
        recipe: its policies.
        manifest: validated manifest of the device.
        white_balance: the fixed multipliers of a checkpoint that was trained for this device; without them they are
            chosen from the manifest.
        zeros: what bodies are known for, where each short frame stands alone; None where each has its pair.

    Raises:
        UsageError: fixed multipliers are asked for and no long frame of the training pairs states any.
    """
    fixed = recipe.white_balance == "fixed"
    return StoreSettings(
        adjust_maximum_thr=recipe.adjust_maximum_thr,
        white_balance=(white_balance or device_white_balance(manifest)) if fixed else None,
        packing=recipe.packing,
        cfa_kind=recipe.cfa_kind,
        crop=recipe.crop,
        levels=recipe.levels_policy if zeros is None else recipe.levels_policy.without_partner(zeros),
        target=recipe.target,
    )


def leveled(entries: Sequence[Entry], captures: Mapping[str, Capture], settings: StoreSettings) -> list[Entry]:
    """Return entries with the levels of some settings: the same frames, and nothing is opened again."""
    made = []
    for entry in entries:
        short = captures[entry.pair.short_path]
        levels = normalization.levels(entry.pair, short, settings.levels)
        black, white = levels.by_plane(cfa.layout(short.cfa or "", settings.packing))
        made.append(replace(entry, black=black, white=white, levels=levels.source))
    return made


def device_white_balance(manifest: Manifest) -> tuple[float, float, float]:
    """Return one set of multipliers for a device: the medians of R and of B, with G = 1.

    Each long frame of a usable training pair counts once.

    Raises:
        UsageError: none of them states multipliers.
    """
    longs = {pair.long_path for pair in verdicts.usable_pairs(manifest) if pair.split == "train"}
    known = [frame.white_balance for frame in manifest.captures if frame.path in longs and frame.white_balance]
    if not known:
        raise UsageError(
            f"{manifest.device}: no long frame of its training pairs states a white balance, whose median "
            'white_balance = "fixed" takes; set white_balance = "camera" in the recipe'
        )
    red, green, blue = np.median(known, axis=0).tolist()
    return red, green, blue


def white_balance_spread(entries: Sequence[Entry]) -> float:
    """Return by how much the multipliers of the targets differ: largest over smallest less 1, of R or of B."""
    renderings = [entry.rendering for entry in entries]
    used = np.array([rendering.white_balance for rendering in renderings if rendering and rendering.white_balance])
    return float((used.max(axis=0) / used.min(axis=0)).max() - 1) if len(used) else 0.0


def remarks(entries: Sequence[Entry], recipe: Recipe) -> Iterator[str]:
    """Yield what a person should know of the decoded pairs before they are trained on, one line each."""
    if recipe.levels != "declared":
        counts = Counter(entry.levels for entry in entries)
        yield "levels: " + ", ".join(
            f"{source} for {counted(counts[source], 'pair')}" for source in sorted(counts, reverse=True)
        )
    targets = {entry.pair.long_path: entry.rendering for entry in entries}
    adjusted = sum(rendering.maximum_adjusted for rendering in targets.values() if rendering)
    if adjusted:
        yield (
            f"LibRaw took the brightest site for white in {adjusted} of {len(targets)} targets: their brightness "
            "depends on it; adjust_maximum_thr = 0.0 in the recipe turns that off"
        )
    spread = white_balance_spread(entries)
    if recipe.white_balance == "camera" and spread > WHITE_BALANCE_SPREAD:
        yield (
            f"WARNING: the camera's white balance differs by {spread:.0%} between the targets, and no short tells the "
            'network which one was used: its colors will be a compromise; set white_balance = "fixed" in the recipe, '
            "or shoot with a fixed white balance"
        )


def table(entries: Sequence[Entry], recipe: Recipe) -> list[dict[str, Any]]:
    """Return one row a pair: the levels, ratio and target that it is used with."""
    return [
        {
            "pair_id": entry.pair.pair_id,
            "split": entry.pair.split,
            "levels": entry.levels,
            "black_by_plane": entry.black.tolist(),
            "white_by_plane": entry.white.tolist(),
            "amplification_ratio": patches.amplification_ratio(entry, recipe),
            **(entry.rendering.model_dump() if entry.rendering else {}),
            **_target_levels(entry),
        }
        for entry in entries
    ]


def _target_levels(entry: Entry) -> dict[str, list[float]]:
    if entry.target_levels is None:
        return {}
    black, white = entry.target_levels
    return {"target_black_by_plane": black.tolist(), "target_white_by_plane": white.tolist()}
