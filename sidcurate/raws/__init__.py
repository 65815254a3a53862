"""Raw files: what their headers state and their pixels say."""
