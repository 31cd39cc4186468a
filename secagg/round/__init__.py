"""`ClientRound` and `ServerRound`: bytes in, events out. The face of the phases that an embedder sees.

Promise: neither does I/O or owns a clock, so a round runs in a unit test as plain function calls.
"""
