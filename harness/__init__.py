"""A model-zoo benchmark and regression harness for RMSNorm on the Apple Neural Engine."""
