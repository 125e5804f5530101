"""A network of images in plain NumPy, and the lines that people write in the place of its right ones."""
