"""Why a norm was fused or not, and where two programs part."""
