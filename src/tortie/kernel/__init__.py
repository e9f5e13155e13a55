"""The kernel as tortie sees it: sockets, files and system calls in, typed values and `KernelError`s out.

Nothing here decides anything. Every failure of the kernel leaves this folder as one of the errors of
`tortie.errors`; the mapping is `failure.py` and nowhere else. Calls are blocking and short; what may take
long says so.
"""
