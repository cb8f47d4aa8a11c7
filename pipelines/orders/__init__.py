"""Order processing: the orders of an online shop, from a file or over HTTP, to four consumers.

    orders file --(producer)--.                   .--> email      a mail for each order of a known customer
                               +--> topic orders -+--> inventory  stock per product
    POST /orders --(web)------'                   +--> payment    a charge at the gateway
                                                  '--> audit      an append-only, hash-chained file

Each consumer is a pipeline of its own, on a group of its own: a slow, failed or killed one doesn't hold up
the others, and goes on where it was. All of them run in one process (``run``, ``demo``) or each in its own
(``produce``, ``serve``, ``consume NAME``).

Everything that is to be known after a crash stands in one folder, HOME:

``source.db``   the orders file as it was surveyed: its digest, its rows, the last line of each invoice, and
                whether all of it is published. Another orders file in the same HOME is refused.
``shop.db``     the embedded broker. Topics:
                ``orders``          OrderCompleted, OrderCancelled, StockAdjusted; an event's id is its
                                    invoice number, so that publishing again changes nothing
                ``orders.dead``     Rejected: rows that can't be read, invoices that aren't orders
                ``emails``          EmailSent, by invoice         ``emails.dead``    refused by the server
                ``payments``        Payment, by invoice           ``payments.dead``  declined cards
``stock.db``    stock per product, and the ids of the events that were applied to it, in one transaction
``audit.jsonl`` one record per event; record n is the event at position n of ``orders``
``shop.log``    what went wrong, with tracebacks
``*.lock``      held while that part runs: nothing is started twice on one HOME

and what belongs to the simulated world outside, which has its own memory, as the real one has:

``gateway.db``  the payment gateway's charges by idempotency key
``mail.db``     the mailbox behind the mail server, by Message-ID

What happens twice when a process dies between an effect and the commit of its position:

=========  ====================================================================================
producer   publishes invoices again; the topic knows their ids
email      may send a mail again, with the same Message-ID; the mailbox keeps one
inventory  sees the event's id in the transaction and leaves the stock alone
payment    charges again with the same idempotency key; the gateway gives the same answer
audit      skips the events whose records stand behind the committed position, after comparing
           them; a torn last line is cut off first
=========  ====================================================================================

So all figures of the report are read from HOME, never counted by a process, and are the same after any
number of crashes.
"""
