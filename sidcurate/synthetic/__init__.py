"""A seeded synthetic sensor: scenes, a body with measured noise, faults, and real DNG files with known truth."""
