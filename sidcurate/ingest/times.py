"""Exposure times that a person knows better than the header: read from a CSV, and put in the header's place."""

import re
from collections.abc import Container, Mapping
from fractions import Fraction
from pathlib import Path

from sidcurate.csvfile import read_csv
from sidcurate.errors import UsageError
from sidcurate.schemas import Capture

Times = Mapping[str, Fraction]
"""Exposure time in seconds by the path of a capture."""

_NUMBER = re.compile(r"[0-9]{1,12}(/[0-9]{1,12}|\.[0-9]{0,12})?|\.[0-9]{1,12}")
_LARGEST_PART = 2**32  # That of a rational in an Exif header.


def read_times(path: Path) -> dict[str, Fraction]:
    """Return the rows of a CSV with the columns path and exposure_time_s, which is written 1/30, 0.4 or 10.

    Raises:
        UsageError: the file cannot be read, a path stands twice, or a time is not one.
    """
    times: dict[str, Fraction] = {}
    for line, row in read_csv(path, ("path", "exposure_time_s")):
        name, text = row["path"], row["exposure_time_s"].strip()
        time = _time(text)
        if time is None:
            raise UsageError(f"line {line} of {path}: {text!r} is no exposure time; write seconds as 1/30, 0.4 or 10")
        if name in times:
            raise UsageError(f"line {line} of {path}: {name!r} stands there twice; give one time a raw")
        times[name] = time
    return times


def check_times(times: Times, paths: Container[str]) -> None:
    """Refuse times of raws that are not there.

    Raises:
        UsageError: a path is no raw of the folder.
    """
    for path in times:
        if path not in paths:
            raise UsageError(
                f"an exposure time was given for {path!r}, which is no raw of this folder; paths are relative to the "
                "ingested folder"
            )


def with_time(capture: Capture, times: Times) -> Capture:
    """Return a capture with the exposure time that is given for it, as it is where there is none."""
    time = times.get(capture.path)
    if time is None:
        return capture
    return capture.model_copy(
        update={
            "exposure_num": time.numerator,
            "exposure_den": time.denominator,
            "exposure_time_s": float(time),
            "exposure_source": "override",
        }
    )


def _time(text: str) -> Fraction | None:
    if _NUMBER.fullmatch(text) is None:  # A power such as 1e999999999 would be worked out digit by digit.
        return None
    try:
        time = Fraction(text)
    except ZeroDivisionError:
        return None
    return time if time > 0 and max(time.numerator, time.denominator) < _LARGEST_PART else None
