"""The plug-in registry: names, options, and neighbours that are broken in every way."""

from __future__ import annotations

import sys

import pytest

from sdabn_cli import networks, registry
from sdabn_cli.errors import SdabnError

GOOD = "def build(*, sigma: float = 5.0):\n    return sigma\n"


def names(kind: str) -> list[str]:
    return [plugin.name for plugin in registry.plugins(kind)]


def noise(third_party, source: str, *, name: str = "odd", module: str = "odd_noise") -> None:
    """Register a noise called ``odd`` whose module holds the source."""
    third_party(name, f"[sdabn.noises]\nodd = {module}:build\n", **{module: source})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("segmenter", "hrnet"), ("denoiser", "ddfn"), ("noise", "poisson"), ("dataset", "camvid")],
)
def test_built_in_plugins_are_found_with_their_distribution(kind, expected):
    plugin = registry.find(kind, expected)

    assert plugin.distribution.startswith("sdabn ")


def test_an_unknown_name_is_answered_with_the_nearest_match():
    with pytest.raises(SdabnError, match=r"called 'gausian'.*\nDid you mean 'gaussian'"):
        registry.build("noise", "gausian", {})


def test_an_unknown_option_is_answered_with_the_nearest_match():
    with pytest.raises(SdabnError, match=r"has no option 'sigm'.*\nDid you mean 'sigma'"):
        registry.build("noise", "gaussian", {"sigm": 3})


def test_what_the_framework_fills_in_is_no_option():
    with pytest.raises(SdabnError, match="has no option 'num_classes'"):
        registry.build("segmenter", "hrnet", {"num_classes": "3"}, num_classes=2)


@pytest.mark.parametrize(
    ("kind", "name", "options", "message"),
    [
        ("noise", "poisson", {"peak": "much"}, "refuses peak='much': .*valid number"),
        ("noise", "gaussian", {"sigma": "-1"}, "gaussian:sigma=-1: sigma must be .*at least 0"),
        ("segmenter", "hrnet", {"variant": "w19"}, "refuses variant='w19': .*'w18_small_v2'"),
        ("denoiser", "ddfn", {"blocks": "2.5"}, "refuses blocks='2.5': .*integer"),
        ("denoiser", "ddfn", {"blocks": "0"}, "blocks must be at least 1"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(kind, name, options, message):
    given = {"segmenter": {"num_classes": 2}, "denoiser": {"condition_channels": 2}}

    with pytest.raises(SdabnError, match=message):
        registry.build(kind, name, options, **given.get(kind, {}))


def test_text_is_converted_to_the_declared_type(third_party):
    noise(third_party, "def build(*, sigma: float = 5.0, wide: bool = False, n: int | None = 1):\n"
                       "    return sigma, wide, n\n")  # fmt: skip

    built = registry.build("noise", "odd", {"sigma": "2.5", "wide": "true", "n": "7"})

    assert built == (2.5, True, 7)
    assert registry.build("noise", "odd", {}) == (5.0, False, 1)


TYPED = """
from typing import Annotated, Literal
import annotated_types as at
from pydantic import Field

def build(*, n: Annotated[int, Field(ge=1)] = 2, share: Annotated[float, at.Gt(0), at.Lt(1)] = 0.5,
          depth: Annotated[int, Field(ge=1, le=9)] | None = 3, side: Literal[1, 2, "auto"] = 1,
          sizes: tuple[int, ...] | None = None, phases: tuple[Literal[0, 90], ...] = (0,),
          name: Annotated[str, Field(alias="title", min_length=2)] = "xy", json: int = 0,
          model_config: int = 0, _hidden: int = 1):
    return {key: value for key, value in locals().items()}
"""


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"side": "2"}, 2),
        ({"side": "auto"}, "auto"),
        ({"depth": "none"}, None),
        ({"depth": "Null"}, None),
        ({"depth": "4"}, 4),
        ({"sizes": "[1,2]"}, (1, 2)),
        ({"sizes": "None"}, None),
        ({"phases": "[90,0]"}, (90, 0)),
        ({"name": "abc"}, "abc"),
        ({"json": "7"}, 7),
        ({"model_config": "7"}, 7),
    ],
)
def test_text_stands_for_what_the_type_has(third_party, given, value):
    noise(third_party, TYPED)

    assert registry.build("noise", "odd", given)[next(iter(given))] == value


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("odd:n=0", "'odd' refuses n='0': Input should be greater than or equal to 1"),
        ("odd:share=1,n=0", "n='0': .*; share='1': Input should be less than 1"),
        ("odd:depth=10", "depth='10': Input should be less than or equal to 9"),
        ("odd:depth=", "depth='': .*integer"),
        ("odd:side=3", "side='3': Input should be 1, 2 or 'auto'"),
        ("odd:n=none", "n='none': .*integer"),
        ("odd:phases=[45]", "phases=.*: Input should be 0 or 90"),
        ("odd:name=x", "name='x': String should have at least 2"),
        ("odd:title=xyz", "has no option 'title'"),
        ("odd:_hidden=2", "has no option '_hidden'.*\n.*Allowed: depth, json, model_config, n"),
    ],
)
def test_bounds_of_a_type_are_kept_and_hidden_parameters_are_no_options(third_party, spec, message):
    noise(third_party, TYPED)
    name, options = registry.parse(spec)

    with pytest.raises(SdabnError, match=message):
        registry.build("noise", name, options)


