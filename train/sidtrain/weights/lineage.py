"""Where weights come from: each checkpoint that a training started from, and the scenes that it has seen. No torch."""

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sidcurate.schemas import Paths, Split, described

Names = Annotated[dict[str, Paths], Field(description="Lists of names by key.")]


class Ancestor(BaseModel):
    """A checkpoint that left something in the weights; a null is what nobody knows."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str = described("Where it lay when a training started from it; empty for a checkpoint itself.")
    sha256: str | None = described("SHA-256 of its weights.")
    device: str | None = described("Slug of the camera that it was trained for.")
    scenes: Names | None = described("Scenes used, by split.")

    def tells_scenes_of(self, device: str) -> bool:
        """Return whether it is certain which scenes of a camera it has seen, if any."""
        return self.device is not None and (self.device != device or self.scenes is not None)


def seen(lineage: Iterable[Ancestor], device: str, scenes: Collection[str], split: Split) -> Sequence[str]:
    """Return which scenes some checkpoint has seen in another role, with role and checkpoint, by name.

    Args:
        lineage: a checkpoint and what it started from.
        device: slug of the camera that the scenes are of.
        scenes: their names.
        split: the role that they have now.
    """
    found: set[tuple[str, str]] = set()
    for ancestor in lineage:
        through = f" of {ancestor.name}" if ancestor.name else ""
        used = ancestor.scenes or {} if ancestor.device == device else {}
        for role in used.keys() - {split}:
            found |= {(scene, f"{role}{through}") for scene in used[role] if scene in scenes}
    return [f"{scene} ({role})" for scene, role in sorted(found)]
