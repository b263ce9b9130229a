"""Weights of the user's own: fitted to a recipe's networks, copied into the run, put to use.

Given to the segmenter, they stand for s0, which is not trained; or s0 is trained from them, if its
last layer is to be drawn anew. Given to the denoiser, every D_i starts from them, but for those
that start from D_{i-1}.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from torch import Tensor, nn

from sdabn_cli import checkpoints, fitting, given, growing, networks, origin
from sdabn_cli.cascade import condition_channels
from sdabn_cli.choices import NetworkChoice
from sdabn_cli.errors import SdabnError
from sdabn_cli.files import write_together
from sdabn_cli.fitting import Fit
from sdabn_cli.given import Source
from sdabn_cli.origin import ROLES, Origin
from sdabn_cli.recipe import Recipe
from sdabn_cli.runs import Run
from sdabn_cli.schedule import Stage

#: The layers that depend on the number of classes, and what they count.
LAYERS = {
    "seg": ("the last layer", "classes"),
    "denoise": ("the layer that takes the condition", "channels"),
}
#: The stages that are trained once such a layer is drawn anew, and how to ask for it.
TRAINED = {"seg": "s0", "denoise": "every denoiser"}
KEYS = {"seg": "segmenter.new_head", "denoise": "denoiser.new_condition"}


def check(recipe: Recipe, run: Run | None, classes: Sequence[str]) -> dict[str, Origin]:
    """Make sure that given weights fit; nothing is written.

    Args:
        recipe: The recipe.
        run: Where weights may have been copied to already; then their file may be gone. None if
            there is no run.
        classes: Names of the data set's classes.

    Returns:
        Where they come from, by kind of stage; empty if the recipe gives none.

    Raises:
        SdabnError: If a file is missing, unreadable or of another network; tensors that differ are
            shown as a table.
    """
    found = {}
    for kind in ROLES:
        if recipe.network(kind).init is not None:
            recorded = _recorded(recipe, run, kind) if run else None
            found[kind] = recorded or _fitted(recipe, kind, classes)[0]
    return found


def check_files(recipe: Recipe) -> None:
    """Make sure that given weights are there and can be read, before the classes are known.

    Raises:
        SdabnError: As ``check``.
    """
    for kind in ROLES:
        if recipe.network(kind).init is not None:
            checkpoints.parts_of(_source(recipe, kind).file)


def bring(recipe: Recipe, run: Run, classes: Sequence[str]) -> None:
    """Copy given weights into a run, unless they are there; with them s0 may be finished.

    Raises:
        SdabnError: As ``check``, or if they cannot be written.
    """
    for kind in ROLES:
        if recipe.network(kind).init is None or _recorded(recipe, run, kind):
            continue
        found, weights = _fitted(recipe, kind, classes)
        record = found.model_dump_json(indent=2) + "\n"
        write_together({
            origin.weights_path(run.path, kind): networks.writer(weights),
            origin.record_path(run.path, kind): lambda file, record=record: file.write(
                record.encode()
            ),
        })  # fmt: skip
    s0 = Stage(0, "seg")
    if recipe.is_given(s0) and run.stage(s0).status == "missing":
        network = networks.for_kind(recipe, "seg", num_classes=len(classes))
        start(network, recipe, run, "seg")
        run.stage(s0).finish(networks.weights_of(network), hand_on="last")


def start(network: nn.Module, recipe: Recipe, run: Run, kind: str) -> None:
    """Give a network the weights that its kind starts from, if the recipe gives any.

    Args:
        network: With random weights; those that are to be drawn anew keep them.
        recipe: The recipe.
        run: A run that ``bring`` has copied the weights into.
        kind: ``seg`` or ``denoise``.
    """
    if recipe.network(kind).init is not None:
        weights = networks.read_weights(origin.weights_path(run.path, kind))
        networks.overlay(network, weights)


def origin_of(recipe: Recipe, stage: Stage, origins: dict[str, Origin]) -> Origin | None:
    """Where the weights come from that a stage holds or starts from; None if from no file."""
    return origins.get(stage.kind) if recipe.starts_from(stage) is None else None


def _recorded(recipe: Recipe, run: Run, kind: str) -> Origin | None:
    """The run's own copy, if it is of what the recipe gives now."""
    choice, recorded = recipe.network(kind), origin.read(run.path, kind)
    if recorded is None or not origin.weights_path(run.path, kind).is_file():
        return None
    allowed = (recorded.redraws, recorded.widens) == (choice.redraws, choice.widens)
    return recorded if allowed and given.is_same(recorded, choice.init, kind) else None


