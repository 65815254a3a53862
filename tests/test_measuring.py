"""From traces to facts in the manifest: measured once, under the right names, null where a trace is missing."""

import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from factories import write_source

from sidcurate import manifests, source
from sidcurate.align import PairFacts
from sidcurate.align.estimates import Estimate
from sidcurate.cli import main
from sidcurate.errors import IntegrityError
from sidcurate.ingest.folder import ingest
from sidcurate.ingest.matching import pair_again
from sidcurate.isolation import Crew, crew
from sidcurate.pairs import measuring, traces
from sidcurate.schemas import Capture, Pair
from sidcurate.source import PairingRules
from sidcurate.synthetic.bodies import body_named
from sidcurate.synthetic.plan import Plan
from sidcurate.synthetic.sensor import tukey_lambda
from sidcurate.synthetic.session import simulate
from sidcurate.tables.rows import Rows


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clean scenes, shot and ingested: raws in `raws`, manifest in `cam`."""
    folder = tmp_path_factory.mktemp("session")
    simulate(folder / "raws", Plan(body_named("canon90d"), scenes=2, size=(256, 256), ratios=(Fraction(100),)))
    ingest(folder / "raws", folder / "cam", jobs=1)
    return folder


@pytest.fixture
def session(ingested: Path, tmp_path: Path) -> Path:
    """A copy of the ingested session, to be changed; its manifest still names the first folder of raws."""
    return shutil.copytree(ingested, tmp_path / "session", symlinks=True)


@pytest.fixture
def workers():
    """One worker."""
    with crew(1) as found:
        yield found


def test_each_fact_stands_under_the_name_of_its_column():
    names = [field.name for field in fields(PairFacts) if field.name not in ("signal", "zero_error_dn")]
    estimates = {name: Estimate(number + 0.5, number + 0.25) for number, name in enumerate(names)}
    zeros = tuple(Estimate(-float(site), site / 10) for site in range(4))
    columns = measuring.as_fields(PairFacts(signal=40.0, zero_error_dn=zeros, **estimates))
    assert set(columns) == set(measuring.FACTS) <= set(Pair.model_fields)
    assert {name: columns[name] for name in names} == {name: fact.value for name, fact in estimates.items()}
    assert columns["signal"] == 40
    assert columns["zero_error_dn"] == (0, -1, -2, -3)
    assert columns["zero_error_se_dn"] == (0, 0.1, 0.2, 0.3)
    errors = {
        "correlation": "correlation_se",
        "shift_px": "shift_se_px",
        "measured_ratio": "measured_ratio_se",
        "gain_departure": "gain_departure_se",
        "nonlinearity": "nonlinearity_se",
        "moved_fraction": "moved_se",
        "focus_ratio": "focus_se",
    }
    assert {name: columns[error] for name, error in errors.items()} == {name: estimates[name].se for name in errors}


def test_what_the_frames_cannot_tell_is_null():
    assert set(measuring.as_fields(PairFacts()).values()) == {None}


def test_ingest_puts_the_facts_of_every_pair_into_the_manifest(ingested: Path):
    manifest = manifests.load(ingested / "cam")
    assert len(manifest.pairs) == 2
    for row in manifest.pairs:
        assert row.measured_ratio == pytest.approx(100, rel=0.05)
        assert row.shift_px == pytest.approx(0, abs=0.3)
        assert row.signal
        assert row.signal > 6
    kept = {path.stem for path in (ingested / "cam/traces").iterdir()}
    assert kept == {row.sha256 for row in manifest.captures}


def test_ingest_puts_the_noise_of_every_frame_into_the_manifest(ingested: Path):
    body = body_named("canon90d")
    noise = body.noise(body.iso)
    read = tukey_lambda((100_000,), noise.tukey_shape, noise.tukey_scale_dn, np.random.default_rng(0)).std()
    shorts = [row for row in manifests.load(ingested / "cam").captures if row.exposure_time_s < 1]
    assert len(shorts) == 2
    for row in shorts:
        light = (row.noise_level_dn - body.black_level) * noise.gain_dn_per_e
        assert row.noise_dn == pytest.approx((read**2 + light) ** 0.5, rel=0.1)
        assert 0 < row.noise_se_dn < 0.1 * row.noise_dn
        assert row.sharpness is None  # Too small.


def test_facts_are_not_measured_twice(session: Path):
    raws, directory = Path(source.read(session / "cam").root), session / "cam"
    before = manifests.load(directory)
    marked = [row.model_copy(update={"measured_ratio": 12345.0}) for row in before.pairs]
    manifests.save(directory, {Pair: marked})
    stages = []
    again = ingest(raws, directory, jobs=1, progress=lambda stage, done, total: stages.append(stage))
    assert not {"reading raws", "measuring pairs"} & set(stages)
    assert again.pairs.records() == marked
    assert pair_again(directory, PairingRules()).pairs.records() == marked


def test_a_pair_made_anew_is_measured_from_the_traces_alone(session: Path):
    directory = session / "cam"
    manifest = manifests.load(directory)
    manifests.save(directory, {Pair: []})
    root = source.read(directory).root
    write_source(directory, root=f"{root} that is gone")
    facts = {row.pair_id: row.measured_ratio for row in pair_again(directory, PairingRules()).pairs}
    assert facts == {row.pair_id: row.measured_ratio for row in manifest.pairs}


def test_a_worker_starts_without_the_tables():
    code = "import sys, sidcurate.ingest.reading, sidcurate.pairs.traces; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "rawpy" in run.stdout.split()
    assert not {"pyarrow", "pandas", "sidcurate.tables.rows"} & set(run.stdout.split())


def test_without_a_trace_every_fact_is_null(ingested: Path, tmp_path: Path, workers: Crew):
    manifest = manifests.load(ingested / "cam")
    nothing = measuring.Known.nothing()
    rows = measuring.measured(manifest.pairs, manifest.rows(Capture), ingested / "cam", nothing, workers)
    assert Rows.of(Pair, rows).records() == manifest.pairs
    bare = [row.model_copy(update=dict.fromkeys(measuring.FACTS)) for row in manifest.pairs]
    without = Rows.of(Pair, measuring.measured(bare, manifest.rows(Capture), tmp_path, nothing, workers)).records()
    assert all("no trace is kept" in row.unmeasured_reason for row in without)
    assert [row.model_copy(update={"unmeasured_reason": None}) for row in without] == bare


def test_a_lost_trace_is_made_again_from_its_raw(session: Path):
    raws, directory = Path(source.read(session / "cam").root), session / "cam"
    lost = next((directory / "traces").iterdir())
    content = lost.read_bytes()
    lost.unlink()
    assert ingest(raws, directory, jobs=1).read == 1
    assert lost.read_bytes() == content


def test_a_damaged_trace_is_an_error_that_says_what_to_do(session: Path, workers: Crew):
    directory = session / "cam"
    manifest = manifests.load(directory)
    torn = traces.path(directory, manifest.captures[0].sha256 or "")
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.raises(IntegrityError, match="delete it and ingest again"):
        measuring.measured(manifest.pairs, manifest.rows(Capture), directory, measuring.Known.nothing(), workers)


def test_pairs_are_known_by_the_hashes_of_both_frames_where_there_are_any():
    facts = {"device": "cam", "size_bytes": 1, "status": "ok"}
    frames = [Capture(path=name, sha256=sha256, **facts) for name, sha256 in (("a", "0a"), ("b", "0b"), ("c", None))]
    names = {"device": "cam", "scene_id": "1", "burst_index": 0, "reason": "told"}
    whole, half = (Pair(pair_id=f"a{long}", short_path="a", long_path=long, **names) for long in "bc")
    known = measuring.Known.of(Rows.of(Pair, [half, whole]), Rows.of(Capture, frames))
    assert known.hashes.to_pylist() == [None, "0a 0b"]


def test_each_planted_fault_is_named_by_its_own_rule_and_clean_pairs_by_none(tmp_path: Path):
    raws, manifest = tmp_path / "raws", tmp_path / "manifests"
    faults = ["shifted@2", "hidden-gain@3", "other-scene@4", "lens-cap@5"]
    chosen = ["--scenes", "6", "--size", "512x512", "--iso", "800", *(f"--fault={fault}" for fault in faults)]
    assert _run("simulate", raws, *chosen).exit_code == 0
    assert _run("ingest", raws, "--device", "cam", "--manifests", manifest).exit_code == 0
    assert _run("validate", "--manifests", manifest).exit_code == 1
    found = defaultdict(list)
    for finding in manifests.load(manifest / "cam").findings:
        if finding.subject_kind != "manifest":
            found[finding.subject_id].append(finding.code)
    assert found == {
        "00002_00": ["PAIR221"],
        "00003_00": ["PAIR211"],
        "00004_00": ["PAIR223"],
        "00005_00": ["PAIR232"],
    }


def _run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
