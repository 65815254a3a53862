"""Networks, and their weights with everything needed to use them."""
