"""Decides, and does nothing else: journal entries, records, state tables, replay, retry, ids, leases.

Called by every layer above. Knows no asyncio, thread, clock, randomness, database or log: time, random numbers and the
outcomes of I/O are arguments, decisions are return values. Production and the simulator drive the same code.
"""
