"""How noisy an image is, and whether a model was trained for that.

Reference:
    Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994: the
    median of the finest diagonal wavelet coefficients, over 0.6745, estimates sigma.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sdabn_cli.contracts import NoiseModel
from sdabn_cli.errors import SdabnError
from sdabn_cli.planes import Plane
from sdabn_cli.randomness import generator

#: High-pass filter of Daubechies' wavelet with two vanishing moments (orthonormal).
HIGH_PASS = (-0.48296291314469025, 0.8365163037378079, -0.22414386804185735, -0.12940952255092145)

#: Median of the absolute value of a standard normal variable.
MEDIAN = 0.6744897501960817

#: Smaller images have too few coefficients for a median.
LEAST_SIDE = 16

#: Side of the middle part of an image that is looked at.
SIDE = 2048

#: Values nearer to black or white than this many sigmas are clipped often enough to mislead, ...
CLEARANCE = 1.5

#: ... unless fewer than this share of the coefficients would be left.
LEAST_LEFT = 0.02

#: A sigma this much outside the range trained on is warned of: a share of it, and a constant as
#: large as what texture alone looks like.
TOLERANCE, TEXTURE = 0.25, 4.0

#: Images that show how strong a noise model is, and their side.
DRAWS, PATCH = 64, 48


def estimate(image: Plane) -> float:
    """Estimate sigma of the noise in an image, on the 0-255 scale.

    Taken over all colours, in the middle part of large images. Texture alone looks like a sigma of
    1 to 3; JPEG and earlier denoising hide noise.

    Args:
        image: (C, H, W), nominally in [0, 1].

    Returns:
        Sigma; NaN where the image is too small to tell.
    """
    rows, columns = (
        slice(max(0, (length - SIDE) // 2), min(length, (length + SIDE) // 2))
        for length in image.shape[1:]
    )
    part = image.read((rows, columns)).float().cpu()
    if min(part.shape[-2:]) < LEAST_SIDE:
        return math.nan
    taps = torch.tensor(HIGH_PASS)
    kernel = torch.outer(taps, taps)[None, None]
    channels = part.transpose(0, 1)  # (C, 1, h, w): every colour by itself
    details = F.conv2d(channels, kernel, stride=2).abs().flatten()
    means = F.avg_pool2d(channels, len(HIGH_PASS), stride=2).flatten()
    sigma = _from_median(details)
    for _ in range(3):  # where clipping begins depends on sigma itself
        inside = (means - 0.5).abs() <= 0.5 - CLEARANCE * sigma
        if inside.float().mean() < LEAST_LEFT:
            break
        sigma = _from_median(details[inside])
    return 255 * sigma


def _from_median(details: Tensor) -> float:
    return float(details.median()) / MEDIAN


def trained_range(noise: NoiseModel) -> tuple[float, float]:
    """Smallest and largest sigma (0-255 scale) that a noise model gives mid-grey images.

    Any noise model can be asked: it is tried out.
    """
    grey = torch.full((3, PATCH, PATCH), 0.5)
    sigmas = [
        255 * float((noise(grey, generator(0, "noise level", n)) - grey).std())
        for n in range(DRAWS)
    ]
    return min(sigmas), max(sigmas)


def outside(sigma: float, trained: tuple[float, float]) -> str:
    """How a sigma lies outside the range that a model was trained on: a sentence, or nothing."""
    low, high = trained
    if sigma < low * (1 - TOLERANCE) - TEXTURE:
        what, effect = "less", "the result may be too smooth"
    elif sigma > high * (1 + TOLERANCE) + TEXTURE:
        what, effect = "more", "noise may remain"
    else:
        return ""
    known = f"{(low + high) / 2:.0f}" if high - low < 0.2 * high + 1 else f"{low:.0f} to {high:.0f}"
    return (
        f"its noise is about sigma {sigma:.0f}, {what} than what the model was trained on "
        f"(sigma {known}); {effect}."
    )


def parse(text: str) -> float | None:
    """Read ``--sigma``: ``auto`` (None: estimate it) or a number on the 0-255 scale.

    Raises:
        SdabnError: If it is neither.
    """
    if text == "auto":
        return None
    try:
        sigma = float(text)
    except ValueError:
        sigma = -1.0
    if not 0 <= sigma <= 255:
        raise SdabnError(
            f"--sigma {text} is no noise level.",
            "Allowed are auto, and numbers from 0 to 255: the standard deviation in 8-bit steps.",
        )
    return sigma
