"""Records of a well-shot session, to be changed by a test where it plants a fault."""

import hashlib
from fractions import Fraction

from sidcurate import manifests, source
from sidcurate.exposure import light
from sidcurate.rules import RULES, Limits, Tables, run
from sidcurate.schemas import Capture, Pair, Unpaired
from sidcurate.source import Source

DEVICE = "canon90d"


def capture(path="short/00001_00_0.1s.dng", time="1/10", **changes):
    """Return a readable 14-bit RGGB capture; `time` is its exposure time in seconds, None for unknown."""
    exposure = {}
    if time is not None:
        exact = Fraction(time)
        exposure = {
            "exposure_num": exact.numerator,
            "exposure_den": exact.denominator,
            "exposure_time_s": float(exact),
            "exposure_source": "exif",
        }
    facts = {
        "device": DEVICE,
        "path": path,
        "sha256": hashlib.sha256(path.encode()).hexdigest(),
        "size_bytes": 1000,
        "status": "ok",
        "camera_make": "Canon",
        "camera_model": "Canon EOS 90D",
        "camera_serial": "0123",
        "lens_model": "EF 50mm",
        "camera_source": "exif",
        "iso": 1600,
        "iso_source": "exif",
        "f_number": 2.8,
        "f_number_source": "exif",
        "focal_length_mm": 50.0,
        "focal_length_source": "exif",
        "orientation": 1,
        "width": 640,
        "height": 480,
        "cfa_kind": "bayer",
        "cfa": "RGGB",
        "bits_declared": 14,
        "bits_observed": 14,
        "code_step": 1,
        "distinct_codes": (500,) * 4,
        "black_level": (2048.0,) * 4,
        "white_level": (16383.0,) * 4,
        "dn_min": (1990,) * 4,
        "dn_p0_1": (2010,) * 4,
        "dn_p1": (2030,) * 4,
        "dn_p50": (2060,) * 4,
        "dn_p99": (3000,) * 4,
        "dn_p99_9": (4000,) * 4,
        "dn_max": (6000,) * 4,
        "dn_mean": (2100.0,) * 4,
        "clip_dn": (-1,) * 4,
        "clipped_fraction": 0.0,
        "clipped_by_cfa": (0.0,) * 4,
        "impossible_fraction": 0.0,
        "stray_zero_fraction": 0.0,
        "zero_tail_fraction": 0.0,
        "repeated_row_fraction": 0.0,
        "constant_row_fraction": 0.0,
    }
    return Capture(**{**facts, **exposure, **changes})


CLEAN_PIXELS = {
    "signal": 80.0,
    "correlation": 0.99,
    "correlation_se": 0.01,
    "shift_y_px": 0.04,
    "shift_x_px": -0.02,
    "rotation_deg": 0.001,
    "shift_px": 0.06,
    "shift_se_px": 0.02,
    "measured_ratio_se": 0.5,
    "zero_error_dn": (0.2, -0.1, 0.0, 0.1),
    "zero_error_se_dn": (0.05,) * 4,
    "gain_departure": 0.01,
    "gain_departure_se": 0.004,
    "nonlinearity": -0.01,
    "nonlinearity_se": 0.005,
    "moved_fraction": 0.0,
    "moved_se": 0.001,
    "focus_ratio": 1.02,
    "focus_se": 0.03,
}
"""What the pixels of a faultless pair say, besides the ratio that its settings promise."""


def pair(short, long, scene_id="00001", split="train", **changes):
    """Return the pair of two captures."""
    ratio = promised = None
    if short.exposure_time_s and long.exposure_time_s:
        ratio = long.exposure_time_s / short.exposure_time_s
        bright, dark = (light(row.exposure_time_s, row.iso or 1, row.f_number or 1) for row in (long, short))
        promised = bright / dark
    facts = {
        "device": DEVICE,
        "pair_id": f"{scene_id}_00",
        "scene_id": scene_id,
        "burst_index": 0,
        "short_path": short.path,
        "long_path": long.path,
        "reason": "same scene number in the names",
        "exposure_ratio": ratio,
        "split": split,
        **CLEAN_PIXELS,
        "measured_ratio": promised,
    }
    return Pair(**{**facts, **changes})


def scene(number, split="train", short=None, long=None, **pixels):
    """Return the short, the long and the pair of one scene; what is given changes the captures, or the pair."""
    scene_id = f"{number:05d}"
    dark = capture(**{"path": f"short/{scene_id}_00_0.1s.dng", "time": "1/10", **(short or {})})
    bright = capture(**{"path": f"long/{scene_id}_00_10s.dng", "time": "10", **(long or {})})
    return dark, bright, pair(dark, bright, scene_id, split, **pixels)


def session(*scenes, **changes):
    """Return the tables of some scenes, by default of ten clean ones with two for testing."""
    scenes = scenes or tuple(scene(number, "test" if number > 8 else "train") for number in range(1, 11))
    captures = [row for dark, bright, _ in scenes for row in (dark, bright)]
    pairs = [row for _, _, row in scenes]
    return Tables(**{"device": DEVICE, "captures": captures, "pairs": pairs, **changes})


def judge(tables, *select, limits=None, **options):
    """Return what the rules say of some tables."""
    return run(tables, limits or Limits(), select=select or None, **options)


def judge_capture(code, limits=None, **changes):
    """Return what one rule says of one capture."""
    return judge(Tables(DEVICE, [capture(**changes)]), code, limits=limits)


def judge_pair(code, short=None, long=None, limits=None, **pixels):
    """Return what one rule says of one pair."""
    return judge(session(scene(1, short=short, long=long, **pixels)), code, limits=limits)


def judge_pixels(short=None, long=None, **pixels):
    """Return what all rules about pairs say of one pair."""
    codes = [code for code in RULES if code.startswith("PAIR")]
    return judge(session(scene(1, short=short, long=long, **pixels)), *codes)


def fired(judgement):
    """Return the codes that found a fault, each as often as it did."""
    return [finding.code for finding in judgement.findings]


def write_manifest(root, tables, raws=None):
    """Commit tables as the manifest of their device; with `raws`, put files of the right size and hash there."""
    directory = root / tables.device
    captures = [_on_disk(row, raws) if raws else row for row in tables.captures]
    rows = {Capture: captures, Pair: tables.pairs, Unpaired: tables.unpaired}
    told = None
    if raws:
        stats = {row.path: (raws / row.path).stat() for row in captures}
        told = Source(root=str(raws), seen={path: (row.st_size, row.st_mtime_ns) for path, row in stats.items()})
    manifests.save(directory, rows, source=told)
    return directory


def write_source(directory, **facts):
    """Write what is known of the raws beside a manifest, as a person does who edits it."""
    (directory / source.FILE).write_bytes(source.content(Source(**facts)))


def _on_disk(row, raws):
    path = raws / row.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(row.path.encode() * 3)
    return row.model_copy(update={"size_bytes": path.stat().st_size, "sha256": manifests.sha256_of(path)})
