"""Acts: runs workflow bodies on a deterministic loop, executes tasks, commits, claims, wakes.

Called by `api`. Knows the store only through its contract (`store.base`, `store.operations`) and values only through
the codec's. `DESIGN.md` beside this file is the theory of operation.
"""
