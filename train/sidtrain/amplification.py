"""The ratio policy of a recipe: what a short frame is multiplied by. No torch."""

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Final

_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_FORMS: Final = re.compile(rf"(exif|name|none)|(fixed|cap) {_NUMBER}|(random) {_NUMBER}-{_NUMBER}")
FORMS: Final = "'exif', 'name', 'none', 'fixed K', 'cap K' or 'random A-B'"


@dataclass(frozen=True)
class RatioPolicy:
    """A parsed policy: its kind, and its one or two numbers, K or A and B."""

    kind: str
    low: float = 1.0
    high: float = 1.0

    def ratio(self, exif: float | None, name: float | None, place: float | None = None) -> float | None:
        """Return what a short is multiplied by; None where the policy asks for a fact that is unknown.

        Args:
            exif: exposure ratio of the two headers.
            name: exposure ratio of the two file names.
            place: where in A..B a random ratio lies, 0..1; without it the exposure ratio stands in.
        """
        if self.kind == "random" and place is not None:
            return self.low + place * (self.high - self.low)
        if self.kind == "cap":
            return exif and min(exif, self.low)
        return {"none": 1.0, "fixed": self.low, "name": name}.get(self.kind, exif)

    @property
    def span(self) -> tuple[float, float]:
        """The least and the largest ratio that it makes; exposure ratios are 1 or more."""
        return {
            "none": (1.0, 1.0),
            "fixed": (self.low, self.low),
            "cap": (min(1.0, self.low), self.low),
            "random": (self.low, self.high),
        }.get(self.kind, (1.0, math.inf))

    @property
    def words(self) -> str:
        """The policy as a side-car says it."""
        return {
            "exif": "the exposure ratio of the headers",
            "name": "the exposure ratio of the file names",
            "none": "1",
            "fixed": f"{self.low:g}",
            "cap": f"min(exposure ratio of the headers, {self.low:g})",
            "random": f"a random ratio of {self.low:g} to {self.high:g} by patch; whole frames, in validation and "
            "evaluation, by the exposure ratio of the headers",
        }[self.kind]


@cache
def parse(text: str) -> RatioPolicy:
    """Return the policy of its words in a recipe.

    Raises:
        ValueError: none of the forms, a number that is zero, or a range that does not rise.

    >>> parse("cap 300").ratio(exif=303.03, name=None)
    300.0
    """
    found = _FORMS.fullmatch(text)
    if not found:
        raise ValueError(f"must be {FORMS}, it is {text!r}")
    plain, one, factor, two, low, high = found.groups()
    policy = RatioPolicy(plain or one or two, float(factor or low or 1), float(factor or high or 1))
    if policy.low <= 0 or policy.high < policy.low:
        raise ValueError(f"must have numbers above 0, the larger one last, it is {text!r}")
    return policy
