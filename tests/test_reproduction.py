"""Tables of the paper made small: what is trained, kept, measured again, written down."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_cli import assert_refused, flat, sdabn
from fixtures_data import save

from sdabn_cli import recipefiles
from sdabn_cli.reproduction import claims


@pytest.fixture
def reproduced(tiny_recipe: str, camvid_tree: Path) -> Any:
    """Reproduce a table with the tiny networks on the tiny tree."""

    def run(table: str, *options: Any) -> Any:
        return sdabn("reproduce", table, "--dataset", "camvid", "--data", camvid_tree,
                     "--recipe", tiny_recipe, "--run", "all", "--device", "cpu",
                     "--precision", "float32", *options)  # fmt: skip

    return run


#: Those of the paper, and one of the noisy images where there are denoisers.
ROWS = {"table1": 7, "table2": 5, "table3": 8, "table4": 5, "table5": 4, "table6": 8, "figure2": 6}

NEEDS_BM3D = pytest.mark.skipif(
    importlib.util.find_spec("bm3d") is None, reason="the package bm3d is not installed"
)


@pytest.mark.parametrize(
    ("table", "options"),
    [
        *((table, ()) for table in ROWS if table not in ("table2", "table5")),
        # BM3D takes more than a second an image, however small.
        pytest.param("table2", ("--limit", "1"), marks=NEEDS_BM3D),
        ("table2", ("--without", "bm3d")),
        # S1+ is a wider HRNet, and compared with no other.
        ("table5", ("--set", "segmenter=hrnet", "--set", "segment.crop=[64, 64]",
                    "--set", "segment.learning_rate=1.0e-5")),
    ],
)  # fmt: skip
def test_every_table_is_made_of_drawn_scenes_beside_the_papers(tiny_recipe, table, options):
    scenes = "scenes:count=2,width=64,height=64"
    quick = [f"{group}.{key}" for group in ("segment", "denoise")
             for key in ("steps=1", "save_every=9", "validation_images=1")]  # fmt: skip

    result = sdabn("reproduce", table, "--dataset", scenes, "--recipe", tiny_recipe, "--run", "all",
                   "--device", "cpu", "--precision", "float32", "--json", *options,
                   *(part for key in quick for part in ("--set", key)))  # fmt: skip

    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    images = 1 if "--limit" in options else 2
    assert (report["dataset"], report["images"]) == ("scenes", images)
    (made,) = report["tables"]
    assert len(made["rows"]) == ROWS[table] - ("--without" in options)
    without = [row for row in made["rows"] if row["label"] == "noisy image"]
    assert len(without) == (table not in ("table5", "figure2"))
    for row in made["rows"][len(without) :]:
        for part in ("denoised", "segmented"):
            if row[part]:
                assert all(np.isfinite(list(row[part]["here"].values())))
                assert table == "figure2" or row[part]["paper"].keys() == row[part]["here"].keys()
    assert [claim["claim"] for claim in report["claims"]] == [
        claim.name for claim in claims.CLAIMS if table in claim.tables
    ]
    for each in (each for claim in report["claims"] for each in claim["comparisons"]):
        left_out = "bm3d" in each["better"] + each["worse"] and "--without" in options
        assert ("mean" in each) != left_out
        few = "1 image is" if images == 1 else f"{images} images are"
        reason = "not measured" if left_out else f"{few} too few for an interval"
        assert each["verdict"] == "open"
        assert each["reason"].startswith(reason)
    assert ("bm3d d1: nothing to train" in result.stderr) == ("--limit" in options)


def test_images_too_small_for_ssim_have_a_dash_in_its_place(reproduced, camvid_tree):
    for path in (*camvid_tree.glob("val/*"), *camvid_tree.glob("valannot/*")):
        grey = path.parent.name == "valannot"
        save(path, np.full((8, 8) if grey else (8, 8, 3), 3, np.uint8))

    result = reproduced(
        "table1", "--without", "img", "--markdown", "small.md", "--report", "r.html"
    )

    assert result.exit_code == 0, result.stderr
    (row,) = [line for line in Path("small.md").read_text().splitlines() if "| D0 |" in line]
    assert row.split("|")[3].strip() == "-"
    assert "None" not in Path("small.md").read_text()


def test_denoisers_that_do_not_better_the_noisy_images_are_named(reproduced):
    result = reproduced("table1", "--json")

    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    noisy, *rows = told["tables"][0]["rows"]
    limit = noisy["denoised"]["here"]["psnr"]
    assert limit == pytest.approx(20 * np.log10(255 / 50), abs=0.1)
    points = {"D0": "ddfn:d1", "SD": "sdb:d1", "ImgD": "img:d1"}
    below = {points[row["label"]] for row in rows
             if row["denoised"] and row["denoised"]["here"]["psnr"] <= limit}  # fmt: skip
    assert below  # after a few steps
    for each in (each for claim in told["claims"] for each in claim["comparisons"]):
        named = [point for point in (each["better"], each["worse"]) if point in below]
        assert each["below_noisy"] == named
    assert flat("not better than the noisy image") in flat(result.stderr)
    # Black is better than noise as strong as this one.
    strong = json.loads(reproduced("table1", "--noise", "gaussian:sigma=250", "--json").stdout)
    psnr = [r["denoised"]["here"]["psnr"] for r in strong["tables"][0]["rows"] if r["denoised"]]
    assert min(psnr[1:]) > psnr[0]
    assert not any(each["below_noisy"] for claim in strong["claims"]
                   for each in claim["comparisons"])  # fmt: skip


def test_no_denoiser_is_called_worse_than_images_without_noise(reproduced):
    shown = reproduced("table1", "--noise", "blind:clean=1,sensor=0,soft=0", "--json")

    told = json.loads(shown.stdout)
    assert told["tables"][0]["rows"][0]["label"] == "noisy image"
    assert not any(each["below_noisy"] for claim in told["claims"] for each in claim["comparisons"])


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
        "gaussian",
        "gaussian:clip=false",
        "poisson:peak=255.0",
        "poisson",
    )
    given = [part for noise in noises for part in ("--noise", noise)]

    todo = json.loads(reproduced("table1", *given, "--dry-run", "--json").stdout)["missing"]

    assert {stage["noise"] for stage in todo} == {
        "gaussian:sigma=50", "gaussian:sigma=5..7", "gaussian:clip=true,sigma=8",
        "gaussian:clip=1,sigma=8", "poisson",
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


def test_whoever_stops_a_measuring_is_told_what_is_kept(reproduced, third_party):
    source = (
        "def build():\n"
        "    def stops(clean, generator):\n"
        "        if clean.shape[-2:] == (44, 60):  # a whole image\n"
        "            raise KeyboardInterrupt\n"
        "        return clean\n"
        "    return stops\n"
    )
    third_party("own-dist", "[sdabn.noises]\nown = own_noise:build\n", own_noise=source)

    stopped = reproduced("table1", "--noise", "own")

    assert stopped.exit_code == 130
    assert flat("What is trained and measured is kept: the same command") in flat(stopped.stderr)
    assert "--skip-existing" not in stopped.stderr


def test_other_data_of_the_same_names_is_measured_anew(reproduced, camvid_tree):
    def mious() -> list[float]:
        told = json.loads(reproduced("figure2", "--json").stdout)
        return [row["segmented"]["here"]["miou"] for row in told["tables"][0]["rows"]]

    once = mious()
    labels = sorted((camvid_tree / "valannot").glob("*.png"))[0]
    save(labels, 3, size=(44, 60))

    again = mious()

    assert all(a != b for a, b in zip(once, again, strict=True))
    assert again == mious()


@pytest.mark.parametrize("settings", [(), ("--set", "segment.finish_with=best")])
def test_another_validation_split_matters_where_stages_obey_it(reproduced, camvid_tree, settings):
    reproduced("figure2", *settings)
    labels = sorted((camvid_tree / "valannot").glob("*.png"))[0]
    save(labels, 3, size=(44, 60))

    again = reproduced("figure2", *settings, "--dry-run")

    if settings:
        assert_refused(again, "holds trainings on other data")
    else:
        assert "0 stages are to be trained" in again.stderr


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
def test_changed_settings_are_refused_although_every_stage_is_trained(reproduced, more):
    reproduced("figure2")

    changed = reproduced("figure2", "--set", "segment.steps=4", *more)

    assert_refused(
        changed, "all/seed0/gaussian-sigma-50/sdb belongs to another recipe",
        "s0.steps: 3 in the run, 4 now", "--run DIR",
    )  # fmt: skip


def test_several_seeds_are_trained_apart_and_averaged(reproduced):
    made = reproduced("figure2", "--seeds", "2", "--markdown", "made.md", "--json")
    report = json.loads(made.stdout)

    assert report["seeds"] == 2
    weights = [Path(f"all/seed{seed}").rglob("weights.safetensors") for seed in (0, 1)]
    first, second = ({path.read_bytes() for path in found} for found in weights)
    assert not first & second
    assert "seed 1, gaussian:sigma=50: sdb s0: finished" in made.stderr
    assert report["protocol"]["seed"] == [0, 1]
    for text in (made.stderr, Path("made.md").read_text()):
        assert "2 images of camvid, 2 seeds; precision float32, noise seeds 0 and 1" in text
        assert (
            "2 seeds: the 95 % intervals are those of other images like these (bootstrap) and of"
            in text
        )


def test_one_seed_is_said_to_tell_nothing_of_other_trainings(reproduced):
    made = reproduced("figure2", "--markdown", "made.md", "--json")
    report = json.loads(made.stdout)

    said = "One seed: the 95 % intervals are those of other images like these"
    assert report["protocol"]["seed"] == 0
    assert report["intervals"].startswith(said)
    for text in (made.stderr, Path("made.md").read_text()):
        assert text.index("Noise destroys a clean-trained segmenter") < text.index(said)
        assert "noise seed 0" in text


def test_claims_follow_the_protocol(reproduced, camvid_tree):
    for path in (camvid_tree / "val").glob("*.png"):
        save(path, np.full((44, 60, 3), 90, np.uint8))
    for path in (camvid_tree / "valannot").glob("*.png"):
        save(path, 3, size=(44, 60))
    clean = json.loads(reproduced("figure2", "--json").stdout)["tables"][0]["rows"][0]
    present = [number for number, iou in enumerate(clean["class_iou"].values()) if iou is not None]
    predicted = next(number for number in present if number != 3)
    for path in (camvid_tree / "valannot").glob("*.png"):
        save(path, predicted, size=(44, 60))

    of = {}
    for protocol in ("default", "paper"):
        told = json.loads(reproduced("figure2", "--protocol", protocol, "--json").stdout)
        first, *rows = [row["segmented"]["here"]["miou"] for row in told["tables"][0]["rows"]]
        (claim,) = told["claims"]
        of[protocol] = [each["mean"] for each in claim["comparisons"]]
        assert of[protocol] == pytest.approx([first - row for row in rows])
    assert all(of["default"])
    assert of["default"] != pytest.approx(of["paper"])


def test_what_only_left_out_systems_need_is_not_trained(reproduced):
    told = json.loads(reproduced("table3", "--without", "sdb", "--dry-run", "--json").stdout)
    missing = [(stage["system"], stage["stage"]) for stage in told["missing"]]

    made = json.loads(reproduced("table3", "--without", "sdb", "--json").stdout)

    assert missing == [("ddfn", "d1"), ("ddfn", "d2"), ("ddfn", "d3")]
    assert [row["label"] for row in made["tables"][0]["rows"]] == [
        "noisy image", "DDFN x 1", "DDFN x 2", "DDFN x 3",
    ]  # fmt: skip
    trained = {path.parent.parent.name for path in Path("all").rglob("weights.safetensors")}
    assert trained == {"ddfn"}


@NEEDS_BM3D
def test_what_has_nothing_to_train_is_not_among_the_trainings(reproduced):
    planned = json.loads(reproduced("table2", "--dry-run", "--json").stdout)

    assert {stage["system"] for stage in planned["missing"]} == {"sdb", "ddfn", "dms"}


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


def test_a_markdown_file_keeps_its_line_ends_and_marks_without_one(reproduced):
    file = Path("results.md")
    file.write_bytes(b"Before.\r\n<!-- reproduced: figure2 of camvid --> \r\nOld.\r\n"
                     b"<!-- end: figure2 of camvid -->")  # fmt: skip

    reproduced("figure2", "--markdown", file)

    content = file.read_bytes()
    assert content.startswith(b"Before.\r\n<!-- reproduced: figure2 of camvid -->\n### figure2")
    assert content.count(b"<!-- reproduced:") == content.count(b"<!-- end:") == 1
    assert b"Old." not in content


def test_a_markdown_file_gets_the_table_in_the_place_of_the_last_one(reproduced):
    file = Path("results.md")
    file.write_text("# Results\n\nBefore.\n")

    first = reproduced("table1", "--markdown", file, "--json")
    file.write_text(file.read_text() + "\nBehind.\n")
    reproduced("figure2", "--markdown", file)
    told = json.loads(
        reproduced("table1", "--markdown", file, "--protocol", "file", "--json").stdout
    )

    assert first.exit_code == 0, first.stderr
    text = file.read_text()
    places = [text.index(part) for part in (
        "# Results\n\nBefore.\n\n<!-- reproduced: table1 of camvid -->\n### table1: ",
        "<!-- end: table1 of camvid -->\n\nBehind.\n\n<!-- reproduced: figure2 of camvid -->",
    )]  # fmt: skip
    assert places == sorted(places)
    assert text.count("### table1") == text.count("### figure2") == 1
    figures = told["tables"][0]["rows"][1]["segmented"]["here"]
    assert f"| S on clean images | - | - | {figures['miou']:.2f} (" in text
    assert "--protocol file" in text
    for claim in told["claims"]:
        assert claim["sentence"] in text
        assert f"| **{claim['verdict']}** |" in text
        for each in claim["comparisons"]:
            digits = 3 if each["metric"] == "psnr" else 2
            assert f"`: {each['mean']:+.{digits}f} " in text
            assert each["reason"] in text
