"""Gradient checks by central differences, and the name of the mistake behind a wrong gradient.

How a mistake is named: rules are tried in order, and the first that fits names it (mistakes/naming.py).

1. Called twice, the functions must return the same and change no parameter.
2. Gradients must be finite and have their parameters' shapes, which tell the dense layers (evidence.py).
3. Patterns come first (patterns.py): the loss does not move, or the wrong gradients are zero, nearly right, right
   but for a multiple of the parameters (L2, L1), right up to a factor, or right in another place.
4. Experiments follow: the user's two functions at other parameters than the user's.
5. With the last W at 0, all outputs are the last biases: they tell the loss and its derivative (output_layer.py).
6. With a hidden W at 0, the gradient of its biases shows what is used in place of f' (hidden_layer.py).
7. With the W above at 0, no error may come back: one that does came through other weights.
8. Kernels that are their own half turn, and weights before a normalization, tell mistakes of image_layers.py.
9. A name stands alone where the evidence fits no other known mistake, else it is "likely".
10. Where no rule fits, the mistake is "unknown", in the last tensor whose gradient is wrong.
11. The cause and the fix of each are in catalogue.toml.
"""
