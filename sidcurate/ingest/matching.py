"""Captures -> the pairs of a manifest, measured: scenes keep their part, and what was measured before is kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from sidcurate import manifests, source
from sidcurate.isolation import Crew, crew
from sidcurate.manifests import Given, Manifest
from sidcurate.pairs import measuring, pairing, splits
from sidcurate.schemas import Capture, Pair, Record, Split, Unpaired
from sidcurate.source import PairingRules, Source
from sidcurate.tables.bounded import Packed
from sidcurate.tables.rows import Rows, table_of

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Takes a stage in words, the count done in it, and the count to do, None as long as nobody knows it."""
# What an ingest is made from, and makes. Findings that somebody commits meanwhile are but stale.
_NOT_FINDINGS = Capture, Pair, Unpaired


@dataclass(frozen=True)
class PairedAgain:
    """The pairs that a manifest has now, and the captures in none, by column."""

    pairs: Rows[Pair]
    unpaired: Rows[Unpaired]


def pair_again(
    directory: Path,
    rules: PairingRules,
    progress: Progress = lambda stage, done, total: None,
    *,
    dry_run: bool = False,
) -> PairedAgain:
    """Pair the captures of a manifest anew, without reading a raw."""
    manifest = manifests.load(directory, progress)
    captures, known = manifest.rows(Capture), measured_before(manifest)
    with crew() as workers:
        pairs, unpaired = paired(captures, directory, rules, manifest, known, workers, progress)
    if not dry_run:
        told = source.read(directory).model_copy(update={"pairing": rules})
        save(directory, {Pair: pairs, Unpaired: unpaired}, manifest, told, progress)
    return PairedAgain(Rows.of(Pair, pairs), Rows.of(Unpaired, unpaired))


def paired(
    captures: Rows[Capture],
    directory: Path,
    rules: PairingRules,
    before: Manifest | None,
    known: measuring.Known,
    workers: Crew,
    progress: Progress,
) -> tuple[Packed, pa.Table]:
    """Return the pairs of captures, measured, and the captures in none."""
    found = pair(captures.views(), rules, parts_of(before), partial(progress, "pairing captures"))
    pairs = measuring.measured(found.pairs, captures, directory, known, workers, progress)
    return pairs, table_of(Unpaired, found.unpaired)


def save(
    directory: Path, tables: Mapping[type[Record], Given], before: Manifest | None, said: Source, progress: Progress
) -> None:
    """Commit tables that were made from those of a manifest, where there was one; errors as of `manifests.save`."""
    progress("saving", 0, 1)
    manifests.save(directory, tables, based_on=manifests.based_on(before, *_NOT_FINDINGS), source=said)
    progress("saving", 1, 1)


def measured_before(manifest: Manifest | None) -> measuring.Known:
    """Return what is known of the pixels of the pairs of a manifest, where there is one."""
    return measuring.Known.of(manifest.rows(Pair), manifest.rows(Capture)) if manifest else measuring.Known.nothing()


def parts_of(manifest: Manifest | None) -> dict[str, Split]:
    """Return the part of each scene of a manifest, where there is one, that has one."""
    return {scene: part for scene, part in manifest.rows(Pair).facts("scene_id", "split") if part} if manifest else {}


def pair(
    captures: Sequence[Capture],
    rules: PairingRules,
    parts: Mapping[str, Split],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pairing.Pairing:
    """Return the pairs with a default split; scenes that already have a part keep it."""
    if rules.told is None:
        paired = pairing.pair(captures, rules.scene_gap_s, progress)
    else:
        paired = pairing.pair_as_told(captures, rules.told)
    scenes = {row.scene_id for row in paired.pairs}
    assigned = splits.assign(scenes, splits.default_counts(len(scenes)), kept=parts)
    for place, match in enumerate(paired.pairs):  # In place: two lists of a million matches are a gigabyte.
        paired.pairs[place] = match._replace(split=assigned.get(match.scene_id))
    return paired
