"""One thread a process: many small models run here, and threads that wait for each other cost more than they save."""

import os

# Read when torch is imported, here and in the processes started from here.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
