"""A manifest in an object store: the same bytes elsewhere, the old version or the new one, and of two writers one."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sidcurate import manifests, source
from sidcurate.cli import main
from sidcurate.errors import IntegrityError, MissingResourceError, UsageError
from sidcurate.ingest.folder import ingest
from sidcurate.places.bucket import Bucket
from sidcurate.places.objects import Objects
from sidcurate.places.patience import Patience
from sidcurate.schemas import Pair
from sidcurate.sharing import exchange, pushed, remote
from sidcurate.storage import commits
from tests.object_store import BROKEN, CUT, DENIED, LOST, SLOW_DOWN, STRANGER, Store, serving
from tests.small_session import write_session

QUICK = Patience(tries=3, first_s=0.001)
RECORD = "/team/cam/SHA256SUMS"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("session")
    write_session(folder, size=(64, 64))
    return folder / "raws"


@pytest.fixture(scope="module")
def server(session: Path) -> Iterator[Store]:
    with serving() as server:
        server.put(session, "night/cam")
        yield server


@pytest.fixture(scope="module")
def ingested(server: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the raws in a bucket."""
    directory = tmp_path_factory.mktemp("ingested") / "cam"
    ingest(Bucket("night", "cam/"), directory, jobs=1)
    return directory


@pytest.fixture
def cam(ingested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ingested, tmp_path / "one/cam"))


@pytest.fixture
def store(server: Store) -> Iterator[Objects]:
    """Where the manifest goes: nothing is there yet."""
    server.client().create_bucket(Bucket="team")
    server.forget()
    yield Objects("team", "cam/", QUICK)
    server.forget()
    for key in keys(server):
        server.client().delete_object(Bucket="team", Key=key)
    server.client().delete_bucket(Bucket="team")


def keys(server: Store) -> list[str]:
    return [each["Key"] for each in server.client().list_objects_v2(Bucket="team").get("Contents", ())]


def content(server: Store, key: str) -> bytes:
    return server.client().get_object(Bucket="team", Key=key)["Body"].read()


def write(server: Store, key: str, body: bytes) -> None:
    server.client().put_object(Bucket="team", Key=key, Body=body)


def sums(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name not in (remote.FILE, commits.LOCK))
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def without_traces(of: dict[str, str]) -> dict[str, str]:
    return {path: digest for path, digest in of.items() if not path.startswith("traces/")}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def change(directory: Path, gap_s: float) -> None:
    """Make another table of pairs, and say otherwise how they were made."""
    said = source.read(directory).pairing.model_copy(update={"scene_gap_s": gap_s})
    told = source.read(directory).model_copy(update={"pairing": said})
    pairs = manifests.load(directory).pairs
    changed = [pair.model_copy(update={"measured_ratio": gap_s}) for pair in pairs]
    manifests.save(directory, {Pair: changed}, source=told)


def test_what_is_pushed_is_fetched_byte_for_byte_and_the_work_goes_on_there(
    cam: Path, store: Objects, tmp_path: Path
) -> None:
    run("validate", "--device", "cam", "--manifests", cam.parent)
    there = tmp_path / "two/cam"
    sent = run("manifest", "push", cam, "s3://team/cam", "--traces")
    assert (sent.exit_code, sent.stdout) == (0, "s3://team/cam: 6 files and 8 traces sent\n")
    brought = run("manifest", "fetch", "s3://team/cam", there, "--traces")
    assert (brought.exit_code, brought.stdout) == (0, f"{there}: 4 files and 8 traces fetched\n")
    assert "next: sidcurate validate --device cam --manifests" in brought.stderr
    assert "set" not in brought.stderr, "the raws are in a bucket, which is the same from everywhere"
    assert sums(there) == sums(cam)
    assert ingest(Bucket("night", "cam/"), there, jobs=1).read == 0
    assert sums(there) == sums(cam)
    assert run("fsck", "--manifests", there.parent, "--deep").exit_code == 0


