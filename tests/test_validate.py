"""`sidcurate validate`, from manifests on disk to findings, words and exit codes."""

import csv
import io
import json
import os

import pytest
from click.testing import CliRunner
from factories import DEVICE, scene, session, write_manifest

from sidcurate import manifests, verdicts
from sidcurate.cli import main
from sidcurate.errors import UsageError
from sidcurate.ingest.folder import ingest
from sidcurate.schemas import Finding

BRIGHT_SHORT = {"time": "0.3"}  # a ratio of 33


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "manifests"


def faulty():
    """A session of ten, two of them with a short frame that is too bright."""
    parts = {9: "test", 10: "test"}
    rows = [
        scene(number, parts.get(number, "train"), short=BRIGHT_SHORT if number < 3 else None) for number in range(1, 11)
    ]
    return session(*rows)


def validate(*arguments):
    return CliRunner().invoke(main, ["validate", *arguments], catch_exceptions=False)


def test_a_clean_session_exits_0_and_keeps_what_it_was_judged_by(root, tmp_path):
    directory = write_manifest(root, session(), tmp_path / "raws")
    done = validate()
    assert done.exit_code == 0
    assert "canon90d: 10 of 10 pairs pass, 0 left out" in done.stdout
    assert done.stderr == "next: sidcurate finetune --device canon90d\n"
    manifest = manifests.load(directory)
    assert manifest.findings == []
    assert set(manifest.judged) == {"sums", "limits", "rules", "ignored", "skipped", "files"}
    assert manifest.judged["limits"]["exposure_ratio_high"] == 300
    assert manifest.judged["rules"]["PAIR201"] == 1
    assert manifest.judged["skipped"]["CAP105"] == {"there is no second reading": 20}
    assert len(verdicts.judged_pairs(manifest)[0]) == 10


def test_errors_exit_1_and_leave_their_pairs_out(root, tmp_path):
    directory = write_manifest(root, faulty(), tmp_path / "raws")
    done = validate("--device", DEVICE)
    assert done.exit_code == 1
    assert "8 of 10 pairs pass, 2 left out" in done.stdout
    assert done.stderr == "next: sidcurate validate --device canon90d --explain 00001_00\n"
    kept, left = verdicts.judged_pairs(manifests.load(directory))
    assert len(kept) == 8
    assert left == {"00001_00": ("PAIR201",), "00002_00": ("PAIR201",)}


def test_what_passes_is_counted_by_part_and_an_emptied_part_is_dealt_anew(root, tmp_path):
    parts = ["val", "val", *["train"] * 6, *["test"] * 2]
    rows = [scene(number, part, short=BRIGHT_SHORT if number < 3 else None) for number, part in enumerate(parts, 1)]
    write_manifest(root, session(*rows), tmp_path / "raws")
    told = "split of those that pass: 6 train, 0 val, 2 test; `sidcurate split --device canon90d` divides"
    assert told in validate().stdout
    assert CliRunner().invoke(main, ["split", "--device", "canon90d"]).stderr.startswith("next: ")
    assert "split of those that pass: 5 train, 1 val, 2 test\n" in validate().stdout


def test_a_split_without_findings_of_this_state_warns_that_errors_count(root, tmp_path):
    write_manifest(root, faulty(), tmp_path / "raws")
    again = CliRunner().invoke(main, ["split", "--device", "canon90d", "--dry-run"])
    assert (
        "WARNING: scenes with errors count too: canon90d was never validated; run `sidcurate validate" in again.stderr
    )
    assert len(again.stdout.splitlines()) == 10


def test_warnings_alone_exit_0(root, tmp_path):
    write_manifest(root, session(scene(1), scene(2, "test")), tmp_path / "raws")
    done = validate()
    assert done.exit_code == 0
    assert "SET303" in done.stdout


