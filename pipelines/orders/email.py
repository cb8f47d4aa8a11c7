"""The consumer ``email``: a mail for every order of a customer; guests, who left no address, get none."""

from __future__ import annotations

from binascii import b2a_qp
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.message import Message
from email.policy import compat32
from email.utils import format_datetime

import aiosmtplib
import anyio

from pipelines.orders.events import EmailSent, OrderCompleted, Refusal, invoice_of, money, total
from pipelines.orders.home import Home
from pipelines.orders.world import World
from reactor import DeadLetters, Pipeline, RateLimit, Retry

SENDER = "orders@shop.example"
CONNECTIONS = 4
CALLS = 6
LIMIT = RateLimit(500, per=1, burst=50)
"""Mails in a second: what the provider allows, far above the shop's own pace."""


_POLICY = compat32.clone(linesep="\r\n")


class Refused(Exception):
    """The mail server doesn't take this mail, and won't take it later either."""


class Mailer:
    """Sends mails over a few connections, which it opens when they are needed and keeps.

    For as many tasks at a time as there are connections; more of them wait.
    """

    def __init__(self, host: str, port: int, connections: int = CONNECTIONS) -> None:
        self._host = host
        self._port = port
        self._slots = anyio.Semaphore(connections)
        self._idle: list[aiosmtplib.SMTP] = []

    async def send(self, recipient: str, message: bytes) -> None:
        """Return once the server has taken it. Raises Refused, or aiosmtplib's errors, which may pass."""
        async with self._slots:
            smtp = self._idle.pop() if self._idle else None
            healthy = False
            try:
                if smtp is None or not smtp.is_connected:
                    smtp = aiosmtplib.SMTP(hostname=self._host, port=self._port, start_tls=False, timeout=10)
                    await smtp.connect()
                await smtp.sendmail(SENDER, recipient, message)
                healthy = True
            except aiosmtplib.SMTPRecipientsRefused as error:
                healthy = True
                refusal = error.recipients[0]
                if refusal.code >= 500:
                    raise Refused(f"{refusal.recipient}: {refusal.code} {refusal.message}") from error
                raise
            except aiosmtplib.SMTPResponseException as error:
                if error.code >= 500:
                    raise Refused(f"{error.code} {error.message}") from error
                raise
            finally:
                if smtp is not None:
                    if healthy and smtp.is_connected:
                        self._idle.append(smtp)
                    else:  # perhaps in the middle of a mail: not to be used again
                        smtp.close()

    async def close(self) -> None:
        while self._idle:
            smtp = self._idle.pop()
            try:
                await smtp.quit()
            except aiosmtplib.SMTPException:
                smtp.close()


def address(order: OrderCompleted) -> str:
    return f"customer-{order.customer_id}@customers.example"


def message_id(order: OrderCompleted) -> str:
    """Return the invoice's Message-ID: a mail that comes twice can be told as such."""
    return f"<order-{order.invoice}@shop.example>"


def confirmation(order: OrderCompleted) -> bytes:
    """Return the mail. ``EmailMessage`` would parse each header again: most of what a mail costs."""
    lines = [
        f"{line.quantity:>6} x {line.description or line.stock_code}: {money(line.amount)} GBP"
        for line in order.lines
    ]
    text = "\r\n".join(["Thank you!", "", *lines, "", f"Total: {money(total(order.lines))} GBP", ""])
    message = Message()
    message["From"] = SENDER
    message["To"] = address(order)
    message["Subject"] = f"Your order {order.invoice}"
    message["Message-ID"] = message_id(order)
    message["Date"] = format_datetime(order.placed_at)
    message["MIME-Version"] = "1.0"
    message["Content-Type"] = 'text/plain; charset="utf-8"'
    message["Content-Transfer-Encoding"] = "quoted-printable"
    message.set_payload(b2a_qp(text.encode()).decode("ascii"))
    return message.as_bytes(policy=_POLICY)


@asynccontextmanager
async def email(home: Home, world: World) -> AsyncGenerator[Pipeline, None]:
    """Yield the pipeline, with the connections that it needs."""
    mailer = Mailer(world.smtp_host, world.smtp_port)

    async def send(order: OrderCompleted) -> EmailSent | Refusal:
        try:
            await mailer.send(address(order), confirmation(order))
        except Refused as refusal:
            return Refusal(invoice=order.invoice, reason=str(refusal))
        return EmailSent(invoice=order.invoice, recipient=address(order), message_id=message_id(order))

    def taken(answer: EmailSent | Refusal) -> EmailSent:
        if isinstance(answer, Refusal):
            raise Refused(f"order {answer.invoice}: {answer.reason}")
        return answer

    try:
        orders = home.shared("email").subscribe("email", OrderCompleted).filter(has_customer)
        # A server that is away for longer than the retries stops this consumer, and goes on later where it
        # was; only what the server has refused for good is a dead letter.
        answers = orders.rate_limit(LIMIT).map(
            send,
            concurrency=CONNECTIONS,
            timeout=30,
            retry=Retry(CALLS, initial=0.2, max=5, on=(aiosmtplib.SMTPException, OSError)),
            name="send",
        )
        sent = answers.map(taken, on_error=DeadLetters(), name="taken")
        yield Pipeline(
            "email",
            sent.to(home.emails(), id=invoice_of),
            dead_letters=home.dead_letters("emails.dead"),
            capacity=64,
            interval=0.25,
        )
    finally:
        with anyio.CancelScope(shield=True):
            await mailer.close()


def has_customer(order: OrderCompleted) -> bool:
    return order.customer_id is not None
