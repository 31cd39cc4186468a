"""The pairwise-masking protocol of Bonawitz et al. (CCS 2017) and Bell et al. (CCS 2020), five legs a round.

Reading order for an auditor: messages.py (what travels), checks.py (what is refused), keys.py (every derivation),
client.py and server.py (the phases), recover.py (what the server rebuilds, and whom it names).
"""
