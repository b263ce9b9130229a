"""Networks of segmentation-models-pytorch: which there are, what they need, whether a pair fits.

Every network is tried out before it is given away, on tensors without values, which costs no
computation: whether its parts fit, which sizes it takes, which parameters it uses.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from difflib import get_close_matches
from typing import Any, NamedTuple

import segmentation_models_pytorch as smp
import timm
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

#: Encoders of timm have this in front of their names.
OF_TIMM = "tu-"

#: What an encoder's coarsest stride is multiplied with to find a network's: 2 and 4 where a decoder
#: halves once more, 7, 8 or 12 where attention works in windows of that side.
MULTIPLES = (1, 2, 3, 4, 5, 6, 7, 8, 12)

#: Images are no multiples of more than this.
COARSEST = 512

#: Options of timm by which transformers that are made for one size take any: plain ones, and those
#: with shifted windows. Other encoders know neither.
ANY_SIZE = {"dynamic_img_size": True, "strict_img_size": False}

#: What an architecture asks of its encoder, for messages.
ASKED = {
    "DPT": "DPT takes encoders of timm, first of all vision transformers with patches of 8, 16 or "
    "32 pixels, such as tu-vit_tiny_patch16_224",
    "DeepLabV3": "DeepLabV3 takes encoders that can be dilated, such as resnet34 or mobilenet_v2",
    "DeepLabV3Plus": "DeepLabV3Plus takes encoders that can be dilated, such as resnet34 or "
    "mobilenet_v2",
}
USUAL = (
    "encoders that fit nearly everywhere are resnet34, mobilenet_v2 and tu-convnext_tiny, vision "
    "transformers fit DPT"
)


class Trial(NamedTuple):
    """What is found out about a network by trying it.

    Attributes:
        options: What the library is given to build it.
        stride: Height and width of its images must be multiples of this.
        unused: Names of the parameters that it has but never uses, such as an encoder's stages
            behind the last one that is asked for.
        spares_unused: Whether it runs without the parts that hold nothing else.
    """

    options: Mapping[str, Any]
    stride: int
    unused: frozenset[str]
    spares_unused: bool


class Fitted(NamedTuple):
    """A network whose parts fit, with random weights, and what is known of it."""

    network: nn.Module
    trial: Trial


def create(
    arch: str, encoder: str, *, depths: Sequence[int | None], in_channels: int, classes: int
) -> Fitted:
    """Build a network with random weights.

    Args:
        arch: Architecture, named as in the library.
        encoder: Encoder, likewise.
        depths: Stages of the encoder, None for the architecture's own number; the first that works.
        in_channels: Channels of its input.
        classes: Channels of its output, which has the size of the input.

    Raises:
        ValueError: If there is no such architecture or encoder, or they do not fit.
    """
    asked = (arch, encoder, tuple(depths), in_channels, classes)
    if asked in _TRIALS:
        options = _TRIALS[asked].options
        network = _build(arch, encoder, options, in_channels=in_channels, classes=classes)
    else:
        network, _TRIALS[asked] = _fitting(
            arch, encoder, depths, in_channels=in_channels, classes=classes
        )
    _guard_single_values(network)
    return Fitted(network, _TRIALS[asked])


#: What was found out in this process: a training builds the same networks for every stage.
_TRIALS: dict[tuple[Any, ...], Trial] = {}


def _fitting(
    arch: str, encoder: str, depths: Sequence[int | None], *, in_channels: int, classes: int
) -> tuple[nn.Module, Trial]:
    """Build a network with the first options that work.

    Raises:
        ValueError: As ``create``.
    """
    _check_names(arch, encoder)
    reasons: list[str] = []
    for options in (found for depth in depths for found in _variants(arch, encoder, depth)):
        before = torch.get_rng_state()
        try:
            network = _build(arch, encoder, options, in_channels=in_channels, classes=classes)
            stride = _stride_of(network, in_channels)
            unused = _unused(network, in_channels, stride)
        except Exception as error:  # the library and timm raise errors of many kinds
            # The next one gets the random numbers that it gets where it is known to fit.
            torch.set_rng_state(before)
            if not any(f"keyword argument '{name}'" in str(error) for name in ANY_SIZE):
                reasons.append(_first_line(error))
        else:
            spares = _runs_without(network, unused, in_channels, stride)
            return network, Trial(options, stride, unused, spares)
    given = f" at depth {depths[0]}" if len(depths) == 1 and depths[0] is not None else ""
    raise ValueError(
        f"{arch} and the encoder {encoder!r} do not fit{given} "
        f"({reasons[0]}); {ASKED.get(arch, USUAL)}"
    )


def freeze(fitted: Fitted) -> None:
    """Freeze parameters that are never used.

    Otherwise several processes that train the network would wait for their gradients.
    """
    for name, parameter in fitted.network.named_parameters():
        if name in fitted.trial.unused:
            parameter.requires_grad_(False)


def remove_unused(fitted: Fitted) -> None:
    """Remove the parts that hold nothing but parameters that are never used.

    A network that cannot do without them stays as it is.
    """
    if fitted.trial.spares_unused:
        _remove(fitted.network, fitted.trial.unused)


def _remove(network: nn.Module, unused: Set[str]) -> None:
    for parent, name in list(_unused_parts(network, unused)):
        setattr(parent, name, Skipped())


def _runs_without(network: nn.Module, unused: Set[str], in_channels: int, stride: int) -> bool:
    tried = _shadow(network).eval()
    _remove(tried, unused)
    try:
        _run(tried, in_channels, 1, stride, stride)
    except Exception:
        return False
    return True


def _unused_parts(
    network: nn.Module, unused: Set[str], prefix: str = ""
) -> Iterator[tuple[nn.Module, str]]:
    """Parents and names."""
    for name, part in network.named_children():
        inside = {f"{prefix}{name}.{own}" for own, _ in part.named_parameters()}
        if inside and inside <= unused:
            yield network, name
        else:
            yield from _unused_parts(part, unused, f"{prefix}{name}.")


class Skipped(nn.Module):
    """Stands where a part was that is called in vain, or not at all."""

    def forward(self, features: Any, *others: Any, **named: Any) -> Any:
        """Return what comes in."""
        del others, named
        return features


def architectures() -> list[str]:
    """Names of the library's architectures."""
    return sorted(name for name in dir(smp) if isinstance(getattr(smp, name), type))


