"""Recipes: YAML files that say everything a training needs, validated once and as a whole.

Configuration ends here: modules receive plain keywords, never a recipe.
"""

from __future__ import annotations

import copy
import importlib.resources
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from sdabn_cli.choices import (
    Choice,
    Denoiser,
    NetworkChoice,
    Segmenter,
    Settings,
    spec_to_mapping,
)
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.schedule import Stage

DEFAULT_RECIPE = "scenes/quickstart"

#: May change between two starts of the same run: they change no weight.
FREE_TO_CHANGE = {"units", "tensorboard", "data.root", "data.workers", "data.cache_mb"}

#: The same, of a stage; validations do change weights where they may end the stage.
WATCHING_KEYS = {"log_every", "save_every", "pictures"}
JUDGING_KEYS = {"validate_every", "validation_images"}

#: What networks start from, by kind; it may change until a stage of that kind has begun.
STARTING_KEYS = {
    "seg": {"segmenter.init", "segmenter.new_head"},
    "denoise": {"denoiser.init", "denoiser.new_condition"},
}

Positive = Annotated[int, Field(ge=1)]


class DataSettings(Settings):
    """Which data set, where it lies and how it is fed."""

    dataset: Choice
    root: Path | None = None
    """Directory of the data set; usually given with --data."""
    also: list[Choice] = Field(default_factory=list)
    """Further data sets of the same classes whose training splits are joined to it."""
    train_split: str = "train"
    validation_split: str = "val"
    workers: Annotated[int, Field(ge=0)] = 0
    """Loader processes; 0 loads in the training process."""
    cache_mb: Annotated[int, Field(ge=0)] = 1024
    """Decoded images kept in memory, up to this many megabytes; loader processes share them."""


class StageSettings(Settings):
    """How one stage is trained; ``stages`` overrides single keys for single stages."""

    steps: Positive
    """At most this many; with ``patience`` a stage may end earlier."""
    batch_size: Positive
    """Samples a step, over all processes together."""
    accumulate: Positive = 1
    """Parts that every process computes its share of a batch in, one after the other."""
    crop: tuple[Positive, Positive]
    """Height and width."""
    long_side: Positive | None = None
    """Images are resized so that their long side is this times the scale; None: their own."""
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 1.0)
    """Range of the random scale."""
    flip: bool = True
    """Mirror left to right at random."""
    turns: bool = False
    """Mirror top to bottom and turn by 90 degrees at random; needs a square crop."""
    colour: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Vary brightness, contrast and the gain of every channel by up to this share at random."""
    optimizer: Literal["sgd", "adam", "adamw"]
    learning_rate: Annotated[float, Field(gt=0)]
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    power: Annotated[float, Field(gt=0)] = 0.9
    """Of the polynomial from the first to the final learning rate."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    log_every: Positive = 20
    save_every: Positive = 100
    validate_every: Positive | None = None
    """None validates at the end only."""
    validation_images: Positive | None = None
    """Validate on this many images, evenly spaced; None takes all."""
    patience: Positive | None = None
    """End the stage after this many validations in a row without a new best; None never does."""
    finish_with: Literal["last", "best"] = "last"
    """Which weights the stage hands on; the others are kept beside them."""
    pictures: Annotated[int, Field(ge=0)] = 2
    """Draw this many fixed validation images at every validation."""

    @model_validator(mode="after")
    def _check_together(self) -> StageSettings:
        if self.turns and self.crop[0] != self.crop[1]:
            raise ValueError(f"turns by 90 degrees need a square crop, not {list(self.crop)}")
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale must go from small to large, not {list(self.scale)}")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"a batch_size of {self.batch_size} cannot be cut into {self.accumulate} equal "
                "parts (accumulate)"
            )
        if self.patience and not self.validate_every:
            raise ValueError("patience counts validations: set validate_every as well")
        return self


class SegmentSettings(StageSettings):
    """Training of segmenters: cross-entropy."""

    class_weights: list[Annotated[float, Field(ge=0)]] | None = None


class DenoiseSettings(StageSettings):
    """Training of denoisers: half the sum of squared errors of an image."""

    border: Annotated[int, Field(ge=0)] = 1
    """Pixels at the edge that the loss leaves out."""
    semantic_weight: Annotated[float, Field(ge=0)] = 0.0
    """Add the cross-entropy of the fixed clean segmenter s0 on the estimates, times this."""

    @model_validator(mode="after")
    def _check_border(self) -> DenoiseSettings:
        if 2 * self.border >= min(self.crop):
            raise ValueError(f"a border of {self.border} leaves nothing of crops {list(self.crop)}")
        return self


