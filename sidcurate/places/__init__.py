"""Where raws are, a folder or a bucket: listed, and read whole, one by one."""
