"""What is done to and asked of a host as a whole, without its agent.

checksystem    whether this host can do what tortie needs of it
diagnostics    an archive for support: collectors, each on its own
withdrawal     this host's routes withdrawn where no agent runs
redaction      what must not be in that archive, taken out
"""
