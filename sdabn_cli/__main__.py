"""Entry of the command ``sdabn`` and of ``python -m sdabn_cli``."""

from sdabn_cli.commands import app


def main() -> None:
    """Run the command line."""
    app(prog_name="sdabn")


if __name__ == "__main__":
    main()