def _check_names(arch: str, encoder: str) -> None:
    _check("arch", arch, architectures())
    if encoder.startswith(OF_TIMM):
        name, _, tag = encoder.removeprefix(OF_TIMM).partition(".")
        _check("encoder", name, timm.list_models(), prefix=OF_TIMM)
        if tag:
            tagged = timm.list_pretrained(f"{name}.*")
            _check("encoder", f"{name}.{tag}", [name, *tagged], prefix=OF_TIMM)
        return
    known = smp.encoders.get_encoder_names()
    if encoder not in known and encoder.partition(".")[0] in timm.list_models():
        raise ValueError(f"there is no encoder {encoder!r}; did you mean {OF_TIMM + encoder!r}?")
    _check("encoder", encoder, known)


def _check(option: str, value: str, allowed: Iterable[str], *, prefix: str = "") -> None:
    names = list(allowed)
    if value in names:
        return
    nearest = get_close_matches(value, names, n=1)
    if nearest:
        hint = f"did you mean {prefix + nearest[0]!r}?"
    elif prefix:  # timm's are more than a thousand
        hint = "see timm.list_models()"
    else:
        hint = f"allowed: {', '.join(names)}"
    raise ValueError(f"there is no {option} {prefix + value!r}; {hint}")


def _variants(arch: str, encoder: str, depth: int | None) -> Iterator[dict[str, Any]]:
    """Options to build a network with, the most permissive first."""
    options = {} if depth is None else {"encoder_depth": depth, **_decoder_options(arch, depth)}
    name = "dynamic_img_size" if arch == "DPT" else "strict_img_size"
    for further in ({name: ANY_SIZE[name]}, {}) if encoder.startswith(OF_TIMM) else ({},):
        yield options | further
        if arch == "PAN":  # for encoders that cannot be dilated
            yield options | further | {"encoder_output_stride": 32}