def test_the_table_tells_the_whole_message_however_narrow(root, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    write_manifest(root, faulty())
    words = " ".join(validate("--no-files").stdout.split())
    assert "pair 00001_00" in words
    for part in ("33.33×", "100-300×", "shorter, down to 1/30 s"):
        assert part in words
    assert "…" not in words
    assert "errors: PAIR201 exposure-ratio-outside-range ×2" in words
    assert "CAP112 exposure-contradicts-name ×20 (the name states no exposure time besides the one in use)" in words


def test_captures_with_the_same_findings_share_one_message(root):
    rows = [scene(number, long={"iso": None, "iso_source": None}) for number in range(1, 4)]
    rows += [scene(4, long={"iso": None, "iso_source": None, "bits_declared": 16, "white_level": (65535.0,) * 4})]
    directory = write_manifest(root, session(*rows))
    lines = validate("--no-files").stdout.splitlines()
    longs = [row.long_path for row in manifests.load(directory).pairs]
    assert f"captures {longs[0]}, {longs[1]}, {longs[2]}" in lines
    assert sum("CAP113" in line and line.startswith("  error ") for line in lines) == 2, "the fourth has more to say"


def test_names_are_printed_as_they_are(root):
    write_manifest(root, session(scene(1, short={"path": "[red]x[/red] :smile:.dng", **BRIGHT_SHORT})))
    assert "[red]x[/red] :smile:.dng" in validate("--no-files").stdout


def test_json_is_versioned_and_complete(root):
    write_manifest(root, faulty())
    document = json.loads(validate("--no-files", "--format", "json").stdout)
    (told,) = document["manifests"]
    assert document["version"] == 1
    assert told["pairs"] == {
        "total": 10,
        "passed": 8,
        "left_out": {"00001_00": ["PAIR201"], "00002_00": ["PAIR201"]},
    }
    assert set(told["findings"][0]) == set(Finding.model_fields)
    assert told["checked"]["PAIR201"] == 10
    assert told["skipped"]["SET304"] == {"the raws on disk were not looked at": 1}


def test_csv_has_the_columns_of_a_finding(root):
    write_manifest(root, faulty())
    rows = list(csv.DictReader(io.StringIO(validate("--no-files", "--format", "csv").stdout)))
    assert list(rows[0]) == list(Finding.model_fields)
    assert [row["code"] for row in rows] == ["PAIR201", "PAIR201"]
    assert json.loads(rows[0]["paths"]) == ["short/00001_00_0.1s.dng", "long/00001_00_10s.dng"]
    assert float(rows[0]["measured"]) == pytest.approx(33.33, abs=0.01)


def test_a_limit_can_be_set_by_option_and_by_file_and_is_kept(root, tmp_path):
    directory = write_manifest(root, faulty())
    (tmp_path / "sidcurate.toml").write_text("[limits]\nexposure_ratio_low = 20\nfew_pairs = 11\n")
    done = validate("--no-files", "--limit", "few_pairs=2")
    assert (done.exit_code, done.stdout.count("PAIR201"), done.stdout.count("SET303")) == (0, 0, 0)
    assert manifests.load(directory).judged["limits"]["exposure_ratio_low"] == 20


def test_an_ignored_rule_needs_its_reason_and_keeps_it(root, tmp_path):
    directory = write_manifest(root, faulty())
    done = validate("--no-files", "--ignore", "PAIR201=a study of short ratios")
    assert done.exit_code == 0
    assert "ignored: PAIR201 (a study of short ratios)" in done.stdout
    assert manifests.load(directory).judged["ignored"] == {"PAIR201": "a study of short ratios"}


def test_a_selection_is_shown_and_never_kept(root):
    directory = write_manifest(root, faulty())
    done = validate("--no-files", "--select", "CAP,PAIR202")
    assert done.exit_code == 0
    assert "no findings were written" in done.stderr
    assert manifests.load(directory).judged is None
    assert validate("--no-files", "--select", "PAIR2").exit_code == 1


def test_a_dry_run_judges_and_writes_nothing(root):
    directory = write_manifest(root, faulty())
    assert validate("--no-files", "--dry-run").exit_code == 1
    assert not (directory / "findings.parquet").exists()


def test_the_same_manifest_gives_the_same_bytes(root):
    directory = write_manifest(root, faulty())
    validate("--no-files")
    first = (directory / "findings.parquet").read_bytes()
    validate("--no-files")
    assert (directory / "findings.parquet").read_bytes() == first


def test_findings_are_known_as_stale_when_a_table_has_changed(root):
    directory = write_manifest(root, session())
    validate("--no-files")
    write_manifest(root, faulty())
    with pytest.raises(UsageError, match=r"changed since it was validated .* run `sidcurate validate"):
        verdicts.judged_pairs(manifests.load(directory))


def test_a_missing_raw_is_found_and_takes_its_pair_out(root, tmp_path):
    directory = write_manifest(root, session(), tmp_path / "raws")
    (tmp_path / "raws/long/00003_00_10s.dng").unlink()
    done = validate()
    assert done.exit_code == 1
    assert "SET304" in done.stdout
    assert verdicts.judged_pairs(manifests.load(directory))[1] == {"00003_00": ("SET304",)}


def test_a_folder_that_moved_is_one_finding_that_names_it(root, tmp_path):
    write_manifest(root, session(), tmp_path / "raws")
    (tmp_path / "raws").rename(tmp_path / "elsewhere")
    done = validate("--format", "json")
    (finding,) = json.loads(done.stdout)["manifests"][0]["findings"]
    assert finding["code"] == "SET304"
    assert str(tmp_path / "raws") in finding["message"]
    assert done.exit_code == 1


def test_a_raw_of_another_size_or_content_is_found(root, tmp_path):
    write_manifest(root, session(), tmp_path / "raws")
    longer = tmp_path / "raws/long/00003_00_10s.dng"
    longer.write_bytes(longer.read_bytes() + b"x")
    edited = tmp_path / "raws/long/00004_00_10s.dng"
    edited.write_bytes(edited.read_bytes().upper())
    os.utime(edited, (1, 1))
    found = json.loads(validate("--format", "json").stdout)["manifests"][0]["findings"]
    assert [(row["code"], row["subject_id"][-16:-4]) for row in found] == [
        ("SET305", "/00003_00_10s"[1:]),
        ("SET305", "/00004_00_10s"[1:]),
    ]


def test_only_deep_finds_a_change_that_keeps_size_and_time(root, tmp_path):
    write_manifest(root, session(), tmp_path / "raws")
    raw = tmp_path / "raws/long/00003_00_10s.dng"
    status = raw.stat()
    raw.write_bytes(raw.read_bytes().upper())
    os.utime(raw, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert validate().exit_code == 0
    assert "SHA-256" in validate("--deep").stdout


def test_every_manifest_is_judged_by_default_and_one_by_name(root):
    write_manifest(root, session(), None)
    phone = session(scene(1, short=BRIGHT_SHORT))
    write_manifest(root, type(phone)("phone", phone.captures, phone.pairs))
    assert [row["device"] for row in json.loads(validate("--no-files", "--format", "json").stdout)["manifests"]] == [
        DEVICE,
        "phone",
    ]
    assert validate("--no-files", "--device", DEVICE).exit_code == 0
    assert validate("--no-files", "--device", DEVICE, "--device", "phone").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "nikon"], "no manifest of device 'nikon'"),
        (["--ignore", "PAIR201"], "--ignore PAIR201 is not CODE=reason, such as CAP106='two bodies on purpose'"),
        (["--ignore", "PAIR201= "], "--ignore PAIR201=  is not CODE=reason"),
        (["--ignore", "PAIR999=because"], "no rule has the code 'PAIR999'; there are CAP101"),
        (["--select", "PAIR999"], "--select 'PAIR999' is no rule; there are CAP101"),
        (["--limit", "ratio=3"], "no limit is called 'ratio'; there are damaged_row_share"),
        (["--limit", "few_pairs=many"], "limit few_pairs cannot be 'many'"),
        (["--limit", "few_pairs"], "--limit few_pairs is not NAME=VALUE, such as exposure_ratio_high=320"),
    ],
)
def test_a_wrong_request_exits_2_and_says_what_is_allowed(root, arguments, message):
    write_manifest(root, session())
    done = validate(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[limits", "sidcurate.toml cannot be read"),
        ("[rules]\nx = 1", "sidcurate.toml has 'rules'; allowed are the tables [limits] and [ignore]"),
        ("limits = 3", "sidcurate.toml has 'limits'"),
        ("[limits]\nratio = 3", "no limit is called 'ratio'"),
        ("[ignore]\nPAIR201 = 3", "PAIR201 is ignored without a reason"),
        ("[ignore]\nPAIR201 = ''", "PAIR201 is ignored without a reason"),
        ("\udcff", "sidcurate.toml cannot be read"),
    ],
)
def test_a_malformed_config_exits_2_and_says_what_is_allowed(root, tmp_path, content, message):
    write_manifest(root, session())
    (tmp_path / "sidcurate.toml").write_bytes(content.encode(errors="surrogateescape"))
    done = validate("--no-files")
    assert done.exit_code == 2
    assert message in done.stderr


