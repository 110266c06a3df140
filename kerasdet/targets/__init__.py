"""Which anchor, cell or region learns which object."""
