"""The result of a test: what a tester does, the table that it writes, its figures with intervals,
review flag, text and pictures. Nothing here trains, and nothing here compares two tests."""