def test_no_manifests_at_all_tells_to_ingest(root):
    done = validate()
    assert done.exit_code == 2
    assert "there is no manifest under manifests; make one: `sidcurate ingest FOLDER --device NAME`" in done.stderr


def test_a_damaged_manifest_exits_5(root):
    directory = write_manifest(root, session())
    table = directory / "pairs.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    assert validate("--no-files").exit_code == 5


def test_one_rule_is_explained_from_its_docstring(root):
    done = CliRunner().invoke(main, ["rules", "pair201"])
    assert done.exit_code == 0
    for part in ("PAIR201 exposure-ratio-outside-range (error", "Why:", "How:", "Cure:", "100-300×, ±3 %", "CAP111"):
        assert part in done.stdout


def test_an_unknown_rule_exits_2(root):
    done = CliRunner().invoke(main, ["rules", "PAIR999"])
    assert done.exit_code == 2
    assert "there are CAP101" in done.stderr


@pytest.mark.parametrize("output_format", ["table", "json", "csv", "markdown"])
def test_all_rules_are_listed_in_every_format(root, output_format):
    from sidcurate.rules import RULES

    done = CliRunner().invoke(main, ["rules", "--format", output_format])
    assert done.exit_code == 0
    assert all(code in done.stdout and rule.name in done.stdout for code, rule in RULES.items())


