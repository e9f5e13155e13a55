"""How long a writer waits that lost a compare-and-swap, before it tries again.

Each loss is somebody's success, so nobody needs to wait for the store. But of eight writers that try again at once
seven lose again: on one key of an etcd eight processes needed 6 attempts for each success without a pause, 1.2 with it.
"""

from __future__ import annotations

import asyncio
import random

FIRST_PAUSE_S = 0.002
DOUBLINGS = 8


async def pause(losses: int) -> None:
    """Call it after the `losses`-th loss in a row, and read again after it: what was found before it is old by then.

    The length is random, so that those who met do not meet again.
    """
    await asyncio.sleep(random.uniform(0, FIRST_PAUSE_S * 2 ** min(losses - 1, DOUBLINGS)))
