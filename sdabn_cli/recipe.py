"""Recipes: everything a training needs, validated once and as a whole.

Configuration ends here: modules receive plain keywords, never a recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from sdabn_cli.choices import Choice, Denoiser, NetworkChoice, Segmenter, Settings
from sdabn_cli.errors import SdabnError, did_you_mean
from sdabn_cli.schedule import Stage

Positive = Annotated[int, Field(ge=1)]

#: Of SGD, where a recipe says nothing.
MOMENTUM = 0.9


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

    steps: Annotated[int, Field(ge=0)]
    """At most this many; with ``patience`` a stage may end earlier. 0, for single stages, leaves a
    stage as it starts: with the weights of the stage before, or with given ones."""
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
    recolour: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Give this share of the crops colours of any hue and strength at random."""
    grey: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Make this share of the crops grey; noise is then the same in all three channels."""
    optimizer: Literal["sgd", "adam", "adamw", "muon"]
    learning_rate: Annotated[float, Field(gt=0)]
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    power: Annotated[float, Field(gt=0)] = 0.9
    """Of the polynomial from the first to the final learning rate."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    momentum: Annotated[float, Field(ge=0, lt=1)] = MOMENTUM
    """Of SGD; the others have their own, Muon's is 0.95."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a running average of the weights, such as 0.999, that is validated and handed on in
    their place; 0 keeps none."""
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
        if self.momentum != MOMENTUM and self.optimizer != "sgd":
            raise ValueError(
                f"momentum: {self.momentum} is for sgd; {self.optimizer} has its own. "
                f"Set momentum: {MOMENTUM}, the default, or optimizer: sgd"
            )
        if self.patience and not self.validate_every:
            raise ValueError("patience counts validations: set validate_every as well")
        return self


class SegmentSettings(StageSettings):
    """Training of segmenters: cross-entropy."""

    class_weights: list[Annotated[float, Field(ge=0)]] | None = None
    from_first: bool = False
    """Start S_2, S_3 and so on from S_1, instead of each from the one before; S_1 cannot."""


class DenoiseSettings(StageSettings):
    """Training of denoisers."""

    loss: Literal["squared", "psnr"] = "squared"
    """Half the sum of squared errors of an image, as in the paper, or minus its PSNR."""

    from_previous: bool = False
    """Start D_i from D_{i-1}, as segmenters do, instead of from random weights; D_1 cannot."""

    border: Annotated[int, Field(ge=0)] = 1
    """Pixels at the edge that the loss leaves out."""
    semantic_weight: Annotated[float, Field(ge=0)] = 0.0
    """Add the cross-entropy of the fixed clean segmenter s0 on the estimates, times this."""

    @model_validator(mode="after")
    def _check_loss(self) -> DenoiseSettings:
        if 2 * self.border >= min(self.crop):
            raise ValueError(f"a border of {self.border} leaves nothing of crops {list(self.crop)}")
        if self.semantic_weight and self.loss != "squared":
            raise ValueError(
                "semantic_weight is one against squared errors: it needs loss: squared"
            )
        return self


#: Type of the error about the steps of a group, which pydantic places at the group.
NO_STEPS = "no_steps"


def _trained(settings: StageSettings) -> StageSettings:
    if settings.steps == 0:
        raise PydanticCustomError(
            NO_STEPS, "0 would train nothing; single stages may have 0: stages.s3.steps"
        )
    return settings


