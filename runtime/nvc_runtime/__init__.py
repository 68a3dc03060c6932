"""nvc_runtime package."""
