"""`make bench`: print each benchmark's ratios as a table that docs/benchmarks.md quotes. Never a timed test."""

import sys
from importlib import import_module

from tests.benchmarks import timing

# Imported when asked for: a worker that a benchmark starts loads this module first.
BENCHMARKS = {
    "ingest": "ingest_rate",
    "headers": "header_rate",
    "patches": "patch_rate",
    "steps": "step_rate",
    "targets": "target_rate",
    "validate": "validate_rate",
    "scale": "scale_rate",
    "evaluation": "evaluation_rate",
}


def main() -> None:
    """Run the benchmarks named on the command line, or all of them."""
    modules = (import_module(f"tests.benchmarks.{BENCHMARKS[name]}") for name in sys.argv[1:] or BENCHMARKS)
    print(timing.markdown([row for module in modules for row in module.run()]))


if __name__ == "__main__":
    main()
