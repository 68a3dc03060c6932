"""nvc_engines package."""
