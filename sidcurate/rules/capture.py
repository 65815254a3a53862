"""CAP: rules about what the header and the file of one capture say. Its levels are judged in `levels`."""

from functools import partial, reduce
from operator import and_, or_
from typing import TYPE_CHECKING

from sidcurate.counted import counted
from sidcurate.exposure import format_seconds
from sidcurate.rules.contract import Answers, Draft, Fault, Skip, rule
from sidcurate.rules.figures import apart, differ_by_more, percent, relative_difference, unknown
from sidcurate.rules.limits import Limits
from sidcurate.rules.views import Captures, Tables, body_facts
from sidcurate.schemas import Capture

if TYPE_CHECKING:
    from sidcurate.tables.columns import Where


@rule("CAP101", "unreadable-capture", "error")
def unreadable(captures: Captures, limits: Limits) -> Answers:
    """No reader gets the pixels of the file.

    Why: a frame that cannot be decoded can neither be judged nor trained on.
    How: ingest decodes each file once, in a process of its own; the reader's own reason is kept.
    Cure: copy the file again from the card. Where the format is not supported, convert it to an uncompressed or
    losslessly compressed mosaic DNG; where the file is no raw, take it out of the folder.
    """
    yield Fault(captures.status.equals("unreadable"), _unreadable)
    yield Skip("nobody has read its pixels", captures.status.is_one_of(("header", "listed")), closes=False)


def _unreadable(capture: Capture, limits: Limits) -> Draft:
    reason = capture.status_reason or "cannot be decoded; copy it again from the card"
    return Draft(f"{reason}; if that is no help, take it out of the folder")


_ONLY_EXIF = "its Exif tags do not tell, and LibRaw was not asked"
_ZERO_TAIL = "are zero down to the end, as in a file that was cut off"
_REPEATED = "repeat the row two above, as a decoder does after the end of its data"
_CONSTANT = "hold one value, which noise makes impossible"


@rule(
    "CAP102",
    "incomplete-pixels",
    "error",
    requires=("CAP101",),
    limit="{damaged_row_share:.1%} of the rows, {impossible_share:.1%} of the sites",
)
def incomplete(captures: Captures, limits: Limits) -> Answers:
    """The frame was decoded, but part of it is no picture: zero sites, repeated or constant rows, random codes.

    Why: decoders fill what is missing without an error, so a truncated file looks like a frame.
    How: a DNG, CR3, RAF and Sony's lossy ARW say how many bytes their pixels have; those that the file does not hold
    are missing. Codes that no converter of 14 bits gives are random bytes; zeros far below black, with nothing
    between, are missing data. The missing bytes and three shares of rows are compared with one limit.
    Rows that clip from side to side repeat and are constant too: so many rows as the clipped share of the frame could
    fill are not counted.
    Cure: copy the file again from the card and compare sizes; if the card's file is as bad, the frame is lost.
    """
    missing = captures.missing_fraction
    yield Fault(missing > limits.damaged_row_share, _missing_bytes, [missing])
    random = (captures.impossible_fraction > limits.impossible_share) & ~captures.white_level.unknown
    yield Fault(random, _random_codes)
    zero, repeated = captures.zero_tail_fraction, captures.repeated_row_fraction
    constant, clipped = captures.constant_row_fraction, captures.clipped_fraction
    cut_off = zero > limits.damaged_row_share
    yield Fault((captures.stray_zero_fraction > limits.impossible_share) & ~cut_off, _stray_zeros)
    yield Skip("the rows were not measured", unknown(zero, repeated, constant))
    yield Fault(cut_off, partial(_damaged_rows, words=_ZERO_TAIL), [zero])
    for share, words in ((repeated, _REPEATED), (constant, _CONSTANT)):
        unexplained = share - clipped.or_else(0)
        damaged = unexplained > limits.damaged_row_share
        yield Skip("without a white level, rows that clip look like damaged ones", damaged & clipped.unknown)
        yield Fault(damaged, partial(_damaged_rows, words=words), [unexplained])


