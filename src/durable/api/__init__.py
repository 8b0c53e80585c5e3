"""What users write against: the application, decorated tasks and workflows, handles, and functions for bodies.

Called by user code, `server`, `cli` and `testing`. Only `app` knows which stores there are.
"""
