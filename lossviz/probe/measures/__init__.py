"""The measures of `lossviz probe`, one a file; lossviz/config/measures.py has the table of their names."""