def _missing_bytes(capture: Capture, limits: Limits, share: float) -> Draft:
    return Draft(
        f"the file ends early: {percent(share)} of the bytes of its pixels are missing, allowed "
        f"{percent(limits.damaged_row_share)}; copy the file from the card again, or leave the frame out",
        measured=share,
        limit_high=limits.damaged_row_share,
        unit="share of bytes",
    )


def _random_codes(capture: Capture, limits: Limits) -> Draft:
    share, white = capture.impossible_fraction or 0, max(capture.white_level or ())
    return Draft(
        f"{percent(share)} of the sites hold codes of 32768 and more, where white is {white:g}: the bytes are "
        f"random, allowed {percent(limits.impossible_share)}; copy the file from the card again, or leave the "
        "frame out",
        measured=share,
        limit_high=limits.impossible_share,
        unit="share of sites",
    )


def _stray_zeros(capture: Capture, limits: Limits) -> Draft:
    share, black = capture.stray_zero_fraction or 0, min(capture.black_level or (0,))
    return Draft(
        f"{percent(share)} of the sites are 0, where black is {black:g} and next to nothing lies between: "
        f"data is missing, allowed {percent(limits.impossible_share)}; copy the file from the card again, or leave "
        "the frame out",
        measured=share,
        limit_high=limits.impossible_share,
        unit="share of sites",
    )


def _damaged_rows(capture: Capture, limits: Limits, share: float, words: str) -> Draft:
    return Draft(
        f"{percent(share)} of the rows {words}; allowed {percent(limits.damaged_row_share)}; copy the "
        "file from the card again, or leave the frame out",
        measured=share,
        limit_high=limits.damaged_row_share,
        unit="share of rows",
    )


@rule("CAP103", "duplicate-capture", "warning", requires=("CAP101",))
def duplicate(captures: Captures, limits: Limits) -> Answers:
    """The same bytes stand under two names.

    Why: a frame that counts twice weighs twice, and a copy in another scene can leak from training to test.
    How: by SHA-256. The first name in alphabetical order counts as the original, every other one is a finding.
    Cure: take the copies out of the folder and ingest again.
    """
    yield Skip("the file was not hashed", captures.sha256.unknown)
    originals = captures.sha256.looked_up(captures.tables.originals)
    yield Fault(captures.path.differs_from(originals), _duplicate, [originals])


def _duplicate(capture: Capture, limits: Limits, original: str) -> Draft:
    return Draft(
        f"has the same bytes as {original}; take one of the two out of the folder and ingest again",
        paths=(original, capture.path),
    )


_NOT_BAYER = {
    "linear": "already demosaiced",
    "monochrome": "a monochrome sensor",
    "quad-bayer": "a quad-Bayer mosaic, whose filters come in 2x2 blocks of one color",
    "other": "another color filter array",
}
_PLAIN_RAW = {
    "linear": "set the camera or the converter to plain, undemosaiced raw and shoot again",
    "quad-bayer": "set the camera to its binned mode, or to plain raw, and shoot again",
}
_NO_NETWORK = "no network here takes such a sensor; take the file out of the folder"


@rule("CAP104", "not-bayer", "error", requires=("CAP101",))
def not_bayer(captures: Captures, limits: Limits) -> Answers:
    """The pixels are not an RGB Bayer mosaic: demosaiced, monochrome, quad-Bayer, RGBW, CMYG or Foveon.

    Why: packing cuts the mosaic into R, G, B, G planes. Four numbers a pixel of another meaning can be packed as well,
    and train a network of nonsense.
    How: by the letters of the color filter array at the visible origin. Fuji's X-Trans is no fault: the headers of its
    pairs are judged by the same rules, what the pixels of two frames tell (light, shift, focus) is not judged, and only
    a recipe for X-Trans (`sid-fuji`) trains on them.
    Cure: set the camera to plain raw. On a phone that means no "expert", "night" or computational raw and the main
    camera in its binned mode; in a converter, no "linear DNG". A monochrome, CMYG or Foveon sensor has no plain raw
    that a network here takes.
    """
    yield Skip("the color filter array is unknown", captures.cfa_kind.unknown)
    yield Fault(captures.cfa_kind.is_one_of(_NOT_BAYER), _not_bayer)


