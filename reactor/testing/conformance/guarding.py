"""What errors and plans show, and what they never show."""

from __future__ import annotations

import sys
import time
from typing import Any

import anyio

from reactor.connectors.brokers import Broker
from reactor.core import ArgumentError, TopicError
from reactor.pipeline import Pipeline
from reactor.stream import Stream
from reactor.testing.conformance.ground import Ground, Placed, raised, refused

_WITHOUT = """
import sys
from reactor import MissingExtra, topic
sys.modules[sys.argv[1]] = None
try:
    topic(sys.stdin.read())
except MissingExtra as error:
    print(error)
else:
    print("a topic was made without its client")
"""


class Guarding(Ground):
    """Secrets, missing extras, servers that aren't there."""

    async def test_passwords_are_never_shown(self) -> None:
        log = self.make(self.name(), Placed)._log
        if not isinstance(log, Broker):
            return
        servers = log.url.partition("//")[2].partition("/")[0].rpartition("@")[2]
        url = f"{log.address.scheme}://me:{self.password}@{servers}/{self.name()}"
        for text in self._shown(url):
            assert self.password not in text, text
        for query in ("?no_such_option=1", "?password=" + self.password, "#x"):
            for text in self._shown(url + query):
                assert self.password not in text, text

    async def test_a_server_that_isnt_there_is_told_soon(self) -> None:
        url = self.nowhere(self.name())
        if url is None:
            return
        topic = self.at(url, Placed)
        for end in (topic.source("g"), topic.sink()):
            since = time.monotonic()
            try:
                with anyio.fail_after(self.patience):
                    error = await refused(TopicError, end.open())
            finally:
                with anyio.CancelScope(shield=True):
                    await end.close()
            assert time.monotonic() - since < self.closing
            assert topic.name in str(error)
            self._hides(error)
        self._hides(await refused(TopicError, topic.publish(Placed(1))))

    def _hides(self, error: BaseException) -> None:
        """No error shows the password, nor do those that it came from."""
        seen: BaseException | None = error
        while seen is not None:
            assert self.password not in f"{seen} {seen!r} {getattr(seen, '__notes__', '')}"
            seen = seen.__cause__ or seen.__context__

    async def test_without_its_client_the_topic_names_the_extra(self) -> None:
        if self.client is None:
            return
        url = self.make(self.name(), Placed).url
        command = [sys.executable, "-c", _WITHOUT, self.client]
        done = await anyio.run_process(command, input=url.encode(), check=False)
        said = done.stdout.decode()
        assert 'pip install "reactor-streams[' in said, said + done.stderr.decode()

    async def test_an_option_that_isnt_there_is_refused_with_those_that_are(self) -> None:
        log = self.make(self.name(), Placed)._log
        if not isinstance(log, Broker):
            return
        url = log.url.partition("?")[0]
        error = raised(ArgumentError, lambda: self.at(f"{url}?no_such_option=1", Placed))
        assert "no_such_option" in str(error)
        assert "known:" in str(error)

    async def test_names_and_positions_are_told_as_they_are(self) -> None:
        name = self.name()
        topic = self.make(name, Placed)
        assert topic.name == name
        assert name in topic.url
        assert topic.types == (Placed,)
        assert repr(topic) == f"topic({topic.url!r}, Placed)"
        one, two = topic.source("g"), self.make(name, Placed).source("g")
        assert one.identity == two.identity
        assert one.identity is not None
        assert one.identity != topic.source("other").identity
        assert topic.source().identity is None

    def _shown(self, url: str) -> list[str]:
        """All that is shown of a topic."""
        try:
            topic = self.at(url, Placed)
            source, sink = topic.source("g"), topic.sink()
            pipeline = Pipeline("shows", Stream(source).to(topic))
            one: Any = topic._log
            return [
                *(repr(topic), topic.url, topic.name, repr(one), str(one.address), repr(one.address)),
                *(repr(source), repr(sink), source.name, sink.name, str(source.identity), one.identity),
                *(
                    pipeline.explain("text"),
                    pipeline.explain("json"),
                    pipeline.explain("mermaid"),
                    repr(pipeline),
                ),
                str(one.unable("anything", "do without")),
            ]
        except ArgumentError as error:
            return [str(error), repr(error), str(error.__cause__), repr(error.__cause__)]
