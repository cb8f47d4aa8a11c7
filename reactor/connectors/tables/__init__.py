"""Tables of a database as sinks: an event is a row.

``columns`` says what stands in a row, ``values`` what a database takes, ``shape`` is the SQL that both databases
understand, ``sqlite`` and ``postgres`` are the databases, ``sink`` puts them together.
"""

from reactor.connectors.tables.columns import Columns
from reactor.connectors.tables.sink import Database, TableSink

__all__ = ["Columns", "Database", "TableSink"]
