"""The report of a manifest: what it tells, in each form."""

import json
import os
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from factories import DEVICE, scene, session, write_manifest

from sidcurate import histogram, manifests, report
from sidcurate.cli import main
from sidcurate.rules import Tables
from sidcurate.validation import Standard, validate

VOID = {"meta"}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "manifests"


def seed_session():
    """Ratios of 33, 100 and 300, and a name that would break a page that does not escape it."""
    rows = [scene(number, "test" if number > 7 else "train") for number in range(4, 9)]
    dark = [scene(number, short={"time": "0.3"}) for number in (1, 2)]
    return session(*dark, scene(3, short={"time": "1/30", "path": "short/<b>&.dng", "iso": 800}), *rows)


def account_of(root, tables, judged=True):
    directory = write_manifest(root, tables)
    if judged:
        validate(directory, Standard(look="none"))
    return report.account(manifests.load(directory))


def test_the_account_counts_what_is_there(root):
    told = account_of(root, seed_session())
    assert (told.captures, told.unreadable, told.pairs, told.scenes) == (16, 0, 8, 8)
    assert told.verdict == "5 of 8 pairs pass, 3 left out"
    assert [(row.code, row.count) for row in told.rules] == [("PAIR201", 2), ("PAIR202", 1), ("SET303", 1)]
    assert [(part.name, part.pairs, part.passed) for part in told.split] == [("train", 7, 4), ("test", 1, 1)]
    assert "train: 7 pairs of 7 scenes, 4 pass" in report.as_text(told)
    assert [(camera.captures, camera.isos) for camera in told.cameras] == [(16, (800, 1600))]
    assert told.reason_not_usable is None


def test_what_could_not_be_judged_is_told_in_every_form(root):
    told = account_of(root, seed_session())
    reason = "CAP105 reader-disagreement ×16 (there is no second reading)"
    assert reason in told.not_judged
    assert f"  not judged: {told.not_judged[0]}" in report.as_text(told)
    assert reason in report.as_html(told)


def test_bodies_and_their_modes_are_told_apart_the_most_frequent_first(root):
    other = {"camera_serial": "2", "iso": 3200, "clipped_fraction": 0.25}
    told = account_of(root, session(scene(1), scene(2), scene(3, short=other, long=other), scene(4, long=other)))
    first, second = told.cameras
    assert (first.captures, first.isos, first.clipped_fraction) == (5, (1600,), 0.0)
    assert (second.captures, second.serial, second.isos, second.clipped_fraction) == (3, "2", (3200,), 0.25)


def test_a_manifest_that_was_never_validated_says_so(root):
    told = account_of(root, seed_session(), judged=False)
    assert told.left_out is None
    assert "never validated; run `sidcurate validate" in told.reason_not_usable
    assert "Findings: not yet validated\n" in report.as_text(told)
    assert "<b>–</b>findings" in report.as_html(told)


def test_bins_hold_every_ratio_once_with_its_edges():
    bins = histogram.histogram([1.0, 10.0, 99.999, 100.0, 100.0, 300.0])
    assert sum(row.pairs for row in bins) == 6
    at_100 = next(row for row in bins if row.low == 100)
    assert at_100.pairs == 2
    assert histogram.histogram([]) == []


def test_text_names_every_finding_with_its_message(root):
    told = account_of(root, seed_session())
    text = report.as_text(told)
    assert "canon90d: 5 of 8 pairs pass, 3 left out" in text
    assert all(finding["message"] in text for finding in told.findings)
    assert "black 2048 DN, white 16383 DN, bits 14, used 14, at most 0.00 % clipped" in text


@pytest.mark.parametrize("tables", [seed_session(), Tables(DEVICE)], ids=["findings", "empty"])
def test_json_is_versioned_and_holds_the_account_with_all_findings(root, tables, monkeypatch):
    told = account_of(root, tables)
    monkeypatch.setattr(report, "SHOWN_FINDINGS", 1)
    result = CliRunner().invoke(
        main, ["report", "--device", DEVICE, "--manifests", str(root), "--format", "json"], catch_exceptions=False
    )
    assert result.stdout == json.dumps({"version": 1, **asdict(told)}, indent=1, ensure_ascii=False) + "\n"
    assert json.loads(result.stdout)["findings"] == list(told.findings)


