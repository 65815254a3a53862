"""`source.json`: where the raws of a manifest are, how they are paired, and what the last scan saw of them.

It is a pointer that belongs to one machine, not data: no sum covers it, and a person edits it when the raws move.
"""

from fractions import Fraction
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidcurate.durable import read_bounded, write_whole
from sidcurate.errors import IntegrityError, UsageError

FILE = "source.json"
DEFAULT_SCENE_GAP_S = 60.0
_MOST_BYTES = 1 << 30  # four million raws with long names


class ToldPair(BaseModel):
    """A row of a user's CSV of pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    short: str
    long: str
    scene_id: str


class PairingRules(BaseModel):
    """How the captures of a manifest are paired; kept, so that the next ingest pairs them the same way."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scene_gap_s: float = Field(DEFAULT_SCENE_GAP_S, ge=0)
    told: tuple[ToldPair, ...] | None = None


class Source(BaseModel):
    """The content of the file.

    `times` are exposure times that a person gave, `seen` is size and modification time (ns), both by path; `reader` is
    what read the files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str | None = None
    reader: str | None = None
    pairing: PairingRules = PairingRules()
    times: dict[str, Fraction] = Field(default_factory=dict)
    seen: dict[str, tuple[int, int]] = Field(default_factory=dict)


def read(directory: Path) -> Source:
    """Return what stands beside a manifest, nothing known where there is no file.

    Raises:
        IntegrityError: the file cannot be understood.
    """
    path = directory / FILE
    try:
        return Source.model_validate_json(read_bounded(path, _MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return Source()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise IntegrityError(f"{path}: {field}: {first['msg']}; mend it, or delete it and ingest again") from error


def write(directory: Path, source: Source) -> None:
    """Write the file beside a manifest."""
    write_whole(directory / FILE, (source.model_dump_json(indent=1) + "\n").encode())


def raw_root(directory: Path) -> Path:
    """Return the folder that the manifest's raw paths are relative to.

    Raises:
        UsageError: nothing says where it is, or it is gone.
    """
    root = read(directory).root
    if root is None:
        raise UsageError(f"nothing says where the raws of {directory.name} are; ingest the folder that holds them")
    if not Path(root).is_dir():
        raise UsageError(
            f'the raws of {directory.name} are not at {root}; set "root" in {directory / FILE} to where they are now'
        )
    return Path(root)
