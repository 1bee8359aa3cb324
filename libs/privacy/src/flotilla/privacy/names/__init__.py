"""Names, places, addresses and organisations by lists and rules, in English, German, French and Spanish."""
