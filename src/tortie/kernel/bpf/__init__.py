"""bpf(2) without libbpf and without a compiler: maps, programs, pins, and the objects that clang made of C.

Everything pinned or attached outlives the process that made it. Descriptors are owned by `Map` and `Program`
and closed with them.
"""
