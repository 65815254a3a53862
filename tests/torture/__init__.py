"""Kill, starve and interrupt every writer, and see that a manifest is the old one or the new one."""
