"""TenSEAL's party: a sum of CKKS ciphertexts, the clients holding the secret key between them.

Runs in TenSEAL's own environment. A client encrypts its vector in ciphertexts of 4096 numbers and serializes them; the
server holds the public context, adds ciphertexts and serializes the sum; every client decrypts it. Degree 8192 and
moduli of 60, 40 and 40 bits at a scale of 2^40 carry one addition chain. The keys serve many rounds, so their making is
counted apart from the round.
"""

# mypy: disable-error-code="import-not-found, misc"
# tenseal is installed where this module runs, which is not where it is type-checked.

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tenseal

from benchmarks.peers.station import SERVER, Meter, Task, serve

_DEGREE = 8192
_MODULI = (60, 40, 40)
_SCALE = 2.0**40
_SLOTS = _DEGREE // 2


def play(task: Task, meter: Meter) -> npt.NDArray[Any]:
    """One round of a CKKS sum."""
    secret, public = _contexts(task, meter)
    total: list[Any] = []
    for number in task.survivors:
        vector = task.vector(number)
        with meter.peak.of_client(), meter.on(number):
            parts = [
                tenseal.ckks_vector(secret, vector[start : start + _SLOTS].tolist()).serialize()
                for start in range(0, task.length, _SLOTS)
            ]
        meter.send(number, sum(map(len, parts)))
        with meter.on(SERVER):
            received = [tenseal.ckks_vector_from(public, part) for part in parts]
            total = received if not total else [sum_ + part for sum_, part in zip(total, received, strict=True)]
    with meter.on(SERVER):
        answer = [part.serialize() for part in total]
    result: npt.NDArray[Any] = np.empty(0)
    for number in task.survivors:
        meter.receive(number, sum(map(len, answer)))
        with meter.on(number):
            numbers = [tenseal.ckks_vector_from(secret, part).decrypt() for part in answer]
            result = np.concatenate(numbers) / len(task.survivors)
    return result


def _contexts(task: Task, meter: Meter) -> tuple[Any, Any]:
    """Make the clients' context and its public half; the first client to answer makes them for all."""
    meter.setting_up = True
    with meter.on(task.survivors[0]):
        secret = tenseal.context(
            tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=_DEGREE, coeff_mod_bit_sizes=list(_MODULI), n_threads=1
        )
        secret.global_scale = _SCALE
        data = secret.serialize(save_secret_key=False)
    with meter.on(SERVER):
        public = tenseal.context_from(data, n_threads=1)
    meter.setting_up = False
    return secret, public


if __name__ == "__main__":
    serve(play, distributions=("tenseal", "numpy"))
