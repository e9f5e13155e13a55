"""Everything of tortie taken off a host, and nothing else.

part      things of one kind: what there is of them, and how they go
whole     all parts in the order in which they go, and what stands against it
bird      the end of tortie's BIRD, and the routes that one left
files     what tortie keeps in its directories
"""
