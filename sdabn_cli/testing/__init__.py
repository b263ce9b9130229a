"""The contract suite: what every plug-in must do, as checks for its author's own pytest.

    import pytest
    from sdabn_cli.testing import checks

    @pytest.mark.parametrize("check", checks("segmenter"), ids=str)
    def test_contract(check):
        check("mynet", {"width": 8})        # registered name, own options

``sdabn plugins check mynet`` runs the same checks. A check raises ``ContractError`` (an
``AssertionError``) that says what was found and what is asked, or ``NotApplicable`` where the
plug-in promises nothing of that kind; pytest shows the latter as skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sdabn_cli.errors import SdabnError, did_you_mean, fault
from sdabn_cli.testing import datasets, denoisers, models, noises, segmenters
from sdabn_cli.testing.subject import ContractError, NotApplicable, Subject

__all__ = ["Check", "ContractError", "NotApplicable", "Outcome", "checks", "examine"]

_SUITES: dict[str, tuple[Callable[[Subject], None], ...]] = {
    "segmenter": segmenters.CHECKS,
    "denoiser": denoisers.CHECKS,
    "noise": noises.CHECKS,
    "dataset": datasets.CHECKS,
    "model": models.CHECKS,
}


@dataclass(frozen=True)
class Check:
    """One demand of the contract; ``str()`` names it as a sentence.

    Attributes:
        kind: Kind of plug-in it applies to.
        function: Runs it.
    """

    kind: str
    function: Callable[[Subject], None]

    def __call__(self, name: str, options: Mapping[str, Any] | None = None, **given: Any) -> None:
        """Run the check on a registered plug-in.

        Args:
            name: Registered name.
            options: The plug-in's own options.
            **given: For data sets, ``root`` (a directory) and ``splits``.

        Raises:
            ContractError: If the plug-in does not do what is asked.
            NotApplicable: If it promises nothing that could be checked.
            SdabnError: If it is not found, does not load or refuses its options.
        """
        self.function(Subject(self.kind, name, options or {}, given))

    def __str__(self) -> str:
        return self.function.__name__.replace("_", " ")


def checks(kind: str) -> tuple[Check, ...]:
    """The checks of a kind of plug-in: segmenter, denoiser, noise, dataset or model.

    Raises:
        SdabnError: If there is no such kind; the nearest is named.
    """
    if kind not in _SUITES:
        raise SdabnError(f"There is no kind of plug-in {kind!r}.", did_you_mean(kind, _SUITES))
    return tuple(Check(kind, function) for function in _SUITES[kind])


class Outcome(NamedTuple):
    """What a check found.

    Attributes:
        check: The demand, as a sentence.
        state: ``passed``, ``failed`` or ``skipped``.
        reason: Why it failed or was skipped; empty where it passed.
    """

    check: str
    state: Literal["passed", "failed", "skipped"]
    reason: str


def examine(
    kind: str, name: str, options: Mapping[str, Any] | None = None, **given: Any
) -> Iterator[Outcome]:
    """Run every check of a plug-in in turn; whatever the plug-in raises is a failed check."""
    for check in checks(kind):
        try:
            check(name, options, **given)
        except NotApplicable as note:
            yield Outcome(str(check), "skipped", str(note))
        except (ContractError, SdabnError) as error:
            yield Outcome(str(check), "failed", str(error))
        except BaseException as error:
            yield Outcome(str(check), "failed", fault(error))
        else:
            yield Outcome(str(check), "passed", "")
