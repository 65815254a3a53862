"""`make torture`: let every call fail in turn, then kill the verbs at random moments; print what readers saw."""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.torture import faults, rounds, steps

MEMORY = Path("/dev/shm")


def main() -> int:
    """Run the rounds that are asked for; return 1 where a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="kills at random moments, over all verbs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verb-calls", type=int, default=10, help="calls of each verb that fail, one at a time")
    asked = parser.parse_args()
    # In memory where it can be: a thousand rounds sync tens of thousands of times.
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        work = Path(folder)
        if (why := faults.missing()) is None and "FAULT_PLAN" not in os.environ:
            command = [sys.executable, "-m", "tests.torture", *sys.argv[1:]]
            return subprocess.run(command, env=faults.environment(work), check=False).returncode
        tallies = [] if why else _calls(work / "calls", asked.verb_calls, asked.seed)
        if why:
            print(f"no call was made to fail: {why}")
        tallies += _kills(work / "kills", asked.kills, asked.seed)
    print(*(_in_words(tally) for tally in tallies), sep="\n")
    broken = [fault for tally in tallies for fault in tally.faults]
    print(*broken, f"{sum(tally.rounds for tally in tallies)} rounds, {len(broken)} broken promises", sep="\n")
    return 1 if broken else 0


def _calls(work: Path, verb_calls: int, seed: int) -> list[rounds.Tally]:
    plan, rng = faults.Plan(), random.Random(seed)
    work.mkdir()
    folder = work / "m" / "cam"
    tallies = [rounds.each_call(step, folder, plan, rng) for step in steps.quick(work)]
    verbs = _verbs(work) if verb_calls else []
    return tallies + [rounds.each_call(step, folder, plan, rng, verb_calls) for step in verbs]


def _kills(work: Path, count: int, seed: int) -> list[rounds.Tally]:
    work.mkdir()
    chosen = _verbs(work)
    shares = [count // len(chosen) + (number < count % len(chosen)) for number in range(len(chosen))]
    rng = random.Random(seed)
    pairs = zip(chosen, shares, strict=True)
    return [rounds.random_kills(step, work / "m" / "cam", share, rng) for step, share in pairs if share]


def _verbs(work: Path) -> list[steps.Step]:
    chosen = steps.verbs(work)
    rounds.make(chosen[0], work / "made" / "cam")
    for number in (1, 2):
        rounds.make(steps.shard(work, number), work / "parts")
    return chosen


def _in_words(tally: rounds.Tally) -> str:
    seen = ", ".join(f"{count} {what}" for what, count in sorted(tally.seen.items()))
    return f"{tally.step}: {tally.rounds} rounds: {seen}"


if __name__ == "__main__":
    sys.exit(main())
