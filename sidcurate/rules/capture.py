"""CAP: rules about what the header and the file of one capture say. Its levels are judged in `levels`."""

from collections.abc import Iterator

from sidcurate.exposure import format_seconds
from sidcurate.rules.contract import Answers, CaptureView, Draft, Skip, Tables, body_facts, rule
from sidcurate.rules.figures import apart, exact, percent, relative_difference
from sidcurate.rules.limits import Limits
from sidcurate.schemas import Capture


@rule("CAP101", "unreadable-capture", "error")
def unreadable(view: CaptureView, limits: Limits) -> Answers:
    """No reader gets the pixels of the file.

    Why: a frame that cannot be decoded can neither be judged nor trained on.
    How: ingest decodes each file once, in a process of its own; the reader's own reason is kept.
    Cure: copy the file again from the card. Where the format is not supported, convert it to an uncompressed or
    losslessly compressed mosaic DNG; where the file is no raw, take it out of the folder.
    """
    if view.capture.status == "unreadable":
        reason = view.capture.status_reason or "cannot be decoded; copy it again from the card"
        yield Draft(f"{reason}; if that is no help, take it out of the folder")


_ZERO_TAIL = "are zero down to the end, as in a file that was cut off"
_DAMAGE = {
    "zero_tail_fraction": _ZERO_TAIL,
    "repeated_row_fraction": "repeat the row two above, as a decoder does after the end of its data",
    "constant_row_fraction": "hold one value, which noise makes impossible",
}


@rule(
    "CAP102",
    "incomplete-pixels",
    "error",
    requires=("CAP101",),
    limit="{damaged_row_share:.1%} of the rows, {impossible_share:.1%} of the sites",
)
def incomplete(view: CaptureView, limits: Limits) -> Answers:
    """The frame was decoded, but part of it is not a picture: a zero tail, repeated or constant rows, random codes.

    Why: decoders fill what is missing without an error, so a truncated file looks like a frame.
    How: codes that no converter of 14 bits gives are random bytes. Three shares of rows are compared with one limit.
    Rows that clip from side to side repeat and are constant too: so many rows as the clipped share of the frame could
    fill are not counted.
    Cure: copy the file again from the card and compare sizes; if the card's file is as bad, the frame is lost.
    """
    yield from list(_random_codes(view.capture, limits)) or _damaged_rows(view.capture, limits)


def _random_codes(capture: Capture, limits: Limits) -> Answers:
    share, white = capture.impossible_fraction, capture.white_level
    if share is not None and white is not None and share > limits.impossible_share:
        yield Draft(
            f"{percent(share)} of the sites hold codes of 32768 and more, where white is {max(white):g}: the bytes are "
            f"random, allowed {percent(limits.impossible_share)}; copy the file from the card again, or leave the "
            "frame out",
            measured=share,
            limit_high=limits.impossible_share,
            unit="share of sites",
        )


def _damaged_rows(capture: Capture, limits: Limits) -> Answers:
    shares = {words: getattr(capture, fact) for fact, words in _DAMAGE.items()}
    if None in shares.values():
        yield Skip("the rows were not measured")
        return
    clipped = capture.clipped_fraction
    shares = {words: share - (clipped or 0) * (words != _ZERO_TAIL) for words, share in shares.items()}
    damage = next((words for words, share in shares.items() if share > limits.damaged_row_share), None)
    if damage and damage != _ZERO_TAIL and clipped is None:
        yield Skip("without a white level, rows that clip look like damaged ones")
    elif damage:
        yield Draft(
            f"{percent(shares[damage])} of the rows {damage}; allowed {percent(limits.damaged_row_share)}; copy the "
            "file from the card again, or leave the frame out",
            measured=shares[damage],
            limit_high=limits.damaged_row_share,
            unit="share of rows",
        )