#: Groups of keys that are taken for each other: how networks are trained, and which they are.
SISTERS = {
    "segment": "segmenter", "segmenter": "segment", "denoise": "denoiser", "denoiser": "denoise",
}  # fmt: skip

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
    cuda_graphs: bool = False
    """On one GPU, record a step once and replay it: much faster for networks of many small layers.
    On a CPU it changes nothing. Networks that wait for their own results cannot be recorded."""
    tensorboard: bool = False
    """Also write TensorBoard event files; needs the extra of that name."""
    segment: Annotated[SegmentSettings, AfterValidator(_trained)]
    denoise: Annotated[DenoiseSettings, AfterValidator(_trained)]
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Keys of ``segment`` or ``denoise`` that differ in single stages, such as s0."""

    @model_validator(mode="after")
    def _check_stages(self) -> Recipe:
        problems = []
        for name in self.stages:
            try:
                settings = self.for_stage(stage := Stage.parse(name))
                problems += _idle_starts(name, self.stages[name], settings)
                if settings.steps == 0 and not self._has_start(stage):
                    problems.append(
                        f"stages.{name}.steps: 0 would leave {name} with weights that nothing has "
                        f"trained. Train it{_OTHERWISE.get(name, _OTHERWISE['later'])}."
                    )
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

    def steps(self, stage: Stage) -> int:
        """Steps that a stage is trained for: 0 where it stays as it starts, or is given."""
        return 0 if self.is_given(stage) else self.for_stage(stage).steps

    def starts_from(self, stage: Stage) -> str | None:
        """Stage whose weights this one starts from; None where those are random or given."""
        settings = self.for_stage(stage)
        if stage.index > 1 and getattr(settings, "from_previous", False):
            return f"d{stage.index - 1}"
        if stage.index > 1 and getattr(settings, "from_first", False):
            return "s1"
        return stage.starts_from

    def _has_start(self, stage: Stage) -> bool:
        """Whether all the weights are known that a stage starts from."""
        given = self.network(stage.kind)
        is_given = given.init is not None and not given.redraws
        return is_given or self.starts_from(stage) is not None

    def for_stage(self, stage: Stage) -> SegmentSettings | DenoiseSettings:
        """Settings of one stage: those of its kind with its own on top."""
        base = self.segment if stage.kind == "seg" else self.denoise
        own = self.stages.get(stage.id, {})
        return type(base).model_validate(base.model_dump() | own) if own else base


#: Keys that say what a stage starts from, where the stages before it leave no choice.
_IDLE_STARTS = {
    ("d1", "from_previous"): "there is no denoiser before d1",
    ("s0", "from_first"): "s0 is the clean segmenter, before all others",
    ("s1", "from_first"): "s1 is the first, and starts from s0",
}


def _idle_starts(name: str, own: Mapping[str, Any], settings: StageSettings) -> list[str]:
    """Problems of a stage whose own settings ask for a start that it cannot have."""
    return [
        f"stages.{name}.{key}: {reason}; leave it out."
        for (stage, key), reason in _IDLE_STARTS.items()
        if stage == name and key in own and getattr(settings, key)
    ]


#: What else gives a stage weights to start from.
_OTHERWISE = {
    "s0": "",
    "d1": ", or give weights for every denoiser (denoiser.init, nothing drawn anew)",
    "later": ", or start it from the one before (from_previous: true) or from denoiser.init",
}


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
    return GROUPS[group_of(stage_name)]


def group_of(stage_name: str) -> str:
    """Group of settings that a stage's own are added to."""
    return "segment" if stage_name.startswith("s") else "denoise"


def _explain(entry: Mapping[str, Any], root: type[BaseModel] = Recipe) -> str:
    place = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        parents, last = entry["loc"][:-1], str(entry["loc"][-1])
        sister = SISTERS.get(place.partition(".")[0])
        if len(parents) == 1 and sister and last in _keys_at(root, [sister]):
            return f"{place}: there is no such key. Did you mean '{sister}.{last}'?"
        return f"{place}: there is no such key. {did_you_mean(last, _keys_at(root, parents))}"
    if entry["type"] == "missing":
        return f"{place}: is missing."
    shown = "" if isinstance(entry["input"], dict | BaseModel) else f"{entry['input']!r}: "
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == NO_STEPS:
        return f"{place}.steps: {message}"
    return f"{place + ': ' if place else ''}{shown}{message}"


def _keys_at(model: type[BaseModel], parents: Iterable[Any]) -> list[str]:
    for parent in parents:
        model = _nested_model(model.model_fields[str(parent)].annotation) or model
    return list(model.model_fields)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    return (
        annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    )