def _decoder_options(arch: str, depth: int) -> dict[str, Any]:
    """What a decoder must be told about another depth than its own."""
    if arch in ("Unet", "UnetPlusPlus", "MAnet"):
        return {"decoder_channels": (256, 128, 64, 32, 16)[-depth:]}
    if arch == "FPN":  # its four maps are the deepest ones
        return {"upsampling": 2 ** max(depth - 3, 0)}
    if arch == "PSPNet":
        return {"upsampling": 2**depth}
    if arch == "DPT":
        return {"decoder_intermediate_channels": (256, 512, 1024, 1024)[:depth]}
    return {}


def _build(arch: str, encoder: str, options: Mapping[str, Any], **channels: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that a later version will leave out
        return smp.create_model(arch, encoder, encoder_weights=None, **channels, **options)


def _stride_of(network: nn.Module, in_channels: int) -> int:
    """The least number whose multiples a network takes as height and width.

    Raises:
        ValueError: If it takes no images of different sizes.
    """
    least, reason = int(network.encoder.output_stride), ""
    tried = _shadow(network).eval()
    for stride in (least * multiple for multiple in MULTIPLES):
        if stride > max(COARSEST, least):
            break
        try:
            for height, width in ((stride, 3 * stride), (2 * stride, stride)):
                _check_size(_run(tried, in_channels, 1, height, width), height, width)
            return stride
        except Exception as error:
            reason = _first_line(error)
    raise ValueError(_only_size(tried, in_channels) or f"not for images of any size: {reason}")


def _only_size(tried: nn.Module, in_channels: int) -> str:
    """What to say of an encoder of timm that takes images of one size alone; empty for others."""
    known = timm.get_pretrained_cfg(getattr(tried.encoder, "name", ""), allow_unregistered=True)
    if known is None or not known.fixed_input_size:
        return ""
    _, height, width = known.input_size
    try:
        _run(tried, in_channels, 1, height, width)
    except Exception:
        return ""
    return f"it takes images of {height}x{width} alone"


def _check_size(output: Tensor, height: int, width: int) -> None:
    if tuple(output.shape[-2:]) != (height, width):
        raise ValueError(
            f"an image of {height}x{width} gives a map of {output.shape[-2]}x{output.shape[-1]}"
        )


def _shadow(network: nn.Module) -> nn.Module:
    """A copy of a network whose tensors have shapes but no values: running it computes nothing."""
    empty: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"))
        for parameter in network.parameters()
    }
    empty |= {id(buffer): buffer.to("meta") for buffer in network.buffers()}
    return copy.deepcopy(network, empty)


def _run(shadow: nn.Module, in_channels: int, count: int, height: int, width: int) -> Tensor:
    return shadow(torch.empty(count, in_channels, height, width, device="meta"))


def _unused(network: nn.Module, in_channels: int, stride: int) -> frozenset[str]:
    """Names of the parameters that no gradient reaches in training."""
    tried, size = _shadow(network).train(), stride * -(-64 // stride)
    with torch.inference_mode(False), torch.enable_grad():
        _run(tried, in_channels, 2, size, size).sum().backward()
    return frozenset(n for n, parameter in tried.named_parameters() if parameter.grad is None)


def _guard_single_values(network: nn.Module) -> None:
    """Let batch norm be trained with a single value a channel: one image, a map of one pixel.

    Such a value has no variance, and torch refuses it. It is normalised as in evaluation instead.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(_before_single_value)
            module.register_forward_hook(_after_single_value, always_call=True)


def _before_single_value(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    # Several processes normalise over the images of all of them.
    single = module.training and inputs[0].numel() == inputs[0].shape[1]
    module.at_single_value = single and not dist.is_initialized()
    if module.at_single_value:
        module.training = False


def _after_single_value(module: nn.Module, inputs: object, output: object) -> None:
    del inputs, output
    if module.at_single_value:
        module.training = True


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(". ")[:160]
