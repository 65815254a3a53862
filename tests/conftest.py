"""Fixtures that more than one test module uses."""

import os
from pathlib import Path

import pytest

# The tests run in one process a core: threads of theirs would only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real raws and sessions beside the checkout; a fresh clone has none."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no real raws: {folder} is not there")
    return folder
