"""What the annotations of a ground truth are worth: whether they can be the axes of a head, how far
two readers (people) of one image are apart, by which rule ends are named, and the audit of a file.
Predictions are compared as a reader's are; no network is known here."""