def test_options_of_something_without_a_signature_are_refused_with_its_name(third_party):
    noise(third_party, "build = dict\n")

    with pytest.raises(SdabnError, match="options of <class 'dict'> cannot be told"):
        registry.build("noise", "odd", {"a": "1"})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import sys; sys.exit('goodbye')", "SystemExit: goodbye"),
        ("import does_not_exist_anywhere", "ModuleNotFoundError"),
        ("this is no python", "SyntaxError"),
        ("def other(): pass", "AttributeError"),
    ],
)
def test_a_plugin_that_does_not_load_is_reported_and_hurts_no_other(third_party, source, message):
    noise(third_party, source, name="broken-dist")

    with pytest.raises(SdabnError, match=f"'odd' of broken-dist 1.0 does not load: {message}"):
        registry.build("noise", "odd", {})

    assert registry.build("noise", "poisson", {"peak": "3"}).peak == 3
    assert {"odd", "gaussian", "poisson"} <= set(names("noise"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("build = 5", "odd"),
        ("def build():\n    raise KeyError('inside')", "of odd 1.0 failed: KeyError: 'inside'"),
        ("def build():\n    raise SystemExit(3)", "of odd 1.0 failed: SystemExit"),
    ],
)
def test_a_plugin_that_fails_when_called_is_reported(third_party, source, message):
    noise(third_party, source)

    with pytest.raises(SdabnError, match=message):
        registry.build("noise", "odd", {})


def test_annotations_that_only_a_type_checker_sees_do_no_harm(third_party):
    noise(
        third_party,
        """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from somewhere import Noise
        def build(*, sigma: float = 5.0) -> Noise:
            return sigma
    """,
    )

    assert registry.build("noise", "odd", {"sigma": "2.5"}) == 2.5


def test_a_message_of_a_plugin_arrives_unchanged(third_party):
    noise(third_party, "def build():\n    raise ValueError('there is no ../data/x')")

    with pytest.raises(SdabnError, match=r"there is no \.\./data/x"):
        registry.build("noise", "odd", {})


@pytest.mark.parametrize(
    "content",
    [
        "no section = here\n",
        "[sdabn.noises]\nbad = bad:build\nbad = bad:build\n",
        "[unfinished\n",
        b"[sdabn.noises]\nb\xe4d = bad:build\n",
    ],
)
def test_a_malformed_neighbour_hides_nobody_and_is_named(third_party, content):
    third_party("malformed-dist", content)
    noise(third_party, GOOD)

    with pytest.warns(UserWarning, match="malformed_dist"):
        found = names("noise")

    assert {"gaussian", "poisson", "odd"} <= set(found)
    assert registry.build("noise", "odd", {"sigma": "2"}) == 2
    assert registry.find("noise", "gaussian").distribution.startswith("sdabn ")


def test_a_name_of_two_distributions_is_an_error_naming_both(third_party):
    noise(third_party, GOOD, name="first-dist", module="first_noise")
    noise(third_party, GOOD, name="second-dist", module="second_noise")

    with pytest.raises(SdabnError, match=r"registered by first-dist 1\.0 and second-dist 1\.0"):
        registry.build("noise", "odd", {})

    assert registry.build("noise", "poisson", {}).peak == 255


def test_a_distribution_found_twice_is_no_duplicate(third_party, monkeypatch):
    noise(third_party, GOOD)
    monkeypatch.setattr(sys, "path", [*sys.path, f"{sys.path[0]}/"])

    assert names("noise").count("odd") == 1


@pytest.mark.parametrize(
    ("kind", "build", "given"),
    [
        ("segmenter", networks.build_segmenter, {"num_classes": 2}),
        ("denoiser", networks.build_denoiser, {"condition_channels": 2}),
    ],
)
def test_a_plugin_that_builds_no_module_is_reported(third_party, kind, build, given):
    third_party(
        "odd-dist",
        f"[sdabn.{kind}s]\nodd = odd_network:build\n",
        odd_network="def build(*, num_classes=0, condition_channels=0):\n    return 'network'\n",
    )

    with pytest.raises(SdabnError, match=f"{kind} plug-in 'odd' of odd-dist 1.0 built a str, not"):
        build("odd", {}, **given)


def test_listing_imports_no_plugin(third_party):
    noise(third_party, "raise RuntimeError('was imported')")

    listed = names("noise")

    assert "odd" in listed
    assert "odd_noise" not in sys.modules


