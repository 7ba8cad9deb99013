"""Whether a data set can be trusted: every fault of it, before it costs anything."""

from sam3_angio.checking.data_set import CheckReport, check_data, check_site
from sam3_angio.checking.finding import Finding

__all__ = ["CheckReport", "Finding", "check_data", "check_site"]
