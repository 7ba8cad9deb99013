"""Taking a site's table, runs and labels into a data folder."""

from sam3_angio.intake.importing import ImportSummary, import_table

__all__ = ["ImportSummary", "import_table"]
