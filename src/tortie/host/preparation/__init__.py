"""A host made fit for tortie: what others must leave alone, and what must hold before an agent runs.

own_file   a file of ours among those of the system: told from others, and from ours that somebody edited
wanted     which files, with which content, for what a host has; pure
whole      what the host has, what is to be done, and doing it
"""
