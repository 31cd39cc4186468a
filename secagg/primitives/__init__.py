"""The cryptographic primitives of suite 2, each in one small file.

Promise: these are the only files of `secagg` that import `cryptography` or `nacl`; every key, label and nonce rule
is readable here in one sitting.
"""
