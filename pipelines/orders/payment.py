"""The consumer ``payment``: a charge at the gateway for every order; declined cards are dead letters."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal

import httpx
import msgspec
from anyio import to_thread
from msgspec import Struct

from pipelines.orders.book import OrderBook, order_book
from pipelines.orders.events import OrderCompleted, Payment, Refusal, customer_or_invoice, invoice_of, total
from pipelines.orders.home import Home
from pipelines.orders.order import IllegalStep, decided, just_placed, placed
from pipelines.orders.world import World
from reactor import DeadLetters, Pipeline, Retry

NAME = "payment"
CONCURRENCY = 16
TIMEOUT = 10.0
CALLS = 10


class Unavailable(Exception):
    """The gateway is out of order or busy; ``retry_after`` seconds, if it said so."""

    def __init__(self, status: int, retry_after: float | None) -> None:
        super().__init__(f"the gateway answered {status}")
        self.retry_after = retry_after


class Declined(Exception):
    """The gateway has decided, and won't decide otherwise: a declined card, or a request that it refuses."""


class _Answer(Struct):
    id: str
    status: str
    amount: Decimal
    reason: str | None = None


class Gateway:
    """The gateway's HTTP interface. Its client is the caller's, who closes it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._decode = msgspec.json.Decoder(_Answer).decode

    async def charge(self, order: OrderCompleted) -> Payment | Refusal:
        """Return what the gateway has decided; the same however often it is called for an order.

        Raises Unavailable and httpx.TransportError, after which it should be called again.
        """
        amount = total(order.lines)
        if amount <= 0:
            return Payment(invoice=order.invoice, amount=amount, reference=None)
        answer = await self._client.post(
            "/charges",
            content=msgspec.json.encode(
                {"amount": amount, "currency": "GBP", "customer": customer_or_invoice(order)}
            ),
            headers={"Idempotency-Key": f"order-{order.invoice}", "Content-Type": "application/json"},
        )
        if answer.status_code == 200:
            charged = self._decode(answer.content)
            return Payment(invoice=order.invoice, amount=charged.amount, reference=charged.id)
        if answer.status_code == 402:
            reason = self._decode(answer.content).reason or "declined"
            return Refusal(invoice=order.invoice, reason=reason, amount=amount)
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise Unavailable(answer.status_code, _seconds(answer.headers.get("retry-after")))
        reason = f"{answer.status_code} {answer.text[:200]}"
        return Refusal(invoice=order.invoice, reason=reason, amount=amount)


def _seconds(retry_after: str | None) -> float | None:
    """Read the header's seconds; it may also be a date, which this gateway doesn't use."""
    return min(float(retry_after), 60.0) if retry_after and retry_after.isdecimal() else None


def worth_a_retry(error: Exception) -> bool | float:
    """Say whether, or in how many seconds, the charge should be tried again."""
    if isinstance(error, Unavailable):
        return True if error.retry_after is None else error.retry_after
    return isinstance(error, httpx.TransportError | TimeoutError)


def approved(decision: Payment | Refusal) -> Payment:
    if isinstance(decision, Refusal):
        raise Declined(f"{decision.amount} GBP for order {decision.invoice}: {decision.reason}")
    return decision


async def record(book: OrderBook, order: OrderCompleted, decision: Payment | Refusal) -> Payment | Refusal:
    """Write the decision into the order's stream, and that it was placed where nobody has done so yet."""
    step = decided(order, decision, NAME)
    try:
        await book.take(order.invoice, step, believed=just_placed(order.invoice))
    except IllegalStep as illegal:
        if illegal.order.status is not None:
            raise
        await book.take(order.invoice, placed(order, NAME), step)
    return decision


@asynccontextmanager
async def payment(home: Home, world: World) -> AsyncGenerator[Pipeline, None]:
    """Yield the pipeline, with the HTTP client that it needs."""
    limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
    certificates = await to_thread.run_sync(ssl.create_default_context)  # reads files
    async with (
        httpx.AsyncClient(
            base_url=world.gateway, limits=limits, timeout=TIMEOUT, verify=certificates
        ) as client,
        order_book(home) as book,
    ):
        gateway = Gateway(client)

        async def charge(order: OrderCompleted) -> tuple[OrderCompleted, Payment | Refusal]:
            return order, await gateway.charge(order)

        async def recorded(charged: tuple[OrderCompleted, Payment | Refusal]) -> Payment | Refusal:
            return await record(book, *charged)

        # A gateway that is away for longer than the retries stops this consumer, which goes on later where
        # it was; only what the gateway has decided against is a dead letter.
        decisions = (
            home.shared(NAME)
            .subscribe(NAME, OrderCompleted)
            .map(
                charge,
                concurrency=CONCURRENCY,
                ordered=False,
                timeout=TIMEOUT,
                retry=Retry(CALLS, initial=0.1, max=5, on=worth_a_retry),
                name="charge",
            )
            .map(recorded, concurrency=CONCURRENCY, ordered=False, name="recorded")
        )
        payments = decisions.map(approved, on_error=DeadLetters(), name="approved")
        yield Pipeline(
            NAME,
            payments.to(home.payments(), id=invoice_of),
            dead_letters=home.dead_letters("payments.dead"),
            capacity=2 * CONCURRENCY,
            interval=0.25,
        )
