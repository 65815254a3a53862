"""The n-th call that changes a folder fails, or kills its process: a library that is preloaded, and its plan."""

import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("faults.c")
KILL = -1
_HEAD = struct.Struct("qqqq")
_PATH_BYTES = 4096


def missing() -> str | None:
    """Return why calls cannot be made to fail on this machine, None where they can."""
    if not sys.platform.startswith("linux"):
        return "only Linux preloads a library this way"
    return None if shutil.which("cc") else "there is no C compiler (cc)"


def environment(work: Path) -> Mapping[str, str]:
    """Return the environment in which a process obeys the plan, after compiling what it preloads."""
    library, plan = work / "faults.so", work / "plan"
    command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"]
    subprocess.run(command, check=True)
    plan.write_bytes(bytes(_HEAD.size + 2 * _PATH_BYTES))
    return {**os.environ, "LD_PRELOAD": str(library), "FAULT_PLAN": str(plan)}


class Plan:
    """What shall fail; shared with every process that preloads the library."""

    def __init__(self) -> None:
        """Open the plan that the environment names."""
        path = Path(os.environ["FAULT_PLAN"])
        self._log = path.with_name("calls")
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    def arm(self, folder: Path, at: int = 0, error: int = 0, *, onwards: bool = False) -> None:
        """Count the calls below a folder from now on, and let one of them, or all from it that need space, fail."""
        self._log.unlink(missing_ok=True)
        paths = (os.fsencode(path).ljust(_PATH_BYTES, b"\0") for path in (folder, self._log))
        self._memory[:] = _HEAD.pack(0, at, error, onwards) + b"".join(paths)

    def disarm(self) -> None:
        """Let everything pass, uncounted."""
        self._memory[_HEAD.size] = 0

    def calls(self) -> list[str]:
        """Return the calls since the plan was armed, as `rename /captures.parquet`."""
        return self._log.read_text().splitlines() if self._log.exists() else []
