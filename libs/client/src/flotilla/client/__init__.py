"""The Python API (Fleet) and the flotilla command."""
