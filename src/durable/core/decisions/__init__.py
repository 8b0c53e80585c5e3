"""What each operation answers and what it makes of a run: the rules that all stores share, as pure functions.

A store reads, locks and writes; between the two it asks these functions. They take what was read (a `Standing`, and
facts such as "is its target there?") and the request, and return the answer and the `Change`. Where a store does the
same to many runs in one statement, the function is what that statement must amount to, and the contract suite and
`durable.testing.contract.differential` compare the two.

| module | decides about |
|---|---|
| `standing` | the moves that the others are made of: state, due time, notice, the newest entry |
| `starts` | new runs, ids that are taken, what a claim does |
| `advances` | Advances: fenced, repeated or new; where the run goes then |
| `requests` | cancel, pause, resume, mend, rewind; messages and promises |
| `arrivals` | what has arrived for a run, in which order it is told |
| `takeovers` | runs whose owner died or left |
| `retention` | which ended runs may go |

Called by the stores only. Callers use them through their module (`from durable.core.decisions import requests as
decide`), so that a test may replace one rule for all stores at once.
"""
