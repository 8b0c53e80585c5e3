"""The public test kit.

`durable.testing.contract` is the suite by which a store proves itself; it needs pytest and hypothesis, so it is
imported by name and never from here.
"""