def test_what_is_there_is_neither_sent_nor_fetched_again(
    cam: Path, store: Objects, server: Store, tmp_path: Path
) -> None:
    exchange.push(cam, store, traces=True)
    exchange.fetch(store, tmp_path / "two/cam", traces=True)
    for moved in (
        exchange.push(cam, store, traces=True),
        exchange.push(cam, store),
        exchange.fetch(store, tmp_path / "two/cam", traces=True),
    ):
        assert moved == exchange.Moved(0, 0)
    change(cam, 30)
    server.forget()
    assert exchange.push(cam, store) == exchange.Moved(2, 0)
    assert [path.partition(".")[0] for path in server.sent] == [
        *("/team/cam/pairs", "/team/cam/source", *[RECORD] * 4),
    ]
    server.forget()
    assert exchange.fetch(store, tmp_path / "two/cam", traces=True) == exchange.Moved(1, 0)
    assert not any("captures" in path or path.endswith(".npz") for path, _ in server.asked)
    assert sums(tmp_path / "two/cam") == sums(cam)


def test_a_dry_run_says_what_would_go_over_the_line_and_writes_nothing(
    cam: Path, store: Objects, server: Store, tmp_path: Path
) -> None:
    push = ("manifest", "push", cam, "s3://team/cam", "--traces")
    fetch = ("manifest", "fetch", "s3://team/cam", tmp_path / "two/cam", "--traces")
    would = run(*push, "--dry-run")
    assert (would.exit_code, would.stdout) == (0, "s3://team/cam: 5 files and 8 traces to send\n")
    assert "dry run: nothing was sent" in would.stderr
    assert (server.sent, (cam / remote.FILE).exists()) == ([], False)
    assert run(*push).stdout == "s3://team/cam: 5 files and 8 traces sent\n"
    would = run(*fetch, "--dry-run")
    assert (would.exit_code, would.stdout) == (0, f"{tmp_path / 'two/cam'}: 3 files and 8 traces to fetch\n")
    assert not (tmp_path / "two").exists()
    exchange.fetch(store, tmp_path / "two/cam")
    change(tmp_path / "two/cam", 30)
    exchange.push(tmp_path / "two/cam", store)
    change(cam, 40)
    for verb in (push, ("manifest", "fetch", "s3://team/cam", cam)):
        assert run(*verb, "--dry-run").exit_code == 2, "it is refused as the real one would be"


