"""Other people's privacy libraries, each behind an extra of this distribution and imported by its own module alone.

    protocols.integrations.pld       dp-accounting, extra [pld]: tighter bounds for sampled Gaussian releases
    protocols.integrations.opacus    opacus, extra [torch]: this project's accountant in a PrivacyEngine

Importing this package imports none of them.
"""
