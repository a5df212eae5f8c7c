"""What a bin is called and how many items it should hold: ids, metadata and tables that other people wrote.

Ingest and the audit read with the same code, so both use the same bins and refuse the same ones for the same reasons.
It is packed with the training code and needs nothing but the standard library.
"""
