"""Rules judge many rows at once: what they say must not depend on which rows stand beside each other."""

import random
from collections import Counter

import pytest
from factories import DEVICE, capture, judge, pair

from sidcurate import manifests
from sidcurate.rules import RULES, Tables
from sidcurate.schemas import Capture, Pair, Unpaired
from sidcurate.tables import bounded, rows
from sidcurate.tables.rows import table_of

# Values at, just beside and beyond every limit, and ones that no rule expects.
CAPTURE_FACTS = {
    "sha256": ("a" * 64, "b" * 64),
    "status": ("unreadable", "listed", "header"),
    "camera_make": ("", "Nikon"),
    "camera_serial": ("", "77"),
    "lens_model": ("", "EF 85mm"),
    "exposure_num": (1, 2, 10),
    "exposure_den": (1, 3, 30, 97, 309),
    "exposure_time_s": (0.1, 10.0, 0.0333333),
    "exposure_source": ("libraw", "name"),
    "iso": (100, 3200),
    "iso_source": ("libraw",),
    "f_number": (2.8, 4.0),
    "focal_length_mm": (50.5, 50.6),
    "orientation": (1, 6),
    "libraw_exposure_time_s": (0.1, 0.103, 0.1031),
    "libraw_iso": (1600.0, 1648.0, 1649.0),
    "libraw_f_number": (2.884, 5.6),
    "name_exposure_time_s": (0.1, 0.105, 0.1051),
    "width": (480,),
    "cfa_kind": ("linear", "other", "xtrans"),
    "cfa": ("BGGR", "X"),
    "bits_declared": (12,),
    "bits_observed": (12,),
    "code_step": (2, 4),
    "clipped_fraction": (0.25,),
    "impossible_fraction": (0.001, 0.0011),
    "zero_tail_fraction": (0.005, 0.02),
    "repeated_row_fraction": (0.02, 0.255, 0.26),
    "constant_row_fraction": (0.02, 0.3),
}
LEVELS = {
    "black_level": (2048.0, 2048.5, 2049.0, 2056.0, 16383.0),
    "white_level": (16383.0, 2048.0, 15000.0),
    "distinct_codes": (3, 15, 16),
    "dn_p1": (1700, 2030, 2047),
    "dn_p50": (2040, 2060),
    "dn_max": (6000, 16600),
    "masked_black": (2048.0, 2052.0, 2056.0),
    "clip_dn": (-1, 13000, 16383),
    "clipped_by_cfa": (0.0, 0.05, 0.06),
}
PAIR_FACTS = {
    "signal": (5.9, 6.0),
    "correlation": (-0.5, 0.27, 0.3),
    "correlation_se": (0.0, 0.1),
    "shift_px": (1.0, 1.5, 7.3),
    "shift_se_px": (0.0, 0.5),
    "measured_ratio": (-1.0, 0.0, 80.0, 112.0, 112.1),
    "measured_ratio_se": (0.0,),
    "gain_departure": (-0.3, 0.15, 0.16),
    "gain_departure_se": (0.0,),
    "nonlinearity": (-0.3, 0.16),
    "nonlinearity_se": (0.0, 0.1),
    "moved_fraction": (0.02, 0.5),
    "moved_se": (0.0, 0.2),
    "focus_ratio": (0.5, 1.1, 1.2),
    "focus_se": (0.0,),
    "exposure_ratio": (300.0,),
}
ZEROS = {"zero_error_dn": (-3.0, 0.1, 5.0, 40.0), "zero_error_se_dn": (0.0, 0.05, 1.0)}


def changed(rng, facts, levels, share):
    """Return some of the facts, changed or unknown; levels of one, three or four positions."""
    single = {name: rng.choice((None, *values)) for name, values in facts.items() if rng.random() < share}
    several = {
        name: rng.choice((None, *[tuple(rng.choices(values, k=rng.choice((4, 4, 4, 1, 3))))] * 3))
        for name, values in levels.items()
        if rng.random() < share
    }
    return {**single, **several}


