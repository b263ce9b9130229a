"""The Python of the documentation runs as it stands."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from fixtures_cli import SHIPPED_MODEL
from PIL import Image

import sdabn_cli
from sdabn_cli.contracts import NoiseModel

ROOT = Path(__file__).parents[1]

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore:This image")
@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="the model street has no weights yet")
def test_the_page_on_python_runs_from_top_to_bottom(capsys):
    Path("examples").mkdir()
    with Image.open(ROOT / "examples" / "street.png") as street:
        street.resize((160, 120)).save("examples/street.png")  # sooner done
    names: dict[str, Any] = {}

    for block in blocks("python.md"):
        exec(compile(block, "python.md", "exec"), names)

    result = names["result"]
    assert result.denoised.shape == names["image"].shape
    assert result.denoised.dtype == float
    assert len(result.units) == len(names["model"]) == 3
    assert result.probabilities.shape == (*result.labels.shape, 11)
    assert len(names["same"]) == 3
    assert names["plan"]["stages"][-1]["status"] == "finished"
    assert names["measured"]["images"] == 2
    assert capsys.readouterr().out.startswith("There is no model 'streat'.\nDid you mean 'street'?")
    assert {"labels.png", "mine", "smaller", "runs"} <= set(os.listdir())


def test_the_page_on_python_names_everything_that_is_public():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")

    missing = {name for name in sdabn_cli.__all__ if name not in text}
    assert missing <= {"LoadedModel", "Result", "UnitResult"}  # types of what is shown


def test_a_package_made_as_the_page_on_models_says_is_a_model(third_party, tmp_path):
    (module,) = blocks("models.md")
    folder = third_party("my-models", "[sdabn.models]\nmine = my_models:mine\n", my_models=module)
    sdabn_cli.save("street", folder / "mine", units=1)

    assert len(sdabn_cli.load("mine")) == 1


def test_the_page_on_reports_makes_one():
    (block,) = blocks("reports.md")

    exec(compile(block, "reports.md", "exec"), {})

    text = Path("mine.html").read_text(encoding="utf-8")
    assert "A grey image." in text
    assert text.count("data:image/png") == 2


def test_the_page_on_plugins_and_the_contract_state_a_noise_alike():
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8").replace("…", "...")

    (shape,) = re.findall(r"clean image (\(.*?\)) in \[0, 1\]", NoiseModel.__call__.__doc__)

    assert f"a callable: clean {shape} in [0, 1], generator" in page
