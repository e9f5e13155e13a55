"""What is done to and asked of a host as a whole, without its agent.

checksystem    whether this host can do what tortie needs of it
preparation    what others must leave alone, and what must hold before an agent runs
withdrawal     this host's routes withdrawn where no agent runs
reset          everything of tortie taken off, and nothing else
diagnostics    an archive for support: collectors, each on its own
redaction      what must not be in that archive, taken out
"""
