"""`make run`: the whole system on real input, in under two minutes.

Starts a server on loopback, hands every file of the running Python's standard library to the handler `python_audit`,
shows what came out and checks which files had to fail. A program beside the client, not a part of it.
"""