def _not_bayer(capture: Capture, limits: Limits) -> Draft:
    return Draft(
        f"is no RGB Bayer mosaic: {capture.cfa_reason or _NOT_BAYER[capture.cfa_kind or 'other']}; "
        f"{_PLAIN_RAW.get(capture.cfa_kind or 'other', _NO_NETWORK)}"
    )


@rule("CAP105", "reader-disagreement", "warning", requires=("CAP101",), limit="{reader_disagreement:.0%}")
def reader_disagreement(captures: Captures, limits: Limits) -> Answers:
    """Two readers of the same header differ on exposure time, ISO or aperture.

    Why: the ratio of a pair is computed from these numbers, so one of the two readers would make it wrong.
    How: the value in use is compared with LibRaw's own reading, as larger / smaller - 1. Readers that are both right
    still differ by 1.5 % (nominal against real shutter time). What LibRaw alone knows is not compared,
    nor what a person has set.
    Cure: look at the header with a third tool. If the value in use is wrong, please report the camera.
    """
    compared = {name: ~_read_once(captures, *facts) for name, facts in _READ_TWICE.items()}
    yield Skip("there is no second reading", ~reduce(or_, compared.values()))
    for name, (used, _, second) in _READ_TWICE.items():
        differing = differ_by_more(getattr(captures, used), getattr(captures, second), limits.reader_disagreement)
        yield Fault(compared[name] & differing, partial(_two_readings, name=name), goes_on=True)


# What is read twice: the value in use, its source, and LibRaw's own.
_READ_TWICE = {
    "exposure time": ("exposure_time_s", "exposure_source", "libraw_exposure_time_s"),
    "ISO": ("iso", "iso_source", "libraw_iso"),
    "f-number": ("f_number", "f_number_source", "libraw_f_number"),
}


def _read_once(captures: Captures, used: str, source: str, second: str) -> "Where":
    once: Where = getattr(captures, source).is_one_of(("libraw", "override"))
    once |= unknown(getattr(captures, used), getattr(captures, second))
    return once


def _two_readings(capture: Capture, limits: Limits, name: str) -> Draft:
    used, _, second = (getattr(capture, fact) for fact in _READ_TWICE[name])
    unit = " s" if name == "exposure time" else ""
    difference = relative_difference(used, second)
    return Draft(
        f"{name} is {used:.6g}{unit} in the header and {second:.6g}{unit} for LibRaw, {apart(difference)}, "
        f"allowed {percent(limits.reader_disagreement)}; look at the header with a third tool",
        measured=float(difference),
        limit_high=limits.reader_disagreement,
        unit="relative difference",
    )


@rule("CAP106", "foreign-body", "error", requires=("CAP101",))
def foreign_body(captures: Captures, limits: Limits) -> Answers:
    """The frame is from another make, model, serial number or sensor size than most captures of the device.

    Why: a manifest promises one camera; black level, noise and color of another body spoil the network for it.
    How: the four facts, in this order, are compared with their most frequent value among the readable captures of the
    manifest, and the first that differs is told. Without a most frequent value (a tie) all are named. Unknown values
    are not compared.
    Cure: ingest each body as a device of its own: move its files to their own folder. A changed size alone is a crop
    or resolution setting of the camera: set it back.
    """
    known = body_facts(captures)
    yield Skip("nothing is known of the body", reduce(and_, (values.unknown for values in known.values())))
    for name, values in known.items():
        usual = captures.tables.usual_bodies[name]
        own = values.is_one_of(usual) if len(usual) == 1 else values.unknown
        if usual:
            yield Fault(~(own | values.unknown), partial(_foreign_body, tables=captures.tables, name=name), [values])


def _foreign_body(capture: Capture, limits: Limits, value: str, tables: Tables, name: str) -> Draft:
    return Draft(
        f"{_minority(tables, name, value)}; ingest each body as a device of its own, from a folder of its own (if only "
        "the size differs, set the camera's crop or resolution back)"
    )


