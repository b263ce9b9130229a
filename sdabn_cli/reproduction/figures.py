"""What the paper printed: the figures of its tables, by data set, noise and point."""

from __future__ import annotations

from typing import NamedTuple


class Denoised(NamedTuple):
    """PSNR in dB and SSIM."""

    psnr: float
    ssim: float


class Segmented(NamedTuple):
    """mIoU, pixel accuracy and mean accuracy in percent."""

    miou: float
    pixel_accuracy: float
    mean_accuracy: float


Printed = dict[str, Denoised | Segmented]


Pair, Triple = tuple[float, float], tuple[float, float, float]


def _cascade(rows: list[tuple[Pair, Pair, Triple]]) -> Printed:
    """Rows of Tables 3 and 6: PSNR and SSIM of DDFN x n and SDB x n, and SDB's segmentation."""
    found: Printed = {}
    for unit, (plain, guided, segmented) in enumerate(rows, start=1):
        found[f"ddfn:d{unit}"] = Denoised(*plain)
        found[f"sdb:d{unit}"] = Denoised(*guided)
        found[f"sdb:s{unit}"] = Segmented(*segmented)
    return found


def _compared(**columns: tuple[float, float, float, float, float]) -> Printed:
    """Columns of Table 2: PSNR, SSIM, mIoU, pixel and mean accuracy before a fixed segmenter."""
    found: Printed = {}
    for system, (psnr, ssim, miou, pixel, mean) in columns.items():
        found[f"{system}:d1"] = Denoised(psnr, ssim)
        found[f"{system}:d1+s0"] = Segmented(miou, pixel, mean)
    return found


CLEAN_CITYSCAPES = {"sdb:s0": Segmented(76.2, 96.0, 84.5)}
CLEAN_OUTDOORSEG = {"sdb:s0": Segmented(78.9, 90.0, 87.9)}

PAPER: dict[tuple[str, str], Printed] = {
    ("cityscapes", "gaussian:sigma=50"): CLEAN_CITYSCAPES
    | _compared(
        bm3d=(33.68, 0.8953, 39.2, 69.6, 56.9),
        ddfn=(34.16, 0.9082, 40.5, 72.5, 59.2),
        dms=(33.74, 0.9005, 51.9, 88.6, 61.4),
    )
    | _cascade([
        # Table 4 tells the first three of these in thousandths.
        ((34.157, 0.9082), (34.231, 0.9100), (63.9, 93.41, 74.0)),
        ((34.280, 0.9099), (34.34, 0.9115), (66.1, 94.05, 76.3)),
        ((34.34, 0.9108), (34.42, 0.9122), (66.5, 94.06, 75.6)),
    ])
    | {
        "img:d1": Denoised(34.09, 0.9072),
        "gt:d1": Denoised(34.234, 0.9099),
        "gt:s2": Segmented(87.0, 98.4, 92.3),
        "ddfn:s2": Segmented(64.7, 93.8, 74.7),
        "ddfn:s3": Segmented(65.7, 93.9, 75.6),
        "plus:s1": Segmented(65.1, 93.8, 75.4),
        "joint:s1": Segmented(57.1, 92.0, 66.8),
    },
    ("cityscapes", "gaussian:sigma=30"): CLEAN_CITYSCAPES
    | _compared(
        bm3d=(35.78, 0.9224, 55.5, 84.2, 68.5),
        ddfn=(36.18, 0.9315, 48.1, 77.7, 67.0),
        dms=(35.79, 0.9260, 59.5, 91.8, 68.6),
    )
    | _cascade([
        ((36.18, 0.9315), (36.27, 0.9328), (67.1, 94.42, 76.1)),
        ((36.28, 0.9323), (36.39, 0.9340), (68.5, 94.77, 77.8)),
        ((36.34, 0.9330), (36.50, 0.9351), (69.0, 94.80, 78.6)),
    ]),
    ("cityscapes", "gaussian:sigma=10"): CLEAN_CITYSCAPES
    | _compared(
        bm3d=(40.59, 0.9651, 71.8, 95.0, 81.4),
        ddfn=(40.75, 0.9668, 69.5, 94.4, 80.6),
        dms=(40.12, 0.9622, 69.4, 94.7, 77.9),
    )
    | _cascade([
        ((40.75, 0.9668), (40.83, 0.9671), (73.4, 95.47, 82.3)),
        ((40.84, 0.9671), (40.94, 0.9677), (74.4, 95.65, 82.9)),
        ((40.88, 0.9672), (41.06, 0.9683), (74.8, 95.73, 83.3)),
    ]),
    ("outdoorseg", "gaussian:sigma=50"): CLEAN_OUTDOORSEG
    | _compared(
        bm3d=(27.52, 0.7875, 74.1, 87.4, 84.7),
        ddfn=(27.97, 0.8106, 72.8, 86.3, 82.4),
        dms=(27.89, 0.8063, 75.0, 87.9, 85.1),
    )
    | _cascade([
        ((27.97, 0.8106), (28.01, 0.8115), (75.2, 88.25, 85.8)),
        ((28.06, 0.8136), (28.10, 0.8152), (76.4, 88.85, 86.0)),
        ((28.10, 0.8147), (28.14, 0.8159), (76.7, 89.11, 86.5)),
    ]),
    ("outdoorseg", "gaussian:sigma=25"): CLEAN_OUTDOORSEG
    | _compared(
        bm3d=(31.02, 0.8880, 76.9, 88.9, 86.0),
        ddfn=(31.35, 0.8966, 76.4, 88.3, 85.2),
        dms=(31.22, 0.8925, 77.5, 89.2, 86.7),
    )
    | _cascade([
        ((31.35, 0.8966), (31.39, 0.8973), (77.4, 89.32, 86.9)),
        ((31.42, 0.8988), (31.47, 0.8995), (78.0, 89.57, 87.4)),
        ((31.43, 0.8990), (31.50, 0.9002), (78.2, 89.68, 87.5)),
    ]),
    ("cityscapes", "poisson"): CLEAN_CITYSCAPES
    | _cascade([
        ((40.83, 0.9691), (40.92, 0.9695), (73.5, 95.70, 82.0)),
        ((40.94, 0.9695), (41.15, 0.9705), (74.6, 95.73, 82.9)),
        ((41.05, 0.9701), (41.25, 0.9710), (75.0, 95.81, 83.2)),
    ]),
    ("outdoorseg", "poisson"): CLEAN_OUTDOORSEG
    | _cascade([
        ((36.61, 0.9628), (36.64, 0.9630), (75.4, 88.44, 85.6)),
        ((36.71, 0.9637), (36.74, 0.9640), (77.1, 89.25, 87.3)),
        ((36.74, 0.9640), (36.77, 0.9643), (77.7, 89.36, 87.4)),
    ]),
}  # fmt: skip


#: Column "#Params." of Table 5, printed as millions with two digits.
PARAMETERS = {
    "sdb:s1": 3_940_000,
    "plus:s1": 8_000_000,
    "joint:s1": 7_990_000,
    "sdb:s2": 7_990_000,
}


def source(dataset: str) -> str:
    """The data set whose figures in the paper stand beside those of a data set."""
    return dataset if dataset in {name for name, _ in PAPER} else "cityscapes"


def printed(dataset: str, noise: str, point: str) -> Denoised | Segmented | None:
    """The paper's figures of a point; those of Cityscapes for data sets the paper has not used."""
    point = point.removesuffix("@gaussian:sigma=0")  # as it is
    return PAPER.get((source(dataset), noise), {}).get(point)
