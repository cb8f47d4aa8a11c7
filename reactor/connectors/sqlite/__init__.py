"""The embedded broker: a durable, ordered log of topics in one SQLite file.

``schema`` opens and checks the file, ``statements`` is the SQL, ``worker`` the thread that runs it,
``doorbell`` wakes readers in other processes, ``log`` puts them together for one topic.
"""

from reactor.connectors.sqlite.log import SqliteLog

__all__ = ["SqliteLog"]