def test_tables_and_what_is_said_of_them_are_pushed_of_one_commit(
    cam: Path, store: Objects, server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = source.read

    def overtaken(directory: Path) -> source.Source:
        monkeypatch.setattr(source, "read", real)
        change(directory, 30)
        return real(directory)

    monkeypatch.setattr(source, "read", overtaken)
    with pytest.raises(UsageError, match="was changed by another process meanwhile, and nothing was sent; push again"):
        exchange.push(cam, store)
    assert server.sent == []


class CutOffError(Exception):
    """The process ends here."""


def test_a_push_that_is_cut_off_leaves_the_old_manifest_and_is_done_by_the_next(
    cam: Path, store: Objects, tmp_path: Path
) -> None:
    exchange.push(cam, store)
    before = sums(cam)
    change(cam, 30)

    def end(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("sending tables", total):
            raise CutOffError

    with pytest.raises(CutOffError):
        exchange.push(cam, store, progress=end)
    exchange.fetch(store, tmp_path / "two/cam")
    assert sums(tmp_path / "two/cam") == without_traces(before)
    exchange.push(cam, store)
    exchange.fetch(store, tmp_path / "two/cam")
    assert sums(tmp_path / "two/cam") == without_traces(sums(cam))


KILLED = """
import os, signal, sys
from pathlib import Path
from sidcurate.sharing import exchange
from sidcurate.places.objects import Objects

put = Objects.put

def put_or_die(self, path, *arguments, **options):
    done = put(self, path, *arguments, **options) if sys.argv[2] == "after" or path != "SHA256SUMS" else None
    if path == "SHA256SUMS":
        os.kill(os.getpid(), signal.SIGKILL)
    return done

Objects.put = put_or_die
exchange.push(Path(sys.argv[1]), Objects("team", "cam/"))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_push_that_is_killed_at_its_commit_has_done_it_or_not_and_the_next_goes_on(
    cam: Path, store: Objects, tmp_path: Path, when: str
) -> None:
    exchange.push(cam, store)
    before = sums(cam)
    change(cam, 30)
    command = [sys.executable, "-c", KILLED, str(cam), when]
    assert subprocess.run(command, check=False, cwd=Path(__file__).parents[1]).returncode == -9
    exchange.fetch(store, tmp_path / "two/cam")
    assert sums(tmp_path / "two/cam") == without_traces(sums(cam) if when == "after" else before)
    change(cam, 20)
    exchange.push(cam, store)
    exchange.fetch(store, tmp_path / "two/cam")
    assert sums(tmp_path / "two/cam") == without_traces(sums(cam))


def test_of_two_who_push_at_once_one_wins_and_the_other_is_told_and_loses_nothing(
    cam: Path, store: Objects, tmp_path: Path
) -> None:
    exchange.push(cam, store)
    other = tmp_path / "two/cam"
    exchange.fetch(store, other)
    change(cam, 30)
    change(other, 40)
    ours = sums(cam)

    def push_theirs(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("sending tables", total):
            exchange.push(other, store)

    words = "s3://team/cam has been pushed to by somebody else meanwhile, and was left as it is; fetch it, into another"
    with pytest.raises(UsageError, match=words):
        exchange.push(cam, store, progress=push_theirs)
    with pytest.raises(UsageError, match=words):
        exchange.push(cam, store)
    with pytest.raises(UsageError, match="has rows that were never pushed to s3://team/cam, and would lose them"):
        exchange.fetch(store, cam)
    assert sums(cam) == ours
    exchange.fetch(store, tmp_path / "three/cam")
    assert sums(tmp_path / "three/cam") == sums(other)
    change(tmp_path / "three/cam", 30)
    exchange.push(tmp_path / "three/cam", store)


def test_of_many_who_push_first_at_once_one_wins(cam: Path, store: Objects, server: Store, tmp_path: Path) -> None:
    folders = [Path(shutil.copytree(cam, tmp_path / f"{number}/cam")) for number in range(6)]
    for number, folder in enumerate(folders):
        change(folder, number)
    all_have_looked = threading.Barrier(len(folders))

    def push(folder: Path) -> Path | str:
        def wait(stage: str, done: int, total: int) -> None:
            if (stage, done) == ("sending tables", total):
                all_have_looked.wait(60)

        try:
            exchange.push(folder, store, progress=wait)
        except UsageError as error:
            return str(error)
        return folder

    with ThreadPoolExecutor(len(folders)) as pool:
        done = list(pool.map(push, folders))
    (winner,) = (each for each in done if isinstance(each, Path))
    assert sum("has a manifest that does not come from this one" in str(each) for each in done) == len(folders) - 1
    exchange.fetch(store, tmp_path / "fetched/cam")
    assert sums(tmp_path / "fetched/cam") == without_traces(sums(winner))


def test_a_commit_whose_answer_is_lost_is_one(cam: Path, store: Objects, server: Store, tmp_path: Path) -> None:
    server.spoil(RECORD, [LOST], "PUT")
    assert exchange.push(cam, store).files == 4
    change(cam, 30)
    server.spoil(RECORD, repeat(LOST), "PUT")
    with pytest.raises(UsageError, match="cannot be written to: the store answers InternalError"):
        exchange.push(cam, store)
    server.forget()
    change(cam, 20)
    exchange.push(cam, store)
    exchange.fetch(store, tmp_path / "two/cam")
    assert sums(tmp_path / "two/cam") == without_traces(sums(cam))


def test_a_busy_store_and_a_cut_answer_are_asked_again(
    cam: Path, store: Objects, server: Store, tmp_path: Path
) -> None:
    key = f"/team/cam/captures.{manifests.load(cam).sums['captures.parquet']}.parquet"
    for path in (RECORD, key):
        server.spoil(path, [SLOW_DOWN, BROKEN], "PUT")
        server.spoil(path, [SLOW_DOWN])
    exchange.push(cam, store)
    for path in (RECORD, key):
        server.spoil(path, [CUT, SLOW_DOWN])
    exchange.fetch(store, tmp_path / "two/cam")
    assert sums(tmp_path / "two/cam") == without_traces(sums(cam))
    assert server.sent.count(key) == 3


@pytest.mark.parametrize("name", ["captures", "source", "traces/", "traces.", "SHA256SUMS"])
def test_a_flipped_bit_in_the_store_changes_nothing_here(
    cam: Path, store: Objects, server: Store, tmp_path: Path, name: str
) -> None:
    other = tmp_path / "two/cam"
    exchange.push(cam, store)
    exchange.fetch(store, other)
    change(cam, 30)
    exchange.push(cam, store, traces=True)
    record = pushed.read(store)
    assert record is not None
    before = sums(other)
    shutil.rmtree(other) if name == "captures" else None  # Else it is here, and not asked for.
    key = f"cam/{name}" if name == "SHA256SUMS" else next(key for key in keys(server) if key.startswith(f"cam/{name}"))
    if name == "source":
        key = f"cam/{pushed.path(source.FILE, record.sums[source.FILE])}"
    flipped = bytearray(content(server, key))
    flipped[10] ^= 1
    write(server, key, bytes(flipped))
    result = run("manifest", "fetch", "s3://team/cam", other, "--traces")
    assert result.exit_code == 5, result.stderr
    assert "s3://team/cam/" in result.stderr
    assert "delete it" in result.stderr or "upgrade" in result.stderr
    assert without_traces(sums(other)) == ({} if name == "captures" else before)


def test_a_damaged_table_is_mended_by_the_next_push(cam: Path, store: Objects, server: Store, tmp_path: Path) -> None:
    exchange.push(cam, store)
    key = next(key for key in keys(server) if key.startswith("cam/captures"))
    server.client().delete_object(Bucket="team", Key=key)
    with pytest.raises(IntegrityError, match="is not there, though it was pushed; delete it and SHA256SUMS there, and"):
        exchange.fetch(store, tmp_path / "two/cam")
    server.client().delete_object(Bucket="team", Key="cam/SHA256SUMS")
    exchange.push(cam, store)
    exchange.fetch(store, tmp_path / "two/cam")
    assert sums(tmp_path / "two/cam") == without_traces(sums(cam))


def forge(server: Store, files: dict[str, bytes]) -> None:
    """Let the store have files that nobody pushed, with a record that commits them."""
    digests = commits.sums_of(files)
    for name, body in files.items():
        write(server, f"cam/{pushed.path(name, digests[name])}", body)
    write(server, "cam/SHA256SUMS", commits.record_of(digests))


def test_a_hostile_store_changes_nothing(
    cam: Path, store: Objects, server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = commits.read(cam, manifests.FILES).contents
    there = tmp_path / "two/cam"

    def refused(words: str, *options: str) -> None:
        result = run("manifest", "fetch", "s3://team/cam", there, *options)
        assert result.exit_code == 5, result.stderr
        assert words in result.stderr
        assert sums(tmp_path / "two") == {}

    write(server, "cam/SHA256SUMS", b"0" * 64 + b"  ../captures.parquet\n")
    refused("s3://team/cam/SHA256SUMS names '../captures.parquet'")
    write(server, "cam/SHA256SUMS", b"\xff" * 70_000)
    refused("has more than the 65536 bytes")
    forge(server, {**good, "captures.parquet": good["pairs.parquet"]})
    refused("what is at s3://team/cam was not taken: captures.parquet")
    forge(server, {**good, "captures.parquet": b"PAR1 or not"})
    refused("what is at s3://team/cam was not taken: captures.parquet")
    forge(server, {**good, source.FILE: b'{"root": 1}'})
    refused("root: Input should be a valid string; delete it and SHA256SUMS there")
    traces: dict[str, Any] = {"reader": None, "sums": {"../../../raw": "0" * 64}}
    forge(server, {**good, pushed.TRACES: json.dumps(traces).encode()})
    refused("cannot be understood", "--traces")
    monkeypatch.setattr(commits, "MOST_FILE_BYTES", 1000)
    forge(server, good)
    refused("has more than the 1000 bytes")


def test_a_store_never_says_in_which_folder_the_raws_are(
    cam: Path, store: Objects, server: Store, tmp_path: Path
) -> None:
    said = source.read(cam).model_copy(update={"root": "/etc"})
    forge(server, {**commits.read(cam, manifests.FILES).contents, source.FILE: source.content(said)})
    brought = run("manifest", "fetch", "s3://team/cam", tmp_path / "two/cam")
    assert brought.exit_code == 0
    assert 'the raws are not here: set "root" in' in brought.stderr
    assert source.read(tmp_path / "two/cam").root is None
    with pytest.raises(UsageError, match=r'where the manifest was fetched, set "root" in .*source\.json'):
        source.raw_root(tmp_path / "two/cam")


def test_the_folder_of_the_raws_stays_here_and_their_bucket_there(cam: Path, store: Objects, tmp_path: Path) -> None:
    exchange.push(cam, store)
    other = tmp_path / "two/cam"
    exchange.fetch(store, other)
    moved = source.read(other).model_copy(update={"root": str(tmp_path)})
    source.path(other).write_bytes(source.content(moved))
    exchange.fetch(store, other)
    assert source.read(other).root == str(tmp_path)
    change(other, 30)
    exchange.push(other, store)
    exchange.fetch(store, cam)
    assert source.read(cam).root == "s3://night/cam"
    assert source.read(cam).pairing.scene_gap_s == 30


@pytest.mark.parametrize("was_there", [False, True])
def test_what_another_process_commits_during_a_fetch_is_not_overwritten(
    cam: Path, store: Objects, tmp_path: Path, was_there: bool
) -> None:
    exchange.push(cam, store)
    other = tmp_path / "two/cam"
    if was_there:
        exchange.fetch(store, other)
        change(cam, 30)
        exchange.push(cam, store)

    def commit(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("fetching tables", total):
            if not was_there:
                shutil.copytree(cam, other)
            change(other, 40)

    with pytest.raises(UsageError, match="was changed by another process meanwhile, nothing was written; run again"):
        exchange.fetch(store, other, progress=commit)
    assert {pair.measured_ratio for pair in manifests.load(other).pairs} == {40}


def test_findings_are_no_work_that_a_fetch_could_lose(cam: Path, store: Objects, tmp_path: Path) -> None:
    other = tmp_path / "two/cam"
    exchange.push(cam, store)
    exchange.fetch(store, other)
    run("validate", "--device", "cam", "--manifests", other.parent)
    run("validate", "--device", "cam", "--manifests", cam.parent, "--ignore", "PAIR232='dark'")
    assert manifests.load(other).findings != manifests.load(cam).findings
    exchange.push(cam, store)
    exchange.fetch(store, other)
    assert without_traces(sums(other)) == without_traces(sums(cam))


def test_traces_that_were_pushed_stay_until_others_are(cam: Path, store: Objects, tmp_path: Path) -> None:
    exchange.push(cam, store, traces=True)
    other = tmp_path / "two/cam"
    exchange.fetch(store, other)
    assert not (other / "traces").exists()
    with pytest.raises(UsageError, match=r"the trace of \S+ is not here; ingest again, .* or push without traces"):
        exchange.push(other, store, traces=True)
    change(other, 30)
    exchange.push(other, store)
    assert exchange.fetch(store, cam, traces=True) == exchange.Moved(1, 0)
    assert exchange.fetch(store, tmp_path / "three/cam", traces=True).traces == 8


def test_traces_of_another_reader_are_not_taken(cam: Path, store: Objects, tmp_path: Path) -> None:
    exchange.push(cam, store, traces=True)
    told = source.read(cam).model_copy(update={"reader": "an older one"})
    source.path(cam).write_bytes(source.content(told))
    exchange.push(cam, store)
    with pytest.raises(UsageError, match="the traces at s3://team/cam are of another reader"):
        exchange.fetch(store, tmp_path / "two/cam", traces=True)
    exchange.fetch(store, tmp_path / "two/cam")


@pytest.mark.parametrize("header", ["HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"])
def test_a_store_that_keeps_no_conditions_is_refused_before_the_commit(
    cam: Path, store: Objects, server: Store, header: str
) -> None:
    server.deaf_to = header
    with pytest.raises(MissingResourceError, match=r"takes no notice of the conditions .*nothing was committed"):
        exchange.push(cam, store)
    assert "cam/SHA256SUMS" not in keys(server)


def test_nothing_is_pushed_where_the_raws_are(cam: Path, store: Objects, server: Store) -> None:
    for address in ("s3://night/cam", "s3://night/cam/m"):
        result = run("manifest", "push", cam, address)
        assert (result.exit_code, "where the raws are and nothing is written" in result.stderr) == (2, True)
    assert server.sent == []


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (DENIED, 2, "s3://team/cam cannot be written to: these credentials may not (AccessDenied); they need"),
        (STRANGER, 4, "s3://team/cam cannot be asked (InvalidAccessKeyId"),
    ],
)
def test_a_store_that_refuses_is_a_message(
    cam: Path, store: Objects, server: Store, fault: tuple[int, str, str], code: int, words: str
) -> None:
    server.spoil(RECORD, repeat(fault), "PUT")
    result = run("manifest", "push", cam, "s3://team/cam")
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            ("fetch", "s3://team/nothing", "two/cam"),
            "no manifest is at s3://team/nothing; `sidcurate manifest push` puts",
        ),
        (("fetch", "s3://nowhere/cam", "two/cam"), "s3://nowhere/cam cannot be read: there is no such bucket"),
        (("push", "one/cam", "s3://nowhere/cam"), "s3://nowhere/cam cannot be read: there is no such bucket"),
        (("push", "one/cam", "team/cam"), "'team/cam' names no bucket; write s3://bucket or s3://bucket/prefix"),
        (("push", "one/dog", "s3://team/cam"), "'one/dog' does not exist"),
        (("push", "one", "s3://team/cam"), "one holds no manifest; name the folder of one, such as manifests/canon90d"),
    ],
)
def test_a_request_that_cannot_be_is_a_message(
    cam: Path, store: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("manifest", *line)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "two").exists()


def test_a_damaged_manifest_is_not_pushed(cam: Path, store: Objects, server: Store) -> None:
    with (cam / "captures.parquet").open("r+b") as stream:
        flipped = stream.read(101)[100] ^ 1
        stream.seek(100)
        stream.write(bytes([flipped]))
    result = run("manifest", "push", cam, "s3://team/cam")
    assert (result.exit_code, server.sent) == (5, []), result.stderr


def test_a_trace_that_is_damaged_or_made_anew_meanwhile_is_not_pushed(cam: Path, store: Objects, server: Store) -> None:
    one, other, *_ = sorted((cam / "traces").iterdir())
    whole = one.read_bytes()

    def replace(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("hashing traces", total):
            one.write_bytes(other.read_bytes())

    with pytest.raises(UsageError, match="was changed meanwhile, and nothing was committed; push again"):
        exchange.push(cam, store, traces=True, progress=replace)
    one.write_bytes(whole[:-100])
    result = run("manifest", "push", cam, "s3://team/cam", "--traces")
    assert result.exit_code == 5
    assert one.name in result.stderr
    assert RECORD not in server.sent


def test_the_verbs_say_what_went_over_the_line(
    cam: Path, store: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "two/cam"
    push, fetch = ("push", cam, "s3://team/cam"), ("fetch", "s3://team/cam", there)
    assert run("manifest", *push).stdout == "s3://team/cam: 4 files sent\n"
    assert run("manifest", *push).stdout == "s3://team/cam: all of it is there already\n"
    assert run("manifest", *fetch).stdout == f"{there}: 3 files fetched\n"
    assert run("manifest", *fetch).stdout == f"{there}: its tables are here already\n"
    monkeypatch.chdir(there)
    assert "validate --device cam --manifests" in run("manifest", "fetch", "s3://team/cam", ".").stderr


def test_without_the_extra_the_verb_says_what_to_install(cam: Path) -> None:
    program = "import sys; sys.modules['boto3'] = None; from sidcurate.cli import main; main(sys.argv[1:])"
    line = [sys.executable, "-c", program, "manifest", "push", str(cam), "s3://team/cam"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "pip install 'sidcurate[s3]'" in done.stderr
