"""The paper's tables: their rows, and the noises that they are about."""

from __future__ import annotations

from dataclasses import dataclass

from sdabn_cli.errors import SdabnError, did_you_mean

POISSON = "poisson"

#: Noises of Tables 2 and 3 by data set; the others have the paper's strongest.
GAUSSIAN = {
    "cityscapes": ("gaussian:sigma=50", "gaussian:sigma=30", "gaussian:sigma=10"),
    "outdoorseg": ("gaussian:sigma=50", "gaussian:sigma=25"),
}
STRONGEST = ("gaussian:sigma=50",)

#: Noise levels of Figure 2; the paper draws a curve without naming its points.
LEVELS = (0, 10, 20, 30, 40, 50)


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        label: As the paper writes it.
        denoised: Point of its PSNR and SSIM; empty for none.
        segmented: Point of its mIoU and accuracies; empty for none.
    """

    label: str
    denoised: str = ""
    segmented: str = ""

    @property
    def points(self) -> list[str]:
        """The points that are there."""
        return [point for point in (self.denoised, self.segmented) if point]


@dataclass(frozen=True)
class Table:
    """A table, or the figure, of the paper.

    Attributes:
        name: What users type.
        caption: What it shows.
        rows: Its lines.
        noise: ``gaussian`` for the data set's own levels, ``strongest`` or ``poisson``.
        parameters: Whether it also tells the number of parameters.
    """

    name: str
    caption: str
    rows: tuple[Row, ...]
    noise: str = "strongest"
    parameters: bool = False

    @property
    def systems(self) -> list[str]:
        """Names of the systems in its rows, each once."""
        points = (point for row in self.rows for point in row.points)
        return list(dict.fromkeys(point.partition(":")[0] for point in points))

    def label(self, point: str) -> str:
        """What the row of a point is called; the point itself if there is none."""
        return next((row.label for row in self.rows if point in row.points), point)

    @property
    def own_noises(self) -> list[str]:
        """Noises of the rows, where every one is measured with its own; otherwise none."""
        own = [point.partition("@")[2] for row in self.rows for point in row.points]
        return own if all(own) else []

    def under(self, noise: str) -> str:
        """The noise that figures are measured under: a campaign's, or those of the rows."""
        own = self.own_noises
        return f"{own[0]} to {own[-1]}" if own else noise

    def noises(self, dataset: str) -> tuple[str, ...]:
        """The noises that the table is about, on a data set."""
        if self.noise == "poisson":
            return (POISSON,)
        return GAUSSIAN.get(dataset, STRONGEST) if self.noise == "gaussian" else STRONGEST


_BOOSTING = (
    *(Row(f"DDFN x {n}", f"ddfn:d{n}") for n in (1, 2, 3)),
    *(Row(f"SDB x {n}", f"sdb:d{n}", f"sdb:s{n}") for n in (1, 2, 3)),
    Row("S on clean images", segmented="sdb:s0"),
)

TABLES = {
    table.name: table
    for table in (
        Table("table1", "Denoising helps segmentation, and segmentation helps denoising", (
            Row("S on clean images", segmented="sdb:s0"),
            Row("S on noisy images", segmented="sdb:s1"),
            Row("S on denoised images", segmented="ddfn:s2"),
            Row("D0", "ddfn:d1"),
            Row("SD", "sdb:d1"),
            Row("ImgD", "img:d1"),
        )),
        Table("table2", "Comparison with denoisers before a fixed segmenter, and with DMS", (
            Row("BM3D + Seg.", "bm3d:d1", "bm3d:d1+s0"),
            Row("DDFN + Seg.", "ddfn:d1", "ddfn:d1+s0"),
            Row("DMS", "dms:d1", "dms:d1+s0"),
            Row("SDB", "sdb:d1", "sdb:s1"),
        ), noise="gaussian"),
        Table("table3", "Boosting with the number of units", _BOOSTING, noise="gaussian"),
        Table("table4", "Boosting between segmenters", (
            Row("DDFN x 1", "ddfn:d1", "ddfn:s2"),
            Row("DDFN x 2", "ddfn:d2", "ddfn:s3"),
            Row("S1 D1", "sdb:d1", "sdb:s2"),
            Row("Gt D1", "gt:d1", "gt:s2"),
        )),
        Table("table5", "Necessity of denoising: networks of as many parameters", (
            Row("S1", segmented="sdb:s1"),
            Row("S1+", segmented="plus:s1"),
            Row("S1 D1 S2, joint", segmented="joint:s1"),
            Row("S1 D1 S2", segmented="sdb:s2"),
        ), parameters=True),
        Table("table6", "Boosting under Poisson noise", _BOOSTING, noise="poisson"),
        Table("figure2", "The clean segmenter on noisy images", tuple(
            Row(f"sigma = {level}", segmented=f"sdb:s0@gaussian:sigma={level}") for level in LEVELS
        )),
    )
}  # fmt: skip


def find(name: str) -> Table:
    """The table of a name.

    Raises:
        SdabnError: If there is none; the nearest is named.
    """
    if name not in TABLES:
        raise SdabnError(f"There is no table {name!r}.", did_you_mean(name, TABLES))
    return TABLES[name]
