"""The report room: run folders in, tables, figures and one page out."""
