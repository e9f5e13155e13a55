"""errno -> KernelError: the one place where a failure of the kernel gets its name.

The class says what the caller does next (see `tortie.errors`), so an errno is filed by its usual meaning in
the calls of this folder. An errno that is not listed becomes `Refused`, the class that only reports; the test
suite fails when it meets one, so that the choice is made by a person.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tortie.errors import Busy, Exists, Gone, KernelError, LinkDown, Refused, Unsupported

CLASS_OF_ERRNO: Mapping[int, type[KernelError]] = {
    **dict.fromkeys((errno.ENODEV, errno.ENXIO, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL), Gone),
    **dict.fromkeys((errno.ENETDOWN, errno.ENOTCONN), LinkDown),
    errno.EEXIST: Exists,
    **dict.fromkeys((errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM, errno.ETIMEDOUT), Busy),
    errno.ERESTART: Busy,  # nf_tables: somebody else's transaction came first
    **dict.fromkeys(
        (
            errno.EOPNOTSUPP,
            errno.EAFNOSUPPORT,
            errno.EPFNOSUPPORT,
            errno.EPROTONOSUPPORT,
            errno.ESOCKTNOSUPPORT,
            errno.ENOPROTOOPT,
            errno.ENOSYS,
        ),
        Unsupported,
    ),
    **dict.fromkeys(
        (
            errno.EINVAL,
            errno.EPERM,
            errno.EACCES,
            errno.ERANGE,
            errno.E2BIG,
            errno.EBADF,
            errno.ENOSPC,
            errno.EROFS,
            errno.EISDIR,
            errno.ENOTDIR,
            errno.ENAMETOOLONG,
            errno.EMSGSIZE,
            errno.ENETUNREACH,  # a next hop that no route leads to
            errno.EHOSTUNREACH,
            errno.ENOTEMPTY,  # nf_tables: an interval that overlaps another
            errno.ENFILE,  # nf_tables: a set beyond its size
            errno.ENODATA,  # nf_tables: a register read that nothing was loaded into
            errno.ELOOP,  # nf_tables: chains that call each other in a circle
            errno.EMLINK,  # nf_tables: calls too deep
        ),
        Refused,
    ),
}


def kernel_error(number: int, doing: str, detail: str = "") -> KernelError:
    """The error for `number`; `doing` names the operation and its object, `detail` is the kernel's text."""
    kind = CLASS_OF_ERRNO.get(number, Refused)
    reason = os.strerror(number) + (f" ({detail})" if detail else "")
    return kind(f"{doing}: {reason}", number)


@contextmanager
def mapped(doing: str) -> Iterator[None]:
    """Turns an OSError of the block into ours; `doing` names the operation and its object."""
    try:
        yield
    except OSError as error:
        raise kernel_error(error.errno or 0, doing) from error
