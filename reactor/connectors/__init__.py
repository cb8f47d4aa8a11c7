"""Brokers and files, one folder or module each, all with the same anatomy: a log, a source and a sink.

They are loaded one by one, by the scheme of a URL (``reactor/topics.py``), so their modules are the contract.
"""
