"""The paper's claims as data, and what figures say about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from sdabn_cli.reproduction.statistics import FEWEST_BLOCKS, FEWEST_IMAGES, Interval

Verdict = Literal["holds", "open", "contradicted"]


@dataclass(frozen=True)
class Comparison:
    """One point is better than another in a metric.

    Attributes:
        better: Point that the claim puts first.
        worse: Point that it puts second.
        metric: ``psnr`` in dB or ``miou`` in percent.
    """

    better: str
    worse: str
    metric: Literal["psnr", "miou"]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        name: Short form.
        sentence: The paper's own words; empty where its figures alone say so.
        section: Where they stand.
        tables: Tables that it is about.
        comparisons: What must be so for it to hold.
        remark: What to know of a comparison that is not one of equals; empty for nothing.
    """

    name: str
    sentence: str
    section: str
    tables: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    remark: str = ""


def _psnr(*pairs: tuple[str, str]) -> tuple[Comparison, ...]:
    return tuple(Comparison(better, worse, "psnr") for better, worse in pairs)


def _miou(*pairs: tuple[str, str]) -> tuple[Comparison, ...]:
    return tuple(Comparison(better, worse, "miou") for better, worse in pairs)


#: Remarks on segmenters that are not trained for as long as each other, as in the paper.
S1_LONGER = "S1 starts from S, trained on clean images: it has seen noisy ones, for one stage more."
S2_LONGER = "S2 starts from the trained S1: it has been trained for one stage more."
JOINT = (
    "The joint network starts from S in both segmenters and from a random denoiser, and is trained "
    "as S1 is; S1D1S2 has been trained for two stages more, those of D1 and S2."
)
LATER_LONGER = (
    "Every segmenter starts from the one before: a later one has been trained for more stages."
)


def _boosting(table: str, section: str, sentences: Sequence[str]) -> tuple[Claim, ...]:
    """The claims about the number of units; Table 6 makes those of Table 3 under other noise."""
    units, denoise, segment = sentences[0], "More units denoise better", "More units segment better"
    each_next = ((2, 1), (3, 2))
    denoisers = [(f"{s}:d{n}", f"{s}:d{m}") for s in ("ddfn", "sdb") for n, m in each_next]
    segmenters = [(f"sdb:s{n}", f"sdb:s{m}") for n, m in each_next]
    guided = [(f"sdb:d{n}", f"ddfn:d{n}") for n in (1, 2, 3)]
    return (
        Claim(denoise, units, section, (table,), _psnr(*denoisers)),
        Claim(segment, sentences[1], section, (table,), _miou(*segmenters), LATER_LONGER),
        Claim("SDB x n denoises better than DDFN x n", sentences[2], section, (table,),
              _psnr(*guided)),
    )  # fmt: skip


