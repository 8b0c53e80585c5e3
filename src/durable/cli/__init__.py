"""The `durable` command: a file per command group, over the public API and the store contract.

`main` finds the command and turns what went wrong into one line and an exit code (`exits`). `loading` and `arguments`
bring in the user's code, `opening` a database without it. `steps` makes the steps of a run from its journal, `drawing`
draws them, `view` shows a run that executes. Nothing imports this package; click and rich are imported by the commands
that need them.
"""