#: Settings by kind of stage.
GROUPS = {"segment": SegmentSettings, "denoise": DenoiseSettings}


class Recipe(Settings):
    """Everything a training needs."""

    units: Positive = 3
    seed: int = 0
    data: DataSettings
    noise: Choice
    segmenter: Segmenter
    denoiser: Denoiser
    condition: Literal["segmentation", "image", "truth", "none"] = "segmentation"
    condition_form: Literal["probabilities", "logits"] = "probabilities"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    tensorboard: bool = False
    """Also write TensorBoard event files; needs the extra of that name."""
    segment: SegmentSettings
    denoise: DenoiseSettings
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Keys of ``segment`` or ``denoise`` that differ in single stages, such as s0."""

    @model_validator(mode="after")
    def _check_stages(self) -> Recipe:
        problems = []
        for name in self.stages:
            try:
                self.for_stage(Stage.parse(name))
            except SdabnError as error:
                problems.append(f"stages: {error.problem} {error.hint}")
            except ValidationError as error:
                found = [_explain(entry, _settings_of(name)) for entry in error.errors()]
                problems += [f"stages.{name}.{problem}" for problem in found]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def network(self, kind: str) -> NetworkChoice:
        """The network of a kind of stage."""
        return self.segmenter if kind == "seg" else self.denoiser

    def is_given(self, stage: Stage) -> bool:
        """Whether the user's own weights stand in for the training of a stage: only s0's can."""
        return stage.is_clean and self.segmenter.init is not None and not self.segmenter.new_head

    def for_stage(self, stage: Stage) -> SegmentSettings | DenoiseSettings:
        """Settings of one stage: those of its kind with its own on top."""
        base = self.segment if stage.kind == "seg" else self.denoise
        own = self.stages.get(stage.id, {})
        return type(base).model_validate(base.model_dump() | own) if own else base


def names() -> list[str]:
    """Names of the recipes that come with sdabn, such as ``camvid/awgn50``."""
    root = _shipped()
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))


def _shipped() -> Path:
    return Path(str(importlib.resources.files("sdabn_recipes")))


def path_of(name: str) -> Path:
    """File of a recipe: a path of the user's own or the name of one that comes with sdabn.

    Raises:
        SdabnError: If there is neither; the nearest match is named.
    """
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise SdabnError(f"There is no recipe file {name}.", "See: sdabn recipes list")
    shipped = _shipped() / f"{name}.yaml"
    if name not in names():
        raise SdabnError(
            f"There is no recipe called {name!r}.",
            f"{did_you_mean(name, names())} Or give the path of a .yaml file.",
        )
    return shipped


def load(name: str, overrides: Iterable[str] = (), **replacements: Any) -> Recipe:
    """Read a recipe, apply ``KEY=VALUE`` overrides and validate the result.

    Args:
        name: Name or path, see ``path_of``.
        overrides: Such as ``segment.steps=100`` or ``stages.s0.steps=10``; values are YAML. Whole
            groups come before single keys of theirs, in whatever order they are given. A key of a
            group counts for all its stages, whatever the file says of single ones; an override of
            a single stage counts more.
        **replacements: Values for top-level keys or, with ``__`` for the dot, for deeper ones;
            None leaves the recipe as it is.

    Raises:
        SdabnError: Naming every problem at once.
    """
    content, overrides = _read(path_of(name), ()), list(overrides)
    _drop_overruled(content, overrides)
    for override in sorted(overrides, key=lambda text: text.partition("=")[0].count(".")):
        key, equals, value = override.partition("=")
        if not equals:
            raise SdabnError(
                f"--set {override!r} is not of the form KEY=VALUE.",
                "For example: --set segment.steps=100",
            )
        _set(content, key.strip(), _value(override, value))
    for key, value in replacements.items():
        if value is not None:
            _set(content, key.replace("__", "."), value)
    return validate(content, source=str(name))


def _read(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """Read a recipe file on top of the one that it extends, if it does.

    Args:
        path: The file.
        extending: The files whose chain of ``extends`` has led here.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SdabnError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(content, dict):
        raise SdabnError(f"{path} is not a recipe: it holds no keys.", "See: sdabn recipes show")
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise SdabnError(
            f"{path}: extends must be the name of a recipe, not {base!r}.",
            "For example: extends: cityscapes/awgn50",
        )
    beside = path.parent / base
    found = beside if base.endswith((".yaml", ".yml")) and beside.is_file() else path_of(base)
    if found.resolve() in (file.resolve() for file in (path, *extending)):
        raise SdabnError(f"{path} extends itself by way of {found}.", "Remove one extends.")
    return _merged(_read(found, (path, *extending)), content)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Groups of keys are merged; plug-ins, lists and single values replace each other."""
    result = dict(base)
    for key, value in changes.items():
        inner = result.get(key)
        if isinstance(value, dict):
            inner = spec_to_mapping(inner)  # its keys may be extended by init
        both = isinstance(inner, dict) and isinstance(value, dict) and "name" not in value
        result[key] = _merged(inner, value) if both else value
    return result


def _drop_overruled(content: dict[str, Any], overrides: Iterable[str]) -> None:
    """Drop keys of single stages in a file where an override sets them for the whole group.

    Who asks for ``segment.steps=10`` means every segmenter, and may not know that the recipe has
    steps of its own for s0.
    """
    stages = content.get("stages")
    for override in overrides if isinstance(stages, dict) else ():
        group, _, key = override.partition("=")[0].strip().partition(".")
        if group not in GROUPS:
            continue
        value = None if key else _value(override, override.partition("=")[2])
        keys = [key] if key else value if isinstance(value, dict) else []
        for name, own in stages.items():
            if _group_of(str(name)) == group and isinstance(own, dict):
                stages[name] = {k: v for k, v in own.items() if k not in keys}


def _value(override: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SdabnError(f"--set {override!r}: the value is not readable: {error}") from error


def _set(content: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    place = content
    for parent in parents:
        inner = place.get(parent)
        if isinstance(inner, str):  # a plug-in written as name:option=value
            inner = spec_to_mapping(inner)
        place[parent] = inner = {} if inner is None else copy.copy(inner)
        if not isinstance(inner, dict):
            raise SdabnError(f"--set {dotted}: {parent} holds a value, not keys.")
        place = inner
    place[last] = value


def validate(content: Mapping[str, Any], *, source: str) -> Recipe:
    """Validate a recipe's content.

    Raises:
        SdabnError: Naming every problem at once, with the nearest match of every unknown key.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        problems = [_explain(entry) for entry in error.errors()]
        if all(entry["loc"] for entry in error.errors()):
            problems += _stage_typos(content)
    raise SdabnError(
        f"Recipe {source}: " + ("" if len(problems) == 1 else "\n") + "\n".join(problems),
        "See a complete one with: sdabn recipes show scenes/quickstart",
    )


