"""What the checks share: the plug-in under examination, and what counts as a failure."""

from __future__ import annotations

import contextlib
import inspect
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor

from sdabn_cli import registry
from sdabn_cli.errors import SdabnError
from sdabn_cli.signatures import FRAMEWORK_PARAMETERS


class ContractError(AssertionError):
    """A plug-in does not do what the contract asks."""


class NotApplicable(SkipTest):
    """A plug-in promises nothing that this check could hold it to."""


def require(condition: object, message: str) -> None:
    """Fail with a message unless the condition holds.

    Raises:
        ContractError: With that message.
    """
    if not condition:
        raise ContractError(message)


@dataclass(frozen=True)
class Subject:
    """A registered plug-in with its options.

    Attributes:
        kind: One of the keys of ``registry.GROUPS``.
        name: Registered name.
        options: Its own options.
        given: What the examiner gives beside them, such as the directory of a data set.
    """

    kind: str
    name: str
    options: Mapping[str, Any]
    given: Mapping[str, Any]

    def build(self, *, seed: int = 0, **framework: Any) -> Any:
        """Build it, from the same random numbers for the same seed.

        Raises:
            SdabnError: As ``registry.build``.
            ContractError: If it changes torch's settings for everybody.
        """
        with settings_of_torch_kept(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return registry.build(self.kind, self.name, self.options, **framework)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Even noise in [0, 1], the same for a seed."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def check_options(subject: Subject, **framework: Any) -> None:
    """Options are explicit: typed, keyword-only, with defaults; unknown ones are refused."""
    function = registry.find(subject.kind, subject.name).load()
    require(callable(function), f"the entry point is a {type(function).__name__}, not a function")
    for parameter in inspect.signature(function).parameters.values():
        name = parameter.name
        if name in FRAMEWORK_PARAMETERS:
            continue
        require(
            parameter.kind is not parameter.VAR_KEYWORD,
            f"**{name} would swallow mistyped options: list every option as a keyword",
        )
        require(
            parameter.kind is parameter.KEYWORD_ONLY,
            f"the option {name!r} must be keyword-only: put it behind a * in the signature",
        )
        require(parameter.default is not parameter.empty, f"the option {name!r} has no default")
        require(parameter.annotation is not parameter.empty, f"the option {name!r} has no type")
    unknown = dict(subject.options) | {"an_option_that_nobody_has": "1"}
    try:
        registry.build(subject.kind, subject.name, unknown, **framework)
    except SdabnError as error:
        require("an_option_that_nobody_has" in error.problem, f"unknown options give: {error}")
    else:
        raise ContractError("an unknown option was accepted")


@contextlib.contextmanager
def without_network() -> Iterator[None]:
    """Fail where something opens a connection or asks for a host's address.

    Raises:
        ContractError: At the attempt.
    """

    attempts: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        attempts.append(next((a for a in arguments if not isinstance(a, socket.socket)), ""))
        raise OSError("there is no network in a check of the contract")

    kept = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo
    socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
    try:
        yield
    finally:
        socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = kept
        # Also where the plug-in has caught the refusal itself.
        require(
            not attempts, f"it reaches for the network ({attempts[:1]}): weights come from files"
        )


@contextlib.contextmanager
def settings_of_torch_kept() -> Iterator[None]:
    """Fail where a setting that other plug-ins live with has changed; it is put back.

    Raises:
        ContractError: Naming the settings.
    """
    before = _settings()
    try:
        yield
    finally:
        after = _settings()
        torch.set_default_dtype(before["default dtype"])
        torch.set_grad_enabled(before["gradients"])
        torch.set_num_threads(before["threads"])
        torch.set_default_device(before["default device"])
        torch.use_deterministic_algorithms(before["deterministic algorithms"])
        torch.set_float32_matmul_precision(before["precision of products"])
        torch.backends.cudnn.benchmark = before["cudnn.benchmark"]
    changed = [name for name in before if before[name] != after[name]]
    require(not changed, f"it changes torch's settings for everybody: {', '.join(changed)}")


def _settings() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "precision of products": torch.get_float32_matmul_precision(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
    }
