"""Requests of ``sdabn reproduce`` that cannot be granted: refused before anything is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fixtures_cli import assert_refused, sdabn


@pytest.mark.parametrize(
    ("content", "parts"),
    [(b"\xff\xfe\x00", ["it is no text file"]),
     (b"<!-- reproduced: table1 of scenes -->\n", ["its end is missing", "Put the line"])],
)  # fmt: skip
def test_a_file_that_takes_no_table_is_refused_before_anything_is_trained(content, parts):
    Path("results.md").write_bytes(content)

    result = sdabn("reproduce", "table1", "--markdown", "results.md")

    assert_refused(result, *parts)
    assert Path("results.md").read_bytes() == content
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("option", "target", "parts"),
    [("--markdown", "file/results.md", ["--markdown", "cannot be written to"]),
     ("--markdown", "page.html", ["that is a web page", "Name a text file", "--report"]),
     ("--markdown", "/dev/null", ["/dev/null is no file", "Name a text file"]),
     ("--markdown", ".", ["is no file", "Name a text file"]),
     ("--run", "file/run", ["--run file/run: file is a file"]),
     ("--run", 300 * "a", ["--run aaa", "name too long", "Give another directory"])],
)  # fmt: skip
def test_a_place_that_cannot_be_written_to_is_refused_at_once(option, target, parts):
    Path("file").write_text("kept")

    result = sdabn("reproduce", "table1", option, target, "--dry-run")

    assert_refused(result, *parts)
    assert Path("file").read_text() == "kept"


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["for real", "dry"])
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["tabel1"], ["no table 'tabel1'", "Did you mean 'table1'?"]),
        (["table1", "--budget", "huge"], ["no budget 'huge'", "Allowed: cpu, full"]),
        (["table1", "--dataset", "folder"],
         ["no recipe for folder on the budget cpu", "camvid, cityscapes, outdoorseg, scenes",
          "with --recipe."]),
        (["table1", "--budget", "full"],
         ["no recipe for scenes on the budget full", "camvid, cityscapes, outdoorseg",
          "--budget cpu"]),
        (["table1", "--dataset", "camvd"], ["no dataset plug-in called 'camvd'", "'camvid'"]),
        (["table1", "--dataset", "camvid", "--data", "/nonexistent"],
         ["There is no directory /nonexistent/train"]),
        (["table1", "--set", "stages.s2.steps=0"],
         ["The stage s2 has no steps", "reproduce trains every stage"]),
        (["table1", "--data", "."], ["The data set scenes makes its images itself"]),
        (["table1", "--dataset", "camvid"], ["camvid needs its directory", "--data DIR"]),
        (["table1", "--without", "bmd3"], ["no system 'bmd3'", "Did you mean 'bm3d'?"]),
        (["table5", "--without", "sdb", "--without", "plus", "--without", "joint"],
         ["Without sdb and plus and joint nothing of table5 is left", "sdb, plus, joint"]),
        (["figure2", "--without", "sdb"], ["Without sdb nothing of figure2 is left"]),
        (["table1", "--protocol", "papers"], ["no protocol 'papers'"]),
        (["table1", "--noise", "gaussian:sigm=5"], ["has no option 'sigm'", "'sigma'"]),
        (["table1", "--noise", "gaussian:sigma=-5"], ["gaussian:sigma=-5"]),
        (["table2", "--noise", "poisson"],
         ["BM3D needs Gaussian noise of one sigma, not poisson", "--without bm3d"]),
        (["figure2", "--noise", "poisson"],
         ["--noise poisson is not for figure2", "clean segmenter", "Leave --noise out"]),
        (["table1", "--set", "seed=3"], ["--set seed=3", "reproduce decides seed", "--seeds"]),
        (["table1", "--set", "units=2"], ["--set units=2", "sdabn cascade --units"]),
        (["table1", "--set", "noise.options.sigma=5"], ["reproduce decides noise", "--noise"]),
        (["table1", "--set", "condition=none"], ["reproduce decides condition"]),
        (["table1", "--set", "denoise.semantic_weight=1"], ["The system dms alone has one"]),
        (["table1", "--set", "stages.d2.semantic_weight=0.5"],
         ["stages.d2.semantic_weight=0.5", "The system dms alone has one"]),
        (["table1", "--set", 'stages.d2.semantic_weight="0.5"'],
         ["stages.d2.semantic_weight=0.5", "The system dms alone has one"]),
        (["table2", "--without", "bm3d", "--set", "stages.d1.semantic_weight=0"],
         ["stages.d1.semantic_weight=0", "The system dms alone has one"]),
        (["table2", "--without", "bm3d", "--set", "denoise.loss=psnr"],
         ["the system dms", "it needs loss: squared", "--without dms"]),
        (["table2", "--noise", "gaussian:sigma=0..55"],
         ["BM3D needs Gaussian noise of one sigma, not gaussian:sigma=0..55", "--without bm3d"]),
        (["table1", "--set", "segmenter.init=street"],
         ["segmenter.init=street", "trains every system from nothing"]),
        (["table1", "--set", "denoiser.init=missing.pt"], ["denoiser.init=missing.pt"]),
        (["table1", "--set", "segment.class_weights=[1,2]"],
         ["segment.class_weights has 2 numbers, the data set 11 classes"]),
        (["table1", "--device", "gpu"], ["no device 'gpu'"]),
        (["table1", "--precision", "half"], ["no precision 'half'"]),
        (["table1", "--set", "data.dataset=camvid"],
         ["reproduce decides data.dataset", "--dataset"]),
        (["table1", "--set", "data={dataset: camvid}"],
         ["data={dataset:camvid}", "reproduce decides data.dataset", "--dataset"]),
        (["table3", "--set", "stages.s3.from_first=true"],
         ["stages.s3.from_first", "reproduce decides segment.from_first"]),
        (["table3", "--set", "stages={s3: {from_first: true}}"],
         ["stages.s3.from_first", "reproduce decides segment.from_first"]),
        (["table1", "--set", "data.root=here"], ["reproduce decides data.root", "--data"]),
        (["table5", "--set", "segmenter=smp:arch=Unet"],
         ["S1+ is a wider and deeper hrnet", "smp:arch=Unet", "--set plus:segmenter",
          "--without plus"]),
        (["table5", "--set", "pluss:segmenter=hrnet"],
         ["there is no system 'pluss'", "Did you mean 'plus'?"]),
        (["table1", "--set", "plus:segmenter=hrnet"],
         ["plus is no system of what table1 is made of", "sdb, ddfn, img"]),
        (["table5", "--set", "plus:segmentr=hrnet"],
         ["plus has no segmentr of its own", "plus:segmenter=", "leave the system's name out"]),
        (["table5", "--set", "joint:segmenter=hrnet"], ["joint has no segmenter of its own"]),
        (["table5", "--set", "plus:segmenter=hrnet"],
         ["plus:segmenter=hrnet has", "S1, hrnet, has", "name a larger", "--without plus"]),
        (["table5", "--set", "plus:segmenter=hrnet:variant=w18_small_v2"], ["S1, hrnet, has"]),
        (["table5", "--set", "segmenter=hrnet:variant=w18_small_v2",
          "--set", "plus:segmenter=hrnet"], ["S1, hrnet:variant=w18_small_v2, has"]),
        (["table5", "--set", "plus:segmenter=hrnet:variant=w18_small"], ["S1, hrnet, has"]),
        (["table5", "--set", "plus:segmenter={name: hrnet, init: street}"],
         ["segmenter.init=", "trains every system from nothing"]),
        (["table5", "--set", "plus:segmenter"], ["not of the form SYSTEM:KEY=VALUE"]),
        (["table2", "--without", "dms", "--without", "bm3d",
          "--set", "dms:denoise.semantic_weight=1"], ["dms is no system of what table2"]),
        (["table1", "--set", "segment.from_first=true"], ["reproduce decides segment.from_first"]),
        (["table2", "--without", "bm3d", "--set", "dms:denoise.semantic_weight=-1"],
         ["the system dms", "semantic_weight", "greater than or equal to 0"]),
        (["table2", "--without", "bm3d", "--set", "dms:denoise.semantic_weight=0"],
         ["dms:denoise.semantic_weight=0", "that is DDFN itself", "--without dms"]),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_before_anything_is_written(arguments, parts, more):
    result = sdabn("reproduce", *arguments, *more)

    assert_refused(result, *parts)
    assert not Path("runs").exists()


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["for real", "dry"])
def test_a_package_that_is_missing_is_named_before_anything_is_trained(
    tiny_recipe, camvid_tree, monkeypatch, more
):
    monkeypatch.setitem(sys.modules, "bm3d", None)  # as if it were not installed
    arguments = ["table2", "--dataset", "camvid", "--data", camvid_tree, "--recipe", tiny_recipe]

    result = sdabn("reproduce", *arguments, *more)

    assert_refused(result, 'pip install "sdabn[bm3d]"', "--without bm3d")
    assert not Path("runs").exists()


def test_a_recipe_that_makes_another_system_of_the_papers_is_refused(tiny_recipe, camvid_tree):
    Path("mine.yaml").write_text(f"extends: {tiny_recipe}\ncondition: image\n")

    result = sdabn("reproduce", "table1", "--dataset", "camvid", "--data", camvid_tree,
                   "--recipe", "mine.yaml")  # fmt: skip

    assert_refused(result, "condition=image", "condition=segmentation")
