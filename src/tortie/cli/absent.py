"""Words of calicoctl that tortie does not have: each ends in a sentence that says what to do instead."""

from __future__ import annotations

from typing import Any

import click

from tortie.cli.calicoctl import Failure

WORDS = {
    "ipam": "does not manage addresses yet: `tortie attach NAME --address ADDRESS` gives a workload the address that "
    "you name, and refuses one that another endpoint holds",
    "cluster": "has no Kubernetes to collect from: run `tortie node diags` on each host",
    "convert": "takes resources of projectcalico.org/v3, and no older ones",
}
NODE_WORDS = {
    "run": "starts no container: `tortie node init` makes this host a node, and its agent is `tortie agent`, or "
    "tortie-agent.service",
}


class Absent(click.Command):
    """A word whose arguments do not matter."""

    def __init__(self, path: str, reason: str) -> None:
        sentence = f"{path}: tortie {reason}"
        settings = {"ignore_unknown_options": True, "allow_extra_args": True}
        super().__init__(path.rpartition(" ")[2], help=f"{sentence}.", context_settings=settings, hidden=True)
        self._sentence = sentence

    def invoke(self, ctx: click.Context) -> Any:
        raise Failure(self._sentence)


def word(name: str) -> Absent:
    """The command of a word that `tortie` does not have."""
    return Absent(name, WORDS[name])


def node_word(name: str) -> Absent:
    """The command of a word that `tortie node` does not have."""
    return Absent(f"node {name}", NODE_WORDS[name])
