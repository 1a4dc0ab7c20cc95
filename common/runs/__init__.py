"""A run of a trainer: the loop over the epochs, the checkpoint from which it resumes, files of
weights, device, precision and seeds, and its curves. Nothing here knows what a tester does."""
