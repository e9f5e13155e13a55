"""Labs: hosts, routers and workloads in network namespaces, with real agents, BIRDs and packets."""
