"""Types of settings that several subjects share."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from tortie.model.scalars import Duration
from tortie.model.schema import exact_case, written

# The schema that Calico's clients hold a setting against knows neither decimals nor units below ms.
WholeDuration = Annotated[
    Duration,
    written(r"^([0-9]+(ms|s|m|h))+\Z|^0\Z", 'must be a duration of whole numbers, such as "90s", "1m30s" or "1500ms"'),
]
Switch = Annotated[str, exact_case("Enabled", "Disabled")]
MarkMask = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
InterfaceFilter = Annotated[
    str,
    Meta(
        pattern=r"^([a-zA-Z0-9:._+-]{1,15}|)\Z",
        description="must be an interface name, or its beginning and +: 1 to 15 of [a-zA-Z0-9:._+-]",
    ),
]

# What Go's regular expressions have and Python's lack, or read otherwise.
_ONLY_IN_GO = re.compile(r"\\[zpPQC]|\[\[:|\(\?[a-z]*U")


def regex_fault(text: str) -> str:
    """Why the text is no regular expression; empty when it is one, or one that only Go can judge."""
    if _ONLY_IN_GO.search(text):
        return ""
    try:
        re.compile(text)
    except re.error as error:
        return f"is not a regular expression: {error}"
    return ""
