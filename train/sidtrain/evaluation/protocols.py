"""Evaluation protocols by name: which frames, in which space, with which correction, by which metrics. No torch.

A number means something only beside others of its protocol. Where the figures of published tables come from, and which
metric a script of the time ran, is stated as far as it is known.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32

from sidcurate.errors import UsageError
from sidcurate.exclusions import exclusions
from sidcurate.manifests import Manifest
from sidcurate.schemas import Pair
from sidtrain.architectures import Target
from sidtrain.evaluation import metrics
from sidtrain.evaluation.metrics import SsimVariant

DEFAULT: Final = "device-srgb-float-v1"
RAW: Final = "raw"

Alignment = Literal["color", "frame"]

# LibRaw's own threshold, with which SID's targets and those of its ports are rendered.
_LIBRAW_THRESHOLD = 0.75
_RENDERING = (
    "LibRaw's rendering of the long frame (AHD, of X-Trans Markesteijn's interpolation; camera white balance, no "
    "auto-bright, sRGB, BT.709 gamma)"
)
_PNG = f"8-bit RGB as written to PNG, halves rounded up, against the same of {_RENDERING}, adjust_maximum_thr 0.75"
_MATLAB = (
    "PSNR over all values of the three channels, peak 255; SSIM as MATLAB documents it for an array of three "
    "dimensions (Gaussian of 11 taps, sigma 1.5, over height, width and color, K 0.01 and 0.03). That the published "
    "figures were made with MATLAB's defaults is what SID's authors and readers report; MATLAB's single precision is "
    "not imitated"
)


@dataclass(frozen=True)
class Marks:
    """What a picture is worth under a protocol.

    Attributes:
        psnr_db: PSNR of the protocol.
        psnr_aligned_db: the same after the gain of each color, or of the frame, that brings the picture nearest to its
            target; None where the protocol's arithmetic allows none.
        ssim: SSIM in the variant asked for.
    """

    psnr_db: float
    psnr_aligned_db: float | None
    ssim: float


@dataclass(frozen=True)
class Protocol:
    """How pictures are judged, in words for the record and as the switches that make it so.

    Attributes:
        name: what every number of it carries.
        space: what is compared.
        frames: which short frames count.
        correction: what is done to the picture before it is compared.
        metric: how PSNR and SSIM are computed.
        ssim_variants: windows that it allows, the default first.
        adjust_maximum_thr: LibRaw's threshold in its targets; None is the recipe's.
        eight_bit: compares bytes.
        wrapped: computes in bytes too, and SSIM on gray.
        first_of_burst: takes only the first short of each burst.
        without_withdrawn: leaves out the scenes that SID's authors withdrew.
        target: what the networks put out that it judges.
    """

    name: str
    space: str
    frames: str
    correction: str
    metric: str
    ssim_variants: tuple[SsimVariant, ...] = ("matlab",)
    adjust_maximum_thr: float | None = _LIBRAW_THRESHOLD
    eight_bit: bool = True
    wrapped: bool = False
    first_of_burst: bool = False
    without_withdrawn: bool = False
    target: Target = "rendered"

    @property
    def definition(self) -> str:
        """The protocol in words."""
        return f"{self.space}. {self.frames}. Correction: {self.correction}. {self.metric}."

    @property
    def alignment(self) -> Alignment | None:
        """What one gain is fitted for before `psnr_aligned_db`: each color, or the whole frame."""
        return None if self.wrapped else "color" if self.target == "rendered" else "frame"

    def judged(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Return the pairs whose shorts count."""
        withdrawn = _withdrawn() if self.without_withdrawn else frozenset()
        return [
            pair
            for pair in pairs
            if pair.scene_id not in withdrawn and (pair.burst_index == 0 or not self.first_of_burst)
        ]

    def marks(
        self, output: Float32[np.ndarray, "h w c"], target: Float32[np.ndarray, "h w c"], variant: SsimVariant
    ) -> Marks:
        """Return what a picture is worth.

        Args:
            output: picture, or planes side by side, not clipped.
            target: what it should be, in 0..1.
            variant: window of the SSIM, one of the protocol's.
        """
        if self.wrapped:
            codes = metrics.eight_bit(output), metrics.eight_bit(target)
            shown, wanted = (metrics.gray(picture) / np.float32(255) for picture in codes)
            return Marks(metrics.wrapped_psnr_db(*codes), None, metrics.ssim(shown, wanted, variant))
        if self.eight_bit:
            output, target = (metrics.eight_bit(picture) / np.float32(255) for picture in (output, target))
        gains = (metrics.frame_gain if self.alignment == "frame" else metrics.color_gains)(output, target)
        return Marks(
            psnr_db=metrics.psnr_db(output, target),
            psnr_aligned_db=metrics.psnr_db(output, target, gains),
            ssim=metrics.ssim(output, target, variant),
        )