def _source(recipe: Recipe, kind: str) -> Source:
    choice = recipe.network(kind)
    source = given.locate(choice.init or "", kind, choice.name)
    given.check_network(source, kind, choice)
    return source


def _fitted(recipe: Recipe, kind: str, classes: Sequence[str]) -> tuple[Origin, dict[str, Tensor]]:
    """Find, fit and read the weights of a kind."""
    choice, source = recipe.network(kind), _source(recipe, kind)
    _check_classes(source, kind, choice, classes)
    own = networks.for_kind(recipe, kind, num_classes=len(classes)).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    fit, notes = _best(source, [f for p in checkpoints.parts_of(source.file)
                                for f in fitting.fits(p, shapes)])  # fmt: skip
    widens = choice.widens and fit.has_all_names and bool(fit.differing)
    if widens:
        _check_guides(source, recipe, len(classes))
        weights = growing.grown(recipe, kind, fit, source.init, len(classes))
        count = len(fit.differing)
        notes = [*notes, f"{count} tensor{'s' * (count > 1)} of a smaller network widened"]
    else:
        if not fit.is_exact:
            _check_redrawn(recipe, kind, source, fit, len(classes))
        weights = fit.read(own)
        if choice.widens:
            notes = [*notes, "nothing to widen: they are as wide as the network"]
    found = Origin(
        init=choice.init or "",
        path=os.path.abspath(source.file),
        sha256=given.sha256_of(source.file),
        tensors=len(weights),
        drawn=[] if widens else list(fit.differing),
        redraws=choice.redraws,
        widens=choice.widens,
        place=fit.part.place,
        renamed={fit.prefix: fit.own_prefix} if fit.prefix or fit.own_prefix else {},
        notes=notes,
    )
    return found, weights


def _check_guides(source: Source, recipe: Recipe, classes: int) -> None:
    """A denoiser that is widened keeps its condition, where it is known.

    Its channels are not all that takes them: noise maps stand beside them in the same tensor.
    """
    if source.condition is None or source.classes is None:
        return
    before = condition_channels(source.condition, len(source.classes))
    now = condition_channels(recipe.condition, classes)
    if before != now:
        raise SdabnError(
            f"The weights in {source.init} were guided by {before} channels "
            f"(condition={source.condition}, {len(source.classes)} classes); here it is {now} "
            f"(condition={recipe.condition}, {classes} classes).",
            "Widen with the condition and the number of classes that the weights know.",
        )


def _check_classes(
    source: Source, kind: str, choice: NetworkChoice, classes: Sequence[str]
) -> None:
    """Segmenters that are not trained again must know the data set's classes, in its order."""
    same_number = source.classes is not None and len(source.classes) == len(classes)
    if kind == "seg" and not choice.redraws and same_number and source.classes != list(classes):
        raise SdabnError(
            f"The weights in {source.init} were trained on the classes "
            f"{', '.join(source.classes or [])}; the data set has {', '.join(classes)}.",
            "Train s0 from them instead: --set segmenter.new_head=true",
        )


def _best(source: Source, found: list[Fit]) -> tuple[Fit, list[str]]:
    """The way to lay a file beside a network, with what a person should know about it.

    Raises:
        SdabnError: If the file holds the network twice.
    """
    by_names = [fit for fit in found if fit.has_all_names]
    if not by_names:
        return min(found, key=fitting.distance), []
    least = min(len(fit.differing) for fit in by_names)  # 0 if one is exact
    alike = [fit for fit in by_names if len(fit.differing) == least]
    first = alike[0]
    rivals = [fit for fit in alike[1:] if fit.part is first.part]
    if rivals and (first.prefix or first.own_prefix):
        raise SdabnError(
            f"{source.file} holds the network more than once: its names fit behind "
            f"{' and '.join(repr(fit.prefix) for fit in (first, *rivals))}.",
            "Save the state dict of the one that you want.",
        )
    return first, _notes(first, [fit.part.place for fit in alike if fit.part is not first.part])


