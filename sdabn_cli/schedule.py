"""The stages of Algorithm 1: which there are, in which order, and what each starts from."""

from __future__ import annotations

from dataclasses import dataclass

from sdabn_cli.errors import SdabnError

KINDS = {"seg": "s", "denoise": "d"}


@dataclass(frozen=True, order=True)
class Stage:
    """One training job.

    Attributes:
        index: Unit that the stage belongs to, from 1; 0 is the segmenter on clean images.
        kind: ``seg`` or ``denoise``.
    """

    index: int
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SdabnError(f"There is no kind {self.kind!r}.", "Allowed: seg, denoise.")
        first = 0 if self.kind == "seg" else 1
        if self.index < first:
            raise SdabnError(
                f"There is no {self.kind} stage {self.index}.",
                f"--index counts units from 1{' (0: the clean stage s0)' if first == 0 else ''}.",
            )

    @classmethod
    def parse(cls, name: str) -> Stage:
        """Read a stage's short name, such as ``s0`` or ``d2``.

        Raises:
            SdabnError: If the name is not one.
        """
        kinds = {letter: kind for kind, letter in KINDS.items()}
        if name[:1] not in kinds or not name[1:].isdecimal():
            raise SdabnError(f"{name!r} is not a stage.", "Stages are called s0, s1, d1, s2, ...")
        stage = cls(int(name[1:]), kinds[name[0]])
        if stage.id != name:
            raise SdabnError(f"{name!r} is not a stage.", f"Write it {stage.id}.")
        return stage

    @property
    def id(self) -> str:
        """Short name: s0, s1, d1, ..."""
        return f"{KINDS[self.kind]}{self.index}"

    @property
    def is_clean(self) -> bool:
        """Whether the stage sees clean images: only s0 does."""
        return self.index == 0

    @property
    def starts_from(self) -> str | None:
        """Stage whose weights this one starts from in the paper: S_i from S_{i-1}, D_i afresh."""
        return f"s{self.index - 1}" if self.kind == "seg" and self.index > 0 else None

    @property
    def prefix(self) -> list[str]:
        """Stages that run, frozen, in front of this one."""
        ids = [id_ for unit in range(1, self.index) for id_ in (f"s{unit}", f"d{unit}")]
        return [*ids, f"s{self.index}"] if self.kind == "denoise" else ids

    @property
    def denoisers_before(self) -> list[str]:
        """The part of the prefix that counts where no segmentation guides the denoisers."""
        return [f"d{unit}" for unit in range(1, self.index)]


def stages(units: int) -> list[Stage]:
    """Algorithm 1's order for a number of units: s0, s1, d1, s2, d2, ..."""
    both = [Stage(i, kind) for i in range(1, units + 1) for kind in ("seg", "denoise")]
    return [Stage(0, "seg"), *both]
