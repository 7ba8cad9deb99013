"""Whether a data set can be trusted: every fault of it, before it costs anything."""
