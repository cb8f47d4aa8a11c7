"""``POST /orders``: the web app beside the pipelines.

    {"id": "2026-0001", "customer_id": "17850", "country": "United Kingdom",
     "lines": [{"stock_code": "85123A", "quantity": 6, "unit_price": "2.55", "description": "..."}]}

202 says that the order is stored, 422 what is wrong with it and where, 503 (with Retry-After) that the
pipeline is behind or away. An order sent again under its ``id`` is stored once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import anyio
import msgspec
from msgspec import Meta, Struct
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipelines.orders.events import WEB, Line, OrderCompleted, customer_or_invoice, happened_at, invoice_of
from pipelines.orders.home import Home
from reactor import Closed, Inlet, Pipeline, Stream

CAPACITY = 1000
PATIENCE = 5.0
"""Seconds until a request is told to come back later."""
RETRY_AFTER = 2
LARGEST = 1_000_000
"""Bytes of a request."""
DRAIN = 20.0

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Code = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}$")]


class WantedLine(Struct, frozen=True, forbid_unknown_fields=True):
    stock_code: Code
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)]
    unit_price: Decimal
    description: Name | None = None


class WantedOrder(Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,39}$")]
    country: Name
    lines: Annotated[list[WantedLine], Meta(min_length=1, max_length=1000)]
    customer_id: Annotated[str, Meta(pattern=r"^[0-9]{1,18}$")] | None = None


class Unprocessable(ValueError):
    """The request's content is wrong at ``path``."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


_decode = msgspec.json.Decoder(WantedOrder).decode


def parse(body: bytes, now: datetime) -> OrderCompleted:
    """Return the order. Raises Unprocessable."""
    try:
        wanted = _decode(body)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        raise Unprocessable(path.removesuffix("`") or "$", reason) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unprocessable("$", f"isn't JSON: {error}") from None
    for n, line in enumerate(wanted.lines):
        path = f"$.lines[{n}].unit_price"
        price = line.unit_price
        if not price.is_finite() or price < 0 or price > 1_000_000:
            raise Unprocessable(path, f"{price} isn't an amount from 0 to 1000000")
        exponent = price.as_tuple().exponent
        assert isinstance(exponent, int)
        if exponent < -4 or len(price.as_tuple().digits) > 12:
            raise Unprocessable(path, f"{price} has more than 4 decimals")
    return OrderCompleted(
        invoice=WEB + wanted.id,
        customer_id=wanted.customer_id,
        country=wanted.country,
        placed_at=now,
        lines=tuple(Line(w.stock_code, w.description, w.quantity, w.unit_price) for w in wanted.lines),
    )


class Shopfront:
    """The app, and the inlet behind it."""

    def __init__(self, home: Home, *, capacity: int = CAPACITY, patience: float = PATIENCE) -> None:
        self._home = home
        self._capacity = capacity
        self._patience = patience
        self._inlet = Inlet[OrderCompleted](capacity)
        self._deliveries = 0
        self._state = "starting"
        self.app = Starlette(
            routes=[
                Route("/orders", self.order, methods=["POST"]),
                Route("/health", self.health, methods=["GET"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncGenerator[None, None]:
        """Run the pipeline as long as the server; when it stops, what was taken is stored first."""
        self._inlet = Inlet[OrderCompleted](self._capacity)
        pipeline = Pipeline(
            "web",
            Stream(self._inlet).to(
                self._home.published(), key=customer_or_invoice, time=happened_at, id=invoice_of
            ),
        )
        async with pipeline.start(drain=DRAIN) as run:
            self._run = run
            yield

    async def order(self, request: Request) -> Response:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST:
                    return _problem(413, "$", f"more than {LARGEST} bytes")
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            order = parse(bytes(body), datetime.now(UTC))
        except Unprocessable as fault:
            return _problem(422, fault.path, fault.reason)
        if self._deliveries >= self._capacity:
            return _later("the shop is behind with its orders")
        self._deliveries += 1
        try:
            with anyio.fail_after(self._patience):
                await self._inlet.deliver(order)
        except TimeoutError:
            # Perhaps it is stored a moment later: sent again under the same id, it is stored once.
            return _later("the shop is behind with its orders")
        except Closed:
            return _later("the shop takes no orders at the moment")
        finally:
            self._deliveries -= 1
        return JSONResponse({"order": order.invoice, "status": "stored"}, 202)

    async def health(self, request: Request) -> Response:
        state = self._run.state
        content: dict[str, Any] = {"pipeline": state, "waiting": self._deliveries, "error": None}
        if self._run.error is not None:
            content["error"] = repr(self._run.error)
        return JSONResponse(content, 200 if state == "running" else 503)


def _problem(status: int, path: str, reason: str) -> Response:
    return JSONResponse({"error": reason, "path": path}, status)


def _later(reason: str) -> Response:
    return JSONResponse({"error": reason}, 503, {"retry-after": str(RETRY_AFTER)})
