"""Of what one fault keeps many rules from, one cause is told with its count."""

from factories import capture, judge, scene, session

from sidcurate.rules.skips import in_short


def test_the_consequences_of_one_unreadable_file_are_told_as_one() -> None:
    broken = capture("x.dng", status="unreadable", status_reason="cut off")
    whole = session(scene(1), scene(2)).captures
    skipped = judge(session(scene(1), scene(2), captures=[*whole, broken])).skipped
    assert len([code for code, reasons in skipped.items() if "needs CAP101" in reasons]) == 7
    (told,) = (line for line in in_short(skipped) if "CAP101" in line)
    assert "rules where one that they need did not pass (CAP101 ×1" in told


def test_what_waits_for_two_causes_names_both_and_a_rule_s_own_reason_stays() -> None:
    skipped = {
        "CAP102": {"needs CAP101": 2},
        "CAP121": {"needs CAP102": 2},
        "CAP122": {"needs CAP121": 2, "the codes tell no step": 5},
        "PAIR221": {"needs PAIR223": 7},
    }
    assert in_short(skipped) == [
        "CAP122 white-level-implausible ×5 (the codes tell no step)",
        "4 rules where one that they need did not pass (CAP101 ×2, PAIR223 ×7)",
    ]
    assert in_short({}) == []
