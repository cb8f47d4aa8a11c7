"""Where a queue is: its client, finding and making it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import anyio
import anyio.to_thread

from reactor.connectors.brokers import Backoff
from reactor.connectors.sqs.failures import FAILURES, Gone, judge
from reactor.connectors.sqs.settings import LARGEST, Sqs
from reactor.core import MissingExtra, TopicError

try:
    import botocore.loaders  # type: ignore[import-untyped]
    import botocore.session  # type: ignore[import-untyped]
    from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
    from aiobotocore.session import AioSession  # type: ignore[import-untyped]
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]
except ImportError:
    raise MissingExtra("SQS", "sqs") from None

log = logging.getLogger("reactor")

_lock = threading.Lock()
_loader: Any = None


def _loaded(region: str) -> Any:
    """Return botocore's own description of SQS, read from its files once; blocking."""
    global _loader
    with _lock:
        if _loader is None:
            loader = botocore.loaders.create_loader()
            session = botocore.session.Session()
            session.register_component("data_loader", loader)
            session.create_client("sqs", region, aws_access_key_id="-", aws_secret_access_key="-").close()
            _loader = loader
    return _loader


def _look_up(session: Any) -> None:
    """Find the credentials where that takes no more than reading files; blocking.

    Where they come from somebody who is asked over the network, the client does that on the event loop.
    """
    looking = session.get_credentials()
    try:
        looking.send(None)
    except (StopIteration, RuntimeError, *FAILURES):
        pass  # the session keeps what was found
    finally:
        looking.close()


class Queue:
    """A queue's place and options."""

    def __init__(
        self, url: str, region: str, path: str, settings: Sqs, *, retention: int | None = None
    ) -> None:
        self.url = url
        self.topic = path
        self.settings = settings
        self._region = region
        account, _, self.name = path.rpartition("/")
        self.account = account or None
        self.fifo = self.name.endswith(".fifo")
        self._retention = retention
        """Seconds, of a queue that is made here; None: as SQS has it, four days."""
        self._made = 0
        """How many queues were made."""

    def judge(self, error: Exception) -> Exception:
        """Return the error where waiting may mend it, else the TopicError that says what to do."""
        return judge(self.url, error)

    def need_asyncio(self) -> None:
        """Raise TopicError on another loop: the client knows asyncio only."""
        try:
            asyncio.current_task()
        except RuntimeError:
            raise TopicError(f"{self.url}: SQS needs asyncio; run the pipeline there") from None

    async def client(self, *, connections: int, wait: float = 0) -> Any:
        """Return a client that is open; who calls this closes it. ``wait``: how long a request may take on top."""
        settings = self.settings
        session = AioSession(profile=settings.profile)

        def prepare() -> None:
            session.register_component("data_loader", _loaded(self._region))
            _look_up(session)

        config = AioConfig(
            connect_timeout=min(settings.timeout, 5.0),
            read_timeout=settings.timeout + wait,
            max_pool_connections=connections,
            parameter_validation=False,
            tcp_keepalive=True,
            retries={"total_max_attempts": 1, "mode": "standard"},
        )
        try:
            await anyio.to_thread.run_sync(prepare)
            context = session.create_client(
                "sqs", region_name=self._region, endpoint_url=settings.endpoint, config=config
            )
            return await context.__aenter__()
        except (*FAILURES, ValueError) as error:
            raise self.judge(error) from None

    async def find(self, client: Any) -> str:
        """Return the queue's URL for requests; make the queue where there is none."""
        address = await self._found(client, self.name, self._attributes)
        if self.settings.max_receives is not None:
            await self._redrive(client, address)
        return address

    async def opened(self, client: Any) -> str:
        """Find it; a server that can't be reached is given some time, and TopicError raised then."""
        backoff = Backoff(self.url, patience=self.settings.patience)
        while True:
            try:
                return await self.find(client)
            except FAILURES as error:
                judged = self.judge(error)
                if isinstance(judged, TopicError):
                    raise judged from None
                await backoff.failed(judged)

    async def again(self, client: Any) -> str:
        """The queue is gone while a pipeline runs: make it again, or raise. What was in it is lost."""
        made = self._made
        address = await self.find(client)
        if self._made != made:
            log.warning("%s: the queue was gone; it was made again, what was in it is lost", self.url)
        return address

    async def allows(self, client: Any, address: str) -> int:
        """Return the bytes of the largest message that may be sent."""
        try:
            said = await client.get_queue_attributes(QueueUrl=address, AttributeNames=["MaximumMessageSize"])
        except ClientError as error:
            if isinstance(self.judge(error), TopicError):
                return self.settings.largest  # who may only send isn't told
            raise
        return min(self.settings.largest, int(said["Attributes"].get("MaximumMessageSize", LARGEST)))

    @property
    def _attributes(self) -> dict[str, str]:
        found = {"FifoQueue": "true"} if self.fifo else {}
        if self.settings.largest > LARGEST:
            found["MaximumMessageSize"] = str(self.settings.largest)
        if self._retention is not None:
            found["MessageRetentionPeriod"] = str(self._retention)
        return found

    async def _found(self, client: Any, name: str, attributes: dict[str, str]) -> str:
        owner = {} if self.account is None else {"QueueOwnerAWSAccountId": self.account}
        try:
            return str((await client.get_queue_url(QueueName=name, **owner))["QueueUrl"])
        except ClientError as error:
            if not isinstance(self.judge(error), Gone) or not self.settings.create or owner:
                raise
        said = await client.create_queue(QueueName=name, Attributes=attributes)
        self._made += 1
        return str(said["QueueUrl"])

    async def _redrive(self, client: Any, address: str) -> None:
        """Have messages that were received too often moved to another queue, which is made as well."""
        settings = self.settings
        name = settings.dead_letters
        if name is None:
            name = self.name.removesuffix(".fifo") + "-dead" + (".fifo" if self.fifo else "")
        dead = await self._found(client, name, self._attributes)
        said = await client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        wanted = {
            "deadLetterTargetArn": said["Attributes"]["QueueArn"],
            "maxReceiveCount": str(settings.max_receives),
        }
        said = await client.get_queue_attributes(QueueUrl=address, AttributeNames=["RedrivePolicy"])
        policy = json.loads((said.get("Attributes") or {}).get("RedrivePolicy") or "{}")
        if not policy:
            await client.set_queue_attributes(
                QueueUrl=address, Attributes={"RedrivePolicy": json.dumps(wanted)}
            )
        elif {name: str(value) for name, value in policy.items()} != wanted:
            raise TopicError(
                f"{self.url}: max_receives={settings.max_receives} and the dead letters {name!r} aren't what the "
                f"queue has: {policy}; change one of both"
            )


async def farewell(client: Any) -> None:
    """Close a client, whatever state it is in."""
    with anyio.move_on_after(2.0):
        try:
            await client.__aexit__(None, None, None)
        except FAILURES as error:
            log.debug("closing the client of SQS: %s", error)
