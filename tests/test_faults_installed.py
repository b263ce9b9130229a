"""What is installed and wrong: old versions, damaged files, shared names, left-overs."""

from __future__ import annotations

import json
import warnings

import pytest
from fixtures_cli import assert_refused, sdabn
from fixtures_faults import FINE, RAISES, assert_others_work, listed
from test_processes import ALONE, start

from sdabn_cli import registry


def test_a_plugin_that_needs_a_newer_sdabn_says_so(third_party, neighbour):
    third_party(
        "bad-dist",
        "[sdabn.noises]\nbad = bad_noise:build\n",
        requires="sdabn>=99.1",
        bad_noise=RAISES,
    )

    row = listed()["bad-dist", "bad"]
    used = sdabn("cascade", "--set", "noise=bad", "--dry-run")

    assert row["state"] == "broken"
    assert "needs sdabn>=99.1" in row["reason"]
    assert_refused(used, "of bad-dist 1.0 needs sdabn>=99.1; this is sdabn 0.1.0", "pip install")
    assert_others_work()


def test_a_plugin_that_needs_this_sdabn_or_an_older_one_is_fine(third_party, neighbour):
    third_party(
        "ok-dist",
        "[sdabn.noises]\nfine = fine_noise:build\n",
        requires="sdabn>=0.1",
        fine_noise=FINE,
    )

    assert listed()["ok-dist", "fine"]["state"] == "ok"
    assert registry.build("noise", "fine", {"sigma": "2"})(1.0, None) == 3.0


def test_entry_points_that_are_no_text_stop_no_command(third_party, neighbour):
    third_party("bad-dist", b"\xff\xfe\x00")

    shown = start(*ALONE, "plugins", "show", "gaussian", "--json")
    loaded = start(*ALONE, "plugins", "list", "--load", "--json")

    assert (shown.returncode, loaded.returncode) == (0, 0), shown.stderr + loaded.stderr
    assert "bad-dist" in shown.stderr
    rows = json.loads(loaded.stdout)
    broken = {row["distribution"] for row in rows if row["state"] == "broken"}
    assert broken == {"bad-dist"}


