"""Write digits.xz from scikit-learn's copy of the UCI hand-written digits.

    python -m pip install --no-deps scikit-learn==1.9.1
    python -m protocols.demo.data.make_digits

Kept: all 1,797 images and labels, in their original order, which `protocols.demo.digits` infers the writers from. The
package's file is read as it is.

Deterministic: the same package gives the same uncompressed bytes; README.md has their digest.
"""

from __future__ import annotations

import csv
import gzip
import io
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import numpy as np

from protocols.demo.columns import Table, pack

SOURCE: Final = (
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository, "
    "doi:10.24432/C50P49 (CC BY 4.0); its test part as distributed with scikit-learn 1.9.1"
)
PIXELS: Final = 64


def main() -> None:
    """Write the file beside this script."""
    path = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    text = gzip.decompress(Path(str(path)).read_bytes()).decode("ascii")
    rows = np.array([[int(float(cell)) for cell in row] for row in csv.reader(io.StringIO(text))], dtype=np.uint8)
    columns = {"label": rows[:, PIXELS], "pixels": rows[:, :PIXELS].reshape(-1)}
    table = Table(source=SOURCE, columns=columns, vocabularies={})
    Path(__file__).with_name("digits.xz").write_bytes(pack(table))


if __name__ == "__main__":
    main()
