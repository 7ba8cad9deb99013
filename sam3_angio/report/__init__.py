"""What people look at: result tables, curves and pictures."""
