"""Train and evaluate the See-in-the-Dark U-Net on a validated manifest."""
