"""What a program must know before it can reach the datastore; all else lives in the datastore's resources.

settings.py    the settings of a host, and the order of their sources
file.py        the text of a configuration file
calicoctl.py   where the datastore is by calicoctl's own configuration
"""

from tortie.bootstrap.settings import Bootstrap, Loaded, load

__all__ = ["Bootstrap", "Loaded", "load"]