PROTOCOLS: Final[Mapping[str, Protocol]] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            DEFAULT,
            space=f"Full frames in single precision, each picture clipped to 0..1, against {_RENDERING} in 16 bit, "
            "cropped to the phase of the planes, adjust_maximum_thr of the recipe",
            frames="All shorts of the scenes",
            correction="none",
            metric="PSNR over all values, data range 1; SSIM by channel in the variant named beside it",
            ssim_variants=("gaussian", "uniform7"),
            adjust_maximum_thr=None,
            eight_bit=False,
        ),
        Protocol(
            "sid-paper",
            _PNG,
            "All shorts of the scenes: 598 of SID's Sony test set, 524 of its Fuji test set",
            "none",
            _MATLAB,
        ),
        Protocol(
            "sid-00",
            _PNG,
            "The first short of each burst, named _00: 93 of SID's Sony test set, 94 of its Fuji test set",
            "none",
            _MATLAB,
            first_of_burst=True,
        ),
        Protocol(
            "sid-00-88",
            _PNG,
            "The first short of each burst without the misaligned scenes 10034, 10045 and 10172 that SID's authors "
            "withdrew: 88 of SID's Sony test set",
            "none",
            _MATLAB,
            first_of_burst=True,
            without_withdrawn=True,
        ),
        Protocol(
            RAW,
            space="Full frames of packed linear planes in single precision, black at 0 and white at 1 by the levels of "
            "each frame, clipped to 0..1, against those of the long frame; not cropped to a center, as ELD is",
            frames="All shorts of the scenes",
            correction="none; beside it, as aligned, brightness alignment: the planes, clipped to 0..1, times one gain "
            "a frame, clipped at 1 again; the gain is that of least squares over all planes, without the values at "
            "which the long frame is white",
            metric="PSNR over all values of all planes, data range 1; SSIM by plane, not aligned, in the variant named "
            "beside it",
            ssim_variants=("uniform7", "gaussian"),
            adjust_maximum_thr=None,
            eight_bit=False,
            target="raw",
        ),
        Protocol(
            "seed2-legacy",
            _PNG,
            "All shorts of the scenes",
            "none",
            "PSNR of bytes whose difference and its square both wrap at 256: it is never below the true one, and "
            "27.9 dB for pictures that have nothing in common; SSIM of the gray picture, flat 7x7. Kept only to "
            "explain tables that were made with it",
            ssim_variants=("uniform7",),
            wrapped=True,
        ),
    )
}


def default(target: Target) -> str:
    """Return the name of the protocol that judges networks of a target unless another one is asked for."""
    return RAW if target == "raw" else DEFAULT


def usable(name: str, manifest: Manifest) -> Protocol:
    """Return the protocol of a name, after checking that a manifest's scenes can be judged by it.

    Raises:
        UsageError: there is no such protocol, or it does not apply, with the reason.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol {name!r}: there are {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    scenes = {pair.scene_id for pair in manifest.pairs} | {row.scene_id for row in manifest.unpaired}
    if protocol.without_withdrawn and not _withdrawn() & scenes:
        raise UsageError(
            f"protocol {name} is about SID's Sony set, and {manifest.device} has none of the scenes that it leaves out "
            f"({', '.join(sorted(_withdrawn()))}); use sid-00"
        )
    return protocol


def require_target(protocol: Protocol, targets: Mapping[str, Target]) -> None:
    """Refuse networks whose output a protocol does not compare.

    Args:
        protocol: the protocol.
        targets: what each network puts out, by its name.

    Raises:
        UsageError: with the reason.
    """
    why = {
        "rendered": "puts out a rendered picture: demosaiced, white-balanced and with a gamma it cannot be taken back "
        "to the planes of the sensor",
        "raw": "puts out the planes of the sensor: each raw developer makes another picture of them",
    }
    apart = ", apart from the others" if len(set(targets.values())) > 1 else ""
    for name, target in targets.items():
        if target != protocol.target:
            raise UsageError(
                f"protocol {protocol.name} does not judge {name}, which {why[target]}; use --protocol "
                f"{default(target)}{apart}"
            )


def ssim_variant(protocol: Protocol, wanted: SsimVariant | None) -> SsimVariant:
    """Return the window of a protocol's SSIM, the one asked for where it allows several.

    Raises:
        UsageError: the protocol has another one.
    """
    if wanted is not None and wanted not in protocol.ssim_variants:
        raise UsageError(
            f"SSIM variant {wanted!r} is not that of protocol {protocol.name}: it has "
            f"{' or '.join(protocol.ssim_variants)}; leave --ssim out, or use {DEFAULT}"
        )
    return wanted or protocol.ssim_variants[0]


def _withdrawn() -> frozenset[str]:
    return frozenset(row.scene_id for row in exclusions() if row.folder == "Sony")
