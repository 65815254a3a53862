"""`make bench`: print each benchmark's ratios as a table that the README quotes. Never a timed test."""

import sys

from tests.benchmarks import evaluation_rate, ingest_rate, patch_rate, step_rate, target_rate, timing, validate_rate

BENCHMARKS = {
    "ingest": ingest_rate.run,
    "patches": patch_rate.run,
    "steps": step_rate.run,
    "targets": target_rate.run,
    "validate": validate_rate.run,
    "evaluation": evaluation_rate.run,
}


def main() -> None:
    """Run the benchmarks named on the command line, or all of them."""
    rows = [row for name in sys.argv[1:] or BENCHMARKS for row in BENCHMARKS[name]()]
    print(timing.markdown(rows))


if __name__ == "__main__":
    main()
