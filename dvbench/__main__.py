"""`python -m dvbench`: the command line where it is not installed."""

import sys

from dvbench.cli import main

sys.exit(main())
