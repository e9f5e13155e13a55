"""A cluster moved: from a store to a file, from a file to a store, from a store to another.

content.py   what is moved, and the checksum that two places are compared by
lock.py      the source, locked while it is read
archive.py   the file
copying.py   the target: judged, filled, compared, opened
"""