def wild(seed, pairs=60, share=0.08):
    """Return a session in which anything may be wrong, in no order; frames are shared by pairs."""
    rng = random.Random(seed)
    captures = {
        path: capture(path, time, **without_nulls(changed(rng, CAPTURE_FACTS, LEVELS, share)))
        for number in range(pairs)
        for path, time in ((f"short/{number}.dng", "1/10"), (f"long/{number // 2}.dng", "10"))
    }
    rows = []
    for number in range(pairs):
        short, long = captures[f"short/{number}.dng"], captures[f"long/{number // 2}.dng"]
        facts = pair(short, long, f"{number // 3:05d}", pair_id=f"p{number}").model_dump()
        split = rng.choice(("train", "val", "test", None)) if rng.random() < 0.1 else "train"
        rows.append(Pair.model_validate({**facts, "split": split, **changed(rng, PAIR_FACTS, ZEROS, share)}))
    everything = list(captures.values())
    rng.shuffle(everything)
    rng.shuffle(rows)
    return Tables(DEVICE, everything, rows, [Unpaired(device=DEVICE, path=everything[0].path, reason="alone")])


def without_nulls(facts):
    """Return the facts without an unknown status, which no capture has."""
    return {name: value for name, value in facts.items() if value is not None or name != "status"}


def said(judgement, codes):
    """Return what some rules found and could not judge, in no order."""
    findings = Counter(row for row in judgement.findings if row.code in codes)
    skipped = Counter({(code, reason): n for code in codes for reason, n in judgement.skipped.get(code, {}).items()})
    return findings, skipped, Counter({code: judgement.checked[code] for code in codes})


def together(judgements, codes):
    """Return the sum of what is said one by one."""
    total = (Counter(), Counter(), Counter())
    for judgement in judgements:
        for sum_, part in zip(total, said(judgement, codes), strict=True):
            sum_.update(part)
    return total


@pytest.mark.parametrize(("seed", "share"), [(1, 0.03), (2, 0.08), (3, 0.3), (4, 0.6)])
def test_judging_a_table_whole_is_judging_it_row_by_row(seed, share):
    tables = wild(seed, share=share)
    judgement = judge(tables)
    # These two compare a capture with all others.
    alone = {code for code in RULES if code.startswith("CAP")} - {"CAP103", "CAP106"}
    assert said(judgement, alone) == together((judge(Tables(DEVICE, [row])) for row in tables.captures), alone)
    frames = {row.path: row for row in tables.captures}
    pairs = {code for code in RULES if code.startswith("PAIR")}
    one_by_one = [
        judge(Tables(DEVICE, dict.fromkeys((frames[row.short_path], frames[row.long_path])), [row]))
        for row in tables.pairs
    ]
    assert said(judgement, pairs) == together(one_by_one, pairs)


def test_every_rule_about_rows_fires_and_skips_somewhere_in_such_sessions():
    judgements = [judge(wild(seed, 300, share)) for seed, share in ((1, 0.02), (2, 0.05), (3, 0.3))]
    fired = {row.code for judgement in judgements for row in judgement.findings}
    skipped = {code for judgement in judgements for code in judgement.skipped}
    rows = {code for code in RULES if not code.startswith("SET")}
    assert rows - fired == set()
    assert rows - skipped == set()


@pytest.mark.parametrize("batch", [1, 7])
def test_what_is_found_does_not_depend_on_how_many_rows_are_read_at_a_time(monkeypatch, batch):
    whole = judge(wild(5))
    monkeypatch.setattr(rows, "BATCH", batch)
    assert judge(wild(5)) == whole


def test_records_and_a_manifest_that_stays_packed_are_judged_alike(monkeypatch, tmp_path):
    given = wild(6)
    monkeypatch.setattr(bounded, "GROUP_ROWS", 16)
    monkeypatch.setattr(rows, "BATCH", 24)
    records = {Capture: given.captures, Pair: given.pairs, Unpaired: given.unpaired}
    manifests.save(tmp_path / DEVICE, records)
    manifest = manifests.load(tmp_path / DEVICE)
    assert all(isinstance(manifest.tables[model], bounded.Packed) for model in records)
    assert judge(Tables(DEVICE, *map(manifest.rows, records))) == judge(given)


def test_records_and_arrow_tables_are_judged_alike():
    tables = wild(6)
    given = [
        table_of(model, records)
        for model, records in ((Capture, tables.captures), (Pair, tables.pairs), (Unpaired, tables.unpaired))
    ]
    assert judge(Tables(DEVICE, *given)) == judge(tables)
