"""Netfilter in the few messages that tortie needs: nf_tables, connection tracking, packets logged; all by nfnetlink.
iptables and IP sets have no interface that lasts but their programs: `xtables` and `ipset` run them.

Rows are values, and what changes them is a `Change`: encoding and parsing are pure, and what does I/O takes a socket as
its first argument or is one. A ruleset changes by transactions on one socket that stays open: closing one makes the
kernel wait for its grace period before it frees what was deleted, which is the 16 ms that a command line tool needs for
any change (measured).

**An interval set is created and filled in an earlier transaction than the rule that uses it.** The kernel (6.18) builds
the search structure of `interval` sets, also of concatenated ones, not at the same moment as it lets the rule see the
packets: with set and rule in one transaction 406 packets leaked through a deny over 228 replacements, and allowed ones
were lost; with hash sets, or with the set one transaction earlier, none. One element of a set in use may change at any
time without loss or leak.
"""
