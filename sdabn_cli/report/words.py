"""What tables say in text, in Markdown and in reports alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any


@dataclass(frozen=True)
class Metric:
    """How a figure of quality is written.

    Attributes:
        name: Its name.
        unit: ``dB`` or ``%``; empty for none.
        digits: After the decimal point.
    """

    name: str
    unit: str = ""
    digits: int = 2

    @property
    def heading(self) -> str:
        """Name and unit, for the head of a column."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def written(self, figure: float | None) -> str:
        """A figure with its digits, without its unit; ``-`` where there is none."""
        return "-" if figure is None else f"{figure:.{self.digits}f}"


#: Figures of quality by their names in results, in the order of columns.
METRICS = {
    "psnr": Metric("PSNR", "dB"),
    "ssim": Metric("SSIM", digits=4),
    "miou": Metric("mIoU", "%"),
    "pixel_accuracy": Metric("pixel acc.", "%"),
    "mean_accuracy": Metric("mean acc.", "%"),
}


#: Data sets of the paper by the names of their plug-ins.
DATASETS = {"cityscapes": "Cityscapes", "outdoorseg": "OutdoorSeg"}


def recipe(each: Mapping[str, Any]) -> str:
    """What the systems of a reproduced table were trained by, and on crops of which size."""
    used = each["recipe"]
    changed = f", with {', '.join(used['settings'])}" if used["settings"] else ""
    by_size: dict[str, list[str]] = {}
    for stage, (height, width) in used["crops"].items():
        by_size.setdefault(f"{height} x {width}", []).append(stage)
    crops = ", ".join(f"{size} pixels ({', '.join(ids)})" for size, ids in by_size.items())
    return f"Trained by the recipe {used['name']}{changed}; crops of {crops}."


def systems(each: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of what was trained for a table: every system, its networks and its steps."""
    cells = [
        [system["system"], system["meaning"], system["segmenter"] or "-", system["denoiser"] or "-",
         "; ".join(_steps(system))]
        for system in each["systems"]
    ]  # fmt: skip
    return ["system", "is", "segmenter", "denoiser", "steps"], cells


def _steps(system: Mapping[str, Any]) -> list[str]:
    """Steps of the stages that a system takes from others, by these, and of its own."""
    by_trainer: dict[str, list[str]] = {}
    for stage, steps in system["steps"].items():
        trainer = system["shared"].get(stage, "")
        by_trainer.setdefault(trainer, []).append(f"{stage} {steps:,}")
    return [
        (f"{trainer}'s " if trainer else "") + ", ".join(told)
        for trainer, told in sorted(by_trainer.items(), key=lambda pair: not pair[0])
    ]


def compared(comparison: Mapping[str, Any], *, minus: str = "-") -> str:
    """Which rows of a table are compared, and ``difference``."""
    rows = f"{comparison['better_label']} minus {comparison['worse_label']}"
    return f"{rows}: {difference(comparison, minus=minus)}"


def difference(comparison: Mapping[str, Any], *, minus: str = "-") -> str:
    """A measured difference with its 95 % confidence interval, the paper's, and what to know."""
    parts, digits = [], 3 if comparison["metric"] == "psnr" else 2
    if all(isfinite(comparison.get(key, nan)) for key in ("mean", "low", "high")):
        unit = "dB" if comparison["metric"] == "psnr" else "% mIoU"
        low, high = comparison["low"], comparison["high"]
        parts.append(f"{comparison['mean']:+.{digits}f} {unit} "
                     f"[{low:+.{digits}f}, {high:+.{digits}f}]")  # fmt: skip
        if comparison["blocks"] < comparison["images"]:
            parts.append(f"{counted(comparison['blocks'], 'block')} of alike images")
    if comparison["paper"] is not None:
        parts.append(f"paper {as_printed(comparison['paper'], sign='+')}")
    said = "; ".join(parts).replace("-", minus)
    below = " and ".join(comparison["below_noisy"])
    warning = f"{below} not better than the noisy image" if below else ""
    return "; ".join(part for part in (said, comparison["reason"], warning) if part)


def counted(number: int, what: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number} {what}{'s' * (number != 1)}"


def as_printed(figure: float, *, digits: int = 2, sign: str = "") -> str:
    """A figure of the paper with so many digits, and one more where it has it."""
    exact = f"{figure:{sign}.{digits + 1}f}"
    return exact.removesuffix("0")


def cited(claim: Mapping[str, Any], *, quotes: str = '""') -> str:
    """The paper's sentence of a claim and where it stands; that its figures say so, without one."""
    said = f"{quotes[0]}{claim['sentence']}{quotes[1]}" if claim["sentence"] else "By its figures"
    return f"{said} (Sec. {claim['section']})"


def figures_of(row: Mapping[str, Any], whose: str) -> dict[str, float]:
    """Figures of a row, of both of its halves; ``whose`` is ``here`` or ``paper``."""
    found: dict[str, float] = {}
    for half in ("denoised", "segmented"):
        found |= (row[half] or {}).get(whose) or {}
    return found


def below(result: Mapping[str, Any]) -> str:
    """What stands below a reproduced table: how all was measured, and where the paper's is from.

    Args:
        result: What ``sdabn reproduce --json`` prints.
    """
    images, seeds = counted(result["images"], "image"), counted(result["seeds"], "seed")
    said = protocol_line(result["protocol"], f"{images} of {result['dataset']}, {seeds}")
    return f"{said}. {_papers(result)}".strip()


def _papers(result: Mapping[str, Any]) -> str:
    """Where the paper's figures are from; empty where there are none."""
    rows = [row for each in result["tables"] for row in each["rows"]]
    if any(figures_of(row, "paper") for row in rows):
        name = DATASETS[result["paper_dataset"]]
        return (
            f"The paper's figures are those of {name}, of networks trained there; where two of its "
            "tables print the same one, the more exact stands here."
        )
    if any(row["parameters"] and row["parameters"]["paper"] for row in rows):
        return "The paper's numbers of parameters are those of networks for Cityscapes."
    return ""


def protocol_line(protocol: Mapping[str, Any], what: str) -> str:
    """How figures were measured, in one line.

    Args:
        protocol: As ``metrics.Protocol.as_dict`` gives it; where a table tells the noise, it may be
            left out, and with several trainings ``seed`` is a list.
        what: What was measured on.
    """
    border = protocol["border"]
    told = [what, f"precision {protocol['precision']}"]
    told += [f"noise {protocol['noise'] or 'none'}"] if "noise" in protocol else []
    told += [
        _seeds(protocol["seed"]),
        f"estimates {'clipped to [0, 1]' if protocol['clip'] else 'not clipped'}",
        "PSNR "
        + (f"without a border of {counted(border, 'pixel')}" if border else "of all pixels"),
        f"SSIM in windows of {protocol['ssim_window']}",
        f"both with a data range of {protocol['data_range']:g}, {protocol['average']}",
        f"absent classes {protocol['absent_classes']}",
    ]
    return f"Protocol {protocol['name']}: {'; '.join(told)}"


def _seeds(seed: int | list[int]) -> str:
    """One seed of the noise or several."""
    if not isinstance(seed, list):
        return f"noise seed {seed}"
    *first, last = map(str, seed)
    return f"noise seeds {', '.join(first)} and {last}"
