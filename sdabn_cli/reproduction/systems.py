"""Every system of the paper, as changes to one recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdabn_cli.errors import SdabnError
from sdabn_cli.recipe import Recipe, validate
from sdabn_cli.schedule import Stage


@dataclass(frozen=True)
class System:
    """A system of the paper.

    Attributes:
        name: Short name, also that of its run directory.
        meaning: What it is, in the paper's words.
        changes: Keys of the recipe, by their dotted names.
        shares: Stages of the system ``sdb`` that are taken over, and not trained again.
        places: Where the segmenter of a shared stage lies in the system's own, larger one, once or
            more: beginnings of its tensors' names. Empty where both are the same.
        is_trained: Whether its denoisers have anything to train.
        own_key: Key of the recipe that may be set for it alone; empty for none.
    """

    name: str
    meaning: str
    changes: dict[str, Any]
    shares: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    is_trained: bool = True
    own_key: str = ""

    def trains(self, stage: Stage) -> bool:
        """Whether a stage of it has anything to train."""
        return stage.kind != "denoise" or self.is_trained


#: The system whose stages others share.
FIRST = "sdb"

#: Denoisers that no segmentation guides. A segmenter behind n of them is no link of a chain: each
#: starts from S_1 and is trained as S_2 is, so that X + S is trained alike for every X.
PLAIN = "ddfn"

SYSTEMS = {
    system.name: system
    for system in (
        System("sdb", "units of segmenter and guided denoiser, SDB x n", {}),
        System("ddfn", "denoisers alone, DDFN x n, and segmenters behind them",
               {"condition": "none"}, ("s0", "s1")),
        System("img", "the denoiser is guided by the noisy image, ImgD",
               {"condition": "image"}, ("s0", "s1")),
        System("gt", "the denoiser is guided by the true labels, GtD",
               {"condition": "truth"}, ("s0", "s1")),
        System("dms", "the denoiser's loss has the cross-entropy of a fixed clean segmenter",
               {"condition": "none", "denoise.semantic_weight": 0.02}, ("s0",),
               own_key="denoise.semantic_weight"),
        System("bm3d", "BM3D before a fixed clean segmenter",
               {"condition": "none", "denoiser": "bm3d"}, ("s0",), is_trained=False),
        System("plus", "a wider and deeper segmenter alone, S1+",
               {"segmenter": "hrnet:variant=w22_plus"}, own_key="segmenter"),
        System("joint", "S1, D1 and S2 as one network with the segmentation loss alone",
               {"segmenter": "joint"}, ("s0",),
               ("cascade.units.0.segmenter.", "cascade.units.1.segmenter.")),
    )
}  # fmt: skip


def order(stage: Stage) -> tuple[int, bool]:
    """Sorts stages as Algorithm 1 trains them."""
    return stage.index, stage.kind == "denoise"


@dataclass(frozen=True)
class Point:
    """A figure's place: a stage of a system, and what it is measured on.

    Written ``system:stage``, such as ``sdb:d2``; ``ddfn:d1+s0`` is that denoiser before the clean
    segmenter; ``sdb:s0`` is measured on clean images, ``sdb:s0@gaussian:sigma=25`` on noisy ones.

    Attributes:
        system: Name of a system.
        stage: The stage whose figures are meant.
        behind: Whether the clean segmenter s0 stands behind it, and is meant.
        noise: Noise that s0 is measured on; empty for clean images, or the campaign's own.
    """

    system: str
    stage: Stage
    behind: bool = False
    noise: str = ""

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read a point as it is written.

        Raises:
            SdabnError: If it is none.
        """
        match = re.fullmatch(r"(\w+):([sd]\d+)(\+s0)?(?:@(.+))?", text)
        if match is None or match[1] not in SYSTEMS:
            raise SdabnError(f"{text!r} is no point.", "Points are written like sdb:d2.")
        return cls(match[1], Stage.parse(match[2]), match[3] is not None, match[4] or "")

    def __str__(self) -> str:
        text = f"{self.system}:{self.stage.id}{'+s0' if self.behind else ''}"
        return f"{text}@{self.noise}" if self.noise else text

    @property
    def needed(self) -> list[Stage]:
        """Stages that must be trained, in order; prefixes included."""
        guided = SYSTEMS[self.system].changes.get("condition", "segmentation") in (
            "segmentation", "truth",
        )  # fmt: skip
        return _needed(
            self.stage,
            guided=guided,
            from_first=self.system == PLAIN,
            clean=self.behind or self.system == "dms",
        )


def _needed(stage: Stage, *, guided: bool, from_first: bool, clean: bool) -> list[Stage]:
    found: list[str] = []

    def add(name: str) -> None:
        one = Stage.parse(name)
        before = one.prefix if guided else one.denoisers_before
        start = "s1" if from_first and one.kind == "seg" and one.index > 1 else one.starts_from
        for earlier in [*([start] if start else []), *before]:
            add(earlier)
        if name not in found:
            found.append(name)

    if clean:
        add("s0")
    add(stage.id)
    return [Stage.parse(name) for name in found]


def changed(
    recipe: Recipe, system: System, noise: str, own: Mapping[str, Any] | None = None
) -> Recipe:
    """The recipe of a system.

    Args:
        recipe: That of the system ``sdb``.
        system: The system.
        noise: Noise of the campaign; BM3D is told its sigma.
        own: What was set for this system alone, by dotted names.

    Raises:
        SdabnError: If the noise is not one that BM3D can be told, or the recipe's settings do not
            go with the system.
    """
    content = recipe.model_dump(mode="json")
    for key, value in (system.changes | dict(own or {})).items():
        *parents, last = key.split(".")
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = value
    if system.name == "bm3d":
        sigma = re.fullmatch(r"gaussian:sigma=(\d+(?:\.\d+)?)", noise)
        if sigma is None:
            raise SdabnError(
                f"BM3D needs Gaussian noise of one sigma, not {noise}.",
                "Leave it out with --without bm3d, or give --noise like gaussian:sigma=50.",
            )
        content["denoiser"] = f"bm3d:sigma={sigma[1]}"
    if system.name == PLAIN:
        content["stages"] = _trained_alike(recipe)
    form = recipe.condition_form
    if system.name == "joint":
        content["segmenter"] = {
            "name": "joint",
            "options": {
                "segmenter": {"name": recipe.segmenter.name, "options": recipe.segmenter.options},
                "denoiser": {"name": recipe.denoiser.name, "options": recipe.denoiser.options},
                # Left out where it is the default, so that earlier trainings stay what they are.
                **({"condition_form": form} if form != "probabilities" else {}),
            },
        }
    try:
        return validate(content, source=f"of the system {system.name}")
    except SdabnError as error:
        hint = f"{error.hint} Or leave this system out: --without {system.name}."
        raise SdabnError(error.problem, hint) from error


def _trained_alike(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """A recipe's ``stages``, where S_3 and so on start from S_1 and have the settings of S_2."""
    second = recipe.stages.get("s2", {})
    later = {f"s{unit}": second | {"from_first": True} for unit in range(3, recipe.units + 1)}
    return recipe.stages | later
