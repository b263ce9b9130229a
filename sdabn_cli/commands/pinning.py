"""Names of models on the Hub, pinned and said."""

from __future__ import annotations


def pinned(name: str) -> str:
    """Give a model's name on the Hub its commit, and say it, so that it can be typed again.

    Args:
        name: Any name of a model; those that are not on the Hub stay as they are.

    Raises:
        SdabnError: If the Hub has no such model, or cannot be reached.
    """
    from sdabn_cli import hub, sources
    from sdabn_cli.console import say

    if not hub.is_on_hub(name):
        return name
    found = sources.find(name).name
    if found != name:
        say(f"{name} is now {found}")
    return found
