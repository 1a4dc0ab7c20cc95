"""The comparison of tests, from the tables that testers have written to its text, its table and its
picture. It needs no network and no image."""
