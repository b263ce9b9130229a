"""Tables of the paper made small: their rows, claims and seeds, and what is written down."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from fixtures_cli import flat, sdabn
from fixtures_data import save

from sdabn_cli import recipefiles
from sdabn_cli.reproduction import claims

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
    below = {row["label"] for row in rows
             if row["denoised"] and row["denoised"]["here"]["psnr"] <= limit}  # fmt: skip
    assert below  # after a few steps
    for each in (each for claim in told["claims"] for each in claim["comparisons"]):
        both = (each["better_label"], each["worse_label"])
        named = [label for label in both if label in below]
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
        assert (
            "Protocol default: 2 images of camvid, 2 seeds; precision float32; noise seeds 0 and 1;"
            in text
        )
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


def test_the_protocol_stands_under_every_table(reproduced):
    noises = ("gaussian:sigma=50", "gaussian:sigma=30", "gaussian:sigma=10")
    given = [part for noise in noises for part in ("--noise", noise)]

    made = reproduced("table5", "--without", "plus", "--without", "joint", *given,
                      "--markdown", "made.md")  # fmt: skip

    assert made.exit_code == 0, made.stderr
    for text in (made.stderr, Path("made.md").read_text()):
        # The last row of every table, and what follows it.
        found = re.findall(
            "S1 D1 S2(?! minus|, joint)|Protocol default: 2 images of camvid, 1 seed;", text
        )
        assert len(found) == 6
        assert [line.partition(":")[0] for line in found] == 3 * ["S1 D1 S2", "Protocol default"]


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


def test_a_key_of_one_system_alone_changes_no_other(reproduced):
    result = reproduced("table2", "--without", "bm3d", "--json",
                        "--set", "dms:denoise.semantic_weight=0.5")  # fmt: skip

    assert result.exit_code == 0, result.stderr
    trained = {each["system"]: each for each in json.loads(result.stdout)["tables"][0]["systems"]}
    assert trained["dms"]["meaning"].endswith("of a fixed clean segmenter, times 0.5")
    assert "times" not in trained["sdb"]["meaning"]
    assert trained["sdb"]["steps"].keys() == {"s0", "s1", "d1"}
    assert flat("times 0.5") in flat(result.stderr)
    runs = Path("all/seed0/gaussian-sigma-50")
    weights = [
        yaml.safe_load((runs / name / "recipe.yaml").read_text())["denoise"]["semantic_weight"]
        for name in ("dms", "ddfn")
    ]
    assert weights == [0.5, 0.0]


def test_s1_plus_may_be_another_network_than_the_papers(reproduced):
    result = reproduced("table5", "--json", "--markdown", "made.md",
                        "--set", "plus:segmenter=tiny:width=12")  # fmt: skip

    assert result.exit_code == 0, result.stderr
    (made,) = json.loads(result.stdout)["tables"]
    sizes = {row["label"]: row["parameters"]["here"] for row in made["rows"]}
    assert sizes["S1+"] - sizes["S1"] == 4 * (3 * 9 + 1 + 2 + 11)  # four channels more
    assert "| tiny:width=12 |" in Path("made.md").read_text()


@pytest.mark.parametrize("dataset", ["cityscapes", "outdoorseg"])
def test_a_cpu_has_a_recipe_for_every_data_set_of_the_paper(request, dataset):
    root = request.getfixturevalue(dataset)

    result = sdabn("reproduce", "table1", "--dataset", dataset, "--data", root, "--dry-run",
                   "--device", "cpu")  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert "sdb s0, 1900 steps" in result.stderr


@pytest.mark.parametrize("dataset", ["camvid_tree", "cityscapes", "outdoorseg"])
def test_table_5_has_a_recipe_of_its_own_on_a_cpu(request, dataset, tiny_plugins):
    root, name = request.getfixturevalue(dataset), dataset.removesuffix("_tree")
    asked = ("--dataset", name, "--data", root, "--dry-run", "--json", "--device", "cpu",
             "--set", "segmenter=tiny", "--set", "denoiser=tiny")  # fmt: skip
    wanted = {
        "table5 --without plus": f"{name}/table5-cpu",
        "table4": f"{name}/awgn50-cpu",
        "table5 --without plus --budget full": f"{name}/awgn50",
        f"table5 --without plus --recipe {name}/awgn50-cpu": f"{name}/awgn50-cpu",
    }

    used = {
        what: json.loads(sdabn("reproduce", *what.split(), *asked).stdout)["recipes"]
        for what in wanted
    }

    assert used == {what: {"gaussian:sigma=50": recipe} for what, recipe in wanted.items()}
    smaller = recipefiles.load(f"{name}/awgn50-cpu", ["segment.crop=[128, 160]"])
    assert recipefiles.load(f"{name}/table5-cpu") == smaller


def test_a_table_with_a_recipe_of_its_own_has_a_directory_of_its_own(camvid_tree, tiny_plugins):
    few = ["segmenter=tiny", "denoiser=tiny", "segment.steps=1", "denoise.steps=1",
           "segment.crop=[16,24]", "denoise.crop=[16,16]"]  # fmt: skip
    asked = ("reproduce", "table5", "--dataset", "camvid", "--data", camvid_tree, "--without",
             "plus", "--device", "cpu", *(part for each in few for part in ("--set", each)),
             )  # fmt: skip

    made = sdabn(*asked, "--markdown", "made.md", "--json")

    named = sdabn(*asked, "--recipe", "camvid/table5-cpu", "--dry-run", "--json")

    assert made.exit_code == 0, made.stderr
    assert [path.name for path in Path("runs").iterdir()] == ["reproduce-camvid-cpu-table5"]
    assert json.loads(named.stdout)["missing"] == []
    told = (
        "Trained by the recipe camvid/table5-cpu, with segmenter=tiny, denoiser=tiny, "
        "segment.steps=1, denoise.steps=1, segment.crop=[16,24], denoise.crop=[16,16]; "
        "crops of 16 x 24 pixels (s0, s1, s2), 16 x 16 pixels (d1)."
    )
    assert told in Path("made.md").read_text()
    assert flat(told) in flat(made.stderr)
    (table,) = json.loads(made.stdout)["tables"]
    assert table["recipe"] == {
        "name": "camvid/table5-cpu",
        "settings": few,
        "crops": {"s0": [16, 24], "s1": [16, 24], "d1": [16, 16], "s2": [16, 24]},
    }


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


def test_the_clean_segmenter_of_several_noises_is_planned_and_trained_once(reproduced):
    asked = ("table4", "--noise", "gaussian:sigma=50", "--noise", "gaussian:sigma=25")

    planned = json.loads(reproduced(*asked, "--dry-run", "--json").stdout)["missing"]
    trained = reproduced(*asked).stderr

    assert [stage["stage"] for stage in planned].count("s0") == 1
    assert trained.count("finished after") == len(planned) == 19


def test_stages_of_another_system_are_told_as_its_own(reproduced):
    made = reproduced("table1", "--json", "--markdown", "made.md")

    (table,) = json.loads(made.stdout)["tables"]
    shared = {each["system"]: each["shared"] for each in table["systems"]}
    assert shared == {"sdb": {}, "ddfn": {"s0": "sdb", "s1": "sdb"}, "img": {}}
    assert "| sdb's s0 3, s1 3; d1 3, s2 3 |" in Path("made.md").read_text()


@NEEDS_BM3D
def test_what_has_nothing_to_train_is_not_among_the_trainings(reproduced):
    planned = json.loads(reproduced("table2", "--dry-run", "--json").stdout)

    assert {stage["system"] for stage in planned["missing"]} == {"sdb", "ddfn", "dms"}


def test_a_markdown_file_keeps_its_line_ends_and_marks_without_one(reproduced):
    file = Path("results.md")
    file.write_bytes(b"Before.\r\n<!-- reproduced: figure2 of camvid --> \r\nOld.\r\n"
                     b"<!-- end: figure2 of camvid -->")  # fmt: skip

    reproduced("figure2", "--markdown", file)

    content = file.read_bytes()
    assert content.startswith(b"Before.\r\n<!-- reproduced: figure2 of camvid -->\n### figure2")
    assert content.count(b"<!-- reproduced:") == content.count(b"<!-- end:") == 1
    assert b"Old." not in content


def test_a_link_to_a_markdown_file_stays_one(reproduced):
    Path("real.md").write_text("Before.\n")
    Path("link.md").symlink_to("real.md")

    reproduced("figure2", "--markdown", "link.md")

    assert Path("link.md").is_symlink()
    assert Path("real.md").read_text().startswith("Before.\n\n<!-- reproduced: figure2 of camvid")


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
        assert claim["remark"] in text
        for each in claim["comparisons"]:
            digits = 3 if each["metric"] == "psnr" else 2
            rows = f"{each['better_label']} minus {each['worse_label']}"
            assert f"{rows}: {each['mean']:+.{digits}f} " in text
            assert each["reason"] in text