def _notes(fit: Fit, other_places: list[str]) -> list[str]:
    notes = []
    if other_places:
        notes.append(f"{', '.join(map(repr, other_places))} would fit as well")
    if fit.left_out:
        notes.append(f"{fit.left_out} tensors without {fit.prefix!r} were left out")
    return notes


def _check_redrawn(recipe: Recipe, kind: str, source: Source, fit: Fit, classes: int) -> None:
    """Refuse weights that do not fit, unless the layer of the classes alone differs, as asked.

    Raises:
        SdabnError: With a table of what differs.
    """
    choice = recipe.network(kind)
    size = fitting.changed_size(fit) if fit.has_all_names else None
    if size is None or not _differs_by_classes(recipe, kind, source, fit, classes):
        raise SdabnError(
            _summary(source, fit, choice), _advice(kind, choice, fit), table=fit.compare()
        )
    if choice.redraws:
        return
    layer, unit = LAYERS[kind]
    raise SdabnError(
        f"Only {layer} of the weights in {source.init} differs: {size[0]} {unit} in the file, "
        f"{size[1]} in the network.",
        f"Draw it anew and train {TRAINED[kind]} from the rest: --set {KEYS[kind]}=true"
        + (_wider(kind) if _is_narrower(fit) else ""),
        table=fit.compare(),
    )


def _differs_by_classes(recipe: Recipe, kind: str, source: Source, fit: Fit, classes: int) -> bool:
    """Whether what differs is the layer of the classes, or of the condition, and nothing else."""
    if kind == "seg":
        size = fitting.changed_size(fit)
        return size is not None and size[1] == classes
    now = condition_channels(recipe.condition, classes)
    if source.condition is not None and source.classes is not None:
        before = condition_channels(source.condition, len(source.classes))
        if before == now:  # then it is something else that is stacked on the condition
            return False
    return now > 0 and set(fit.differing) <= _guided(recipe, fit, now)


def _guided(recipe: Recipe, fit: Fit, channels: int) -> set[str]:
    """Tensors of a denoiser whose shape follows from the channels of its condition.

    A network may stack more on the condition than the image: noise maps, features of its own. So
    one for another number of channels is laid beside it; where there is none, a layer is taken that
    has the condition alone, or beside the image's three channels.
    """
    chosen = recipe.denoiser
    try:
        other = networks.build_denoiser(
            chosen.name, chosen.options, condition_channels=channels + 1
        ).state_dict()
    except SdabnError:
        sizes = {channels, channels + 3}
        return {n for n, shape in fit.network.items() if len(shape) > 1 and shape[1] in sizes}
    return {
        name
        for name, shape in fit.network.items()
        if name in other and tuple(other[name].shape) != shape
    }


def _summary(source: Source, fit: Fit, choice: NetworkChoice) -> str:
    if not fit.names:
        return f"The weights in {source.init} are not those of {choice}: no name is the same."
    counts = {
        "differ in shape": len(fit.differing),
        "are missing in the file": len(fit.missing),
        "are not in the network": len(fit.unexpected),
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    place = f" (its {fit.part.place!r})" if fit.part.place else ""
    return f"The weights in {source.init}{place} do not fit {choice}. Tensors: {said}."


def _advice(kind: str, choice: NetworkChoice, fit: Fit) -> str:
    role = ROLES[kind]
    typed = given.settings(**{role: "NAME:OPTION=VALUE", f"{role}.init": choice.init or ""})
    has_more = not (fit.missing or fit.differing)
    start = "Save the state dict without those, or choose" if has_more else "Choose"
    advice = f"{start} the network that the weights belong to: {typed}"
    layer, _ = LAYERS[kind]
    only = f"; {KEYS[kind]} draws {layer} anew, and nothing else" if choice.redraws else ""
    return advice + only + (_wider(kind) if _is_narrower(fit) else "")


def _is_narrower(fit: Fit) -> bool:
    """Whether nothing but the network's larger tensors differs."""
    return fit.has_all_names and all(
        len(fit.in_file(name)) == len(fit.network[name])
        and all(few <= many for few, many in zip(fit.in_file(name), fit.network[name], strict=True))
        for name in fit.differing
    )


def _wider(kind: str) -> str:
    if kind != "denoise":
        return ""
    return "; or let the wider one go on from them, if its plug-in can: --set denoiser.widen=true"
