"""Command line ``nvc-export``: one file per subcommand."""
