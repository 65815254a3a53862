"""SET rules, and the engine that applies all rules in the order of what they require."""

import random
from dataclasses import replace

import pytest
from factories import DEVICE, capture, fired, judge, judge_capture, scene, session

from sidcurate.errors import UsageError
from sidcurate.rules import RULES, Limits, Tables
from sidcurate.rules.contract import Draft, Fault, Rule
from sidcurate.rules.views import ManifestView, captures_of, pairs_of
from sidcurate.schemas import FileState, Unpaired
from sidcurate.verdicts import left_out

DARK = {"time": "1"}  # a ratio of 10


def unpaired(path, reason="no long frame in its scene"):
    return Unpaired(device=DEVICE, path=path, reason=reason)


def seen(tables, **changes):
    states = {row.path: FileState(path=row.path, size_bytes=1000) for row in tables.captures}
    return list({**states, **changes}.values())


def test_a_clean_session_has_no_finding():
    tables = session()
    judgement = judge(replace(tables, files=seen(tables)))
    assert judgement.findings == ()
    assert judgement.checked["PAIR201"] == 10
    assert set(judgement.skipped) == {"CAP105", "CAP112"}


def test_an_unpaired_capture_carries_its_reason():
    alone = capture("alone.dng")
    tables = session()
    tables = replace(tables, captures=[*tables.captures, alone], unpaired=[unpaired("alone.dng")])
    (finding,) = judge(tables, "SET301").findings
    assert (finding.subject_kind, finding.subject_id, finding.severity) == ("capture", "alone.dng", "warning")
    assert "no long frame in its scene" in finding.message


def test_an_unreadable_capture_is_not_called_unpaired_too():
    broken = capture("broken.dng", status="unreadable", status_reason="truncated")
    tables = session()
    tables = replace(tables, captures=[*tables.captures, broken], unpaired=[unpaired("broken.dng")])
    judgement = judge(tables, "CAP101", "SET301")
    assert fired(judgement) == ["CAP101"]
    assert judgement.skipped["SET301"] == {"needs CAP101": 1}


def test_a_scene_in_two_parts_is_a_leak():
    first, other, third = scene(1), scene(1, "test", short={"path": "b.dng"}), scene(1, None, short={"path": "c.dng"})
    others = [(row[0], first[1], row[2].model_copy(update={"pair_id": row[0].path})) for row in (other, third)]
    tables = session(first, *others)
    (finding,) = judge(tables, "SET302").findings
    assert (finding.subject_kind, finding.measured) == ("manifest", 2)
    assert finding.paths == ("b.dng", "long/00001_00_10s.dng", "short/00001_00_0.1s.dng"), "those that have a part"


def test_without_a_split_no_leak_can_be_told():
    judgement = judge(session(scene(1, None), scene(2, None)), "SET302")
    assert judgement.skipped == {"SET302": {"there is no split": 1}}
    assert judge(Tables(DEVICE, [capture()]), "SET302").skipped == {}, "without a pair there is none to be missed"


@pytest.mark.parametrize(("good", "codes"), [(6, []), (5, ["SET303"])])
def test_pairs_are_counted_after_exclusions(good, codes):
    scenes = [scene(number) for number in range(good)]
    faulty = [scene(number + 20, short=DARK) for number in range(5)]
    judgement = judge(session(*scenes, *faulty), "PAIR201", "SET303")
    assert [code for code in fired(judgement) if code != "PAIR201"] == codes


def test_a_capture_with_an_error_takes_its_pair_out_of_the_count():
    tables = session(*[scene(number) for number in range(5)], scene(9, short={"iso": None}, measured_ratio=100.0))
    assert fired(judge(tables, "CAP113", "SET303")) == ["CAP113", "SET303"]
    assert fired(judge(tables, "SET303")) == ["SET303"], "whoever looks at one rule sees what it says among all"
    assert fired(judge(tables, "SET303", ignore={"CAP113": "all were shot at ISO 1600"})) == []


