"""What a rule is: its identity, what it is shown, and what it may answer.

A rule is a small pure function of a view and the limits. It yields a `Draft` for each fault and a `Skip` where a fact
that it needs is missing; yielding nothing means that the subject passed.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from string import Formatter
from typing import TypeAlias, TypeVar

from sidcurate.errors import IntegrityError
from sidcurate.rules.limits import Limits
from sidcurate.schemas import Capture, FileState, Pair, Severity, SubjectKind, Unpaired

BODY_FACTS = ("make", "model", "serial", "sensor size")


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


@dataclass(frozen=True)
class Skip:
    """The fact that is missing, in words without names, so that skips can be counted by reason."""

    reason: str


@dataclass(frozen=True)
class Tables:
    """All records of one manifest, and what the disk says of its raws.

    `files` is None when nobody looked. `folder` is where the raws should be, for messages only.
    """

    device: str
    captures: Sequence[Capture] = ()
    pairs: Sequence[Pair] = ()
    unpaired: Sequence[Unpaired] = ()
    files: Sequence[FileState] | None = None
    folder: str | None = None

    @cached_property
    def by_path(self) -> Mapping[str, Capture]:
        """Captures by their path."""
        return {capture.path: capture for capture in self.captures}

    @cached_property
    def copies(self) -> Mapping[str, Sequence[str]]:
        """Paths by the hash that they share, sorted."""
        found: dict[str, list[str]] = {}
        for capture in sorted(self.captures, key=lambda capture: capture.path):
            if capture.sha256:
                found.setdefault(capture.sha256, []).append(capture.path)
        return found

    @cached_property
    def bodies(self) -> Mapping[str, Counter[str]]:
        """How many readable captures have each value of each body fact; unknown ones are not counted."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in BODY_FACTS}
        for capture in self.captures:
            if capture.status == "ok":
                for name, value in body_facts(capture).items():
                    counts[name][value] += 1
        return counts

    @cached_property
    def usual_bodies(self) -> Mapping[str, Sequence[str]]:
        """The most frequent values of each body fact, sorted; more than one is a tie."""
        most = {name: max(counts.values(), default=0) for name, counts in self.bodies.items()}
        return {name: sorted(v for v, n in counts.items() if n == most[name]) for name, counts in self.bodies.items()}

    def capture(self, path: str, pair_id: str) -> Capture:
        """Return the capture that a pair names.

        Raises:
            IntegrityError: the manifest has no such capture.
        """
        try:
            return self.by_path[path]
        except KeyError:
            raise IntegrityError(
                f"pair {pair_id} of {self.device} names {path!r}, which is no capture of the manifest; "
                f"run `sidcurate pair --device {self.device}`"
            ) from None


def body_facts(capture: Capture) -> dict[str, str]:
    """Return what is known of the body that took a capture, in words."""
    size = f"{capture.width}x{capture.height}" if capture.width and capture.height else None
    values = (capture.camera_make, capture.camera_model, capture.camera_serial, size)
    return {name: value for name, value in zip(BODY_FACTS, values, strict=True) if value}


@dataclass(frozen=True)
class CaptureView:
    """One capture, and the tables that it stands in."""

    capture: Capture
    tables: Tables


@dataclass(frozen=True)
class PairView:
    """A pair with its two captures."""

    pair: Pair
    short: Capture
    long: Capture


@dataclass(frozen=True)
class ManifestView:
    """All tables, and the subjects with an error so far."""

    tables: Tables
    faulty: Set[str] = field(default_factory=frozenset)

    @property
    def usable(self) -> Sequence[Pair]:
        """The pairs that no error concerns."""
        return [pair for pair in self.tables.pairs if self.faulty.isdisjoint(pair_keys(pair))]


def capture_key(path: str) -> str:
    """Return the key of a capture among all subjects."""
    return f"capture:{path}"


def pair_keys(pair: Pair) -> tuple[str, str, str]:
    """Return the keys of a pair and of its two captures: a fault of any of them is a fault of the pair."""
    return f"pair:{pair.pair_id}", capture_key(pair.short_path), capture_key(pair.long_path)


Answers: TypeAlias = Iterator[Draft | Skip]
V = TypeVar("V", CaptureView, PairView, ManifestView)
_KINDS: Mapping[str, SubjectKind] = {"CAP": "capture", "PAIR": "pair", "SET": "manifest"}


@dataclass(frozen=True)
class Rule:
    """A registered rule."""

    code: str
    name: str
    severity: Severity
    requires: tuple[str, ...]
    after: tuple[str, ...]
    version: int
    limit: str
    judge: Callable[..., Answers]

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
    after: Sequence[str] = (),
    version: int = 1,
    limit: str = "",
) -> Callable[[Callable[[V, Limits], Answers]], Callable[[V, Limits], Answers]]:
    """Register a function as a rule.

    Args:
        code: permanent identity; its letters say what the rule is shown.
        name: in kebab case.
        severity: of its findings, where a draft does not say otherwise.
        requires: codes that must have passed on the same subject (for a pair: on its captures too).
        after: codes that are judged before this one, whatever they find.
        version: raised when the same facts and limits are judged differently.
        limit: the default limits in words, a format string over the fields of `Limits`.
    """

    def register(judge: Callable[[V, Limits], Answers]) -> Callable[[V, Limits], Answers]:
        RULES[code] = Rule(code, name, severity, tuple(requires), tuple(after), version, limit, judge)
        return judge

    return register
