"""Which keys of a recipe may change between two starts of a run, and which have changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sdabn_cli.recipe import Recipe, StageSettings
from sdabn_cli.schedule import Stage

#: May change between two starts of the same run: they change no weight.
FREE_TO_CHANGE = {
    "units", "tensorboard", "cuda_graphs", "data.root", "data.workers", "data.cache_mb",
}  # fmt: skip

#: The same, of a stage; validations do change weights where they may end the stage.
WATCHING_KEYS = {"log_every", "save_every", "pictures"}
JUDGING_KEYS = {"validate_every", "validation_images"}

#: What networks start from, by kind; it may change until a stage of that kind has begun.
STARTING_KEYS = {
    "seg": {"segmenter.init", "segmenter.new_head"},
    "denoise": {"denoiser.init", "denoiser.new_condition", "denoiser.widen"},
}


def differences(old: Recipe, new: Recipe, stages: Iterable[Stage]) -> list[str]:
    """What would make stages differ that the old recipe has trained or begun to train.

    Args:
        old: Recipe of a run.
        new: Recipe it is to go on with.
        stages: The run's stages that are finished or begun; others may be trained differently.

    Returns:
        A line a key, with both values; empty if the run can go on.
    """
    begun = list(stages)
    # No setting decides anything about a stage whose weights are given.
    trained = [stage for stage in begun if not (old.is_given(stage) or new.is_given(stage))]
    before, after = (_decisive(recipe, begun, trained) for recipe in (old, new))
    return [
        f"{key}: {before.get(key)!r} in the run, {after.get(key)!r} now"
        for key in sorted(before.keys() | after.keys())
        if not _same(key, before.get(key), after.get(key))
    ]


def _decisive(recipe: Recipe, begun: list[Stage], trained: list[Stage]) -> dict[str, Any]:
    """Every key that decides what stages hold, by its dotted name."""
    shared = _flatten(recipe.model_dump(mode="json", exclude={"segment", "denoise", "stages"}))
    untouched = STARTING_KEYS.keys() - {stage.kind for stage in begun}
    free = FREE_TO_CHANGE.union(*(STARTING_KEYS[kind] for kind in untouched))
    flat = {key: value for key, value in shared.items() if key not in free}
    for stage in trained:
        flat |= _flatten(decisive_settings(recipe, stage), f"{stage.id}.")
    return flat


def decisive_settings(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    """Settings of a stage that decide its weights, as plain values."""
    settings = recipe.for_stage(stage)
    free = WATCHING_KEYS if obeys_validation(settings) else WATCHING_KEYS | JUDGING_KEYS
    if stage.index <= 1:
        free = free | {"from_previous", "from_first"}  # they have no choice
    return settings.model_dump(mode="json", exclude=free)


def obeys_validation(settings: StageSettings) -> bool:
    """Whether validations decide where a stage ends, or which of its weights are handed on."""
    return bool(settings.patience) or settings.finish_with == "best"


def _same(key: str, old: Any, new: Any) -> bool:
    # An option of a plug-in is text when it was written as name:option=value.
    return old == new or (".options." in key and str(old) == str(new))


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
