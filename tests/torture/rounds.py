"""One round: bring a folder into its old state, disturb a writer, look as a reader does, and write again."""

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidcurate.errors import MissingResourceError, SidcurateError
from sidcurate.storage.commits import LOCK, RECORD
from tests.torture import steps
from tests.torture.faults import KILL, Plan
from tests.torture.steps import Step

NO_SPACE = MissingResourceError.exit_code
CRASHED = 99
_FAULTS = {"kill": (KILL, False), "I/O error": (errno.EIO, False), "full disk": (errno.ENOSPC, True)}
Files = dict[str, str]


@dataclass
class Tally:
    """What came of the rounds of one step: how many, what readers saw after them, and each fault in words."""

    step: str
    rounds: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Undisturbed:
    """A step as it goes when nobody disturbs it."""

    step: Step
    folder: Path
    old: Files
    new: Files
    seconds: float


def each_call(step: Step, folder: Path, plan: Plan, rng: random.Random, most: int | None = None) -> Tally:
    """Let each call of a step that changes the folder fail in turn: by a kill, an I/O error, a disk that is full.

    With `most`, so many of the calls, drawn at random.
    """
    _restore(step, folder)
    plan.arm(folder)
    _wait(_start(step, folder))
    plan.disarm()
    calls = plan.calls()
    undisturbed = _undisturbed(step, folder)
    tally = Tally(step.name, faults=[f"{step.name}: not synced: {what}" for what in unsynced(calls)])
    numbered = list(enumerate(calls, start=1))
    for number, call in numbered if most is None else sorted(rng.sample(numbered, min(most, len(calls)))):
        for name, (error, onwards) in _FAULTS.items():
            _restore(step, folder)
            plan.arm(folder, number, error, onwards=onwards)
            code = _wait(_start(step, folder))
            plan.disarm()
            _judge(tally, undisturbed, f"{name} at call {number} ({call})")
            if error != KILL and code != NO_SPACE and code != 0:
                tally.faults.append(f"{step.name}: {name} at call {number} ({call}) ends with exit code {code}")
            if error != KILL and "Traceback" in _talk(folder).read_text():
                tally.faults.append(f"{step.name}: {name} at call {number} ({call}) ends in a traceback")
    return tally


def make(step: Step, folder: Path) -> None:
    """Do a step undisturbed, into another folder."""
    folder.parent.mkdir(exist_ok=True)
    if code := _wait(_start(step, folder)):
        raise RuntimeError(f"{step.name} fails undisturbed ({code}): {_talk(folder).read_text()}")


def unsynced(calls: list[str]) -> list[str]:
    """Return where a power cut could undo what a later call builds on.

    The bytes of a part are synced before its rename; the names of the folder before the record's rename, between that
    and the renames that it commits, and at the end, as are the names of new folders.
    """
    faults: list[str] = []
    synced: set[str] = set()
    pending: set[str] = set()
    for verb, *paths in map(str.split, calls):
        path = "".join(paths[-1:])
        if verb == "write":
            synced.discard(path)
        elif verb == "sync":
            synced.add(path)
            pending = {name for name in pending if name.rpartition("/")[0] != path}
        elif verb == "mkdir":
            pending |= {path} - {""}
        elif verb == "rename":
            faults += _too_early(*paths, synced, pending)
            pending.add(path)
    return [*faults, *(f"{name} at the end" for name in sorted(pending))]


def _too_early(part: str, name: str, synced: set[str], pending: set[str]) -> Iterator[str]:
    staged = part.endswith(".part")
    if staged and not any(path.endswith(f"/{part}") for path in synced):
        yield f"{name} before its bytes"
    if pending and (name == f"/{RECORD}" or (not staged and f"/{RECORD}" in pending)):
        yield f"{name} before the names that it builds on"