@pytest.mark.parametrize(
    "content",
    [
        "no section = here\n",
        "[sdabn.noises]\nbad = bad:build\nbad = bad:build\n",
        "[sdabn.noises]\nbad = 100% wrong\n",
        "[unfinished\n",
        b"[sdabn.noises]\nb\xe4d = bad:build\n",
    ],
)
def test_a_malformed_file_of_entry_points_is_listed_with_its_distribution(
    third_party, neighbour, content
):
    third_party("bad-dist", content)

    result = sdabn("plugins", "list", "--json")
    rows = json.loads(result.stdout)

    broken = [row for row in rows if row["distribution"] == "bad-dist" and not row["name"]]
    assert [row["state"] for row in broken] == ["broken"]
    assert "entry points cannot be read" in broken[0]["reason"]
    assert "bad_dist-1.0.dist-info" in broken[0]["reason"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_others_work()


def test_a_name_of_two_distributions_must_be_written_with_one_of_them(third_party, neighbour):
    for number, owner in enumerate(("first-dist", "second-dist")):
        source = FINE.replace("1.0", f"{number + 1}.0")
        module = f"noise_{number}"
        third_party(owner, f"[sdabn.noises]\ntwice = {module}:build\n", **{module: source})

    found = listed()
    plain = sdabn("recipes", "check", "scenes/quickstart")
    used = sdabn("cascade", "--set", "noise=twice", "--dry-run")

    assert plain.exit_code == 0
    assert {found[o, "twice"]["state"] for o in ("first-dist", "second-dist")} == {"duplicate"}
    assert_refused(
        used,
        "'twice' is registered by first-dist 1.0 and second-dist 1.0",
        "first-dist/twice or second-dist/twice",
    )
    assert registry.build("noise", "first-dist/twice", {})(0.0, None) == 1.0
    assert registry.build("noise", "second-dist/twice", {"sigma": "7"})(0.0, None) == 7.0
    assert_others_work()


def test_a_name_of_sdabns_own_stays_sdabns_own(third_party, neighbour):
    third_party("bold-dist", "[sdabn.noises]\ngaussian = bold_noise:build\n", bold_noise=FINE)

    row = listed()["bold-dist", "gaussian"]
    with pytest.warns(UserWarning, match=r"bold-dist 1\.0 registers one too \(bold-dist/gaussian"):
        built = registry.build("noise", "gaussian", {"sigma": "0..55"})

    assert row["state"] == "shadowed"
    assert "write bold-dist/gaussian" in row["reason"]
    assert type(built).__name__ == "Gaussian"
    assert registry.build("noise", "Bold_Dist/gaussian", {})(1.0, None) == 2.0
    assert_others_work()


def test_a_left_over_egg_info_is_named_where_its_module_is_gone(third_party, neighbour):
    third_party("bad-dist", "[sdabn.noises]\nbad = bad_noise:build\n", info="egg-info")

    row = listed()["bad-dist", "bad"]
    used = sdabn("cascade", "--set", "noise=bad", "--dry-run")

    assert row["state"] == "broken"
    assert "bad_dist.egg-info is a left-over; delete it" in row["reason"]
    assert_refused(used, "plug-in 'bad' of bad-dist 1.0 does not load", "bad_noise")
    assert_others_work()


def test_an_older_installation_further_back_is_shadowed(third_party, neighbour):
    third_party("dist", "[sdabn.noises]\nold = old_noise:build\n", version="0.9", info="egg-info",
                old_noise=FINE)  # fmt: skip
    third_party("dist", "[sdabn.noises]\nnew = new_noise:build\n", version="1.0",
                new_noise=FINE)  # fmt: skip

    found = listed()

    assert found["dist", "new"]["state"] == "ok"
    assert found["dist", "old"]["state"] == "shadowed"
    assert "dist.egg-info is not used: dist 1.0 at" in found["dist", "old"]["reason"]
    assert_others_work()


def test_a_left_over_of_the_same_name_leaves_the_installation_that_counts_alone(
    third_party, neighbour
):
    third_party("dist", "[sdabn.noises]\nsame = old_noise:build\n", version="0.9", old_noise=RAISES)
    third_party("dist", "[sdabn.noises]\nsame = new_noise:build\n", version="1.0", new_noise=FINE)

    rows = json.loads(sdabn("plugins", "list", "--json").stdout)
    states = {row["version"]: row["state"] for row in rows if row["name"] == "same"}

    assert states == {"1.0": "ok", "0.9": "shadowed"}
    assert registry.build("noise", "same", {})(0.0, None) == 1.0
    third_party("bad-dist", "[unfinished\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert registry.build("noise", "same", {})(0.0, None) == 1.0
        assert_others_work()


@pytest.mark.parametrize("content", [b"Name: b\xe4d\n", b"", None])
@pytest.mark.parametrize("points", ["[sdabn.noises]\nbad = bad_noise:build\n", "[unfinished\n"])
def test_damaged_metadata_take_the_name_of_their_directory(third_party, neighbour, content, points):
    folder = third_party("bad-dist", points, bad_noise=FINE)
    (metadata,) = folder.glob("*.dist-info/METADATA")
    metadata.unlink()
    if content is not None:
        metadata.write_bytes(content)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = json.loads(sdabn("plugins", "list", "--json").stdout)
        assert_others_work()

    (row,) = [row for row in rows if row["distribution"].replace("_", "-") == "bad-dist"]
    assert row["state"] == ("broken" if points == "[unfinished\n" else "ok")
    assert row["version"] == "1.0"


def test_a_model_of_a_name_that_two_have_is_chosen_by_its_distribution(third_party, tmp_path):
    shipped = registry.model_directory("street")
    for owner in ("alpha", "beta"):
        third_party(f"{owner}-dist", f"[sdabn.models]\nroad = {owner}_model:directory\n",
                    **{f"{owner}_model": f"directory = {str(shipped)!r}\n"})  # fmt: skip

    plain = sdabn("models", "show", "road")
    chosen = sdabn("models", "show", "beta-dist/road", "--json")
    rows = json.loads(sdabn("models", "list", "--json").stdout)

    assert_refused(plain, "registered by alpha-dist 1.0 and beta-dist 1.0", "beta-dist/road")
    assert chosen.exit_code == 0, chosen.stderr
    names = {row["name"] for row in rows if row["broken"] is None}
    assert names == {"street", "alpha-dist/road", "beta-dist/road"}
