"""What may guide a denoiser, and in which form; see ``cascade.Cascade``."""

from __future__ import annotations

from typing import Literal

Condition = Literal["segmentation", "image", "truth", "none"]
ConditionForm = Literal["probabilities", "logits"]