def random_kills(step: Step, folder: Path, rounds: int, rng: random.Random) -> Tally:
    """Kill a step so many times, each at a random moment: the process alone, or with its workers."""
    undisturbed = _undisturbed(step, folder)
    tally = Tally(step.name)
    for number in range(rounds):
        _restore(step, folder)
        after_s = rng.uniform(0, undisturbed.seconds)
        pid = _start(step, folder)
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL) if number % 2 else _kill_group(pid)
        killed = _wait(pid) == -signal.SIGKILL
        tally.seen["killed" if killed else "was done before"] += 1
        _judge(tally, undisturbed, f"kill after {after_s:.3f} s")
        _kill_group(pid)
    return tally


def _undisturbed(step: Step, folder: Path) -> _Undisturbed:
    _restore(step, folder)
    old = _files(folder)
    started = time.monotonic()
    code = _wait(_start(step, folder))
    seconds = time.monotonic() - started
    if code not in (0, 1):
        raise RuntimeError(f"{step.name} fails undisturbed ({code}): {_talk(folder).read_text()}")
    return _Undisturbed(step, folder, old, _files(folder), seconds)


def _judge(tally: Tally, undisturbed: _Undisturbed, disturbance: str) -> None:
    """Look at what a disturbed writer left, in a process of its own, and count what is wrong."""
    tally.rounds += 1
    looked = _in_child(lambda: _look(undisturbed))
    tally.seen[looked["seen"]] += 1
    tally.faults += [f"{tally.step}: {disturbance}: {fault}" for fault in looked["faults"]]


def _look(undisturbed: _Undisturbed) -> dict[str, Any]:
    step, folder, old, new = undisturbed.step, undisturbed.folder, undisturbed.old, undisturbed.new
    faults = []
    left = _files(folder)
    for name, content in left.items():
        if not Path(name).name.startswith(".") and content not in (old.get(name), new.get(name)):
            faults.append(f"{name} is neither the old one nor the new one")
    seen = "a whole file" if not step.has_manifest else "nothing"
    if step.has_manifest:
        sums, both = steps.state(folder), [steps.committed(side) for side in (old, new)]
        seen = "the new manifest" if sums == both[1] else "the old manifest" if sums == both[0] else "a mixture"
        faults += [seen] if seen == "a mixture" else []
    # Workers of a killed ingest may still be writing traces; whoever only reads must leave the rest alone.
    if step.has_manifest and {k for k in left if "/" not in k} != {k for k in _files(folder) if "/" not in k}:
        faults.append("a reader changed the folder")
    code = _act(step, folder)
    if code not in (0, 1):
        faults.append(f"writing again ends with exit code {code}")
    if (again := _files(folder)) != new:
        names = sorted(name for name in again.keys() | new.keys() if again.get(name) != new.get(name))
        faults.append(f"writing again ends in other files: {', '.join(names)}")
    return {"seen": seen, "faults": faults}


def _restore(step: Step, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    if step.before is not None:
        shutil.copytree(step.before, folder)


def _files(folder: Path) -> Files:
    """Return the hash of every file by its path; the lock holds nothing."""
    from sidcurate.manifests import sha256_of

    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != LOCK:
            found[path.relative_to(folder).as_posix()] = sha256_of(path)
    return found


def _talk(folder: Path) -> Path:
    return folder.with_name("talk")


def _act(step: Step, folder: Path) -> int:
    try:
        step.act(folder)
    except SystemExit as end:
        return int(end.code or 0)
    except SidcurateError as error:
        return error.exit_code
    except OSError:
        return NO_SPACE
    return 0


def _start(step: Step, folder: Path) -> int:
    """Fork a process, leader of its group, that does a step; return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = CRASHED
    try:
        os.setsid()
        talk = os.open(_talk(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(talk, 1)
        os.dup2(talk, 2)
        code = _act(step, folder)
    except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on as its parent would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _in_child(function: Callable[[], Any]) -> Any:
    """Return what a function returns in a forked process, so that its threads are not here at the next fork."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            answer = function()
        except BaseException as error:  # noqa: BLE001 - it is what the parent asks for
            answer = {"seen": "an error", "faults": [f"a reader fails: {type(error).__name__}: {error}"]}
        with os.fdopen(writing, "w") as stream:
            json.dump(answer, stream)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    _wait(pid)
    return json.loads(answer)
