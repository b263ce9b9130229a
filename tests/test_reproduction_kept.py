"""What ``sdabn reproduce`` trains once, keeps, measures anew, and does not take for its own."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures_cli import assert_refused, files, flat, sdabn
from fixtures_data import save

from sdabn_cli import recipefiles


def test_stages_that_systems_share_are_trained_once(reproduced):
    first = json.loads(reproduced("table1", "--dry-run", "--json").stdout)["missing"]
    shown = reproduced("table1")
    second = json.loads(reproduced("table4", "--dry-run", "--json").stdout)["missing"]

    todo = [(stage["system"], stage["stage"]) for stage in first]
    assert todo == [("sdb", "s0"), ("sdb", "s1"), ("sdb", "d1"), ("ddfn", "d1"), ("ddfn", "s2"),
                    ("img", "d1")]  # fmt: skip
    trained = re.findall(r"(\w+ [sd]\d): finished", shown.stderr)
    assert trained == [" ".join(pair) for pair in todo]
    for name in ("sdb s0", "sdb d1", "ddfn d1", "img d1"):
        assert shown.stderr.count(f"{name}: finished") == 1
    assert shown.stderr.count("s0: finished") == 1
    assert [(stage["system"], stage["stage"]) for stage in second] == [
        ("sdb", "s2"), ("ddfn", "d2"), ("ddfn", "s3"), ("gt", "d1"), ("gt", "s2"),
    ]  # fmt: skip
    runs = Path("all/seed0/gaussian-sigma-50")
    s1 = [(runs / system / "s1/weights.safetensors").read_bytes() for system in ("sdb", "ddfn")]
    assert s1[0] == s1[1]


@pytest.mark.parametrize(
    ("setting", "shares"),
    [(None, True), ("segment.save_every=2", True), ("segment.validation_images=1", True),
     ("denoise.finish_with=best", True), ("segment.finish_with=best", False)],
)  # fmt: skip
def test_another_noise_shares_the_clean_segmenter_alone(reproduced, setting, shares):
    reproduced("figure2")
    settings = ("--set", setting) if setting else ()

    other = reproduced("table1", "--noise", "gaussian:sigma=10", *settings, "--dry-run", "--json")

    missing = [(s["system"], s["stage"]) for s in json.loads(other.stdout)["missing"]]
    assert (("sdb", "s0") not in missing) == shares
    assert ("sdb", "s1") in missing


def test_the_clean_segmenters_name_holds_nothing_of_settings_that_are_left_alone(reproduced):
    reproduced("figure2")

    # Whoever adds a key to recipes and finds another name here makes everybody train it again.
    assert [path.name for path in Path("all/seed0").glob("clean-*")] == ["clean-3b6f5fc6"]


def test_the_data_set_is_the_recipes_unless_another_is_named(tiny_recipe, camvid_tree):
    data = f"data: {{dataset: camvid, root: {camvid_tree}}}"
    Path("mine.yaml").write_text(f"extends: {tiny_recipe}\n{data}\n")
    own = ("reproduce", "figure2", "--recipe", "mine.yaml", "--markdown", "made.md", "--json")

    recipes = sdabn(*own)
    named = sdabn(*own, "--dataset", "scenes:count=2,width=64,height=64", "--run", "other")

    assert recipes.exit_code == named.exit_code == 0, named.stderr
    assert [json.loads(made.stdout)["dataset"] for made in (recipes, named)] == ["camvid", "scenes"]
    assert Path("runs/reproduce-camvid-cpu").is_dir()
    assert Path("made.md").read_text().count("<!-- reproduced: figure2 of ") == 2


def test_a_noise_written_otherwise_is_the_same(reproduced):
    noises = (
        "gaussian:sigma=50.0",
        "gaussian:sigma=50",
        "gaussian:sigma=5e1",
        "gaussian:sigma=5.00..7",
        "gaussian:sigma=5..7.0",
        "gaussian:clip=true,sigma=8",
        "gaussian:sigma=8.,clip=true",
        "gaussian:sigma=8,clip=1,quantize=no",
        "gaussian:sigma=8..8.0,clip=yes",
        "gaussian:sigma=50..50",
        "sdabn/gaussian",
        "SDABN/gaussian:sigma=50",
        "gaussian",
        "gaussian:clip=false",
        "poisson:peak=255.0",
        "poisson",
    )
    given = [part for noise in noises for part in ("--noise", noise)]

    todo = json.loads(reproduced("table1", *given, "--dry-run", "--json").stdout)["missing"]

    assert {stage["noise"] for stage in todo} == {
        "gaussian:sigma=50", "gaussian:sigma=5..7", "gaussian:clip=true,sigma=8", "poisson",
    }  # fmt: skip


def test_a_text_of_a_noise_that_looks_like_a_number_is_left_alone(reproduced, third_party):
    source = (
        "def build(*, file: str = '', times: int = 1):\n"
        "    return lambda clean, generator: clean * times\n"
    )
    third_party("own-dist", "[sdabn.noises]\nown = own_noise:build\n", own_noise=source)

    todo = json.loads(
        reproduced("table1", "--noise", "own:times=02,file=007", "--dry-run", "--json").stdout
    )["missing"]

    assert {stage["noise"] for stage in todo} == {"own:file=007,times=2"}


def test_noises_of_one_name_are_told_apart_by_their_distributions(reproduced, third_party):
    source = "def build():\n    return lambda clean, generator: clean\n"
    for name, registered in (("own-dist", ("gaussian", "own", "alone")), ("other-dist", ("own",))):
        module = name.replace("-", "_")
        lines = "\n".join(f"{each} = {module}:build" for each in registered)
        third_party(name, f"[sdabn.noises]\n{lines}\n", **{module: source})
    noises = ("own-dist/gaussian", "Own_Dist/gaussian", "sdabn/gaussian", "gaussian",
              "own-dist/own", "other-dist/own", "own-dist/alone", "alone")  # fmt: skip
    given = [part for noise in noises for part in ("--noise", noise)]

    todo = json.loads(reproduced("table1", *given, "--dry-run", "--json").stdout)["missing"]

    assert {stage["noise"] for stage in todo} == {
        "own-dist/gaussian", "gaussian:sigma=50", "own-dist/own", "other-dist/own", "alone",
    }  # fmt: skip


def test_numbers_of_a_noise_keep_all_their_digits(reproduced, third_party):
    source = (
        "def build(*, key: int = 1, level: float = 1.0, times: int | str = 1):\n"
        "    return lambda clean, generator: clean\n"
    )
    third_party("own-dist", "[sdabn.noises]\nown = own_noise:build\n", own_noise=source)
    given = "own:key=1234567890123456789,level=0.12345678901234566,times=1..1234567890123456789"

    todo = json.loads(reproduced("table1", "--noise", given, "--dry-run", "--json").stdout)

    assert {stage["noise"] for stage in todo["missing"]} == {given}


def test_what_was_measured_is_read_again_until_its_weights_change(reproduced):
    once = json.loads(reproduced("figure2", "--json").stdout)
    kept = sorted(Path("all").rglob("measured/*.json"))
    content = {path: path.read_bytes() for path in kept}
    entry = json.loads(content[kept[0]])
    entry["stages"]["s0"]["summary"]["miou"] = 77.0
    kept[0].write_text(json.dumps(entry))

    again = json.loads(reproduced("figure2", "--json").stdout)
    limited = json.loads(reproduced("figure2", "--json", "--limit", "1").stdout)

    mious = [row["segmented"]["here"]["miou"] for row in again["tables"][0]["rows"]]
    assert mious.count(77.0) == 1  # read, not measured
    assert limited["images"] == 1
    assert 77.0 not in [r["segmented"]["here"]["miou"] for r in limited["tables"][0]["rows"]]
    assert once["tables"][0]["noise"] == "gaussian:sigma=0 to gaussian:sigma=50"
    assert "noise" not in once["protocol"]
    back = json.loads(reproduced("figure2", "--json").stdout)
    assert back["tables"] == again["tables"]  # kept beside the figures of one image


def test_what_is_kept_of_an_image_grows_with_the_classes_and_not_with_their_square(reproduced):
    reproduced("figure2")

    for path in Path("all").rglob("measured/*.json"):
        counts = json.loads(path.read_text())["stages"]["s0"]["per_image"]
        assert np.shape(counts) == (2, 3, 11)
        found, true, predicted = np.moveaxis(counts, 1, 0)
        assert (found <= np.minimum(true, predicted)).all()
        assert (true.sum(1) == predicted.sum(1)).all()  # every pixel that has a label


@pytest.mark.parametrize(("by", "code"), [("INT", 130), ("TERM", 143)])
@pytest.mark.parametrize("stops_in", ["planning", "measuring", "the report"])
def test_whoever_stops_it_is_told_what_is_kept(reproduced, third_party, stops_in, by, code):
    source = (
        "import signal\n"
        "from pathlib import Path\n"
        "def build():\n"
        "    def stops(clean, generator):\n"
        "        sizes = Path('stop').read_text() if Path('stop').exists() else ''\n"
        "        if sizes == 'any' or (sizes and clean.shape[-2:] == (44, 60)):  # a whole image\n"
        f"            signal.raise_signal(signal.SIG{by})\n"
        "        return clean\n"
        "    return stops\n"
    )
    third_party("own-dist", "[sdabn.noises]\nown = own_noise:build\n", own_noise=source)
    asked = ("table1", "--noise", "own", "--report", "made.html")
    if stops_in != "planning":  # trainings catch signals themselves
        assert reproduced(*asked).exit_code == 0
    if stops_in == "measuring":
        for kept in Path("all").rglob("measured"):
            shutil.rmtree(kept)
    Path("stop").write_text("any" if stops_in == "planning" else "whole")

    stopped = reproduced(*asked)

    assert stopped.exit_code == code
    assert flat("What is trained and measured is kept: the same command") in flat(stopped.stderr)
    assert "--skip-existing" not in stopped.stderr


def test_other_data_of_the_same_names_is_measured_anew(reproduced, camvid_tree):
    def mious() -> list[float]:
        told = json.loads(reproduced("figure2", "--json").stdout)
        return [row["segmented"]["here"]["miou"] for row in told["tables"][0]["rows"]]

    once = mious()
    _change_validation(camvid_tree, 3)

    again = mious()

    assert all(a != b for a, b in zip(once, again, strict=True))
    assert again == mious()


@pytest.mark.parametrize(
    ("settings", "matters"),
    [((), False), (("--set", "segment.finish_with=best"), True),
     (("--set", "denoise.finish_with=best"), False)],
)  # fmt: skip
def test_another_validation_split_matters_where_stages_obey_it(
    reproduced, camvid_tree, settings, matters
):
    reproduced("figure2", *settings)
    _change_validation(camvid_tree, 3)

    again = reproduced("figure2", *settings, "--dry-run")

    if matters:
        assert_refused(again, "holds trainings on other data")
    else:
        assert "0 stages are to be trained" in again.stderr


def test_stages_that_come_later_and_obey_the_validation_split_are_held_to_it(
    reproduced, camvid_tree
):
    asked = ("table1", "--set", "denoise.finish_with=best")
    reproduced("figure2", *asked[1:])
    _change_validation(camvid_tree, 3)

    later = reproduced(*asked)
    same = reproduced(*asked, "--dry-run")
    _change_validation(camvid_tree, 4)
    changed = reproduced(*asked, "--dry-run")

    assert later.exit_code == 0, later.stderr
    assert "0 stages are to be trained" in same.stderr
    assert_refused(changed, "holds trainings on other data", "tells val")


def _change_validation(tree: Path, label: int) -> None:
    """Give the first validation image one label everywhere."""
    save(sorted((tree / "valannot").glob("*.png"))[0], label, size=(44, 60))


def test_stages_trained_on_other_data_are_not_taken(reproduced, camvid_tree, tmp_path):
    reproduced("figure2")
    shutil.copytree(camvid_tree, tmp_path / "moved")
    shutil.copytree(camvid_tree, tmp_path / "other")
    image = sorted((tmp_path / "other" / "train").glob("*.png"))[1]
    save(image, np.random.default_rng(9).integers(0, 255, (44, 60, 3)).astype(np.uint8))

    moved = reproduced("figure2", "--data", tmp_path / "moved", "--dry-run", "--json")
    for more in ((), ("--dry-run",)):
        # Another noise shares the clean segmenter alone, which has seen the data, too.
        for table in (("figure2",), ("table1", "--noise", "gaussian:sigma=10")):
            refused = reproduced(*table, "--data", tmp_path / "other", *more)
            assert_refused(refused, "holds trainings on other data", tmp_path / "other", "--run")

    assert json.loads(moved.stdout)["missing"] == []


def test_what_older_versions_have_trained_is_taken_where_nothing_says_otherwise(reproduced):
    reproduced("figure2")
    for record in list(Path("all").rglob("data.json")):
        record.unlink()

    again = reproduced("figure2")

    assert again.exit_code == 0, again.stderr
    assert "finished after" not in again.stderr
    assert len(list(Path("all").rglob("data.json"))) == 2


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["for real", "dry"])
@pytest.mark.parametrize(
    ("stage", "upon"),
    [("sdb/s1", ["sdb/d1"]), ("img/d1", []), ("clean", []), ("sdb/s0", []), ("ddfn/s1", [])],
)
def test_weights_that_are_cut_off_are_named_with_what_to_remove(reproduced, stage, upon, more):
    reproduced("table1")
    runs = Path("all/seed0/gaussian-sigma-50")
    folder = next(Path("all/seed0").glob("clean-*/s0")) if stage == "clean" else runs / stage
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    before = files(Path("all"))

    refused = reproduced("table1", *more)

    removed = [folder, *(runs / each for each in upon)]
    assert_refused(refused, f"{weights} are damaged", f"Remove {' and '.join(map(str, removed))};")
    assert files(Path("all")) == before
    for each in removed:
        shutil.rmtree(each)
    again = reproduced("table1", *more)
    assert again.exit_code == 0, again.stderr


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["for real", "dry"])
def test_changed_settings_are_refused_although_every_stage_is_trained(reproduced, more):
    reproduced("figure2")

    changed = reproduced("figure2", "--set", "segment.steps=4", *more)

    assert_refused(
        changed, "all/seed0/gaussian-sigma-50/sdb belongs to another recipe",
        "s0.steps: 3 in the run, 4 now", "--run DIR",
    )  # fmt: skip


def test_of_very_many_changed_settings_the_first_are_told_and_the_rest_counted(reproduced):
    reproduced("figure2")
    changes = [f"segment.{key}" for key in (
        "steps=4", "batch_size=3", "crop=[16,16]", "scale=[0.5,2.0]", "optimizer=adam",
        "learning_rate=0.5", "turns=true", "weight_decay=0.5", "power=0.5", "log_every=7",
        "warmup_steps=1",
    )]  # fmt: skip

    changed = reproduced("figure2", *(f"--set={change}" for change in changes))

    assert_refused(changed, "belongs to another recipe", "more", "--run DIR")
    told = [line for line in changed.stderr.splitlines() if " in the run, " in line]
    assert len(told) == 8


def test_what_cannot_be_read_is_named_without_advice_on_settings(reproduced):
    reproduced("figure2")
    recipe = Path("all/seed0/gaussian-sigma-50/sdb/recipe.yaml")
    recipe.write_bytes(b"\xff\xfe")

    unreadable = reproduced("figure2")

    assert_refused(unreadable, recipe)
    assert "without --set" not in flat(unreadable.stderr).replace("without--set", "without --set")


def test_a_directory_holds_trainings_in_one_precision(reproduced):
    reproduced("figure2", "--precision", "auto", "--set", "precision=bfloat16")
    resolved = recipefiles.read_resolved(next(Path("all").rglob("sdb/recipe.yaml")))

    other = reproduced("figure2", "--precision", "float32", "--dry-run")
    same = reproduced("figure2", "--precision", "bfloat16", "--json")
    listed = sdabn("runs", "all", "--json")

    assert resolved.precision == "bfloat16"
    assert_refused(other, "precision: 'bfloat16' in the run, 'float32' now", "--run DIR")
    assert json.loads(same.stdout)["protocol"]["precision"] == "bfloat16"
    assert [Path(run["run"]).name for run in json.loads(listed.stdout)] == ["sdb"]
