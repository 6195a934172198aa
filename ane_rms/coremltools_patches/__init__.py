"""Every replacement of a coremltools function while converting, in one place."""
