"""Namespaces, as the tests below netns/ have them."""

from tests.netns.conftest import every_errno_is_filed, netns

__all__ = ["every_errno_is_filed", "netns"]
