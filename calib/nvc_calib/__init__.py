"""nvc_calib package."""
