"""Fixtures that more than one test module uses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.small_session import write_session

# The tests run in one process a core: threads of theirs would only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

# The same examples in every run; how long one takes is the machine's.
suppressed = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("tests", derandomize=True, deadline=None, suppress_health_check=suppressed)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real raws and sessions beside the checkout; a fresh clone has none."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no real raws: {folder} is not there")
    return folder


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of two training, one validation and one test scene, decoded once for all tests of a module."""
    folder = tmp_path_factory.mktemp("session")
    write_session(folder)
    return folder


@pytest.fixture(scope="session")
def strace() -> None:
    """Skip what watches system calls where nothing may watch them."""
    if shutil.which("strace") is None:
        pytest.skip("no strace on this machine")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")


@pytest.fixture(scope="session")
def unprivileged() -> list[str]:
    """The words before a command for which permissions shall hold: root reads everything."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and no setpriv is here to take that away")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
