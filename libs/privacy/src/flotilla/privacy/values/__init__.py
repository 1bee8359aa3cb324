"""
Values with a form or a checksum, one module per kind; each gives `find(outline) -> (start, end, type), ...`.

All patterns are linear or bounded: every repetition that could be tried in two ways has a bound.
"""
