"""Where a classifier sees its classes: maps of cases on their own grid, what they are held against, how they are drawn."""
