"""The selective scan of Mamba: one op, several backends side by side.

All backends share one layout, channels last: sequences are (batch, length, channels), as linear layers leave them.
"""

from models.scan.backends import BACKENDS, Backend, ScanBackendError, choose
from models.scan.op import scan_flops, selective_scan

__all__ = ["BACKENDS", "Backend", "ScanBackendError", "choose", "scan_flops", "selective_scan"]
