"""`python -m protocols.cli` is `secagg`."""

import sys

from protocols.cli import main

sys.exit(main())
