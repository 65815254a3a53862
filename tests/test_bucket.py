"""Raws in an object store: the manifest of a folder, whatever the store does meanwhile."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidcurate import manifests, source
from sidcurate.cli import main
from sidcurate.errors import MissingResourceError, UnreadableRawError, UsageError
from sidcurate.ingest import headers
from sidcurate.ingest.folder import ingest
from sidcurate.places import bucket, objects, rawfile
from sidcurate.places.bucket import Bucket
from sidcurate.places.patience import Patience
from sidcurate.places.scan import scan
from tests.fuzz import seeds
from tests.object_store import BROKEN, CUT, DENIED, SLOW_DOWN, STRANGER, Store, serving
from tests.small_session import write_session

QUICK = Patience(tries=3, first_s=0.001)


@pytest.fixture(scope="module")
def raws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes, a raw that ends early, and names that a listing must escape."""
    folder = tmp_path_factory.mktemp("session")
    write_session(folder, size=(64, 64))
    content = seeds.synthetic()["RGGB.dng"]
    (folder / "raws/day 2").mkdir()
    (folder / "raws/day 2/torn & caf\u00e9.dng").write_bytes(content[: len(content) // 2])
    (folder / "raws/no extension").write_bytes(content)
    (folder / "raws/note.txt").write_text("tripod moved")
    (folder / "raws/.hidden.dng").write_bytes(content)
    (folder / "raws/00000_00_10s.JPG").touch()
    return folder / "raws"


@pytest.fixture(scope="module")
def store(raws: Path) -> Iterator[Store]:
    with serving() as store:
        store.put(raws, "night/cam")
        yield store


@pytest.fixture(autouse=True)
def clean(store: Store) -> Iterator[None]:
    yield
    store.forget()


@pytest.fixture
def place(store: Store) -> Bucket:
    return Bucket("night", "cam/", QUICK)


def sums(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != source.FILE)
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_bucket_is_listed_by_the_rules_of_a_folder(raws: Path, place: Bucket, store: Store) -> None:
    ours, theirs = place.scan(), scan(raws)
    assert [(file.path, file.size_bytes) for file in ours.raws] == [
        (file.path, file.size_bytes) for file in theirs.raws
    ]
    assert (ours.side_cars, ours.others) == (theirs.side_cars, theirs.others)
    heads = [(path, asked) for path, asked in store.asked if path.startswith("/night/cam")]
    assert sorted(heads) == [("/night/cam/no extension", "bytes=0-31"), ("/night/cam/note.txt", "bytes=0-31")]


def test_a_bucket_gives_the_bytes_of_a_folder_and_is_read_once(
    raws: Path, place: Bucket, store: Store, tmp_path: Path
) -> None:
    local = ingest(raws, tmp_path / "local/cam", jobs=1)
    assert len(local.pairs) == 4
    assert ingest(place, tmp_path / "away/cam", jobs=2).read == len(local.captures) == 10
    assert sums(tmp_path / "away/cam") == sums(tmp_path / "local/cam")
    kept = source.read(tmp_path / "away/cam")
    assert kept.root == "s3://night/cam"
    assert {len(seen) for seen in kept.seen.values()} == {3}, "the ETag too"
    store.asked.clear()
    assert ingest(place, tmp_path / "away/cam", jobs=1).read == 0
    assert {path for path, asked in store.asked if not asked} == {"/night"}


def test_the_verb_takes_the_address_and_names_the_device_by_its_end(store: Store, tmp_path: Path) -> None:
    result = run("ingest", "s3://night/cam", "--manifests", tmp_path, "--jobs", 2)
    assert result.exit_code == 3, "one raw is torn"
    assert "10 raws, 10 of them read now; 1 side-car and 1 other file skipped" in result.stdout
    assert len(manifests.load(tmp_path / "cam").pairs) == 4


def test_a_listing_of_many_pages_is_read_to_its_end(place: Bucket, store: Store) -> None:
    whole = place.scan()
    store.asked.clear()
    store.page = 3
    assert place.scan() == whole
    assert len([path for path, _ in store.asked if path == "/night"]) == 5, "13 objects"


def test_a_key_that_is_no_path_is_counted(store: Store) -> None:
    client = store.client()
    client.create_bucket(Bucket="odd")
    for key in ("a//b.dng", "/c.dng", "../d.dng", "e/", "f.dng"):
        client.put_object(Bucket="odd", Key=key, Body=b"x")
    found = Bucket("odd").scan()
    assert [file.path for file in found.raws] == ["f.dng"]
    assert found.others == {bucket.NO_PATH: 2}


@pytest.mark.parametrize("faults", [[SLOW_DOWN, SLOW_DOWN], [CUT], [BROKEN, CUT]])
def test_a_busy_store_and_a_cut_answer_are_asked_again(
    raws: Path, place: Bucket, store: Store, faults: list[tuple[int, str, str]]
) -> None:
    file = place.scan().raws[0]
    store.asked.clear()
    store.spoil(f"/night/cam/{file.path}", faults)
    assert place.read(file) == (raws / file.path).read_bytes()
    assert len(store.asked) == len(faults) + 1


def test_a_store_that_keeps_failing_costs_one_row_which_the_next_ingest_reads_again(
    place: Bucket, store: Store, tmp_path: Path
) -> None:
    store.spoil("/night/cam/00000_00_10s.dng", repeat(SLOW_DOWN))
    found = ingest(place, tmp_path / "cam", jobs=1)
    rows = {row.path: row for row in found.captures}
    reasons = {path: row.status_reason for path, row in rows.items() if row.sha256 is None}
    words = "SlowDown: Please reduce your request rate."
    assert reasons == {"00000_00_10s.dng": f"the store did not give it in 3 tries ({words}); ingest again"}
    assert len(found.pairs) == 3
    store.faults.clear()
    again = ingest(place, tmp_path / "cam", jobs=1)
    assert (again.read, len(again.pairs)) == (1, 4)


def test_what_the_store_refuses_for_good_is_not_asked_again(place: Bucket, store: Store) -> None:
    file = place.scan().raws[0]
    store.asked.clear()
    store.spoil(f"/night/cam/{file.path}", repeat(DENIED))
    with pytest.raises(UnreadableRawError, match=r"did not give it \(AccessDenied: Access Denied\)"):
        place.read(file)
    assert len(store.asked) == 1


@pytest.mark.parametrize("change", ["other bytes", "gone", "listed with another size"])
def test_an_object_that_is_not_what_was_listed_is_noticed(store: Store, change: str) -> None:
    client = store.client()
    client.create_bucket(Bucket="moving")
    client.put_object(Bucket="moving", Key="a.dng", Body=b"pixels")
    file = Bucket("moving").scan().raws[0]
    if change == "other bytes":
        client.put_object(Bucket="moving", Key="a.dng", Body=b"piXels")
    elif change == "gone":
        client.delete_object(Bucket="moving", Key="a.dng")
    else:
        file = file._replace(size_bytes=7)
    with pytest.raises(UnreadableRawError, match="changed while it was read; ingest again"):
        Bucket("moving").read(file)


def test_an_object_that_no_raw_can_be_is_not_fetched(store: Store, place: Bucket) -> None:
    file = place.scan().raws[0]._replace(size_bytes=rawfile.LARGEST_BYTES + 1)
    store.asked.clear()
    with pytest.raises(UnreadableRawError, match=r"more than the 2\.1 GB"):
        place.read(file)
    assert store.asked == []


def test_credentials_that_end_in_the_middle_stop_the_ingest_which_goes_on_from_there(
    place: Bucket, store: Store, tmp_path: Path
) -> None:
    store.spoil("/night/cam/00002_00_10s.dng", repeat(STRANGER))
    with pytest.raises(MissingResourceError, match=r"cannot be asked \(InvalidAccessKeyId: .*aws configure"):
        ingest(place, tmp_path / "cam", jobs=1)
    assert not (tmp_path / "cam/SHA256SUMS").exists()
    store.faults.clear()
    again = ingest(place, tmp_path / "cam", jobs=1)
    assert 0 < again.read < len(again.captures) == 10


def test_headers_are_read_by_ranges_and_say_what_those_of_a_folder_do(
    raws: Path, place: Bucket, store: Store, tmp_path: Path
) -> None:
    ingest(raws, tmp_path / "local/cam", headers_only=True)
    store.client().put_object(Bucket="night", Key="cam/long.dng", Body=(raws / "00000_00_10s.dng").read_bytes() * 20)
    file = next(file for file in place.scan().raws if file.path == "long.dng")
    store.asked.clear()
    assert headers.read_capture(place, file, "cam").exposure_time_s == 10
    assert store.asked == [("/night/cam/long.dng", "bytes=0-65535")], "and nothing of the other 300 KB"
    store.client().delete_object(Bucket="night", Key="cam/long.dng")
    ingest(place, tmp_path / "away/cam", headers_only=True)
    assert sums(tmp_path / "away/cam") == sums(tmp_path / "local/cam")


def test_a_range_of_an_object_ends_where_it_does_and_is_of_what_was_listed(place: Bucket, raws: Path) -> None:
    file = place.scan().raws[0]
    content = (raws / file.path).read_bytes()
    with place.opened(file) as read:
        assert (read(5, 7), read(len(content) - 2, 9), read(len(content), 4)) == (content[5:12], content[-2:], b"")
    with place.opened(file._replace(etag='"0"')) as read, pytest.raises(UnreadableRawError, match="changed while"):
        read(0, 8)


def test_shards_of_a_bucket_merge_to_the_manifest_of_a_folder(raws: Path, store: Store, tmp_path: Path) -> None:
    ingest(raws, tmp_path / "local/cam", jobs=1)
    for shard in ("1/2", "2/2"):
        run("ingest", "s3://night/cam", "--manifests", tmp_path / "away", "--shard", shard, "--jobs", 1)
    merged = run("manifest", "merge", *(tmp_path / "away/cam.shards").iterdir(), "--manifests", tmp_path / "away")
    assert merged.exit_code in (0, 3), merged.stderr
    assert sums(tmp_path / "away/cam") == sums(tmp_path / "local/cam")


def test_a_bucket_that_goes_away_in_the_middle_changes_no_manifest(store: Store, raws: Path, tmp_path: Path) -> None:
    store.put(raws, "going")
    client = store.client()

    def delete(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("reading raws", total):
            for each in client.list_objects_v2(Bucket="going")["Contents"]:
                client.delete_object(Bucket="going", Key=each["Key"])
            client.delete_bucket(Bucket="going")

    with pytest.raises(UsageError, match="there is no such bucket"):
        ingest(Bucket("going"), tmp_path / "going", jobs=1, progress=delete)
    assert not (tmp_path / "going/SHA256SUMS").exists()


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("s3://nowhere", 2, "s3://nowhere cannot be listed: there is no such bucket"),
        ("s3://night/empty", 2, "s3://night/empty holds no raw files: there is no file at all"),
        ("s3://Not_A_Bucket", 2, "names no bucket; write s3://bucket or s3://bucket/prefix"),
        ("s3://", 2, "names no bucket"),
    ],
)
def test_an_address_without_raws_is_a_message(
    store: Store, tmp_path: Path, address: str, code: int, words: str
) -> None:
    result = run("ingest", address, "--manifests", tmp_path / "m", "--device", "cam")
    assert result.exit_code == code
    assert words in result.stderr
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": None}, "cannot be asked (Unable to locate credentials); give credentials"),
        ({"AWS_PROFILE": "nobody"}, "cannot be asked (The config profile (nobody) could not be found)"),
        ({"AWS_ENDPOINT_URL": "here"}, "AWS_ENDPOINT_URL is no address of a store"),
    ],
)
def test_a_machine_that_cannot_ask_says_what_is_missing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str | None], words: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    objects.client.cache_clear()
    result = run("ingest", "s3://night/cam", "--manifests", tmp_path)
    objects.client.cache_clear()
    assert result.exit_code == 4
    assert words in result.stderr


