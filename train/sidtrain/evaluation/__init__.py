"""Full frames judged by named protocols, with intervals and pictures."""
