"""Pictures of some of many images, chosen before they are computed and bounded together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import PurePath

from sdabn_cli.errors import SdabnError
from sdabn_cli.evaluation import pick
from sdabn_cli.processes import Processes
from sdabn_cli.report.content import Comparison

#: How many images a report shows.
IMAGES = 6

#: Bytes that all pictures of a report may have together; what comes after that is left out.
BUDGET = 64_000_000


Wanted = int | str | Sequence[str]
"""Which images: so many, evenly spaced, or those of a name, or of several, whatever their endings.
"""


def wanted_of(text: str) -> Wanted:
    """Read which images are wanted: a number, or names with commas between or behind them.

    Raises:
        SdabnError: If it is neither.
    """
    if text.strip().isdecimal():
        return int(text)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise SdabnError(
            f"--report-images {text!r} is neither a number nor a name.",
            "For example: --report-images 6, or --report-images street,autumn",
        )
    return names


class Album:
    """Collects the comparisons of some images.

    Args:
        wanted: Which images; 0 for none.
        budget: Bytes of all pictures together.
    """

    def __init__(self, wanted: Wanted = IMAGES, *, budget: int = BUDGET) -> None:
        self._wanted = [wanted] if isinstance(wanted, str) else wanted
        self._budget = budget
        self._chosen: set[int] = set()
        self._found: dict[int, Comparison] = {}

    def expect(
        self, numbers: Sequence[int], name_of: Callable[[int], str], left_out: Iterable[str] = ()
    ) -> None:
        """Choose among the images that are to come.

        Args:
            numbers: Theirs.
            name_of: Tells the name of an image; only asked where images are wanted by name.
            left_out: Names of images that there are as well, but that are not to come.

        Raises:
            SdabnError: If there is no image of a name that is wanted.
        """
        if isinstance(self._wanted, int):
            places = pick(len(numbers), self._wanted) if self._wanted else []
            self._chosen = {numbers[place] for place in places}
            return
        names = {number: name_of(number) for number in numbers}
        known = [*names.values(), *left_out]
        self._chosen = set()
        for wanted in self._wanted:
            found = [number for number, name in names.items() if _is_called(name, wanted)]
            if not any(_is_called(name, wanted) for name in known):
                near = get_close_matches(wanted, known, n=3, cutoff=0) or ["none"]
                raise SdabnError(
                    f"--report-images: none of the {len(known)} images is called {wanted!r}.",
                    f"The nearest names: {', '.join(near)}.",
                )
            self._chosen.update(found)

    @property
    def chosen(self) -> list[int]:
        """Numbers of the images that were chosen, in order."""
        return sorted(self._chosen)

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


def _is_called(name: str, wanted: str) -> bool:
    """Whether an image's name is the one that is wanted, with or without an ending on either."""
    return wanted in (name, PurePath(name).stem) or PurePath(wanted).stem == name
