"""Run the audit on simulated pairs whose truth is known: each pair goes the whole way, from a DNG file to findings.

A trial is a session of one scene, so that `sidcurate simulate` with its settings makes its two files again.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sidcurate import rules
from sidcurate.align import measure_pair, trace
from sidcurate.benchmark.grades import CLEAN, DEVICES, RATIOS, Grade
from sidcurate.errors import MissingResourceError
from sidcurate.ingest.reading import read_capture
from sidcurate.isolation import Failure, crew, map_isolated
from sidcurate.pairs import measuring, pairing, traces
from sidcurate.places.place import Folder
from sidcurate.schemas import Capture, Pair
from sidcurate.synthetic.bodies import Body
from sidcurate.synthetic.plan import Plan
from sidcurate.synthetic.sensor import generator
from sidcurate.synthetic.session import simulate
from sidcurate.synthetic.truth import PairTruth, Truth

JUDGED = tuple(sorted(code for code, rule in rules.RULES.items() if rule.subject_kind != "manifest"))
"""Rules about one capture or one pair: one scene is no manifest to be judged as a whole."""


@dataclass(frozen=True)
class Trial:
    """One simulated pair."""

    grade: Grade
    device: Body
    ratio: int
    size: tuple[int, int]
    seed: int

    @property
    def plan(self) -> Plan:
        """How to shoot it."""
        body, ratio = self.grade.body(self.device), Fraction(self.ratio)
        return Plan(
            body,
            scenes=1,
            size=self.size,
            ratios=(ratio,),
            seed=self.seed,
            faults=self.grade.planted(body, ratio),
            scenery=self.grade.scenery,
        )

    @property
    def command(self) -> str:
        """The command that shoots it."""
        plan = self.plan
        faults = "".join(f" --fault {planted.label}" for planted in plan.faults)
        return (
            f"sidcurate simulate out --device {plan.body.slug} --iso {plan.body.iso} --ratios {self.ratio} --scenes 1 "
            f"--size {self.size[0]}x{self.size[1]} --seed {self.seed} --scenery {plan.scenery}{faults}"
        )


@dataclass(frozen=True)
class Outcome:
    """What the audit said of a pair, and how far its figures are from the truth, None where it gave none.

    Attributes:
        trial: the pair.
        electrons: true median of the long frame over its sites, divided by the ratio: what the short one should hold.
        errors: codes of the findings of severity error.
        warnings: codes of the others.
        skipped: why a rule could not judge, by code.
        ratio_error: measured over true ratio of light, less 1.
        zero_error_dn14: the CFA position whose zero is farthest from the truth, 14-bit DN.
        shift_error_px: distance of the measured from the true shift.
    """

    trial: Trial
    electrons: float
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    skipped: Mapping[str, str]
    ratio_error: float | None
    zero_error_dn14: float | None
    shift_error_px: float | None

    @property
    def found(self) -> bool:
        """Whether a rule named the fault rightly; a skip is no find."""
        return not set(self.trial.grade.codes).isdisjoint(self.errors + self.warnings)

    @property
    def other_errors(self) -> tuple[str, ...]:
        """Findings of severity error that do not name the fault."""
        return tuple(code for code in self.errors if code not in self.trial.grade.codes)


def trials(grades: Sequence[Grade], *, scenes: int, clean: int, size: tuple[int, int], seed: int) -> Iterator[Trial]:
    """Yield the pairs of a benchmark: all grades on the same scenes, scene by scene, then clean pairs of other scenes.

    Devices and ratios are taken in turn: twelve scenes see each device at each ratio.
    """
    yield from _in_turn(grades, scenes, size, seed, "graded")
    yield from _in_turn((CLEAN,), clean, size, seed, "clean")


def _in_turn(grades: Sequence[Grade], scenes: int, size: tuple[int, int], seed: int, label: str) -> Iterator[Trial]:
    for number in range(scenes):
        device, ratio = DEVICES[number % len(DEVICES)], RATIOS[number % len(RATIOS)]
        scene_seed = int(generator(seed, label, number).integers(1 << 31))
        yield from (Trial(grade, device, ratio, size, scene_seed) for grade in grades)


def run(
    wanted: Sequence[Trial],
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Outcome]:
    """Return the outcome of each trial, in their order, whatever the number of workers.

    Raises:
        MissingResourceError: a worker died, for want of memory or disk.
    """
    outcomes: dict[Trial, Outcome] = {}
    with crew(jobs) as workers:
        for trial, result in map_isolated(outcome, wanted, workers):
            if isinstance(result, Failure):
                raise MissingResourceError(f"{trial.command}: {result.reason}; take fewer --jobs or a smaller --size")
            outcomes[trial] = result
            progress(len(outcomes), len(wanted))
    return [outcomes[trial] for trial in wanted]


def outcome(trial: Trial) -> Outcome:
    """Shoot a pair into a temporary folder, read and measure it as `ingest` does, and judge it by the default limits.

    Raises:
        MissingResourceError: the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="sidcurate-") as name:
        shots, manifest = Path(name, "shots"), Path(name, "manifest")
        truth = simulate(shots, trial.plan)
        device = truth.device
        place = Folder(shots)
        captures = [read_capture(place, file, device, manifest) for file in place.scan().raws]
        pairs = [_measured(match.record(), captures, manifest) for match in pairing.pair(captures).pairs]
    judgement = rules.run(rules.Tables(device, captures, pairs), rules.Limits(), JUDGED)
    codes = {
        severity: sorted({row.code for row in judgement.findings if row.severity == severity})
        for severity in ("error", "warning")
    }
    return Outcome(
        trial,
        electrons=next(frame.median_electrons for frame in truth.frames if frame.role == "long") / trial.ratio,
        errors=tuple(codes["error"]),
        warnings=tuple(codes["warning"]),
        skipped={code: "; ".join(reasons) for code, reasons in judgement.skipped.items()},
        **_errors(trial, pairs, truth),
    )


def _measured(pair: Pair, captures: Sequence[Capture], manifest: Path) -> Pair:
    hashes = {capture.path: capture.sha256 or "" for capture in captures}
    kept = [traces.path(manifest, hashes[path]) for path in (pair.short_path, pair.long_path)]
    if not all(path.is_file() for path in kept):
        return pair
    return pair.model_copy(update=measuring.as_fields(measure_pair(*map(trace.load, kept))))


def _errors(trial: Trial, pairs: Sequence[Pair], truth: Truth) -> dict[str, Any]:
    if not pairs:
        return dict.fromkeys(("ratio_error", "zero_error_dn14", "shift_error_px"))
    pair, true = pairs[0], truth.pairs[0]
    return {
        "ratio_error": _ratio_error(pair, true),
        "zero_error_dn14": _zero_error(pair, true, trial.device.dn_per_dn14),
        "shift_error_px": _shift_error(pair, true),
    }


def _ratio_error(pair: Pair, true: PairTruth) -> float | None:
    if pair.measured_ratio is None or true.light_ratio is None:
        return None
    return pair.measured_ratio / true.light_ratio - 1


def _zero_error(pair: Pair, true: PairTruth, dn_per_dn14: float) -> float | None:
    if pair.zero_error_dn is None or true.zero_error_dn is None:
        return None
    differences = (told - known for told, known in zip(pair.zero_error_dn, true.zero_error_dn, strict=True))
    return max(differences, key=abs) / dn_per_dn14


def _shift_error(pair: Pair, true: PairTruth) -> float | None:
    if pair.shift_y_px is None or pair.shift_x_px is None:
        return None
    return math.hypot(pair.shift_y_px - true.shift_y_px, pair.shift_x_px - true.shift_x_px)