@rule("CAP103", "duplicate-capture", "warning", requires=("CAP101",))
def duplicate(view: CaptureView, limits: Limits) -> Answers:
    """The same bytes stand under two names.

    Why: a frame that counts twice weighs twice, and a copy in another scene can leak from training to test.
    How: by SHA-256. The first name in alphabetical order counts as the original, every other one is a finding.
    Cure: take the copies out of the folder and ingest again.
    """
    if view.capture.sha256 is None:
        yield Skip("the file was not hashed")
        return
    original, *copies = view.tables.copies[view.capture.sha256]
    if view.capture.path in copies:
        yield Draft(
            f"has the same bytes as {original}; take one of the two out of the folder and ingest again",
            paths=(original, view.capture.path),
        )


_NOT_BAYER = {
    "linear": "already demosaiced",
    "monochrome": "a monochrome sensor",
    "quad-bayer": "a quad-Bayer mosaic, whose filters come in 2x2 blocks of one color",
    "other": "another color filter array",
}


@rule("CAP104", "not-bayer", "error", requires=("CAP101",))
def not_bayer(view: CaptureView, limits: Limits) -> Answers:
    """The pixels are not an RGB Bayer mosaic: demosaiced, monochrome, quad-Bayer, RGBW, CMYG or Foveon.

    Why: packing cuts the mosaic into R, G, B, G planes. Four numbers a pixel of another meaning can be packed as well,
    and train a network of nonsense.
    How: by the letters of the color filter array at the visible origin. X-Trans is a kind of its own and no fault: its
    pairs are judged like Bayer pairs, and need a network with X-Trans packing, which a Bayer recipe refuses.
    Cure: set the camera to plain raw. On a phone that means no "expert", "night" or computational raw and the main
    camera in its binned mode; in a converter, no "linear DNG".
    """
    capture = view.capture
    if capture.cfa_kind is None:
        yield Skip("the color filter array is unknown")
    elif capture.cfa_kind in _NOT_BAYER:
        yield Draft(
            f"is no RGB Bayer mosaic: {capture.cfa_reason or _NOT_BAYER[capture.cfa_kind]}; set the camera or the "
            "converter to plain, undemosaiced raw and shoot again"
        )


@rule("CAP105", "reader-disagreement", "warning", requires=("CAP101",), limit="{reader_disagreement:.0%}")
def reader_disagreement(view: CaptureView, limits: Limits) -> Answers:
    """Two readers of the same header differ on exposure time, ISO or aperture.

    Why: the ratio of a pair is computed from these numbers, so one of the two readers would make it wrong.
    How: the value in use is compared with LibRaw's own reading, as larger / smaller - 1. Readers that are both right
    still differ by 1.5 % (nominal against real shutter time). What LibRaw alone knows is not compared,
    nor what a person has set.
    Cure: look at the header with a third tool. If the value in use is wrong, please report the camera.
    """
    readings = list(_readings(view.capture))
    if not readings:
        yield Skip("there is no second reading")
    for what, used, second, unit in readings:
        difference = relative_difference(used, second)
        if difference > exact(limits.reader_disagreement):
            yield Draft(
                f"{what} is {used:.6g}{unit} in the header and {second:.6g}{unit} for LibRaw, {apart(difference)}, "
                f"allowed {percent(limits.reader_disagreement)}; look at the header with a third tool",
                measured=float(difference),
                limit_high=limits.reader_disagreement,
                unit="relative difference",
            )


def _readings(capture: Capture) -> Iterator[tuple[str, float, float, str]]:
    """Yield what was read twice: its name, the value in use, LibRaw's own, and the unit."""
    rows = (
        ("exposure time", capture.exposure_time_s, capture.exposure_source, capture.libraw_exposure_time_s, " s"),
        ("ISO", capture.iso, capture.iso_source, capture.libraw_iso, ""),
        ("f-number", capture.f_number, capture.f_number_source, capture.libraw_f_number, ""),
    )
    for what, used, source, second, unit in rows:
        if used and second and source not in ("libraw", "override"):
            yield what, used, second, unit


