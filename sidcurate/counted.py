"""Counts of things in messages: "1 pair", "2 pairs"."""


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun, in the plural where there is not just one.

    >>> counted(1, "pair"), counted(0, "pair"), counted(2, "pass", "passes")
    ('1 pair', '0 pairs', '2 passes')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
