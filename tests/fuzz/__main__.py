"""`make fuzz`: read 20,000 damaged files; each must end in a row, within bounds of time and memory.

Goes on where an earlier run of the same seed was interrupted. Files that cost a worker, or more, stay in the folder
under their number.
"""

import argparse
import collections
import json
import resource
import sys
from pathlib import Path

from sidcurate.isolation import crew
from tests.fuzz import seeds
from tests.fuzz.run import Outcome, damaged, read_damaged

_BATCH = 200


def main() -> int:
    """Run up to the number of files asked for, print how they ended, and return 1 if any broke the promise."""
    options = _options()
    folder: Path = options.folder / str(options.seed)
    log = folder / "outcomes.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    whole = seeds.synthetic() | seeds.real()
    print(f"{len(whole)} whole files, seed {options.seed}, {_done(log)} read before", flush=True)
    while (start := _done(log)) < options.files:
        numbers = range(start, min(start + _BATCH, options.files))
        files = list(damaged(numbers, whole, options.seed))
        with crew(options.jobs) as workers:
            outcomes = list(read_damaged(files, folder / "files", workers, folder / "manifest"))
        _keep(folder, files, outcomes)
        with log.open("a") as stream:
            stream.writelines(json.dumps(vars(outcome)) + "\n" for outcome in outcomes)
        print(f"{numbers.stop}: {dict(_endings(log))}", flush=True)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"the largest worker had {largest:.2f} GB; files that cost one are in {folder}")
    return 1 if _endings(log)["BROKEN"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"))
    return parser.parse_args()


def _done(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def _endings(log: Path) -> collections.Counter[str]:
    return collections.Counter(json.loads(line)["ending"] for line in log.read_text().splitlines())


def _keep(folder: Path, files: list[tuple[int, str, bytes]], outcomes: list[Outcome]) -> None:
    contents = {number: content for number, _, content in files}
    for outcome in outcomes:
        if outcome.ending not in ("read", "refused"):
            print(f"  {outcome.number} of {outcome.name}: {outcome.ending}: {outcome.why}", flush=True)
            (folder / f"{outcome.number}-{Path(outcome.name).name}").write_bytes(contents[outcome.number])


if __name__ == "__main__":
    sys.exit(main())
