"""Measure points of a campaign; cascades measured before, with the same weights, are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sdabn_cli import assembly, datasets, evaluation, registry
from sdabn_cli.cascade import Cascade, Unit
from sdabn_cli.contracts import Dataset
from sdabn_cli.description import sha256_of
from sdabn_cli.device import Compute
from sdabn_cli.files import write_atomically
from sdabn_cli.metrics import Protocol
from sdabn_cli.networks import count_parameters
from sdabn_cli.recipe import Recipe
from sdabn_cli.reproduction import fingerprints, packages
from sdabn_cli.reproduction.campaign import CLEAN, Campaign, file_name
from sdabn_cli.reproduction.systems import Point, order
from sdabn_cli.schedule import Stage

#: Of what is kept; other forms are not read.
FORM = 2


@dataclass(frozen=True)
class Figures:
    """What was measured at a point.

    Attributes:
        summary: psnr and ssim of a denoiser; miou, pixel_accuracy, mean_accuracy of a segmenter.
        per_image: PSNR, (images,), or int64 (images, 3, K): pixels of every class that were found,
            that there are, and that were predicted.
        parameters: Of all networks up to there.
        noisy: psnr and ssim of the images as they were given; None without noise.
    """

    summary: dict[str, float]
    per_image: np.ndarray
    parameters: int
    noisy: dict[str, float] | None = None


@dataclass(frozen=True)
class Examiner:
    """Measures cascades of a campaign.

    Attributes:
        campaign: Whose cascades.
        dataset: What they are measured on.
        compute: Device and precision.
        protocol: Name of the protocol.
        limit: Measure this many images; None for all.
        advance: Called after every image.
    """

    campaign: Campaign
    dataset: Dataset
    compute: Compute
    protocol: str = "default"
    limit: int | None = None
    advance: Callable[[], Any] = lambda: None

    def measure(self, points: Iterable[Point]) -> dict[Point, Figures]:
        """Measure every point, with as few cascades as there can be."""
        found: dict[Point, Figures] = {}
        deepest_first = sorted(points, key=lambda p: (order(p.stage), p.behind), reverse=True)
        for point in deepest_first:
            if point not in found:
                for also, figures in self._cascade(point).items():
                    found.setdefault(also, figures)
        return found

    def _cascade(self, point: Point) -> dict[Point, Figures]:
        """Figures of every stage of the cascade that ends in a point."""
        noise = point.noise or (None if point.stage == CLEAN else self.campaign.noise)
        key = self._key(point, noise)
        run = self.campaign.run_of(point.system)
        ending = f"{point.stage.id}{'+s0' if point.behind else ''}"
        ending += f"-{point.noise}" if point.noise else ""
        # Figures of every protocol and every set of images are kept beside each other.
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
        path = run.path / "measured" / f"{file_name(ending)}-{digest}.json"
        kept = _read(path)
        if kept.get("key") != key:
            cascade = self.assembled(point)
            result = evaluation.evaluate(
                self.compute.place(cascade),
                self.dataset,
                registry.build("noise", *registry.parse(noise)) if noise else None,
                protocol=self.protocol_of(noise),
                compute=self.compute,
                limit=self.limit,
                advance=self.advance,
            )
            kept = {
                "key": key,
                "stages": _stages(result, cascade, point),
                "noisy": result.noisy,
            }
            text = json.dumps(kept)
            if self.compute.processes.is_main:
                write_atomically(path, lambda file: file.write(text.encode()))
        return {
            Point(
                point.system, Stage.parse(id_.removesuffix("+s0")), id_.endswith("+s0"), point.noise
            ): _parsed(entry, kept["noisy"])
            for id_, entry in kept["stages"].items()
        }

    @cached_property
    def images(self) -> list[int]:
        """Numbers of the images that are measured."""
        return evaluation.pick(len(self.dataset), self.limit)

    @cached_property
    def _data(self) -> str:
        """Digest of what is measured on."""
        return fingerprints.of_measured(self.dataset, self.images)

    @cached_property
    def _decoders(self) -> tuple[str, ...]:
        """Distributions that decide what is read from files."""
        return packages.decoders_of(self.dataset[index] for index in self.images)

    def _key(self, point: Point, noise: str | None) -> dict[str, Any]:
        """Everything that decides the figures."""
        run, recipe = self.campaign.run_of(point.system), self.campaign.recipe_of(point.system)
        ids = [*assembly.prefix_of(recipe, point.stage), point.stage.id]
        ids += [CLEAN.id] if point.behind else []
        return {
            "form": FORM,
            "weights": [sha256_of(run.stage(id_).weights) for id_ in ids],
            "protocol": asdict(self.protocol_of(noise)),
            "data": str(recipe.data.dataset),
            "split": recipe.data.validation_split,
            "images": self.images,
            "content": self._data,
            "versions": packages.deciding(_chosen(recipe, ids, noise), self._decoders),
        }

    def protocol_of(self, noise: str | None) -> Protocol:
        """How a cascade is measured under a noise."""
        precision, seed = self.compute.precision, self.campaign.base.seed
        return Protocol.named(self.protocol, precision=precision, noise=noise, seed=seed)

    def assembled(self, point: Point) -> Cascade:
        """The cascade that ends in a point."""
        run, recipe = self.campaign.run_of(point.system), self.campaign.recipe_of(point.system)
        classes = len(self.dataset.classes)
        cascade = assembly.trained_cascade(recipe, run, point.stage, classes)
        if not point.behind:
            return cascade
        clean = assembly.trained_network(recipe, run, CLEAN, classes)
        units = [*cascade.units, Unit(clean)]
        whole = Cascade(units, condition=cascade.condition, form=cascade.form)
        return whole.requires_grad_(False).eval()


def _chosen(
    recipe: Recipe, ids: Iterable[str], noise: str | None
) -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, name and options of the plug-ins that are measured: networks of stages, and a noise."""
    kinds = {Stage.parse(id_).kind for id_ in ids}
    networks = {"seg": ("segmenter", recipe.segmenter), "denoise": ("denoiser", recipe.denoiser)}
    chosen = (networks[kind] for kind in sorted(kinds))
    found = [(kind, choice.name, choice.options) for kind, choice in chosen]
    return [*found, ("noise", *registry.parse(noise))] if noise else found


