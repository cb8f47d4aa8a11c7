"""The world outside, simulated on loopback: a payment gateway and a mail server.

Both are real servers, with their own memory in HOME, and run in a process of their own, so that the shop's
event loop is the shop's alone. What the gateway does to a charge follows from its idempotency key by a fixed
rule: any run, after any number of crashes, gets the same answers.
"""
