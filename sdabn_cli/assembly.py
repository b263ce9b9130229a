"""Put the trained stages of a run together: prefixes, and cascades that end in any stage."""

from __future__ import annotations

from torch import nn

from sdabn_cli import model, networks, registry
from sdabn_cli.cascade import Cascade, Frozen, Unit, needs_segmenters
from sdabn_cli.contracts import Dataset
from sdabn_cli.errors import SdabnError
from sdabn_cli.recipe import DenoiseSettings, Recipe
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage


def require(run: Run, stage: Stage, needed: list[str]) -> None:
    """Make sure that stages are finished.

    Raises:
        SdabnError: Naming the first that is not and the command that trains it.
    """
    for name in needed:
        status = run.stage(name).status
        if status != "finished":
            earlier = Stage.parse(name)
            alike = "" if run.has_recipe() else ", with the same --recipe, --data and --set"
            raise SdabnError(
                f"Stage {stage.id} needs stage {name}, which is "
                f"{'not finished' if status == 'started' else 'missing'} in {run.path}.",
                f"Train it first{alike}: sdabn train-stage --index {earlier.index} "
                f"--kind {earlier.kind} --run {run.path}",
            )


def prefix_of(recipe: Recipe, stage: Stage) -> list[str]:
    """Stages that run, frozen, in front of one: without segmenters that guide nothing."""
    return stage.prefix if needs_segmenters(recipe.condition) else stage.denoisers_before


def require_earlier(recipe: Recipe, run: Run, stage: Stage) -> None:
    """Make sure that every stage this one builds on is finished, or given by the recipe.

    Raises:
        SdabnError: As ``require``.
    """
    start = recipe.starts_from(stage)
    needed = [*([start] if start else []), *prefix_of(recipe, stage)]
    require(run, stage, [id_ for id_ in needed if not recipe.is_given(Stage.parse(id_))])


def trained_network(recipe: Recipe, run: Run, stage: Stage, num_classes: int) -> nn.Module:
    """Build the network of a finished stage with its weights."""
    network = networks.for_kind(recipe, stage.kind, num_classes=num_classes)
    networks.load_weights(network, run.stage(stage).weights)
    return network


def frozen_prefix(recipe: Recipe, run: Run, stage: Stage, num_classes: int) -> Frozen:
    """The stages in front of one, as a cascade that nothing can train.

    The prefix of a guided denoiser ends in its own unit's segmenter.
    """
    loaded = {
        id_: trained_network(recipe, run, Stage.parse(id_), num_classes)
        for id_ in prefix_of(recipe, stage)
    }
    numbers = sorted({Stage.parse(id_).index for id_ in loaded})
    units = [Unit(loaded.get(f"s{number}"), loaded.get(f"d{number}")) for number in numbers]
    return Frozen(Cascade(units, condition=recipe.condition, form=recipe.condition_form))


def with_network(prefix: Frozen, stage: Stage, network: nn.Module) -> Cascade:
    """A prefix and the stage's own network behind it, as one cascade."""
    cascade: Cascade = prefix.module
    units = list(cascade.units)
    if stage.kind == "seg":
        units.append(Unit(network))
    elif units and units[-1].denoiser is None:
        units[-1] = Unit(units[-1].segmenter, network)
    else:
        units.append(Unit(None, network))
    return Cascade(units, condition=cascade.condition, form=cascade.form)


def trained_cascade(recipe: Recipe, run: Run, stage: Stage, num_classes: int) -> Cascade:
    """The cascade up to a finished stage, in eval mode; ``s0`` is the clean segmenter alone.

    Raises:
        SdabnError: If a stage is missing.
    """
    require(run, stage, [*prefix_of(recipe, stage), stage.id])
    network = trained_network(recipe, run, stage, num_classes)
    prefix = frozen_prefix(recipe, run, stage, num_classes)
    return with_network(prefix, stage, network).requires_grad_(False).eval()


def finished_units(run: Run) -> int:
    """Number of units whose stages are all finished, from the first on."""
    count = 0
    while all(run.stage(f"{kind}{count + 1}").status == "finished" for kind in "sd"):
        count += 1
    return count


def ensure_model(run: Run, recipe: Recipe, dataset: Dataset) -> None:
    """Write the finished units of a run as a model, unless that is there already."""
    units = finished_units(run)
    if units == 0:
        return
    if _is_current(run, units):
        return
    described = [
        model.UnitDescription(
            segmenter=_segmenter(recipe, Stage(unit, "seg")),
            denoiser=_denoiser(recipe, Stage(unit, "denoise")),
        )
        for unit in range(1, units + 1)
    ]
    description = model.Description(
        units=described,
        classes=list(dataset.classes),
        palette=list(dataset.palette),
        condition=recipe.condition,
        condition_form=recipe.condition_form,
        noise=str(recipe.noise),
        distributions=_distributions(recipe),
    )
    ids = [id_ for unit in range(1, units + 1) for id_ in (f"s{unit}", f"d{unit}")]
    weights = {f"{id_}.safetensors": networks.read_weights(run.stage(id_).weights) for id_ in ids}
    model.save(run.model, description, weights)


def _distributions(recipe: Recipe) -> dict[str, str]:
    """Versions of what the cascade was trained with, its plug-ins' distributions included."""
    owners = [
        registry.find("segmenter", recipe.segmenter.name).distribution,
        registry.find("denoiser", recipe.denoiser.name).distribution,
    ]
    return model.versions() | {
        name: version for name, _, version in (owner.partition(" ") for owner in owners)
    }


def _is_current(run: Run, units: int) -> bool:
    """Whether the model there holds the weights of the finished stages, as their hashes say."""
    try:
        described = model.read_description(run.model).units
    except SdabnError:  # missing, or damaged: it is written anew
        return False
    return len(described) == units and all(
        model.sha256_of(run.stage(f"{letter}{number}").weights) == network.sha256
        for number, unit in enumerate(described, start=1)
        for letter, network in (("s", unit.segmenter), ("d", unit.denoiser))
    )


def _segmenter(recipe: Recipe, stage: Stage) -> model.Network:
    choice = recipe.segmenter
    return model.Network(
        plugin=choice.name, options=choice.options, weights=f"{stage.id}.safetensors"
    )


def _denoiser(recipe: Recipe, stage: Stage) -> model.Denoiser:
    choice = recipe.denoiser
    return model.Denoiser(
        plugin=choice.name,
        options=choice.options,
        weights=f"{stage.id}.safetensors",
        border=_border(recipe, stage),
    )


def _border(recipe: Recipe, stage: Stage) -> int:
    """Pixels that the loss of a denoiser left out.

    Of one without steps, those of what it started from; given weights are taken for the paper's.
    """
    settings = recipe.for_stage(stage)
    assert isinstance(settings, DenoiseSettings)
    if settings.steps > 0:
        return settings.border
    start = recipe.starts_from(stage)
    return 1 if start is None else _border(recipe, Stage.parse(start))
