"""
In the place of rich, which the images of the services do not have: structlog would import it, a third of a start.

The folder above is on the path of the services that tests start, and of nothing else.
"""

raise ImportError("the services' images have no rich")
