"""The command-line tool ``nvc-run``: parses, calls the library, prints."""
