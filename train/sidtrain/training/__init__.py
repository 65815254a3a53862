"""The loop, and what it needs around it: processes, devices, validation, the folder of a run."""
