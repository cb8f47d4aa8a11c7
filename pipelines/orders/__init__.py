"""Order processing: the orders of an online shop, from a file or over HTTP, to six consumers.

    orders file --(producer)--.                   .--> email       a mail for each order of a known customer
                               +--> topic orders -+--> inventory   stock per product
    POST /orders --(web)------'                   +--> payment     a charge at the gateway
                                                  +--> fulfilment  what is paid is packed and shipped
                                                  +--> audit       an append-only, hash-chained file
                                                  '--> analytics   revenue, best sellers, sessions, in event time

Each consumer is a pipeline of its own: a slow, failed or killed one doesn't hold up the others. (Fulfilment
comes behind payment: what isn't paid isn't shipped.) Each goes on where it was: by a group of its own in the
topic, and analytics, which remembers windows, by its checkpoints. All of them run in one process (``run``,
``demo``) or each in its own (``produce``, ``serve``, ``consume NAME``).

What becomes of an order stands in a stream of its own: ``order`` says which steps there are, ``past`` reads
them back (``history ORDER``, ``as-of TIME``).

Everything that is to be known after a crash stands in one folder, HOME:

``source.db``   the orders file as it was surveyed: its digest, its rows, the last line of each invoice, and
                whether all of it is published; and how far its invoices are out of order. Another orders
                file in the same HOME is refused.
``shop.db``     the embedded broker. Topics:
                ``orders``          OrderCompleted, OrderCancelled, StockAdjusted; an event's id is its
                                    invoice number, so that publishing again changes nothing
                ``orders.dead``     Rejected: rows that can't be read, invoices that aren't orders
                ``emails``          EmailSent, by invoice         ``emails.dead``    refused by the server
                ``payments``        Payment, by invoice           ``payments.dead``  declined cards
                It is an event store, too: the topic ``orders`` is one of its streams, and each order has
                one, ``order-INVOICE``: Placed, Paid or Declined, Packed, Shipped, Cancelled
``stock.db``    stock per product: a projection of ``orders``, which can be made anew (``rebuild inventory``)
``audit.jsonl`` one record per event; record n is the event at position n of ``orders``
``analytics.json`` what analytics has found, as its last checkpoint has it; those stand in ``analytics.state``
``shop.log``    what went wrong, with tracebacks
``*.lock``      held while that part runs: nothing is started twice on one HOME

and what belongs to the simulated world outside, which has its own memory, as the real one has:

``gateway.db``  the payment gateway's charges by idempotency key
``mail.db``     the mailbox behind the mail server, by Message-ID

What happens twice when a process dies between an effect and the commit of its position:

========== ====================================================================================
producer   publishes invoices again; the topic knows their ids
email      may send a mail again, with the same Message-ID; the mailbox keeps one
inventory  nothing: the table and the position behind its last event are one transaction
payment    charges again with the same idempotency key; the gateway gives the same answer, and the order's
           stream knows the step's id
fulfilment takes the steps again, whose ids the streams know; what an order's state doesn't allow is refused
audit      skips the events whose records stand behind the committed position, after comparing
           them; a torn last line is cut off first
analytics  nothing: its position, its windows and its figures are of one checkpoint
========== ====================================================================================

So all figures of the report are read from HOME, never counted by a process, and are the same after any
number of crashes.
"""
