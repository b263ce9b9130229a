"""What a recipe chooses: a plug-in, its options and the weights that a network starts from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sdabn_cli import registry


class Settings(BaseModel):
    """Part of a recipe: no unknown keys, no changes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


def spec_to_mapping(value: Any) -> Any:
    """Turn ``name:option=value`` into a mapping; anything else stays as it is."""
    if isinstance(value, str):
        name, options = registry.parse(value)
        return {"name": name, "options": options}
    return value


class PluginChoice(Settings):
    """A plug-in and its own options; written ``name`` or ``name:option=value`` in a recipe."""

    name: str
    options: dict[str, Any] = {}

    def __str__(self) -> str:
        return registry.format_spec(self.name, self.options)


class NetworkChoice(PluginChoice):
    """A network and the weights it starts from; random ones where it is written as a text."""

    init: Annotated[str, Field(min_length=1)] | None = None
    """Trained weights: a file, a folder that holds one, a run, or a model; see docs/training.md."""

    @property
    def redraws(self) -> bool:
        """Whether the layer that depends on the number of classes may be drawn anew."""
        return False

    @property
    def widens(self) -> bool:
        """Whether the weights may be those of a narrower network of the same plug-in."""
        return False


class SegmenterChoice(NetworkChoice):
    """A segmenter; with ``init``, s0 holds these weights and is not trained."""

    new_head: bool = False
    """Draw the last layer anew where the file's has other classes, and train s0 from the rest."""

    @property
    def redraws(self) -> bool:
        return self.new_head

    @model_validator(mode="after")
    def _check_head(self) -> SegmenterChoice:
        if self.new_head and self.init is None:
            raise ValueError("new_head changes given weights: give them with init")
        return self


class DenoiserChoice(NetworkChoice):
    """A denoiser; with ``init``, every D_i starts from these weights."""

    new_condition: bool = False
    """Draw the layer that takes the condition anew where the file's takes other channels."""
    widen: bool = False
    """Let a wider network go on from what a narrower one of its kind knows, the file's."""

    @property
    def redraws(self) -> bool:
        return self.new_condition

    @property
    def widens(self) -> bool:
        return self.widen

    @model_validator(mode="after")
    def _check_changes(self) -> DenoiserChoice:
        for key in ("new_condition", "widen"):
            if getattr(self, key) and self.init is None:
                raise ValueError(f"{key} changes given weights: give them with init")
        if self.new_condition and self.widen:
            raise ValueError("new_condition and widen do not go together: draw anew, train, widen")
        return self


Choice = Annotated[PluginChoice, BeforeValidator(spec_to_mapping)]
Segmenter = Annotated[SegmenterChoice, BeforeValidator(spec_to_mapping)]
Denoiser = Annotated[DenoiserChoice, BeforeValidator(spec_to_mapping)]
