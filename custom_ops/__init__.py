"""Sources of the native operators, and the script that builds them."""