@pytest.mark.parametrize(
    ("scenes", "message", "cure"),
    [
        ([scene(1), scene(2)], "no scene is left for test of the 2 scenes", "`sidcurate split --device canon90d`"),
        ([scene(1, "test")], "no scene is left for train of the 1 scene without", "shoot more scenes"),
        ([scene(1), scene(2, "test", short=DARK)], "no scene is left for test", "shoot more scenes"),
        ([scene(1, None), scene(2, None)], "no scene is left for train and none for test", "sidcurate split"),
    ],
)
def test_both_parts_need_a_scene_that_is_left(scenes, message, cure):
    (finding,) = [row for row in judge(session(*scenes), "PAIR201", "SET306").findings if row.code == "SET306"]
    assert finding.message.startswith(message)
    assert cure in finding.message
    assert finding.severity == "error"


def test_a_missing_raw_is_named_and_its_pair_counted_out():
    tables = session(*[scene(number) for number in range(6)])
    gone = tables.captures[0].path
    tables = replace(
        tables, files=seen(tables, **{gone: FileState(path=gone, size_bytes=None)}), folder="/raws/canon90d"
    )
    judgement = judge(tables, "SET303", "SET304")
    missing = next(row for row in judgement.findings if row.code == "SET304")
    assert (missing.subject_kind, missing.subject_id) == ("capture", gone)
    assert "/raws/canon90d" in missing.message
    assert fired(judgement) == ["SET304", "SET303"]
    assert left_out(tables.pair_rows, judgement.findings) == {"00000_00": ("SET304",)}


def test_a_folder_that_is_gone_is_one_finding():
    tables = session()
    files = [FileState(path=row.path, size_bytes=None) for row in tables.captures]
    (finding,) = judge(replace(tables, files=files, folder="/raws/canon90d"), "SET304", "SET305").findings
    assert finding.subject_kind == "manifest"
    assert "none of the 20 raws is in /raws/canon90d" in finding.message


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"size_bytes": 999}, ["999 bytes, the manifest has 1,000"]),
        ({"size_bytes": 1000, "sha256": "0" * 64}, ["SHA-256 000000000000…, the manifest has e474a3e0725d…"]),
        ({"size_bytes": 1000, "sha256": None}, []),
        ({"size_bytes": 1000}, []),
    ],
)
def test_a_raw_that_changed_is_found(state, says):
    tables = session()
    path = tables.captures[0].path
    files = seen(tables, **{path: FileState(path=path, **state)})
    judgement = judge(replace(tables, files=files), "SET304", "SET305")
    assert fired(judgement) == ["SET305"] * len(says)
    for finding, words in zip(judgement.findings, says, strict=True):
        assert words in finding.message


def test_files_that_nobody_looked_at_are_skipped():
    judgement = judge(session(), "SET303", "SET304", "SET305")
    assert judgement.findings == ()
    assert judgement.skipped == {
        "SET304": {"the raws on disk were not looked at": 1},
        "SET305": {"needs SET304": 1},
    }
    assert judgement.checked["SET303"] == 1
    alone = judge(session(), "SET304", "SET305", ignore={"SET304": "they are on tape"})
    assert alone.skipped == {"SET305": {"the raws on disk were not looked at": 1}}


# The engine.


def test_a_rule_is_skipped_where_one_that_it_requires_found_a_fault():
    judgement = judge_capture("CAP122", black_level=(20000.0,) * 4, dn_max=(16600,) * 4)
    assert fired(judgement) == []
    assert judgement.skipped == {"CAP122": {"needs CAP121": 1}}


def test_what_is_not_selected_is_not_reported_but_still_required():
    judgement = judge(session(scene(1, long={"time": None})), "PAIR201")
    assert judgement.findings == ()
    assert judgement.versions == {"PAIR201": 1}
    assert judgement.skipped == {"PAIR201": {"needs CAP111": 1}}


