"""errno -> KernelError."""

from __future__ import annotations

import errno

import pytest

from tortie.errors import Busy, Exists, Gone, KernelError, LinkDown, Refused, Unsupported
from tortie.kernel.failure import kernel_error, mapped


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENODEV, Gone),
        (errno.ENXIO, Gone),
        (errno.ESRCH, Gone),
        (errno.ENOENT, Gone),
        (errno.EADDRNOTAVAIL, Gone),
        (errno.ENETDOWN, LinkDown),
        (errno.ENOTCONN, LinkDown),
        (errno.EEXIST, Exists),
        (errno.EBUSY, Busy),
        (errno.EAGAIN, Busy),
        (errno.EINTR, Busy),
        (errno.ENOBUFS, Busy),
        (errno.ERESTART, Busy),
        (errno.EOPNOTSUPP, Unsupported),
        (errno.EAFNOSUPPORT, Unsupported),
        (errno.EINVAL, Refused),
        (errno.EPERM, Refused),
        (errno.ENOTEMPTY, Refused),
        (errno.ENFILE, Refused),
        (errno.ENODATA, Refused),
        (errno.ELOOP, Refused),
        (errno.EMLINK, Refused),
    ],
)
def test_an_errno_becomes_the_error_that_says_what_to_do_next(number: int, kind: type[KernelError]) -> None:
    error = kernel_error(number, "add route")
    assert type(error) is kind
    assert error.errno == number


def test_the_message_names_operation_reason_and_the_kernels_own_words() -> None:
    error = kernel_error(errno.ENETUNREACH, "add route 10.0.0.1/32", "Nexthop has invalid gateway")
    assert str(error) == "add route 10.0.0.1/32: Network is unreachable (Nexthop has invalid gateway)"


def test_an_errno_nobody_filed_is_refused() -> None:
    assert type(kernel_error(errno.EL2NSYNC, "x")) is Refused


def test_an_oserror_of_the_block_is_mapped_and_kept_as_the_cause() -> None:
    with pytest.raises(Gone, match=r"^open it: No such file") as caught, mapped("open it"):
        open("/nonexistent/file")  # noqa: PTH123, SIM115
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_other_exceptions_of_the_block_pass() -> None:
    with pytest.raises(ZeroDivisionError), mapped("divide"):
        raise ZeroDivisionError
