"""The embedded index: a folder with a SQLite file, which one process owns, and exact search over arrays in memory."""
