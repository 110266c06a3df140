"""Report pages: one HTML file each, with its pictures, styles and scripts inside, that opens without a network."""