CLAIMS = (
    Claim("Noise destroys a clean-trained segmenter",
          "the performance of a segmentation network S, trained on clean images, will drop "
          "severely when tested on noisy images", "3.1", ("figure2",),
          _miou(*(("sdb:s0@gaussian:sigma=0", f"sdb:s0@gaussian:sigma={level}")
                  for level in (10, 20, 30, 40, 50)))),
    Claim("Noise makes segmentation worse", "noise has negative effects on semantic segmentation",
          "3.1", ("table1",), _miou(("sdb:s0", "sdb:s1")), S1_LONGER),
    Claim("Denoising helps segmentation",
          "denoising, as a technique for noise reduction, can help the segmentation module on "
          "noisy images", "3.1", ("table1",), _miou(("ddfn:s2", "sdb:s1")), S2_LONGER),
    Claim("Segmentation helps denoising",
          "the estimated segmentation probability map can indeed improve the performance of the "
          "denoiser", "3.1", ("table1",), _psnr(("sdb:d1", "ddfn:d1"))),
    Claim("The gain is not that of more parameters",
          "ImgD is with the same parameter number as SD in its denoising module but gets the worst "
          "denoising results", "3.1", ("table1",),
          _psnr(("ddfn:d1", "img:d1"), ("sdb:d1", "img:d1"))),
    Claim("SDB denoises better than BM3D, DDFN and DMS",
          "in our method, the denoising module is only trained with MSE and is always superior to "
          "BM3D, DDFN, and DMS", "4.2", ("table2",),
          _psnr(("sdb:d1", "bm3d:d1"), ("sdb:d1", "ddfn:d1"), ("sdb:d1", "dms:d1"))),
    Claim("DMS denoises worse than DDFN",
          "the denoising results of DMS [20] are even worse than our common denoising backbone "
          "DDFN [5]", "4.2", ("table2",), _psnr(("ddfn:d1", "dms:d1"))),
    Claim("SDB segments better than BM3D+Seg., DDFN+Seg. and DMS",
          "As for segmentation, our method is also the best", "4.2", ("table2",),
          _miou(("sdb:s1", "bm3d:d1+s0"), ("sdb:s1", "ddfn:d1+s0"), ("sdb:s1", "dms:d1+s0")),
          S1_LONGER),
    *_boosting("table3", "4.3", (
        "From the results of DDFNs, we know that denoising is boosted with the unit number "
        "increasing. There is the same conclusion of SDBs",
        "as the number of units increases, the segmentation performance is boosted and closer to "
        "the results of clean images",
        "From the results of PSNR/SSIM, we can observe that SDBs always have better performance",
    )),
    *_boosting("table6", "4.6", (
        "We show the results in Table 6, and conclusions about the alternate boosting are "
        "consistent with those on AWGN",
    ) * 3),
    Claim("A lower PSNR that segments better",
          "DDFN x 2 is better than S1D1 on the denoising metrics, but DDFN x 2 + S is worse than "
          "S1D1 + S on the segmentation metrics", "4.4", ("table4",),
          (*_psnr(("ddfn:d2", "sdb:d1")), *_miou(("sdb:s2", "ddfn:s3")))),
    Claim("Without guidance, what denoises better segments better",
          "As for DDFN x n and DDFN x n + S, the correlation between denoising and segmentation "
          "performance is positive", "4.4", ("table4",),
          (*_psnr(("ddfn:d2", "ddfn:d1")), *_miou(("ddfn:s3", "ddfn:s2")))),
    Claim("Guidance alone gives a better next segmentation",
          "the property about salient semantic information comes from the segmentation-aware "
          "design, which is the only difference between DDFN x 1 and S1D1", "4.4", ("table4",),
          _miou(("sdb:s2", "ddfn:s2"))),
    Claim("A better condition gives a better next segmentation",
          "better quality segmentation prior helps restore images with more salient semantic "
          "information, whose evidence is segmentation labels have the best quality and GtD1 + S "
          "achieves the best performance on segmentation", "4.4", ("table4",),
          _miou(("gt:s2", "sdb:s2"), ("gt:s2", "ddfn:s3"), ("gt:s2", "ddfn:s2"))),
    Claim("Trained jointly it is worse than S1",
          "S1D1S2-joint is inferior to S1 and S1D1S2", "4.5", ("table5",),
          _miou(("sdb:s1", "joint:s1"), ("sdb:s2", "joint:s1")), JOINT),
    Claim("S1+ lies between S1 and S1D1S2", "", "4.5, Table 5", ("table5",),
          _miou(("plus:s1", "sdb:s1"), ("sdb:s2", "plus:s1")), S2_LONGER),
    Claim("S1D1S2 segments better than S1+, a segmenter of as many parameters",
          "The comparison between S1D1S2 and S1+ on segmentation demonstrates that our alternate "
          "boosting network outperforms the state-of-the-art segmentation network on noisy images",
          "4.5", ("table5",), _miou(("sdb:s2", "plus:s1")), S2_LONGER),
)  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A comparison with its measured difference.

    Attributes:
        comparison: What was claimed.
        difference: Better minus worse, with a 95 % confidence interval; None if not measured.
        images: How many images it was measured on.
    """

    comparison: Comparison
    difference: Interval | None
    images: int

    @property
    def verdict(self) -> Verdict:
        """What the interval says; open where nothing can be said."""
        if self.difference is None or self.reason:
            return "open"
        return "holds" if self.difference.low > 0 else "contradicted"

    @property
    def reason(self) -> str:
        """Why the comparison is open; empty where it is not."""
        if self.difference is None:
            return "not measured"
        if not all(map(isfinite, self.difference)):
            return "some figures are not finite"
        if self.images < FEWEST_IMAGES:
            few = "1 image is" if self.images == 1 else f"{self.images} images are"
            return f"{few} too few for an interval: {FEWEST_IMAGES} at least"
        if self.difference.blocks < FEWEST_BLOCKS:
            return f"too few blocks for an interval: {FEWEST_BLOCKS} at least"
        return (
            "the interval contains zero" if self.difference.low <= 0 <= self.difference.high else ""
        )


def about(table: str) -> list[Claim]:
    """The claims that a table is about."""
    return [claim for claim in CLAIMS if table in claim.tables]


def judge(
    claim: Claim, difference: Callable[[Comparison], Interval | None], *, images: int
) -> tuple[Verdict, list[Judged]]:
    """Judge a claim: it holds if every comparison does, and fails with the first that fails.

    Args:
        claim: The claim.
        difference: Measures better minus worse; None where a point was not measured.
        images: How many images it measures on.
    """
    judged = [Judged(each, difference(each), images) for each in claim.comparisons]
    verdicts = {each.verdict for each in judged}
    if "contradicted" in verdicts:
        return "contradicted", judged
    return ("holds" if verdicts == {"holds"} else "open"), judged