REAL_RAWS = {
    "canon-x4": {"CAP111", "CAP113", "CAP121"},  # masked pixels 2048, black tag 2056
    "sony-a7r3": {"CAP122"},  # data up to 16628 above white 16383
    "canon-6d-linear": {"CAP104"},
    "canon-g1": {"CAP104"},  # CMYG
    "minimal-10bit": {"CAP111", "CAP113", "CAP121"},  # no metadata at all
}


@pytest.mark.shared
@pytest.mark.parametrize("folder", REAL_RAWS)
def test_what_is_wrong_with_real_raws_is_found_and_nothing_else(shared, root, folder):
    ingest(shared / "raws" / folder, root / folder, jobs=1)
    found = json.loads(validate("--format", "json", "--select", "CAP").stdout)["manifests"][0]["findings"]
    assert {row["code"] for row in found} == REAL_RAWS[folder]


@pytest.mark.shared
@pytest.mark.parametrize("device", ["canon90d", "oneplus7", "nikond850"])
def test_a_well_shot_session_has_nothing_wrong(shared, root, device):
    ingest(shared / "sessions" / device, root / device)
    done = validate("--format", "json")
    assert json.loads(done.stdout)["manifests"][0]["findings"] == []
    assert done.exit_code == 0


@pytest.mark.shared
def test_a_real_bracket_of_coarse_codes_is_no_damage(shared, root):
    ingest(shared / "raws/mcr", root / "mcr")
    found = json.loads(validate("--format", "json", "--select", "CAP").stdout)["manifests"][0]["findings"]
    assert found == []
