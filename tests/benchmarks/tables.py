"""Tables of a manifest of any length, by column, from a seed: realistic facts, some unknown, some faulty pairs."""

import numpy as np
import pyarrow as pa

from sidcurate.schemas import Capture, Pair, Unpaired
from sidcurate.tables.rows import arrow_schema

DEVICE = "bench"
SHORTS = 4
"""Short frames a scene; all have its one long frame."""
FAULTY = 0.02
UNMEASURED = 0.03
"""Share of pairs whose pixels tell nothing, and of frames whose header lacks what older lenses do not tell."""


def manifest_tables(pairs: int, seed: int = 0) -> dict:
    """Return the tables of a manifest by their model."""
    rng = np.random.default_rng(seed)
    scenes = -(-pairs // SHORTS)
    scene, burst = np.arange(pairs) // SHORTS, np.arange(pairs) % SHORTS
    fault = np.where(rng.random(pairs) < FAULTY, rng.integers(1, 7, pairs), 0)
    ratio = rng.choice([100, 250, 300], scenes)
    short = {**captures(rng, pairs), **exposures(np.where(fault == 1, 1, 10), ratio[scene])}
    short |= {"path": names("short/{:06d}_{:02d}.ARW", scene, burst), "captured_at": times(scene, 10 * burst)}
    short["iso"] = masked(np.where(fault == 2, 3200, 1600), rng.random(pairs) < 0)
    short["zero_tail_fraction"] = np.where(fault == 3, 0.3, 0.0)
    long = {**captures(rng, scenes), **exposures(np.full(scenes, 10), np.ones(scenes, np.int64))}
    long |= {"path": names("long/{:06d}.ARW", np.arange(scenes)), "captured_at": times(np.arange(scenes), 50)}
    both = pa.concat_tables([table(Capture, short), table(Capture, long)]).sort_by("path")
    told = pixels(rng, pairs, ratio[scene] * np.where(fault == 1, 0.1, 1), fault)
    rows = {
        "pair_id": names("{:06d}_{:02d}", scene, burst),
        "scene_id": names("{:06d}", scene),
        "burst_index": burst,
        "short_path": short["path"],
        "long_path": names("long/{:06d}.ARW", scene),
        "reason": ["same scene number in the names"] * pairs,
        "exposure_ratio": ratio[scene] * np.where(fault == 1, 0.1, 1),
        "split": np.array(["train", "train", "val", "test"], object)[scene % 4],
        **told,
    }
    return {Capture: both, Pair: table(Pair, rows), Unpaired: arrow_schema(Unpaired).empty_table()}


def table(model: type, columns: dict) -> pa.Table:
    """Return columns as a table in the model's schema; a column that is not given is unknown."""
    schema = arrow_schema(model)
    count = len(next(iter(columns.values())))
    given = {"schema_version": np.ones(count, np.int64), "device": [DEVICE] * count, **columns}
    arrays = [
        pa.array(given[field.name], field.type) if field.name in given else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def names(form: str, *numbers: np.ndarray) -> list[str]:
    """Return a name for each row of numbers."""
    return [form.format(*row) for row in zip(*(column.tolist() for column in numbers), strict=True)]


def times(scene: np.ndarray, seconds: np.ndarray | int) -> np.ndarray:
    """Return when frames were taken, in microseconds: a scene every five minutes, each frame seconds into its own."""
    return 1_700_000_000_000_000 + 1_000_000 * (300 * scene + seconds)


def masked(values: np.ndarray, unknown: np.ndarray) -> pa.Array:
    """Return values, some of them unknown."""
    return pa.array(values, mask=unknown)


def by_position(values: np.ndarray, unknown: np.ndarray | None = None) -> pa.Array:
    """Return values of shape (rows, positions) as lists, some of them unknown."""
    rows, width = values.shape
    ends = pa.array(np.arange(0, rows * width + 1, width, dtype=np.int32))
    mask = None if unknown is None else pa.array(unknown)
    return pa.ListArray.from_arrays(ends, pa.array(values.ravel()), mask=mask)


def exposures(numerators: np.ndarray, denominators: np.ndarray) -> dict:
    """Return exposure times of the header, and LibRaw's reading, which is a little off."""
    divisors = np.gcd(numerators, denominators)
    seconds = numerators / denominators
    return {
        "exposure_num": numerators // divisors,
        "exposure_den": denominators // divisors,
        "exposure_time_s": seconds,
        "exposure_source": ["exif"] * len(seconds),
        "libraw_exposure_time_s": seconds * 1.002,
    }


def captures(rng: np.random.Generator, count: int) -> dict:
    """Return the facts of frames of one 14-bit body that do not depend on their exposure."""
    around = {
        "dn_min": 480, "dn_p0_1": 495, "dn_p1": 505, "dn_p50": 520, "dn_p99": 900, "dn_p99_9": 1500, "dn_max": 9000,
        "distinct_codes": 3000,
    }  # fmt: skip
    spread = {name: by_position(dn + rng.integers(0, 7, (count, 4))) for name, dn in around.items()}
    old_lens = rng.random(count) < UNMEASURED
    level = {"black_level": 512.0, "white_level": 16383.0, "dn_mean": 530.0}
    text = {
        "status": "ok", "camera_make": "SONY", "camera_model": "ILCE-7SM2", "camera_serial": "4012345",
        "camera_source": "exif", "iso_source": "exif", "cfa_kind": "bayer", "cfa": "RGGB", "black_source": "libraw",
        "white_source": "libraw", "orientation_source": "exif", "captured_at_source": "exif",
    }  # fmt: skip
    zeros = ("clipped_fraction", "impossible_fraction", "zero_tail_fraction", "repeated_row_fraction")
    return {
        **{name: [value] * count for name, value in text.items()},
        **{name: by_position(np.full((count, 4), value)) for name, value in level.items()},
        **dict.fromkeys((*zeros, "constant_row_fraction"), np.zeros(count)),
        **spread,
        "sha256": [number.hex() * 2 for number in np.frombuffer(rng.bytes(16 * count), "V16").tolist()],
        "size_bytes": 25_000_000 + rng.integers(0, 1_000_000, count),
        "iso": np.full(count, 1600),
        "f_number": masked(np.full(count, 4.0), old_lens),
        "focal_length_mm": masked(np.full(count, 35.0), old_lens),
        "lens_model": masked(np.full(count, "FE 35mm F2.8", object), old_lens),
        "orientation": np.ones(count, np.int64),
        "width": np.full(count, 4256),
        "height": np.full(count, 2848),
        "bits_declared": np.full(count, 14),
        "bits_observed": np.full(count, 14),
        "code_step": np.ones(count, np.int64),
        "white_balance": by_position(np.tile([2.1, 1.0, 1.7], (count, 1))),
        "color_matrix": by_position(np.tile(np.eye(3).ravel(), (count, 1))),
        "masked_black": by_position(512.0 + rng.normal(0, 0.2, (count, 4)), rng.random(count) < 0.5),
        "clip_dn": by_position(np.full((count, 4), -1)),
        "clipped_by_cfa": by_position(rng.random((count, 4)) * 0.02),
    }


def pixels(rng: np.random.Generator, count: int, ratio: np.ndarray, fault: np.ndarray) -> dict:
    """Return what the pixels say of pairs, with the faults that show there."""
    untold = rng.random(count) < UNMEASURED
    facts = {
        "signal": rng.uniform(30, 90, count),
        "correlation": rng.uniform(0.95, 1, count),
        "shift_y_px": rng.normal(0, 0.05, count),
        "shift_x_px": rng.normal(0, 0.05, count),
        "rotation_deg": rng.normal(0, 0.001, count),
        "shift_px": np.where(fault == 4, 7.0, rng.uniform(0, 0.2, count)),
        "measured_ratio": ratio * np.where(fault == 5, 0.4, rng.normal(1, 0.005, count)),
        "measured_ratio_se": ratio * 0.002,
        "gain_departure": rng.normal(0, 0.01, count),
        "nonlinearity": rng.normal(0, 0.01, count),
        "moved_fraction": np.where(fault == 6, 0.2, 0.0),
        "focus_ratio": rng.normal(1, 0.01, count),
    }
    errors = {"correlation_se": 0.005, "shift_se_px": 0.02, "gain_departure_se": 0.004, "nonlinearity_se": 0.005}
    facts |= {name: np.full(count, se) for name, se in {**errors, "moved_se": 0.001, "focus_se": 0.01}.items()}
    return {
        **{name: masked(values, untold) for name, values in facts.items()},
        "zero_error_dn": by_position(rng.normal(0, 0.2, (count, 4)), untold),
        "zero_error_se_dn": by_position(np.full((count, 4), 0.05), untold),
    }