def _minority(tables: Tables, name: str, value: str) -> str:
    """Return in words how a value differs from that of most captures."""
    usual, counts = tables.usual_bodies[name], tables.bodies[name]
    most = counts[usual[0]]
    if value in usual:
        return f"{name} {value}, and no value is that of most captures: {' and '.join(usual)} have {most} each"
    return (
        f"{name} {value} ({counted(counts[value], 'capture')}), most of this device have {' or '.join(usual)} ({most})"
    )


@rule("CAP111", "exposure-time-missing", "error", requires=("CAP101",))
def exposure_missing(captures: Captures, limits: Limits) -> Answers:
    """The exposure time is absent, zero, infinite or a sentinel.

    Why: without it a pair has no ratio, and the short frame cannot be amplified to the brightness of the long one.
    How: ingest turns 0, 1/0, 0/0 and the like into null; this rule finds the nulls. The file name is never used.
    Cure: use the camera's own raw, not a converted one that lost its Exif (a lens without contacts is no obstacle), or
    set the times that you know: `sidcurate ingest --times`.
    """
    missing = unknown(captures.exposure_num, captures.exposure_den)
    yield Skip(_ONLY_EXIF, captures.status.equals("header") & missing)
    yield Fault(missing, _exposure_missing)


def _exposure_missing(capture: Capture, limits: Limits) -> Draft:
    return Draft(
        "the header has no exposure time; use the camera's own raw file, convert it again with its Exif kept, or set "
        "the time that you know with `sidcurate ingest --times`"
    )


@rule(
    "CAP112",
    "exposure-contradicts-name",
    "warning",
    requires=("CAP111",),
    limit="{name_disagreement:.0%}",
)
def exposure_contradicts_name(captures: Captures, limits: Limits) -> Answers:
    """The file name states another exposure time than the header.

    Why: training scripts that take the ratio from the name amplify by the wrong number; it has cost days of training.
    How: larger / smaller - 1 of the two times. The header's is the one in use, the name is only compared with it.
    Cure: rename the file after its header, or find out which frame it really is.
    """
    header, named = captures.exposure_time_s, captures.name_exposure_time_s
    yield Skip("the time in use was set by hand", captures.exposure_source.equals("override"))
    told_by_name = unknown(header, named) | captures.exposure_source.equals("name")
    yield Skip("the name states no exposure time besides the one in use", told_by_name)
    yield Fault(differ_by_more(header, named, limits.name_disagreement), _contradicts_name)


def _contradicts_name(capture: Capture, limits: Limits) -> Draft:
    header, named = capture.exposure_time_s or 0, capture.name_exposure_time_s or 0
    difference = relative_difference(header, named)
    return Draft(
        f"the name says {format_seconds(named)}, the header {format_seconds(header)}: "
        f"{apart(difference)}, allowed {percent(limits.name_disagreement)}; the header is used: rename "
        "the file, or check which frame it is",
        measured=float(difference),
        limit_high=limits.name_disagreement,
        unit="relative difference",
    )


@rule("CAP113", "iso-missing", "error", requires=("CAP101",))
def iso_missing(captures: Captures, limits: Limits) -> Answers:
    """The ISO sensitivity is absent, zero, or the sentinel 65535 with nothing behind it.

    Why: two frames whose gain is unknown may differ in it, and then their light differs by more than their times.
    How: ingest looks in all tags that can hold it, then at LibRaw's reading; this rule finds what is still null.
    Cure: use the camera's own raw; on a phone set the ISO by hand, so that it is written.
    """
    yield Skip(_ONLY_EXIF, captures.status.equals("header") & captures.iso.unknown)
    yield Fault(captures.iso.unknown, _iso_missing)


def _iso_missing(capture: Capture, limits: Limits) -> Draft:
    return Draft(
        "the header has no ISO; use the camera's own raw file with its Exif kept; on a phone set the ISO by hand"
    )