def open_validation(campaign: Campaign) -> Dataset:
    """The split that is measured."""
    data = campaign.base.data
    return datasets.open_split(data, data.validation_split)


def _stages(
    result: evaluation.Evaluation, cascade: Cascade, point: Point
) -> dict[str, dict[str, Any]]:
    """What a cascade's evaluation says about each of its stages, as JSON can hold it."""
    found, units = {}, list(cascade.units)
    if point.behind:  # the clean segmenter behind the last denoiser
        units.pop()
        found[f"{point.stage.id}+s0"] = _entry(result, len(units), "s", cascade)
    for number, unit in enumerate(units):
        index = point.stage.index if point.stage == CLEAN else number + 1
        if unit.segmenter is not None:
            found[f"s{index}"] = _entry(result, number, "s", cascade)
        if unit.denoiser is not None:
            found[f"d{index}"] = _entry(result, number, "d", cascade)
    return found


def _entry(
    result: evaluation.Evaluation, number: int, letter: str, cascade: Cascade
) -> dict[str, Any]:
    names = ("psnr", "ssim") if letter == "d" else ("miou", "pixel_accuracy", "mean_accuracy")
    each = [image[number] for image in result.per_image]
    per_image = (
        [image["psnr"] for image in each]
        if letter == "d"
        else [image["counts"].tolist() for image in each]
    )
    units = list(cascade.units[: number + 1])
    if letter == "s":
        units[-1] = Unit(units[-1].segmenter)
    return {
        "summary": {name: result.units[number][name] for name in names},
        "per_image": per_image,
        "parameters": sum(map(count_parameters, units)),
    }


def _parsed(entry: dict[str, Any], noisy: dict[str, float] | None) -> Figures:
    return Figures(entry["summary"], np.array(entry["per_image"]), entry["parameters"], noisy)


def _read(path: Any) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and {"stages", "noisy"} <= found.keys() else {}
