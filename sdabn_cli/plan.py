"""Say what a recipe would train, without training: the stages, their networks and their size."""

from __future__ import annotations

from typing import Any

from sdabn_cli import datasets, initial, networks, probing, registry, sources
from sdabn_cli.origin import Origin
from sdabn_cli.recipe import Recipe
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage


def describe(recipe: Recipe, run: Run, stages: list[Stage]) -> dict[str, Any]:
    """List stages with backbone, parameters, start and status.

    The networks are built to count their parameters; the data is needed only where a data set does
    not know its classes without it.

    Returns:
        ``{"stages": [{id, kind, index, backbone, parameters, starts_from, init, status, steps}],
        "parameters", "run"}``; the parameters of s0 do not count in the sum, because s1 starts
        from it and takes its place. ``init`` says which file a stage's weights are from, or is
        None; the status of a stage that such a file will stand for is ``given``.
    """
    check_plugins(recipe)
    check_noise(recipe)
    classes = class_names(recipe)
    origins = initial.check(recipe, run, classes)
    size = {
        kind: networks.count_parameters(networks.for_kind(recipe, kind, num_classes=len(classes)))
        for kind in {stage.kind for stage in stages}
    }
    rows = [
        {
            "id": stage.id,
            "kind": stage.kind,
            "index": stage.index,
            "backbone": str(recipe.segmenter if stage.kind == "seg" else recipe.denoiser),
            "parameters": size[stage.kind],
            "starts_from": recipe.starts_from(stage),
            "init": _described(recipe, stage, initial.origin_of(recipe, stage, origins)),
            "status": _status(recipe, run, stage),
            "steps": recipe.steps(stage),
        }
        for stage in stages
    ]
    total = sum(row["parameters"] for row in rows if row["index"] > 0)
    return {"stages": rows, "parameters": total, "run": sources.as_name(run.path)}


def _status(recipe: Recipe, run: Run, stage: Stage) -> str:
    status = run.stage(stage).status
    return "given" if status == "missing" and recipe.is_given(stage) else status


def _described(recipe: Recipe, stage: Stage, found: Origin | None) -> dict[str, Any] | None:
    return found and found.describe(trained=recipe.steps(stage) > 0)


def class_names(recipe: Recipe) -> list[str]:
    """Classes of a recipe's data set, without its data where it declares them."""
    declared = declared_classes(recipe)
    return declared or list(datasets.open_split(recipe.data, recipe.data.train_split).classes)


def declared_classes(recipe: Recipe) -> list[str]:
    """Classes that a recipe's data set declares without its data; empty if it does not."""
    opener = registry.find("dataset", recipe.data.dataset.name).load()
    return datasets.declared_classes(opener)


def check_given(recipe: Recipe) -> None:
    """Make sure that given weights fit, as far as can be told without the data.

    Raises:
        SdabnError: As ``initial.check``.
    """
    if declared_classes(recipe):
        initial.check(recipe, None, class_names(recipe))
    else:
        initial.check_files(recipe)


def check_plugins(recipe: Recipe) -> None:
    """Make sure that every plug-in a recipe names is there and accepts its options.

    Raises:
        SdabnError: With the nearest match.
    """
    chosen = [("segmenter", recipe.segmenter), ("denoiser", recipe.denoiser),
              ("noise", recipe.noise), ("dataset", recipe.data.dataset)]  # fmt: skip
    chosen += [("dataset", choice) for choice in recipe.data.also]
    for kind, choice in chosen:
        plugin = registry.find(kind, choice.name)
        registry.check_options(plugin, plugin.load(), choice.options)


def check_noise(recipe: Recipe) -> None:
    """Make sure that a recipe's noise is one.

    Raises:
        SdabnError: If it cannot be built or gives what it must not.
    """
    noise = registry.build("noise", recipe.noise.name, recipe.noise.options)
    probing.try_noise(noise, recipe.noise.name)
