"""Cluster facts in, this node's intent out: incremental, order independent, pure."""
