"""Why rules could not judge, in short: of what one fault keeps many rules from, the cause is told and a count."""

from collections import Counter
from collections.abc import Iterator, Mapping

from sidcurate.counted import counted
from sidcurate.rules.contract import RULES

_NEEDS = "needs "


def needs(code: str) -> str:
    """Return the reason of a skip where another rule has not passed."""
    return _NEEDS + code


def in_short(skipped: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return why subjects were not judged, one reason an item.

    Args:
        skipped: subjects that a rule could not judge, by code and reason.
    """
    told = [
        f"{code} {RULES[code].name} ×{count} ({reason})"
        for code, reason, count in _rows(skipped)
        if not _needed(reason)
    ]
    waiting, causes = set(), Counter[str]()
    for code, reason, count in _rows(skipped):
        if needed := _needed(reason):
            waiting.add(code)
            causes |= {_cause(needed, count, skipped): count}
    if waiting:
        of_causes = ", ".join(f"{code} ×{count}" for code, count in sorted(causes.items()))
        told.append(f"{counted(len(waiting), 'rule')} where one that they need did not pass ({of_causes})")
    return told


def _rows(skipped: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, str, int]]:
    for code, reasons in skipped.items():
        for reason, count in reasons.items():
            yield code, reason, count


def _needed(reason: str) -> str | None:
    return reason.removeprefix(_NEEDS) if reason.startswith(_NEEDS) else None


def _cause(code: str, count: int, skipped: Mapping[str, Mapping[str, int]]) -> str:
    """Return the rule that one which has not passed was itself waiting for, as often, and so on."""
    further = (_needed(reason) for reason, times in skipped.get(code, {}).items() if times == count)
    needed = next((each for each in further if each), None)
    return code if needed is None else _cause(needed, count, skipped)
