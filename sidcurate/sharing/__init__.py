"""A manifest in an object store: pushed from one machine, fetched by others."""
