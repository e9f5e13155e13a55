"""The option `-o text|json` of commands that report."""

from __future__ import annotations

import click

form_option = click.option(
    "-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", help="Form of the report."
)
