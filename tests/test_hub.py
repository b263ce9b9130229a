"""Models on the Hub: what is asked for, what is refused, what works without a network."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import fixtures_hub
import pytest
import torch
from fixtures_cli import files, save_model
from huggingface_hub import constants

from sdabn_cli import hub as hubs
from sdabn_cli import model as models
from sdabn_cli import sources
from sdabn_cli.errors import SdabnError

UNIT_1 = {"cascade.json", "s1.safetensors", "d1.safetensors"}
ALL = UNIT_1 | {"s2.safetensors", "d2.safetensors"}
OTHERS = {"README.md": b"# Mine\n", "evil.py": b"raise SystemExit", "weights.pkl": b"\x80\x04."}


@pytest.fixture
def model(tmp_path: Path, tiny_plugins: Path) -> Path:
    """Two units; the directory that is published."""
    return save_model(tmp_path / "model")


@pytest.fixture
def published(hub, model) -> str:
    """The model as ``owner/tiny``, among other files; the digits of its commit."""
    return hub.repository("owner/tiny").push(fixtures_hub.content_of(model) | OTHERS)


def test_a_model_of_the_hub_is_the_one_that_was_published(hub, published, model):
    image = torch.rand(1, 3, 20, 24)

    loaded = models.load("hf:owner/tiny").cascade(image)[-1]

    own = models.load(model).cascade(image)[-1]
    assert torch.equal(loaded.estimate, own.estimate)
    assert torch.equal(loaded.logits, own.logits)


def test_only_what_the_model_needs_is_downloaded_and_only_once(hub, published):
    models.load("hf:owner/tiny", units=1)
    assert {name for name in hub.fetched() if "." in name} == UNIT_1
    models.load("hf:owner/tiny")
    models.load("hf:owner/tiny")

    assert sorted(
        line for line in hub.requests if line.startswith("GET ") and "." in line
    ) == sorted(f"GET {name}" for name in ALL)


def test_finding_a_model_downloads_its_description_alone(hub, published):
    found = sources.find("hf:owner/tiny", units=1)

    assert len(found.description.units) == 1
    assert {name for name in hub.fetched() if "." in name} == {"cascade.json"}


def test_a_name_is_pinned_to_its_commit(hub, published, model):
    pinned = sources.find("hf:owner/tiny").name
    hub.repository("owner/tiny").push({"cascade.json": b"{}"})

    assert pinned == f"hf:owner/tiny@{published}"
    assert sources.find(pinned).directory.name == published
    with pytest.raises(SdabnError, match="damaged"):
        sources.find("hf:owner/tiny")


@pytest.mark.parametrize("revision", ["main", "v1", "refs/pr/3"])
def test_a_branch_or_a_tag_is_pinned_too(hub, published, revision):
    hub.repository("owner/tiny").refs[revision] = published

    assert sources.find(f"hf:owner/tiny@{revision}").name == f"hf:owner/tiny@{published}"


def test_a_pinned_model_that_is_here_needs_no_hub(hub, published, monkeypatch, tmp_path):
    pinned = f"hf:owner/tiny@{published}"
    models.load(pinned)
    fixtures_hub.turn_to(fixtures_hub.nobody(), tmp_path / "hub-cache", monkeypatch)

    assert len(models.load(pinned)) == 2


@pytest.mark.parametrize("offline", [False, True])
def test_without_the_hub_a_branch_is_the_commit_it_was_last(
    hub, published, monkeypatch, tmp_path, offline
):
    models.load("hf:owner/tiny")
    fixtures_hub.turn_to(fixtures_hub.nobody(), tmp_path / "hub-cache", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)

    with pytest.warns(UserWarning, match=f"owner/tiny@{published} is used, fetched earlier"):
        found = sources.find("hf:owner/tiny")

    assert found.name == f"hf:owner/tiny@{published}"


def test_without_the_hub_what_was_never_fetched_is_refused_with_what_is_left(monkeypatch, tmp_path):
    address = fixtures_hub.nobody()
    fixtures_hub.turn_to(address, tmp_path / "empty", monkeypatch)

    with pytest.raises(SdabnError, match=rf"{address} cannot be reached.*\n.*sdabn models list"):
        sources.find("hf:owner/tiny")
    with pytest.raises(SdabnError, match="cannot be reached"):
        sources.find(f"hf:owner/tiny@{'0' * 40}")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SdabnError, match="HF_HUB_OFFLINE keeps hf:owner/tiny from being looked up"):
        sources.find("hf:owner/tiny")


def test_without_the_hub_weights_that_were_not_fetched_are_refused(
    hub, published, monkeypatch, tmp_path
):
    models.load("hf:owner/tiny", units=1)
    fixtures_hub.turn_to(fixtures_hub.nobody(), tmp_path / "hub-cache", monkeypatch)

    with pytest.raises(SdabnError, match="cannot be reached"):
        models.load(f"hf:owner/tiny@{published}")
    assert len(models.load(f"hf:owner/tiny@{published}", units=1)) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:owner/other", r"There is no model owner/other at http.*, or it is private.\n.*log in"),
        ("hf:owner/tiny@v9", "hf:owner/tiny has no revision 'v9'.\n.*all 40 digits"),
        (f"hf:owner/tiny@{'0' * 40}", "has no revision '0000"),
        ("hf:owner/gated", "hf:owner/gated is gated.*\n.*/owner/gated, then log in"),
        ("hf:owner/forbidden", "refuses hf:owner/forbidden: status 403"),
        ("hf:owner/broken", "is in trouble: status 503"),
        ("hf:owner/bert", "hf:owner/bert@main holds no cascade.json, so it is no model of sdabn"),
        ("hf:owner/bad", "cascade.json is damaged"),
        ("hf:owner/large", "have 2,000,000 bytes, more than the 1,048,576 that are downloaded"),
    ],
)
def test_what_the_hub_answers_is_said_in_plain_words(hub, published, name, message):
    for other, refusal in (
        ("gated", (403, "GatedRepo")), ("forbidden", (403, "")), ("broken", (503, ""))
    ):  # fmt: skip
        hub.repository(f"owner/{other}").refusal = refusal
    hub.repository("owner/bert").push({"config.json": b"{}"})
    hub.repository("owner/bad").push({"cascade.json": b"no json"})
    hub.repository("owner/large").push({"cascade.json": b"{}"})
    hub.repository("owner/large").told_sizes["cascade.json"] = 2_000_000

    with pytest.raises(SdabnError, match=message):
        sources.find(name)


@pytest.mark.parametrize(
    "name",
    ["hf:", "hf:tiny", "hf:owner/", "hf:owner/tiny/s1", "hf:owner/tiny@", "hf:owner/../tiny",
     "hf:owner/tiny@../../main", "hf:owner/ti ny", "hf:owner/tiny@a@b", "hf://owner/tiny"],
)  # fmt: skip
def test_a_malformed_name_is_answered_with_the_form(hub, name):
    with pytest.raises(SdabnError, match=r"no name of a model on the Hub.\nWrite hf:owner/name"):
        sources.find(name)

    assert hub.requests == []


def test_a_name_without_the_prefix_is_answered_with_it():
    with pytest.raises(SdabnError, match="On the Hub it is hf:owner/tiny"):
        sources.find("owner/tiny")


def test_weights_that_are_too_large_together_are_not_downloaded(hub, published, monkeypatch):
    monkeypatch.setattr(hubs, "MOST_WEIGHTS", 1000)

    with pytest.raises(SdabnError, match=rf"owner/tiny@{published} have [\d,]+ bytes, more than"):
        models.load("hf:owner/tiny")

    assert {name for name in hub.fetched() if "." in name} == {"cascade.json"}


def test_weights_that_the_disk_has_no_room_for_are_not_downloaded(hub, published, monkeypatch):
    free = shutil.disk_usage("/")._replace(free=2000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)

    with pytest.raises(SdabnError, match="has room for 0 MB"):
        models.load("hf:owner/tiny")

    assert {name for name in hub.fetched() if "." in name} == {"cascade.json"}


def test_weights_that_are_not_the_described_ones_are_refused(hub, model):
    content = fixtures_hub.content_of(model)
    content["s2.safetensors"] = content["s1.safetensors"]
    hub.repository("owner/tiny").push(content)

    with pytest.raises(SdabnError, match=r"s2\.safetensors are not those .* describes"):
        models.load("hf:owner/tiny")
    assert len(models.load("hf:owner/tiny", units=1)) == 1


def test_weights_that_are_missing_are_named(hub, model):
    content = fixtures_hub.content_of(model)
    del content["d2.safetensors"]
    hub.repository("owner/tiny").push(content)

    with pytest.raises(SdabnError, match=r"holds no d2\.safetensors"):
        models.load("hf:owner/tiny")


@pytest.mark.parametrize("weights", ["../../.ssh/id.safetensors", "a/b.safetensors", "x.pkl"])
def test_a_description_cannot_name_files_elsewhere(hub, model, weights):
    content = fixtures_hub.content_of(model)
    text = content["cascade.json"].replace(b"s1.safetensors", weights.encode())
    hub.repository("owner/tiny").push(content | {"cascade.json": text})

    with pytest.raises(SdabnError, match=r"cascade\.json is damaged"):
        models.load("hf:owner/tiny")


def test_a_cache_that_cannot_be_written_to_is_named(hub, published, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))

    with pytest.raises(
        SdabnError, match=r"cascade.json of hf:owner/tiny cannot be stored.*\nHF_HOME"
    ):
        sources.find("hf:owner/tiny")


def test_a_large_description_is_not_read(tmp_path):
    (tmp_path / "cascade.json").write_bytes(b" " * (2**20 + 1))

    with pytest.raises(SdabnError, match="damaged: it has more than 1,048,576 bytes"):
        sources.find(tmp_path)


def test_models_on_this_machine_are_found_without_the_hubs_library(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it would now fail

    assert sources.find(model).name == str(model)
    assert files(model) == ALL
