"""Names of models and runs that the system or the Hub cannot even look for."""

from __future__ import annotations

import pytest
from fixtures_cli import assert_refused, sdabn

import sdabn_cli
from sdabn_cli.errors import SdabnError

LONG = "a" * 300


@pytest.mark.parametrize("end", ["b.git", "b-", "b.", LONG])
def test_names_that_the_hub_does_not_allow_are_refused_by_their_form(end):
    with pytest.raises(SdabnError, match="is no name of a model on the Hub"):
        sdabn_cli.load(f"hf:a/{end}")


@pytest.mark.parametrize("owner", ["a-", "a.", LONG])
def test_owners_that_the_hub_does_not_allow_are_refused_by_their_form(owner):
    with pytest.raises(SdabnError, match="is no name of a model on the Hub"):
        sdabn_cli.load(f"hf:{owner}/b")


def test_a_name_that_is_too_long_for_a_file_is_no_model():
    with pytest.raises(SdabnError, match="cannot be looked for: File name too long"):
        sdabn_cli.load(LONG)

    assert_refused(sdabn("models", "show", LONG), "cannot be looked for: File name too long")


def test_a_link_to_itself_and_a_path_below_a_file_are_no_models(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    locked = tmp_path / "file"
    locked.write_text("")

    for name in (tmp_path / "loop", locked / "inside"):
        with pytest.raises(SdabnError, match=r"There is no model|cannot be looked for"):
            sdabn_cli.load(name)


@pytest.mark.parametrize("recipe", [None, "scenes/quickstart"])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_run_directory_of_too_long_a_name_is_refused(recipe, dry_run):
    with pytest.raises(SdabnError, match="cannot be used: File name too long"):
        sdabn_cli.train_cascade(recipe, run=LONG, dry_run=dry_run)


def test_a_run_directory_below_a_place_that_takes_none_is_refused():
    with pytest.raises(SdabnError, match="The run directory '/proc/x' cannot be used"):
        sdabn_cli.train_cascade("scenes/quickstart", run="/proc/x", device="cpu")
