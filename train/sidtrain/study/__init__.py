"""The few-pair curve: how good a network gets with so many pairs."""
