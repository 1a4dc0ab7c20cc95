"""A run of a trainer: the loop over the epochs, the checkpoint from which it resumes, files of
weights, device, precision and seeds, and its curves. Testers take weights and device from here, and
nothing here knows what they do with them."""
