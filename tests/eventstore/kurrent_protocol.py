"""The other end of KurrentDB's protocol, in memory, as far as the client's documentation describes it.

It is no KurrentDB, and says nothing about one: it is there so that what the store asks its client for, the threads
and the errors, are run at all where no server can be had.
"""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
from google.protobuf import empty_pb2
from kurrentdbclient.protos.v1 import shared_pb2, status_pb2, streams_pb2, streams_pb2_grpc


class _Event(NamedTuple):
    stream: str
    version: int
    position: int
    id: str
    metadata: dict[str, str]
    custom: bytes
    data: bytes


class Streams(streams_pb2_grpc.StreamsServicer):
    """Append and read; positions have holes, and nothing can be read from a place that no event has."""

    def __init__(self) -> None:
        self.log: list[_Event] = []
        self._changed = threading.Condition()
        self._place = 1000
        self.closed = False

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _of(self, stream: str) -> list[_Event]:
        return [event for event in self.log if event.stream == stream]

    # Append -----------------------------------------------------------------------------------------------------

    def BatchAppend(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            options = request.options
            stream = options.stream_identifier.stream_name.decode()
            response = streams_pb2.BatchAppendResp(correlation_id=request.correlation_id)
            response.stream_identifier.CopyFrom(options.stream_identifier)
            events = [
                (message.id.string, dict(message.metadata), message.custom_metadata, message.data)
                for message in request.proposed_messages
            ]
            expected = options.WhichOneof("expected_stream_position")
            position, actual = self._append(stream, expected, options.stream_position, events)
            if position is not None:
                response.success.position.commit_position = position
                response.success.position.prepare_position = position
            else:
                wrong = shared_pb2.WrongExpectedVersion()
                if actual < 0:
                    wrong.current_no_stream.CopyFrom(empty_pb2.Empty())
                else:
                    wrong.current_stream_revision = actual
                status = status_pb2.Status(message="WrongExpectedVersion")
                status.details.Pack(wrong)
                response.error.CopyFrom(status)
            yield response

    def Append(self, requests: Iterator[Any], context: Any) -> Any:
        options, events = None, []
        for request in requests:
            if request.WhichOneof("content") == "options":
                options = request.options
            else:
                message = request.proposed_message
                events.append(
                    (message.id.string, dict(message.metadata), message.custom_metadata, message.data)
                )
        assert options is not None
        stream = options.stream_identifier.stream_name.decode()
        position, actual = self._append(
            stream, options.WhichOneof("expected_stream_revision"), options.revision, events
        )
        response = streams_pb2.AppendResp()
        if position is not None:
            response.success.position.commit_position = position
        elif actual < 0:
            response.wrong_expected_version.current_no_stream.CopyFrom(shared_pb2.Empty())
        else:
            response.wrong_expected_version.current_revision = actual
        return response

    def _append(
        self, stream: str, kind: str | None, version: int, events: list[tuple[Any, ...]]
    ) -> tuple[int | None, int]:
        with self._changed:
            there = self._of(stream)
            actual = there[-1].version if there else -1
            expected = {"no_stream": -1, "any": None}.get(str(kind), version)
            if expected is not None and expected != actual:
                same = [event for event in there if event.version > expected][: len(events)]
                if [event.id for event in same] == [event[0] for event in events]:
                    return same[-1].position, actual
                return None, actual
            for id, metadata, custom, data in events:
                self._place += 77 + len(data)
                actual += 1
                metadata["created"] = str(time.time_ns() // 100)
                self.log.append(_Event(stream, actual, self._place, id, metadata, custom, data))
            self._changed.notify_all()
            return self._place, actual

    # Read -------------------------------------------------------------------------------------------------------

    def Read(self, request: Any, context: Any) -> Iterator[Any]:
        options = request.options
        backwards = options.read_direction == streams_pb2.ReadReq.Options.Backwards
        if options.WhichOneof("count_option") == "subscription":
            yield from self._subscribe(options, context)
            return
        with self._changed:
            log = list(self.log)
        if options.WhichOneof("stream_option") == "stream":
            stream = options.stream.stream_identifier.stream_name.decode()
            log = [event for event in log if event.stream == stream]
            if not log:
                response = streams_pb2.ReadResp()
                response.stream_not_found.stream_identifier.CopyFrom(options.stream.stream_identifier)
                yield response
                return
            if options.stream.WhichOneof("revision_option") == "revision":
                at = options.stream.revision
                log = [event for event in log if (event.version <= at if backwards else event.version >= at)]
        elif options.all.WhichOneof("all_option") == "position":
            at = options.all.position.commit_position
            if at not in {event.position for event in log}:
                context.abort(grpc.StatusCode.UNKNOWN, "Unexpected FilteredReadAllResult: InvalidPosition")
            log = [event for event in log if (event.position < at if backwards else event.position >= at)]
        log = [event for event in log if _wanted(options, event)]
        if backwards:
            log.reverse()
        for event in log[: options.count]:
            yield _response(event)

    def _subscribe(self, options: Any, context: Any) -> Iterator[Any]:
        response = streams_pb2.ReadResp()
        response.confirmation.subscription_id = "1"
        with self._changed:
            seen = len(self.log)
        yield response
        context.add_callback(self._wake)
        while context.is_active() and not self.closed:
            with self._changed:
                while len(self.log) == seen and context.is_active() and not self.closed:
                    self._changed.wait()
                new, seen = self.log[seen:], len(self.log)
            for event in new:
                if _wanted(options, event):
                    yield _response(event)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _wanted(options: Any, event: _Event) -> bool:
    if options.WhichOneof("filter_option") != "filter":
        return True
    by = options.filter.WhichOneof("filter")
    regex = getattr(options.filter, by).regex
    return re.search(regex, event.stream if by == "stream_identifier" else event.metadata["type"]) is not None


def _response(event: _Event) -> Any:
    response = streams_pb2.ReadResp()
    recorded = response.event.event
    recorded.id.string = event.id
    recorded.stream_identifier.stream_name = event.stream.encode()
    recorded.stream_revision = event.version
    recorded.commit_position = recorded.prepare_position = event.position
    recorded.metadata.update(event.metadata)
    recorded.custom_metadata = event.custom
    recorded.data = event.data
    response.event.commit_position = event.position
    return response


class Protocol:
    """The servicer on a port of loopback."""

    def __init__(self, streams: Streams | None = None, port: int = 0) -> None:
        self.streams = streams or Streams()
        self.streams.closed = False
        self._pool = ThreadPoolExecutor(32)
        self._server = grpc.server(self._pool)
        streams_pb2_grpc.add_StreamsServicer_to_server(self.streams, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    @property
    def url(self) -> str:
        return f"kurrentdb://127.0.0.1:{self.port}?tls=false"

    def close(self) -> None:
        self.streams.close()
        self._server.stop(0).wait()
        self._pool.shutdown()
