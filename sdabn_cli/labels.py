"""What a label means beside the classes 0, 1, 2 ..."""

from __future__ import annotations

#: Label of pixels that carry no class, whatever the data set itself calls them.
IGNORED = 255

#: Marks values that a label image must not hold.
OUTSIDE = -1