def _stage_typos(content: Mapping[str, Any]) -> list[str]:
    """Unknown keys under ``stages``, which are validated only when all else is right."""
    stages = content.get("stages")
    problems = []
    for name, own in stages.items() if isinstance(stages, dict) else ():
        allowed = _settings_of(str(name)).model_fields
        problems += [
            f"stages.{name}.{key}: there is no such key. {did_you_mean(str(key), allowed)}"
            for key in (own if isinstance(own, dict) else ())
            if key not in allowed
        ]
    return problems


def _settings_of(stage_name: str) -> type[StageSettings]:
    return GROUPS[_group_of(stage_name)]


def _group_of(stage_name: str) -> str:
    return "segment" if stage_name.startswith("s") else "denoise"


def _explain(entry: Mapping[str, Any], root: type[BaseModel] = Recipe) -> str:
    place = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        parents, last = entry["loc"][:-1], str(entry["loc"][-1])
        return f"{place}: there is no such key. {did_you_mean(last, _keys_at(root, parents))}"
    if entry["type"] == "missing":
        return f"{place}: is missing."
    shown = "" if isinstance(entry["input"], dict | BaseModel) else f"{entry['input']!r}: "
    message = entry["msg"].removeprefix("Value error, ")
    return f"{place + ': ' if place else ''}{shown}{message}"


def _keys_at(model: type[BaseModel], parents: Iterable[Any]) -> list[str]:
    for parent in parents:
        model = _nested_model(model.model_fields[str(parent)].annotation) or model
    return list(model.model_fields)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    return (
        annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    )


def read_resolved(path: Path) -> Recipe:
    """Read the recipe of a run, which ``dump`` wrote.

    Raises:
        SdabnError: If it is missing or damaged.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SdabnError(f"{path} is not readable: {error}") from error
    return validate(content if isinstance(content, dict) else {}, source=str(path))


def dump(recipe: Recipe) -> str:
    """Write a resolved recipe as YAML; ``validate`` reads it back equal."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


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
        settings = recipe.for_stage(stage)
        judged = settings.patience or settings.finish_with == "best"
        free = WATCHING_KEYS if judged else WATCHING_KEYS | JUDGING_KEYS
        settings = settings.model_dump(mode="json", exclude=free)
        flat |= _flatten(settings, f"{stage.id}.")
    return flat


def _same(key: str, old: Any, new: Any) -> bool:
    # An option of a plug-in is text when it was written as name:option=value.
    return old == new or (".options." in key and str(old) == str(new))


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
