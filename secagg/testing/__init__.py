"""Tools for testing this protocol: its own tests use them, and so can yours.

`entropy` (bytes that repeat, and the round classes that take them), `plans` (small graphs no production plan allows),
`table` (a whole round by hand, advanced to any leg), `strategies` (hypothesis strategies; the only module of the
distribution that imports hypothesis), `conformance` (for transports, masks and shares of others) and `vectors` (for
other implementations). Nothing here is imported by production code, and the architecture tests hold
that.
"""
