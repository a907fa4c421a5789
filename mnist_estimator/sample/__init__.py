"""The bundled sample: 5,000 real MNIST digits as four IDX files; see README.md in this folder."""
