"""NEXMark, the common benchmark of stream processors: ``python -m benchmarks nexmark``.

People register, open auctions and bid; nine queries ask about them.

- ``events.py``      the three kinds of events, and their generator
- ``queries.py``     q0 to q8 as reactor pipelines
- ``oracle.py``      what each query must answer: plain Python over a list, without reactor
- ``on_bytewax.py``  the queries that Bytewax can express
- ``measuring.py``   time, and the check of every answer against the oracle's
- ``memory.py``      peak memory of one query, in a process of its own
- ``growth.py``      how cost and memory grow with events, keys and windows
- ``command.py``     the command line;  ``report.py``  tables and JSON;  ``plot.py``  the picture
"""
