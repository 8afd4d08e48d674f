"""What is written to disk: files that are whole or not there, the cache folder, vectors kept in it."""
