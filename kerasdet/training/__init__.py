"""Training: `fit` and what it is made of."""

from kerasdet.training.fit import fit as fit