def test_an_ignored_rule_neither_reports_nor_stops_another():
    dark = {"black_level": (2600.0,) * 4}
    tables = session(scene(1, short=dark))
    assert fired(judge(tables, "CAP121", "PAIR207")) == ["CAP121"]
    judgement = judge(tables, "CAP121", "PAIR207", ignore={"CAP121": "measured with a lens cap"})
    assert fired(judgement) == ["PAIR207"]
    assert "CAP121" not in judgement.versions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore": {"PAIR999": "because"}}, "no rule has the code 'PAIR999'; there are CAP101"),
        ({"ignore": {"PAIR201": "  "}}, "PAIR201 is ignored without a reason"),
        ({"select": ["CAP"]}, "no rule has the code 'CAP'"),
    ],
)
def test_a_wrong_request_says_what_is_allowed(options, message):
    from sidcurate.rules import run

    with pytest.raises(UsageError, match=message):
        run(session(), Limits(), **options)


def test_findings_do_not_depend_on_the_order_of_rows():
    tables = session(*[scene(number, short=DARK if number % 3 else {"iso": None}) for number in range(8)])
    captures, pairs = list(tables.captures), list(tables.pairs)
    random.Random(1).shuffle(captures)
    random.Random(2).shuffle(pairs)
    assert judge(tables) == judge(Tables(DEVICE, captures, pairs))


def test_every_rule_judges_by_itself_what_its_requirements_could_have_hidden():
    nothing = capture(
        time=None, iso=None, f_number=None, focal_length_mm=None, sha256=None, cfa=None, cfa_kind=None, width=None
    ).model_copy(update=dict.fromkeys(("black_level", "white_level", "dn_p1", "code_step", "clipped_fraction")))
    row = scene(1)[2].model_copy(update={"short_path": nothing.path, "long_path": nothing.path})
    tables = Tables(DEVICE, [nothing], [row])
    (captures,), (pairs,) = captures_of(tables), pairs_of(tables)
    shown = {"capture": captures, "pair": pairs, "manifest": ManifestView(Tables(DEVICE), {})}
    for rule in RULES.values():
        list(rule.judge(shown[rule.subject_kind], Limits()))


def test_a_draft_may_be_milder_or_harder_than_its_rule(monkeypatch):
    def judge_twice(pairs, limits):
        everywhere = pairs.signal > 0
        yield Fault(everywhere, lambda pair, limits: Draft("a little off"), goes_on=True)
        yield Fault(everywhere, lambda pair, limits: Draft("far off", severity="error"))

    rule = Rule("PAIR212", "black-level-off", "warning", (), False, 1, "", judge_twice)
    monkeypatch.setitem(RULES, "PAIR212", rule)
    findings = judge(session(scene(1)), "PAIR212").findings
    assert [(row.message, row.severity) for row in findings] == [("a little off", "warning"), ("far off", "error")]


def test_every_rule_explains_itself_and_requires_rules_that_are_judged_before_it():
    order = {"capture": 0, "pair": 1, "manifest": 2}
    for rule in RULES.values():
        assert all(f"\n{part}: " in rule.explanation for part in ("Why", "How", "Cure")), rule.code
        assert set(rule.limit_names) <= set(Limits.model_fields), rule.code
        for code in rule.requires:
            assert order[RULES[code].subject_kind] <= order[rule.subject_kind], rule.code


def test_every_limit_belongs_to_a_rule():
    used = {name for rule in RULES.values() for name in rule.limit_names}
    assert set(Limits.model_fields) == used | {"confidence_se"}, "the errors that count are the same in every rule"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 3}, "no limit is called 'ratio'; there are damaged_row_share"),
        ({"few_pairs": "many"}, "limit few_pairs cannot be 'many': give a number"),
        ({"few_pairs": -1}, "limit few_pairs cannot be -1"),
        ({"exposure_ratio_low": 500}, "^exposure_ratio_low 500 is above exposure_ratio_high 300$"),
    ],
)
def test_a_wrong_limit_says_what_is_allowed(values, message):
    with pytest.raises(UsageError, match=message):
        Limits.of(values)
