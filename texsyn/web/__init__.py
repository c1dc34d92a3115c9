"""`texsyn web`: one page, for people who never open a terminal, served to this machine alone.

Idea: bytes in, bytes out. No request names a file or an address, nothing is written to a disk, and the answers hold for
pages of this server only. `jobs` keeps pictures and makes one at a time, with `making` for the tiles that are shown on
the way; `app` turns requests into answers and refuses what does not belong; `server` binds it to 127.0.0.1.

Needs waitress (`pip install 'texsyn[web]'`). A plain WSGI function on it does what a framework would: about ten routes
need no router. waitress has no dependencies, and reads requests in one loop that no slow client can hold up.
"""
