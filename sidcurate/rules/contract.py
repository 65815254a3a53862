"""What a rule is: its identity, what it is shown, and what it may answer.

A rule about captures or pairs is asked about many at once. It answers with the rows that it cannot judge for want of a
fact (`Skip`) and with those at fault (`Fault`); what it names in neither has passed. A row counts once, in the first
answer that names it. Only for rows at fault does the rule find words, and those from the row's own records.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from sidcurate.rules.limits import Limits
from sidcurate.rules.views import Captures, ManifestView, Pairs
from sidcurate.schemas import Severity, SubjectKind

if TYPE_CHECKING:
    from sidcurate.tables.columns import Column, Where


@dataclass(frozen=True)
class Draft:
    """A fault as a rule words it; the engine adds code, name, severity and subject."""

    message: str
    measured: float | None = None
    limit_low: float | None = None
    limit_high: float | None = None
    unit: str | None = None
    severity: Severity | None = None
    """Severity where it is not the rule's own, for a rule with two limits."""
    paths: tuple[str, ...] | None = None
    """Raws concerned, where they are not just the subject's own."""
    capture: str | None = None
    """Path of the capture that is at fault, where a rule about the manifest finds one."""


class Skip(NamedTuple):
    """The fact that is missing, in words without names, so that skips can be counted by reason."""

    reason: str
    where: "Where | None" = None
    """Rows that lack it; None for all."""
    closes: bool = True
    """Whether rules that require this one cannot judge these rows either."""


class Fault(NamedTuple):
    """Rows at fault, and how to word one of them."""

    where: "Where"
    words: Callable[..., Draft]
    """Words the fault of one row, from its `Capture` or `PairView`, the limits and the row's figures."""
    figures: "Sequence[Column | Where]" = ()
    """What was judged, where the words need it and no record has it."""
    goes_on: bool = False
    """Whether the same row may have another fault by this rule."""


Answers: TypeAlias = Iterator[Fault | Skip]
Drafts: TypeAlias = Iterator[Draft | Skip]
"""What a rule about the manifest answers, which is one subject."""
V = TypeVar("V", Captures, Pairs, ManifestView)
A = TypeVar("A", Answers, Drafts)
Judge: TypeAlias = Callable[[V, Limits], A]
_KINDS: Mapping[str, SubjectKind] = {"CAP": "capture", "PAIR": "pair", "SET": "manifest"}


@dataclass(frozen=True)
class Rule:
    """A registered rule."""

    code: str
    name: str
    severity: Severity
    requires: tuple[str, ...]
    counts_what_is_left: bool
    version: int
    limit: str
    judge: Callable[..., Iterator[Any]]

    @property
    def subject_kind(self) -> SubjectKind:
        """What the rule is about, told by the letters of its code."""
        return _KINDS[self.code.rstrip("0123456789")]

    @property
    def explanation(self) -> str:
        """What is wrong, why it matters, how it is judged and how to cure it."""
        return inspect.getdoc(self.judge) or ""

    @property
    def fault(self) -> str:
        """The fault in one line."""
        return self.explanation.splitlines()[0]

    @property
    def limit_names(self) -> tuple[str, ...]:
        """Fields of `Limits` that the rule judges by."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.limit) if name)

    def limit_in_words(self, limits: Limits) -> str:
        """Return the rule's limits as a person writes them, empty where it has none."""
        return self.limit.format_map(limits.model_dump()).replace("%", " %")


RULES: dict[str, Rule] = {}


def rule(
    code: str,
    name: str,
    severity: Severity,
    *,
    requires: Sequence[str] = (),
    counts_what_is_left: bool = False,
    version: int = 1,
    limit: str = "",
) -> Callable[[Judge[V, A]], Judge[V, A]]:
    """Register a function as a rule.

    Args:
        code: permanent identity; its letters say what the rule is shown.
        name: in kebab case.
        severity: of its findings, where a draft does not say otherwise.
        requires: codes that must have passed on the same subject (for a pair: on its captures too).
        counts_what_is_left: of a rule about the manifest, whether it counts the pairs without an error: all others are
            judged before it, in silence where nobody asked for them.
        version: raised when the same facts and limits are judged differently.
        limit: the default limits in words, a format string over the fields of `Limits`.
    """

    def register(judge: Judge[V, A]) -> Judge[V, A]:
        RULES[code] = Rule(code, name, severity, tuple(requires), counts_what_is_left, version, limit, judge)
        return judge

    return register