@rule("CAP106", "foreign-body", "error", requires=("CAP101",))
def foreign_body(view: CaptureView, limits: Limits) -> Answers:
    """The frame is from another make, model, serial number or sensor size than most captures of the device.

    Why: a manifest promises one camera; black level, noise and color of another body spoil the network for it.
    How: the four facts, in this order, are compared with their most frequent value among the readable captures of the
    manifest, and the first that differs is told. Without a most frequent value (a tie) all are named. Unknown values
    are not compared.
    Cure: ingest each body as a device of its own: move its files to their own folder. A changed size alone is a crop
    or resolution setting of the camera: set it back.
    """
    known = body_facts(view.capture)
    if not known:
        yield Skip("nothing is known of the body")
    difference = next((words for name, value in known.items() if (words := _minority(name, value, view.tables))), None)
    if difference:
        yield Draft(
            f"{difference}; ingest each body as a device of its own, from a folder of its own (if only the size "
            "differs, set the camera's crop or resolution back)"
        )


def _minority(name: str, value: str, tables: Tables) -> str | None:
    """Return in words how a value differs from that of most captures, None where it does not."""
    usual = tables.usual_bodies[name]
    if usual == [value]:
        return None
    counts, most = tables.bodies[name], tables.bodies[name][usual[0]]
    if value in usual:
        return f"{name} {value}, and no value is that of most captures: {' and '.join(usual)} have {most} each"
    return f"{name} {value} ({counts[value]} captures), most of this device have {' or '.join(usual)} ({most})"


@rule("CAP111", "exposure-time-missing", "error", requires=("CAP101",))
def exposure_missing(view: CaptureView, limits: Limits) -> Answers:
    """The exposure time is absent, zero, infinite or a sentinel.

    Why: without it a pair has no ratio, and the short frame cannot be amplified to the brightness of the long one.
    How: ingest turns 0, 1/0, 0/0 and the like into null; this rule finds the nulls. The file name is never used.
    Cure: use the camera's own raw, not a converted one that lost its Exif; a lens without contacts is no obstacle.
    """
    if view.capture.exposure_num is None or view.capture.exposure_den is None:
        yield Draft(
            "the header has no exposure time; use the camera's own raw file, or convert it again with its Exif kept"
        )


@rule(
    "CAP112",
    "exposure-contradicts-name",
    "warning",
    requires=("CAP111",),
    limit="{name_disagreement:.0%}",
)
def exposure_contradicts_name(view: CaptureView, limits: Limits) -> Answers:
    """The file name states another exposure time than the header.

    Why: training scripts that take the ratio from the name amplify by the wrong number; it has cost days of training.
    How: larger / smaller - 1 of the two times. The header's is the one in use, the name is only compared with it.
    Cure: rename the file after its header, or find out which frame it really is.
    """
    capture, named = view.capture, view.capture.name_exposure_time_s
    if capture.exposure_source == "override":
        yield Skip("the time in use was set by hand")
        return
    if capture.exposure_time_s is None or named is None or capture.exposure_source == "name":
        yield Skip("the name states no exposure time besides the one in use")
        return
    difference = relative_difference(capture.exposure_time_s, named)
    if difference > exact(limits.name_disagreement):
        yield Draft(
            f"the name says {format_seconds(named)}, the header {format_seconds(capture.exposure_time_s)}: "
            f"{apart(difference)}, allowed {percent(limits.name_disagreement)}; the header is used: rename "
            "the file, or check which frame it is",
            measured=float(difference),
            limit_high=limits.name_disagreement,
            unit="relative difference",
        )


@rule("CAP113", "iso-missing", "error", requires=("CAP101",))
def iso_missing(view: CaptureView, limits: Limits) -> Answers:
    """The ISO sensitivity is absent, zero, or the sentinel 65535 with nothing behind it.

    Why: two frames whose gain is unknown may differ in it, and then their light differs by more than their times.
    How: ingest looks in all tags that can hold it, then at LibRaw's reading; this rule finds what is still null.
    Cure: use the camera's own raw; on a phone set the ISO by hand, so that it is written.
    """
    if view.capture.iso is None:
        yield Draft(
            "the header has no ISO; use the camera's own raw file with its Exif kept; on a phone set the ISO by hand"
        )
