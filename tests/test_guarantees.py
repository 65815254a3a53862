"""The promises of the README that only the system can witness: what is opened, written and connected to."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from reference_networks import port

from sidcurate.cli import main
from sidcurate.synthetic.dng import DngTags, write_dng
from tests.fuzz import seeds

ROOT = Path(__file__).parents[1]
CHANGING = (
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat,truncate,ftruncate,chmod,fchmod,fchmodat,"
    "chown,fchown,lchown,fchownat,utime,utimes,utimensat,futimesat,link,linkat,symlink,symlinkat,setxattr,lsetxattr,"
    "fsetxattr,removexattr,fallocate"
)
OPENING = "open,openat,openat2,creat"
# A socket alone reaches nobody. urllib3 makes one to see whether there is IPv6; TensorBoard loads it where boto3 is.
CONNECTING = "connect,bind,sendto,sendmsg,sendmmsg"
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


def curation(work: Path) -> list[list[str]]:
    """Every verb that is told of raws and needs no training, in the order of use; and those that write elsewhere."""
    where = ["--device", "cam", "--manifests", f"{work}/m"]
    parts = ["ingest", f"{work}/cam", "--device", "cam", "--manifests", f"{work}/parts", "--jobs", "1"]
    return [
        ["ingest", f"{work}/cam", "--headers-only", "--device", "heads", "--manifests", f"{work}/m"],
        [*parts, "--shard", "1/2"],
        [*parts, "--shard", "2/2"],
        ["manifest", "merge", *(f"{work}/parts/cam.shards/{n}-of-2" for n in (1, 2)), "--manifests", f"{work}/merged"],
        ["ingest", f"{work}/cam", *where, "--jobs", "2"],
        ["ingest", f"{work}/cam", *where],
        ["pair", *where],
        ["split", *where, "--train", "2", "--val", "1", "--test", "1"],
        ["validate", *where],
        ["validate", *where, "--explain", "00001_00", "--png", f"{work}/out.png"],
        ["report", *where, "--format", "html", "--output", f"{work}/out.html"],
        ["fsck", *where, "--deep", "--store", f"{work}/store", "--runs", f"{work}/runs"],
        ["rules"],
        ["schema"],
        ["simulate", f"{work}/simulated", "--scenes", "1", "--size", "64x96"],
        ["benchmark-rules", "--faults", "portrait", "--scenes", "1", "--clean", "0", "--size", "96x128", "--jobs", "1"],
    ]


def training(work: Path) -> list[list[str]]:
    """The verbs that train, judge and use a network, after the manifest was made."""
    where = ["--device", "cam", "--manifests", f"{work}/m", "--store", f"{work}/store"]
    runs, checkpoint = ["--runs", f"{work}/runs"], ["--checkpoint", f"{work}/runs/cam/tiny"]
    finetune = ["finetune", *where, *runs, "--recipe", f"{work}/tiny.toml", "--jobs", "1"]
    return [
        finetune,
        [*finetune, "--resume"],
        ["evaluate", *where, *checkpoint, "--jobs", "1", "--device-type", "cpu"],
        ["enhance", f"{work}/cam/00001_00_0.1s.dng", *checkpoint, "--output", f"{work}/out.tif"],
        ["weights", "import", f"{work}/port.pth", f"{work}/runs/imported"],
        ["runs", *runs],
        ["fsck", "--deep", *where, *runs],
    ]


TINY = """
width = 4
resolutions = 2
patch = 16
batch = 1
unit = "steps"
duration = 2
schedule = [[0, 1e-3]]
validate_every = 1
"""
# All in one process: to load what they need takes longer than they do.
TOGETHER = """
import json, sys
from sidcurate.cli import main
if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        try:
            main(arguments)
        except SystemExit as end:
            print(arguments[0], "ends with", end.code, file=sys.stderr)
            if end.code not in (0, 1, 3):
                raise
