"""Whole runs analysed without a prompt from a person: the command ``sam3-angio analyze``."""
