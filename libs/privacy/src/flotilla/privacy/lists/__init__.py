"""Word lists as package data; `libs/privacy/tools/build_lists.py` makes them. NOTICE says whose they are."""
