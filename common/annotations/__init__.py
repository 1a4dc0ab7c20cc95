"""What annotations are worth: whether they can be the axes of a head, how far two readers of one
image are apart, by which rule ends are named, and the audit of a file. Nothing here knows a network
or a test."""
