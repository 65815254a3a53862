"""The decoded scenes of a training: what it draws its patches from, and what it is validated on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sidcurate import source
from sidcurate.manifests import Manifest
from sidtrain import normalization
from sidtrain.data import patches, policies, store
from sidtrain.data.choice import Chosen
from sidtrain.data.patches import Cut
from sidtrain.data.store import Entry
from sidtrain.normalization import Zero
from sidtrain.recipe import Recipe
from sidtrain.training.parallel import Group


@dataclass(frozen=True)
class Scenes:
    """The decoded scenes, one list of shorts each.

    Attributes:
        train: to draw from.
        val: to validate on; their levels are those of frames without a partner, as a network meets them in use.
        sides: of a training patch, in packed px.
        zeros: what the training pairs tell of their bodies, where the recipe has measured levels.
    """

    train: list[list[Entry]]
    val: list[list[Entry]]
    sides: tuple[int, ...]
    zeros: tuple[Zero, ...] = ()

    @property
    def entries(self) -> list[Entry]:
        """All shorts that are used, those to train on first."""
        return [entry for shorts in (*self.train, *self.val) for entry in shorts]

    def cuts(self, recipe: Recipe, places: range, step: int, side: int | None = None) -> list[Cut]:
        """Return the windows of a step, at some places of its batch; of a side of its own if one is given."""
        side = side or patches.side_at(self.sides, recipe, step)
        return [patches.cut(self.train, recipe, side, step * recipe.batch + place) for place in places]


def decode(
    manifest: Manifest,
    recipe: Recipe,
    chosen: Chosen,
    store_dir: Path,
    jobs: int | None,
    on_store: Callable[[int, int], None],
    group: Group,
) -> Scenes:
    """Decode what the store misses, in the first process only, and return it by scene.

    Raises:
        SidcurateError: what `store.build`, `patches.drawn` and `patches.patch_sides` raise.
    """
    captures = {capture.path: capture for capture in manifest.captures}
    settings = policies.store_settings(recipe, manifest)
    root = source.raw_root(manifest.directory)
    build = partial(store.build, [*chosen.train, *chosen.val], captures, root, store_dir, settings, jobs)
    entries: Sequence[Entry] = build(on_store) if group.leads else []
    group.of_leader(None)  # The others wait for the frames, then find all of them.
    entries = entries or build()
    zeros = normalization.median_zeros(chosen.train, captures) if recipe.levels == "measured" else ()
    judged = policies.leveled(
        entries[len(chosen.train) :], captures, policies.store_settings(recipe, manifest, zeros=zeros)
    )
    train = patches.drawn(patches.by_scene(entries[: len(chosen.train)], recipe), recipe)
    sides = patches.patch_sides([entry for shorts in train for entry in shorts], recipe)
    return Scenes(train, patches.by_scene(judged, recipe), sides, zeros)
