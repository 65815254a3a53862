"""The promises of the README that only the system can witness: what is opened, written and connected to."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sidcurate.synthetic.dng import DngTags, write_dng
from tests.fuzz import seeds

ROOT = Path(__file__).parents[1]
CHANGING = (
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat,truncate,ftruncate,chmod,fchmod,fchmodat,"
    "chown,fchown,lchown,fchownat,utime,utimes,utimensat,futimesat,link,linkat,symlink,symlinkat,setxattr,lsetxattr,"
    "fsetxattr,removexattr,fallocate"
)
OPENING = "open,openat,openat2,creat"
CONNECTING = "socket,connect,bind,sendto"
FOR_WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|\bcreat\(")


def make_session(folder: Path) -> Path:
    """Four good scenes, files that cannot be read, and links to a file outside the folder."""
    rng = np.random.default_rng(1)
    (folder / "cam").mkdir(parents=True)
    for scene in range(4):
        light = rng.uniform(5, 150, (96, 128))
        for seconds in ("0.1", "10"):
            mosaic = rng.poisson(light * float(seconds)) * 2 + 512
            tags = DngTags(exposure_time_s=Fraction(seconds), iso=800, f_number=Fraction(4))
            write_dng(folder / f"cam/{scene:05d}_00_{seconds}s.dng", mosaic.astype(np.uint16), tags)
    for name, content in seeds.synthetic().items():
        (folder / "cam" / name).write_bytes(content[: len(content) * 3 // 4])
    (folder / "secret.dng").write_bytes(b"not yours")
    (folder / "cam/link.dng").symlink_to("../secret.dng")
    return folder / "cam"


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    return {
        str(path.relative_to(folder)): (
            status.st_mtime_ns,
            status.st_mode,
            status.st_ino,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else None,
        )
        for path in sorted(folder.rglob("*"))
        for status in [path.lstat()]
    }


def commands(work: Path) -> Iterator[list[str]]:
    """Every verb that is told of raws, in the order of use; and those that write elsewhere."""
    where = ["--device", "cam", "--manifests", str(work / "m")]
    yield ["ingest", str(work / "cam"), *where, "--jobs", "2"]
    yield ["ingest", str(work / "cam"), *where]
    yield ["pair", *where]
    yield ["validate", *where]
    yield ["validate", *where, "--explain", "00001_00", "--png", str(work / "out.png")]
    yield ["split", *where, "--train", "2", "--val", "1", "--test", "1"]
    yield ["report", *where, "--format", "html", "--output", str(work / "out.html")]
    yield ["rules"]
    yield ["schema"]


@dataclass(frozen=True)
class Witness:
    """A session, what it was before, and the system calls of all verbs by their line."""

    raws: Path
    before: dict[str, tuple[object, ...]]
    calls: Sequence[str]


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    if shutil.which("strace") is None:
        pytest.skip("no strace on this machine")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    work = tmp_path
    raws, log = make_session(work), work / "calls"
    before = state(raws)
    # With -y a file handle is shown with its path, so that a change through one is seen too.
    trace = ["strace", "-f", "-y", "--seccomp-bpf", "-s", "4096", "-A", "-o", log]
    for command in commands(work):
        calls = ",".join((CHANGING, OPENING, CONNECTING))
        done = subprocess.run(
            [*map(str, trace), "-e", f"trace={calls}", sys.executable, "-m", "sidcurate", *command],
            capture_output=True,
            text=True,
            check=False,
            cwd=work,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode in (0, 1, 3), (command, done.stderr)
        assert "Traceback" not in done.stderr
    return Witness(raws, before, log.read_text(errors="replace").splitlines())


def test_no_verb_changes_a_raw_leaves_the_folder_or_calls_another_machine(witness: Witness) -> None:
    """One run of all verbs under strace, seen from four sides."""
    assert state(witness.raws) == witness.before
    below = [line for line in witness.calls if f"{witness.raws}/" in line or f'"{witness.raws}"' in line]
    assert len(below) > 20, "the raws were read, or this sees nothing"
    changing = re.compile(rf"\b({CHANGING.replace(',', '|')})\(")
    assert [line for line in below if changing.search(line) or FOR_WRITING.search(line)] == []
    assert [line for line in witness.calls if "secret.dng" in line or "/link.dng" in line] == []
    networked = [line for line in witness.calls if re.search(r"AF_INET|AF_PACKET|AF_NETLINK", line)]
    assert [line for line in networked if "127.0.0.1" not in line and "::1" not in line] == []


ENVIRONMENTS = {
    "one job": (1, {}),
    "four jobs": (4, {"PYTHONHASHSEED": "1"}),
    "another place": (2, {"PYTHONHASHSEED": "2", "LC_ALL": "C", "TZ": "Asia/Kathmandu", "LANG": "tr_TR.UTF-8"}),
}


def test_jobs_locale_time_zone_hash_seed_and_the_order_of_the_folder_change_no_byte(tmp_path: Path) -> None:
    found = []
    for number, (jobs, environment) in enumerate(ENVIRONMENTS.values()):
        work = tmp_path / str(number)
        raws = make_session(work)
        again = sorted(raws.iterdir(), reverse=number % 2 == 0)
        (work / "order").mkdir()
        for path in again:  # A folder lists its files in the order in which they came, or in a hash's.
            path.rename(work / "order" / path.name)
        raws.rmdir()
        (work / "order").rename(raws)
        command = ["ingest", raws, "--device", "cam", "--manifests", work / "m", "--jobs", jobs]
        for verb in (command, ["validate", "--device", "cam", "--manifests", work / "m", "--no-files"]):
            done = subprocess.run(
                [sys.executable, "-m", "sidcurate", *map(str, verb)],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )
            assert done.returncode in (0, 1, 3), done.stderr
        found.append((work / "m/cam/SHA256SUMS").read_text())
    assert found[0] == found[1] == found[2]
