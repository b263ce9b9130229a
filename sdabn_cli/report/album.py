"""Pictures of some of many images, chosen before they are computed and bounded together."""

from __future__ import annotations

from collections.abc import Sequence

from sdabn_cli.evaluation import pick
from sdabn_cli.processes import Processes
from sdabn_cli.report.content import Comparison

#: How many images a report shows.
IMAGES = 6

#: Bytes that all pictures of a report may have together; what comes after that is left out.
BUDGET = 64_000_000


class Album:
    """Collects the comparisons of evenly spaced images.

    Args:
        wanted: How many images; 0 for none.
        budget: Bytes of all pictures together.
    """

    def __init__(self, wanted: int = IMAGES, *, budget: int = BUDGET) -> None:
        self._wanted, self._budget = wanted, budget
        self._chosen: set[int] = set()
        self._found: dict[int, Comparison] = {}

    def expect(self, numbers: Sequence[int]) -> None:
        """Choose among the images that are to come, by their numbers."""
        places = pick(len(numbers), self._wanted) if self._wanted else []
        self._chosen = {numbers[place] for place in places}

    def wants(self, number: int) -> bool:
        """Whether an image was chosen."""
        return number in self._chosen

    def put(self, number: int, comparison: Comparison) -> None:
        """Take in the pictures of an image."""
        self._found[number] = comparison

    def collect(self, processes: Processes) -> None:
        """Take in what all processes have found."""
        self._found = dict(processes.gather(list(self._found.items())))

    def comparisons(self) -> list[Comparison]:
        """As many as the budget has room for, in the order of the images."""
        shown, size = [], 0
        for _, comparison in sorted(self._found.items()):
            size += sum(len(layer.data) for layer in comparison.layers)
            if size > self._budget:
                break
            shown.append(comparison)
        return shown

    @property
    def left_out(self) -> int:
        """Images that the budget has no room for."""
        return len(self._found) - len(self.comparisons())
