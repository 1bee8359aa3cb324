"""What browsers get: the page, the stream and the answers, and what guards them."""
