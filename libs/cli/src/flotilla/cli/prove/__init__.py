"""`flotilla privacy prove`: documents with canaries through a live fleet, and who saw any of them."""
