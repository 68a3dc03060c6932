"""nvc_models package."""
