"""`sidcurate.toml` and the options that replace it: by what a person wants their manifests judged.

The file has two tables, both optional:

    [limits]
    exposure_ratio_low = 50

    [ignore]
    PAIR204 = "the zoom writes a focal length that breathes with focus"
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidcurate.errors import UsageError

if TYPE_CHECKING:
    from sidcurate.files import Look
    from sidcurate.validation import Standard

DEFAULT_FILE = Path("sidcurate.toml")
_TABLES = ("limits", "ignore")
_LIMITED = "NAME=VALUE, such as exposure_ratio_high=320"
_IGNORED = "CODE=reason, such as CAP106='two bodies on purpose'"


def standard(
    config: Path | None, limits: Sequence[str], ignore: Sequence[str], select: Sequence[str], look: "Look"
) -> "Standard":
    """Return the standard that file and options ask for; an option wins over the file.

    Args:
        config: TOML file; by default `sidcurate.toml` in the working folder, where there is one.
        limits: NAME=VALUE.
        ignore: CODE=reason.
        select: codes or beginnings of codes, also several with commas between them.
        look: at which raws to look.

    Raises:
        UsageError: the file is malformed, or a name, a value, a code or a reason is not one.
    """
    from sidcurate.rules import Limits
    from sidcurate.rules.engine import check_ignored
    from sidcurate.validation import Standard

    tables = _read(config)
    ignored = {**tables["ignore"], **_assigned("--ignore", _IGNORED, ignore)}
    check_ignored(ignored)
    return Standard(
        limits=Limits.of({**tables["limits"], **_assigned("--limit", _LIMITED, limits)}),
        ignore=ignored,
        select=_codes(select),
        look=look,
    )


def _read(config: Path | None) -> Mapping[str, Mapping[str, Any]]:
    path = config or DEFAULT_FILE
    if config is None and not path.exists():
        return {name: {} for name in _TABLES}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}; it is TOML with the tables [limits] and [ignore]") from error
    for name, table in content.items():
        if name not in _TABLES or not isinstance(table, dict):
            raise UsageError(f"{path} has {name!r}; allowed are the tables [limits] and [ignore]")
    return {name: content.get(name, {}) for name in _TABLES}


def _assigned(option: str, form: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for name, sign, value in pairs:
        if not (name and sign and value.strip()):
            raise UsageError(f"{option} {name}{sign}{value} is not {form}")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _codes(select: Sequence[str]) -> list[str] | None:
    from sidcurate.rules import RULES

    wanted = [part.strip() for text in select for part in text.split(",")]
    for part in wanted:
        if not part or not any(code.startswith(part) for code in RULES):
            raise UsageError(f"--select {part!r} is no rule; there are {', '.join(sorted(RULES))}")
    return [code for code in sorted(RULES) if code.startswith(tuple(wanted))] if wanted else None