"""


@dataclass(frozen=True)
class Witness:
    """A session, what it was before, and the system calls of some verbs by their line."""

    work: Path
    before: dict[str, tuple[object, ...]]
    calls: Sequence[str]

    @property
    def raws(self) -> Path:
        return self.work / "cam"

    @property
    def reads(self) -> list[str]:
        return [line for line, paths in self.of(OPENING) if any(path.startswith(f"{self.raws}/") for path in paths)]

    def of(self, names: str) -> Iterator[tuple[str, list[str]]]:
        """Yield each of some calls, with the paths that it names."""
        call = re.compile(rf"\b({names.replace(',', '|')})\(")
        for line in self.calls:
            if found := call.search(line):
                quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', line[found.end() :])
                handles = re.findall(r"^\d+<(.*?)>[,)]", line[found.end() :])
                yield line, [str(self.work / path) for path in [*quoted, *handles]]


def witnessed(work: Path, commands: list[list[str]]) -> Witness:
    """Run some verbs under strace."""
    before, log = state(work / "cam"), work.with_name("calls")
    (work / "together.py").write_text(TOGETHER)
    (work / "tmp").mkdir()
    # What Python caches of its modules, and libraries put into the temporary folder, is no concern of a verb.
    temporary = {"TMPDIR": f"{work}/tmp", "TORCHINDUCTOR_CACHE_DIR": f"{work}/tmp/inductor"}
    settings = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", **temporary}
    # With -y a file handle is shown with its path, so that a change through one is seen too.
    trace = ["strace", "-f", "-y", "--seccomp-bpf", "-s", "4096", "-o", str(log)]
    trace += ["-e", f"trace={','.join((CHANGING, OPENING, CONNECTING))}"]
    done = subprocess.run(
        [*trace, sys.executable, str(work / "together.py"), json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        cwd=work,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'train'}", **settings},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return Witness(work, before, log.read_text(errors="replace").splitlines())


@pytest.fixture
def work(strace: None, tmp_path: Path) -> Path:
    """A folder with a session, where strace may trace."""
    make_session(tmp_path / "work")
    return tmp_path / "work"


def broken_promises(witness: Witness) -> list[str]:
    """Return every call that no verb may make."""
    own = (f"{witness.work}/", "/dev/null/", "/dev/shm/")
    changes = [*witness.of(CHANGING), *(row for row in witness.of(OPENING) if FOR_WRITING.search(row[0]))]
    raws = [line for line, paths in changes if any(f"{path}/".startswith(f"{witness.raws}/") for path in paths)]
    outside = [line for line, paths in changes if not all(f"{path}/".startswith(own) for path in paths)]
    followed = [line for line in witness.calls if "secret.dng" in line or "/link.dng" in line]
    networked = [line for line in witness.calls if re.search(r"AF_INET|AF_PACKET|AF_NETLINK", line)]
    away = [line for line in networked if "127.0.0.1" not in line and "::1" not in line]
    return [*raws, *outside, *followed, *away]


def test_no_verb_changes_a_raw_writes_elsewhere_leaves_the_folder_or_calls_another_machine(work: Path) -> None:
    witness = witnessed(work, curation(work))
    assert state(witness.raws) == witness.before
    assert len(witness.reads) > 20, "the raws were read, or this sees nothing"
    assert broken_promises(witness) == []


def test_no_verb_that_trains_judges_or_enhances_does_so_either(work: Path) -> None:
    where = ["--device", "cam", "--manifests", f"{work}/m"]
    split = ["split", *where, "--train", "2", "--val", "1", "--test", "1"]
    for verb in (["ingest", f"{work}/cam", *where, "--jobs", "1"], split, ["validate", *where]):
        CliRunner().invoke(main, verb, catch_exceptions=False)
    (work / "tiny.toml").write_text(TINY)
    torch.save(port(), work / "port.pth")
    witness = witnessed(work, training(work))
    assert state(witness.raws) == witness.before
    assert {path.name for path in (work / "runs/cam/tiny").iterdir()} > {"model.safetensors", "state.pt"}
    assert len(witness.reads) > 8, "the raws were read, or this sees nothing"
    assert broken_promises(witness) == []


def test_push_and_fetch_connect_to_the_store_and_to_nothing_else(work: Path) -> None:
    from tests.object_store import serving  # Skips where the extra s3 is missing.

    run = ["ingest", f"{work}/cam", "--device", "cam", "--manifests", f"{work}/m", "--jobs", "1"]
    CliRunner().invoke(main, run, catch_exceptions=False)
    address, there = "s3://team/cam", f"{work}/there/cam"
    with serving() as server:
        server.client().create_bucket(Bucket="team")
        verbs = [["push", f"{work}/m/cam", address], ["fetch", address, there]]
        witness = witnessed(work, [["manifest", *verb, "--traces"] for verb in verbs])
    asked = {call for call in witness.calls if re.search(r"\bconnect\(.*AF_INET", call)}
    _, _, port = server.url.rpartition(":")
    assert asked
    assert [call for call in asked if f'htons({port}), sin_addr=inet_addr("127.0.0.1")' not in call] == []
    assert broken_promises(witness) == []
    assert (Path(there) / "SHA256SUMS").exists()


@pytest.mark.parametrize(
    "line",
    [
        'openat(AT_FDCWD</w>, "{work}/cam/a.dng", O_RDWR) = 3<{work}/cam/a.dng>',
        'openat(AT_FDCWD</w>, "cam/a.dng", O_WRONLY|O_CREAT, 0666 <unfinished ...>',
        'rename("{work}/cam/a.dng", "{work}/out") = 0',
        "ftruncate(3<{work}/cam/a.dng>, 0) = 0",
        'openat(AT_FDCWD</w>, "/root/.cache/x", O_WRONLY|O_CREAT, 0666) = 3</root/.cache/x>',
        'mkdir("/elsewhere", 0777) = 0',
        'openat(AT_FDCWD</w>, "{work}/secret.dng", O_RDONLY) = 3',
        'connect(3<socket:[1]>, {{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("1.1.1.1")}}, 16) = 0',
    ],
)
def test_the_witness_sees_a_broken_promise(tmp_path: Path, line: str) -> None:
    calls = [f"17 {line.format(work=tmp_path)}", f'17 openat(AT_FDCWD</w>, "{tmp_path}/m/x", O_RDWR|O_CREAT) = 3']
    assert broken_promises(Witness(tmp_path, {}, calls)) == [calls[0]]


ENVIRONMENTS = {
    "one job": (1, {}),
    "four jobs": (4, {"PYTHONHASHSEED": "1"}),
    "another place": (2, {"PYTHONHASHSEED": "2", "LC_ALL": "C", "TZ": "Asia/Kathmandu", "LANG": "tr_TR.UTF-8"}),
}


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder that lists files in the order in which they came, where there is one: disks do by a hash of the name."""
    if not (shared := Path("/dev/shm")).is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def test_jobs_locale_time_zone_hash_seed_and_the_order_of_the_folder_change_no_byte(
    tmp_path: Path, memory: Path
) -> None:
    found, orders = [], []
    for number, (jobs, environment) in enumerate(ENVIRONMENTS.values()):
        work = (memory if number else tmp_path) / str(number)
        raws = make_session(work)
        again = sorted(raws.iterdir(), reverse=number % 2 == 0)
        (work / "order").mkdir()
        for path in again:
            path.rename(work / "order" / path.name)
        raws.rmdir()
        (work / "order").rename(raws)
        orders.append([path.name for path in raws.iterdir()])
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
    if memory != tmp_path:
        assert orders[0] != orders[1] != orders[2], "the order was to differ"
