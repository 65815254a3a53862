"""The benchmark of the rules: faults planted in simulated pairs, and what the audit finds of them."""
