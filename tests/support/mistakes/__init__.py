"""The table of mistakes, by where they are made."""
