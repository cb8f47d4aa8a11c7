"""Real servers of the test session's own: on loopback, on a free port, in a folder of their own.

``server`` has what all of them do, ``postgres`` how PostgreSQL is found and started. The fixtures stand in
tests/conftest.py; a server is started when the first test asks for it, and stopped at the session's end.
"""
