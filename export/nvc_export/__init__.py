"""nvc_export package."""
