"""The test ladder of DESIGN section 7: one folder per rung."""
