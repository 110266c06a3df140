"""Training: `fit` and its parts."""

from kerasdet.training.fit import fit as fit
