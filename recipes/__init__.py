"""Recipes that come with sdabn: YAML files, found through ``sdabn_cli.recipe``."""
