"""What would a generation of Neural Engine do with a program? Predicted from published measurement, never measured."""
