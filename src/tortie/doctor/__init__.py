"""`tortie doctor`: what is wrong with this host, also with a dead agent. It reads, and changes nothing.

A check is a module with `check(host)`: an edge that reads facts, and pure functions from facts to findings.

configuration, agent, bird       tortie's own programs
rivals                           other agents
firewall/                        chains of others that drop what policy accepts
networkd, networkmanager, udev   services that take routes, addresses and MACs away; `ini` reads their files
sysctls, limits, features, mtu   the kernel and its links

finding        what a check says
host           what checks look at: the files, `network` and `processes`
examination    all checks, each on its own and bounded in time
report         findings as text and as JSON
"""