class Balance(HTMLParser):
    """Checks that every tag is closed, and collects the text and the attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_html_is_one_well_formed_page_without_scripts_or_outside_resources(root):
    told = account_of(root, seed_session())
    page = report.as_html(told)
    parsed = Balance()
    parsed.feed(page)
    assert parsed.open == []
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"<script|<link|<img|https?://|url\(|@import", page)
    assert {name for name, _ in parsed.attributes}.isdisjoint({"src", "href", "onload", "onclick"})
    text = " ".join(parsed.text)
    assert all(finding["message"] in text for finding in told.findings)


def test_html_escapes_what_a_camera_or_a_card_wrote(root):
    rows = [scene(1, short={"path": "short/<script>.dng", "camera_model": "<i>&", "sha256": None})]
    page = report.as_html(account_of(root, session(*rows)))
    assert "<script" not in page
    assert "&lt;i&gt;&amp;" in page


def test_the_histogram_shows_the_range_that_was_asked_for(root):
    told = account_of(root, seed_session())
    drawing = histogram.chart(told.ratios, told.ratio_low, told.ratio_high)
    inside = {bar.title: bar.inside for bar in drawing.bars}
    assert list(inside.values()) == [False, True, True]
    at_100 = next(position for position, label in drawing.ticks if label == "100")
    at_300 = next(position for position, label in drawing.ticks if label == "300")
    assert (drawing.band_x, drawing.band_width) == (at_100, pytest.approx(at_300 - at_100, abs=0.02))
    assert all(bar.x >= 0 and bar.x + bar.width <= drawing.width for bar in drawing.bars)


def test_an_empty_manifest_has_a_report_too(root):
    told = account_of(root, Tables(DEVICE))
    assert histogram.chart(told.ratios, 100, 300) is None
    assert "no pair has a ratio" in report.as_html(told)
    assert "Findings: 2" in report.as_text(told)


def test_more_findings_than_fit_a_page_are_counted(root, monkeypatch):
    told = account_of(root, seed_session())
    some = report.account(manifests.load(root / DEVICE), 2)
    assert some == replace(told, findings=told.findings[:2])
    more = "and 2 more: sidcurate validate --device canon90d --format csv"
    assert more not in report.as_text(told)
    monkeypatch.setattr(report, "SHOWN_FINDINGS", 2)
    for account in (told, some):
        assert "Findings: 4" in report.as_text(account)
        assert more in report.as_text(account)
        assert "and 2 more" in report.as_html(account)


@pytest.mark.parametrize("output_format", ["text", "json", "html"])
def test_the_verb_prints_or_writes_the_same_page(root, tmp_path, output_format):
    write_manifest(root, seed_session())
    arguments = ["report", "--device", DEVICE, "--manifests", str(root), "--format", output_format]
    printed = CliRunner().invoke(main, arguments)
    assert printed.exit_code == 0
    written = CliRunner().invoke(main, [*arguments, "--output", str(tmp_path / "pages/canon90d")])
    assert written.exit_code == 0
    assert (tmp_path / "pages/canon90d").read_text() == printed.stdout


def test_a_page_takes_the_place_of_no_raw_and_of_nothing_that_is_no_file(root, tmp_path):
    write_manifest(root, seed_session())
    raws = [tmp_path / "IMG_0001.CR3", tmp_path / "no-extension"]
    for path in raws:
        path.write_bytes(b"II*\0pixels")
    os.mkfifo(tmp_path / "pipe")
    told = {
        **dict.fromkeys(raws, (2, "is a raw, and raws are only read")),
        tmp_path / "pipe": (2, "is no file"),
        raws[0] / "page": (4, "cannot be written (File exists)"),
    }
    for path, (code, words) in told.items():
        done = CliRunner().invoke(main, ["report", "--device", DEVICE, "--manifests", str(root), "--output", str(path)])
        assert (done.exit_code, words in done.stderr) == (code, True), done.stderr
    assert {path.read_bytes() for path in raws} == {b"II*\0pixels"}
    assert (tmp_path / "pipe").is_fifo()