@pytest.mark.parametrize("value", ["directory", "lambda: directory", "lambda: str(directory)"])
def test_a_model_is_a_path_or_a_function_that_gives_one(third_party, value):
    source = "from pathlib import Path\ndirectory = Path(__file__).parent\n"
    folder = third_party(
        "model-dist", "[sdabn.models]\nmine = my_model:it\n", my_model=f"{source}it = {value}\n"
    )

    assert registry.model_directory("mine") == folder


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("ddfn", "ddfn", {}),
        ("gaussian:sigma=25", "gaussian", {"sigma": "25"}),
        ("smp:arch=Unet,encoder=resnet34", "smp", {"arch": "Unet", "encoder": "resnet34"}),
        ("odd:formula=a=b", "odd", {"formula": "a=b"}),
        ("sft:denoiser=dncnn:depth=17", "sft", {"denoiser": "dncnn:depth=17"}),
        (
            "sft:denoiser=[dncnn:depth=17,width=48],last=1",
            "sft",
            {"denoiser": "[dncnn:depth=17,width=48]", "last": "1"},
        ),
        ("sft:denoiser=[sft:denoiser=[a:b=1,c=2],d=3]", "sft",
         {"denoiser": "[sft:denoiser=[a:b=1,c=2],d=3]"}),
    ],
)  # fmt: skip
def test_a_written_choice_is_read_and_written_back(spec, name, options):
    assert registry.parse(spec) == (name, options)
    assert registry.format_spec(name, options) == spec


def test_spaces_around_a_written_choice_do_not_matter():
    assert registry.parse(" smp : arch = Unet , encoder = r ") == (
        "smp",
        {"arch": "Unet", "encoder": "r"},
    )


@pytest.mark.parametrize("spec", ["gaussian:25", "gaussian:=25", "gaussian:sigma=2,5"])
def test_an_option_without_name_is_refused(spec):
    with pytest.raises(SdabnError, match="is not of the form option=value"):
        registry.parse(spec)


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({"denoiser": {"name": "dncnn"}}, "sft:denoiser=dncnn"),
        (
            {"denoiser": {"name": "dncnn", "options": {"depth": 17, "width": 48}}},
            "sft:denoiser=[dncnn:depth=17,width=48]",
        ),
        ({"sizes": [1, 2]}, "sft:sizes=[1,2]"),
    ],
)
def test_structured_options_are_written_in_brackets(options, written):
    assert registry.format_spec("sft", options) == written


def test_brackets_around_a_whole_choice_do_not_matter():
    assert registry.parse("[ddfn:blocks=2]") == ("ddfn", {"blocks": "2"})


@pytest.mark.parametrize("spec", ["sft:denoiser=[dncnn:depth=3", "sft:denoiser=dncnn:depth=3]"])
def test_a_bracket_without_partner_is_refused(spec):
    with pytest.raises(
        SdabnError, match=r"a bracket has no partner.*\n.*option=\[name:option=value"
    ):
        registry.parse(spec)


OUTER = """
from sdabn_cli.contracts import DenoiserBuilder

def build(*, condition_channels: int, in_channels: int = 3,
          inner: DenoiserBuilder = "ddfn:blocks=2", sizes: tuple[int, ...] = (1,)):
    network = inner(condition_channels=condition_channels, in_channels=in_channels)
    network.sizes = sizes
    return network
"""


@pytest.fixture
def outer(third_party):
    """Register a denoiser called ``outer`` with an option that is a denoiser."""
    third_party("outer", "[sdabn.denoisers]\nouter = outer_denoiser:build\n", outer_denoiser=OUTER)

    def build(**options):
        return networks.build_denoiser("outer", options, condition_channels=2)

    return build


@pytest.mark.parametrize(
    ("options", "blocks"),
    [
        ({}, 2),
        ({"inner": "ddfn"}, 8),
        ({"inner": "ddfn:blocks=1"}, 1),
        ({"inner": "[ddfn:blocks=3]"}, 3),
        ({"inner": {"name": "ddfn", "options": {"blocks": 4}}}, 4),
        ({"inner": "[outer:inner=[ddfn:blocks=5],sizes=[3,4]]"}, 5),
    ],
)
def test_an_option_may_be_a_plugin_with_options_of_its_own(outer, options, blocks):
    assert len(outer(**options).blocks) == blocks


def test_an_option_may_be_a_list(outer):
    assert outer(sizes="[3,4]").sizes == (3, 4)
    assert outer(sizes=[5, 6]).sizes == (5, 6)
    with pytest.raises(SdabnError, match=r"refuses sizes='\[3,x\]': .*valid integer"):
        outer(sizes="[3,x]")


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("dffn", r"no denoiser plug-in called 'dffn'.\nDid you mean 'ddfn'"),
        ("hrnet", "no denoiser plug-in called 'hrnet'"),
        ("ddfn:block=3", r"denoiser 'ddfn' has no option 'block'.\nDid you mean 'blocks'"),
        ("ddfn:blocks=0", "ddfn:blocks=0: blocks must be at least 1"),
        (3, r"3 names no denoiser.\n.*Allowed: .*ddfn"),
        ({"name": "ddfn", "blocks": 3}, r"'ddfn' is given with 'blocks'.\nAllowed: name, options"),
    ],
)
def test_a_plugin_that_an_option_cannot_be_is_refused(outer, inner, message):
    with pytest.raises(SdabnError, match=message):
        outer(inner=inner)
