"""What all tests share: how Hypothesis looks for examples."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# No deadline: on a shared machine a slow example says nothing about the code. CI tries the same examples each time.
settings.register_profile("tortie", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("tortie")

# A shell ignores SIGINT for what it starts in the background, and whoever is started from there would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)
