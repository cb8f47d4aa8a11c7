"""Files of events: read off the event loop in batches, unzipped as they are read, in bounded memory.

``blocks`` reads whole lines, ``rows`` and ``lines`` make records of them (CSV, JSON Lines), ``source`` is the
thread that does it, ``sink`` appends.
"""

from reactor.connectors.files.blocks import text_encoding
from reactor.connectors.files.lines import Lines
from reactor.connectors.files.rows import Rows
from reactor.connectors.files.sink import LinesSink
from reactor.connectors.files.source import FileSource

__all__ = ["FileSource", "Lines", "LinesSink", "Rows", "text_encoding"]