def test_a_store_that_is_not_there_is_an_error_of_its_own(
    place: Bucket, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    file = place.scan().raws[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # Nobody listens to the discard port.
    objects.client.cache_clear()
    for ask in (place.scan, place.standing, lambda: place.read(file)):
        with pytest.raises(MissingResourceError, match=r"cannot be reached .* check the network, and AWS_ENDPOINT_URL"):
            ask()
    objects.client.cache_clear()


def test_without_the_extra_the_verb_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['boto3'] = None; from sidcurate.cli import main; main(sys.argv[1:])"
    arguments = ("ingest", "s3://night/cam", "--manifests", tmp_path)
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "pip install 'sidcurate[s3]'" in done.stderr


@pytest.mark.parametrize("verb", [("ingest", "s3://night/cam"), ("validate",), ("finetune", "--device", "cam")])
def test_manifests_are_in_folders_only(store: Store, verb: tuple[str, ...]) -> None:
    result = run(*verb, "--manifests", "s3://night/m")
    assert result.exit_code == 2
    assert "`sidcurate manifest push` sends one to a bucket, `sidcurate manifest fetch` brings it" in result.stderr
    assert store.asked == []


def test_other_verbs_do_not_go_to_the_bucket_and_say_so(
    place: Bucket, raws: Path, store: Store, tmp_path: Path
) -> None:
    ingest(place, tmp_path / "m/cam", jobs=1)
    store.asked.clear()
    where = ("--device", "cam", "--manifests", tmp_path / "m")
    judged = run("validate", *where, "--format", "json")
    assert "the raws of cam are in s3://night/cam: they were not looked at" in judged.stderr
    assert "SET304" not in {finding["code"] for finding in json.loads(judged.stdout)["manifests"][0]["findings"]}
    checked = run("fsck", "--manifests", tmp_path / "m", "--deep")
    assert "not looked at: the raws of cam: they are in s3://night/cam" in checked.stderr
    assert checked.exit_code == 0
    with pytest.raises(UsageError, match=r"are in s3://night/cam: copy them to a folder"):
        source.raw_root(tmp_path / "m/cam")
    assert store.asked == []


def faults(manifests_root: Path, address: str, *options: str) -> tuple[int, dict[str, str]]:
    """What `fsck` finds, by path."""
    line = ("fsck", "--manifests", manifests_root, "--bucket", address, "--format", "json", *options)
    done = run(*line, "--store", manifests_root / "none", "--runs", manifests_root / "none")
    return done.exit_code, {fault["path"]: fault["fault"] for fault in json.loads(done.stdout)["faults"]}


def test_raws_in_a_bucket_are_compared_with_its_listing_where_fsck_is_given_the_address(
    raws: Path, store: Store, tmp_path: Path
) -> None:
    store.put(raws, "kept/cam")
    ingest(Bucket("kept", "cam/"), tmp_path / "m/cam", jobs=1)
    store.asked.clear()
    assert faults(tmp_path / "m", "s3://other") == (0, {})
    assert store.asked == [], "they are not below that address"
    assert faults(tmp_path / "m", "s3://kept", "--deep") == (0, {})
    assert not any(path.endswith(".dng") for path, _ in store.asked), "listed, and not read"
    client = store.client()
    client.delete_object(Bucket="kept", Key="cam/00000_00_10s.dng")
    client.put_object(Bucket="kept", Key="cam/00001_00_10s.dng", Body=b"short")
    content = (raws / "00002_00_10s.dng").read_bytes()
    client.put_object(Bucket="kept", Key="cam/00002_00_10s.dng", Body=content[:-1] + bytes([content[-1] ^ 1]))
    size = len((raws / "00001_00_10s.dng").read_bytes())
    assert faults(tmp_path / "m", "s3://kept/cam/") == (
        5,
        {
            "s3://kept/cam/00000_00_10s.dng": "it is not there",
            "s3://kept/cam/00001_00_10s.dng": f"it has 5 bytes, {size} were ingested",
            "s3://kept/cam/00002_00_10s.dng": "its ETag is not the one that was ingested",
        },
    )
    for each in client.list_objects_v2(Bucket="kept")["Contents"]:
        client.delete_object(Bucket="kept", Key=each["Key"])
    code, found = faults(tmp_path / "m", "s3://kept")
    assert (code, list(found)) == (5, ["s3://kept/cam"])
    assert found["s3://kept/cam"].startswith("holds no raw files")


def test_raws_that_were_copied_to_a_folder_make_the_same_manifest(place: Bucket, raws: Path, tmp_path: Path) -> None:
    ingest(place, tmp_path / "m/cam", jobs=1)
    before = sums(tmp_path / "m/cam")
    shutil.copytree(raws, tmp_path / "cam")
    with pytest.raises(UsageError, match=r"is the manifest of s3://night/cam, not of"):
        ingest(tmp_path / "cam", tmp_path / "m/cam", jobs=1)
    moved = source.read(tmp_path / "m/cam").model_copy(update={"root": str(tmp_path / "cam")})
    source.path(tmp_path / "m/cam").write_text(moved.model_dump_json())
    ingest(tmp_path / "cam", tmp_path / "m/cam", jobs=1)
    assert sums(tmp_path / "m/cam") == before


def test_pauses_grow_are_bounded_and_differ_by_name() -> None:
    patience = Patience(tries=9, first_s=0.25, longest_s=8)
    pauses = list(patience.pauses_s("a.dng"))
    assert pauses == list(patience.pauses_s("a.dng"))
    assert pauses != list(patience.pauses_s("b.dng"))
    longest = [0.25, 0.5, 1, 2, 4, 8, 8, 8]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
