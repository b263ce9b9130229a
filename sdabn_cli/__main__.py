"""Entry of the command ``sdabn`` and of ``python -m sdabn_cli``."""

from sdabn_cli import unreadable
from sdabn_cli.commands import app


def main() -> None:
    """Run the command line."""
    unreadable.pass_over()
    app(prog_name="sdabn")


if __name__ == "__main__":
    main()
