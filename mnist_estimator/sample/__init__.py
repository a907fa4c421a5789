"""The bundled sample: 5,000 real MNIST digits as four IDX files; README.md beside this has more."""
