"""Masks: the expand-and-accumulate kernel against the raw rate of AES-128-CTR, both of one process.

`ratio_to_aes_ctr` is keystream accumulated a CPU second over keystream generated a CPU second; everything the kernel
adds to the cipher (additions, memory traffic, interpreter) counts against it. It is above 1 where GCM makes the same
keystream faster than counter mode does (`stream_by_gcm` is 1 there).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR

from benchmarks import harness
from secagg import masking
from secagg.primitives import prg
from secagg.primitives.secret import Secret
from secagg.ring import Ring, Words
from secagg.types import system_entropy

WORDS = 1_000_000
KEYS = 16
REPEATS = 15
RAW_BUFFER = 256 * 1024
INPUT_BITS = 27


def run() -> dict[str, float | int | str]:
    """Measure the kernel, its second thread, packing, and the memory of masking an input."""
    keys = [Secret(system_entropy(prg.STREAM_KEY_SIZE)) for _ in range(KEYS)]
    return {"words": WORDS, "keys": KEYS, **_rates(keys), **_threads(keys), **_input(keys)}


def _rates(keys: list[Secret]) -> dict[str, float]:
    acc = np.zeros(WORDS, dtype=np.uint32)
    raw_calls = KEYS * acc.nbytes // RAW_BUFFER
    works = {
        "aes": partial(_generate, raw_calls),
        "kernel": partial(masking.accumulate, acc, plus=keys[: KEYS // 2], minus=keys[KEYS // 2 :]),
    }
    seconds = harness.cpu_seconds(works, repeats=REPEATS)
    aes = raw_calls * RAW_BUFFER / seconds["aes"]
    kernel = KEYS * acc.nbytes / seconds["kernel"]
    return {
        "aes_ctr_gb_per_s": aes / 1e9,
        "kernel_gb_per_s": kernel / 1e9,
        "ratio_to_aes_ctr": kernel / aes,
        "stream_by_gcm": int(prg.gcm_is_faster()),
        "mask_ms": 1000 * seconds["kernel"] / KEYS,
    }


def _generate(calls: int) -> None:
    stream = Cipher(AES128(system_entropy(16)), CTR(bytes(16))).encryptor()
    zeros, buffer = bytes(RAW_BUFFER), bytearray(RAW_BUFFER)
    for _ in range(calls):
        stream.update_into(zeros, buffer)


def _threads(keys: list[Secret]) -> dict[str, float]:
    acc = np.zeros(WORDS, dtype=np.uint32)
    with ThreadPoolExecutor(1) as executor:
        works = {
            "one": partial(masking.accumulate, acc, plus=keys, minus=()),
            "two": partial(masking.accumulate, acc, plus=keys, minus=(), executor=executor, workers=2),
        }
        seconds = harness.wall_seconds(works, repeats=2 * REPEATS)
    return {"two_thread_speedup": seconds["one"] / seconds["two"]}


def _input(keys: list[Secret]) -> dict[str, float]:
    ring = Ring(INPUT_BITS)
    words: Words = np.arange(WORDS).astype(ring.word)
    largest_read = 0

    def read(start: int, stop: int) -> Words:
        nonlocal largest_read
        largest_read = max(largest_read, (stop - start) * ring.word_bytes)
        return words[start:stop].copy()

    mask = partial(masking.mask_input, read, ring=ring, length=WORDS, plus=keys, minus=())
    seconds = harness.cpu_seconds({"pack": partial(ring.pack, words), "mask_input": mask}, repeats=REPEATS)
    output = ring.packed_size(WORDS)
    peak = harness.peak_bytes(mask)
    return {
        "pack_ms": 1000 * seconds["pack"],
        "mask_input_ms": 1000 * seconds["mask_input"],
        "mask_input_peak_over_output": (peak - largest_read) / output,
        "mask_input_peak_with_read_over_output": peak / output,
    }
