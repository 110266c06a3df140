"""Linear models that are fitted to features without gradient steps: SVMs with hard negatives, ridge regression, and the
scores of margins. All of it is NumPy in float64; what comes out are kernels and biases for Dense layers."""

import numpy as np

# R-CNN's release, in the terms of liblinear: -s 3 -c 0.001 -w1 2 -B 10.
C, POSITIVE_WEIGHT, BIAS_FEATURE = 1e-3, 2.0, 10.0


def svm(
    positives, negatives, c=C, positive_weight=POSITIVE_WEIGHT, bias_feature=BIAS_FEATURE, tolerance=1e-6,
    dual=None, epochs=10_000,
):  # fmt: skip
    """Fits a linear SVM: min |w|^2 / 2 + sum of C_i max(0, 1 - y_i w.x_i). Its bias is a constant feature's weight.

    Dual coordinate descent (Hsieh et al., ICML 2008, algorithm 1). Each round computes all gradients at once and then
    visits only the examples that can improve the dual. The duality gap says how far the optimum is at most.

    Args:
        positives: [P, D] features.
        negatives: [Q, D] features.
        c: weight of a negative's loss.
        positive_weight: times that of a positive's.
        bias_feature: value of the constant feature; its weight is penalized like any other.
        tolerance: greatest duality gap, relative to the objective.
        dual: None, or [P + Q] dual variables to start from, in the examples' order.
        epochs: greatest number of rounds.

    Returns:
        kernel [D], bias, and the dual variables [P + Q].
    """
    x = np.concatenate([np.asarray(positives, np.float64), np.asarray(negatives, np.float64)])
    x = np.concatenate([x, np.full([len(x), 1], bias_feature)], axis=1)
    signs = np.where(np.arange(len(x)) < len(positives), 1.0, -1.0)
    most = np.where(signs > 0, c * positive_weight, c)
    alpha = np.zeros(len(x)) if dual is None else np.clip(dual, 0, most)
    squares, draw = np.maximum(np.einsum("nd,nd->n", x, x), 1e-12), np.random.default_rng(0)
    for _ in range(epochs):
        w = (alpha * signs) @ x  # afresh, so that rounding does not add up
        slack = 1 - signs * (x @ w)
        objective = 0.5 * w @ w + most @ np.maximum(slack, 0)
        if objective - (alpha.sum() - 0.5 * w @ w) <= tolerance * objective:
            break
        improving = np.flatnonzero(((slack > 0) & (alpha < most)) | ((slack < 0) & (alpha > 0)))
        for _ in range(10):
            for i in draw.permutation(improving):
                better = min(max(alpha[i] + (1 - signs[i] * (x[i] @ w)) / squares[i], 0.0), most[i])
                if better != alpha[i]:
                    w += (better - alpha[i]) * signs[i] * x[i]
                    alpha[i] = better
    return w[:-1], w[-1] * bias_feature, alpha


def added(margins, overlaps, least=-1.0001, negative=0.3):
    """Which regions become hard negatives: those that the SVM does not reject with a margin.

    Args:
        margins: [R] of the regions, or None where there is no SVM yet: every negative is added.
        overlaps: [R] their greatest IoU with an object of the class, 0...1.
        least: margin above which a negative is hard.
        negative: IoU below which a region is a negative.

    Returns:
        [R] bool.
    """
    return (overlaps < negative) & (True if margins is None else margins > least)


def easy(margins, evicted=-1.2):
    """Which negatives leave: those that the SVM rejects by far.

    Args:
        margins: [Q].
        evicted: margin below which they leave.

    Returns:
        [Q] bool.
    """
    return margins < evicted


class Mining:
    """The SVM of one class, which grows its negatives picture by picture (R-CNN's release: hard negative mining).

    Args:
        positives: [P, D] features of the objects.
        least, negative: of `added`.
        evicted: negatives whose margin falls below are dropped after a training.
        every: new negatives after which it trains again.
        fit: further arguments of `svm`.

    Attributes:
        kernel, bias: of the last training; None before the first one.
        negatives: [Q, D] the features that it learns from.
        seen, trainings: how many negatives it has taken, and how often it has trained.
    """

    def __init__(self, positives, least=-1.0001, negative=0.3, evicted=-1.2, every=2000, **fit):
        self.positives, self.fit = positives, fit
        self.least, self.negative, self.evicted, self.every = least, negative, evicted, every
        self.kernel = self.bias = None
        self.negatives, self.dual = positives[:0], np.zeros(len(positives))
        self.keys = []  # picture and row of each negative, so that a second pass takes none twice
        self.new = self.seen = self.trainings = 0

    def see(self, picture, features, overlaps):
        """Takes the hard negatives of a picture, and trains after the first picture and when there are enough new ones.

        Args:
            picture: its number.
            features: [R, D].
            overlaps: [R] greatest IoU with an object of the class; NaN for regions that count nothing.
        """
        margins = None if self.kernel is None else features @ self.kernel + self.bias
        known = set(self.keys)
        rows = [row for row in np.flatnonzero(added(margins, overlaps, self.least, self.negative))
                if (picture, row) not in known]  # fmt: skip
        self.keys += [(picture, row) for row in rows]
        self.negatives = np.concatenate([self.negatives, features[rows]])
        self.dual = np.concatenate([self.dual, np.zeros(len(rows))])
        self.new, self.seen = self.new + len(rows), self.seen + len(rows)
        if self.kernel is None or self.new > self.every:
            self._train()

    def finish(self):
        """Trains on the negatives that are new since the last training."""
        if self.new or self.kernel is None:
            self._train()

    def _train(self):
        """Fits the SVM, from where it was, to all negatives, and drops those that it rejects by far."""
        self.kernel, self.bias, self.dual = svm(self.positives, self.negatives, dual=self.dual, **self.fit)
        hard = ~easy(self.negatives @ self.kernel + self.bias, self.evicted)
        self.negatives = self.negatives[hard]
        self.keys = [key for key, keep in zip(self.keys, hard, strict=True) if keep]
        self.dual = np.concatenate([self.dual[: len(self.positives)], self.dual[len(self.positives) :][hard]])
        self.new, self.trainings = 0, self.trainings + 1


def ridge(features, targets, strength, epsilon=1e-3):
    """Ridge regression on whitened targets (R-CNN, appendix C; its release whitens).

    min |X W - T|^2 + strength |W|^2 with a constant feature 1 in X, whose weight is penalized too. The targets T are
    centered and decorrelated, so that one strength suits all four; kernel and bias undo that.

    Args:
        features: [N, D].
        targets: [N, 4].
        strength: lambda.
        epsilon: added to the eigenvalues of the targets' covariance.

    Returns:
        kernel [D, 4] and bias [4]; zeros where there are no examples.
    """
    x, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    if not len(x):
        return np.zeros([x.shape[1], y.shape[1]]), np.zeros(y.shape[1])
    mean, white, colored = whitening(y, epsilon)
    x, goal = np.concatenate([x, np.ones([len(x), 1])], axis=1), (y - mean) @ white
    if len(x) < x.shape[1]:  # the same solution from the smaller of two systems
        beta = x.T @ np.linalg.solve(x @ x.T + strength * np.eye(len(x)), goal)
    else:
        beta = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ goal)
    beta = beta @ colored
    return beta[:-1], beta[-1] + mean


def whitening(targets, epsilon=1e-3):
    """What centers and decorrelates targets.

    Args:
        targets: [N, D].
        epsilon: added to the eigenvalues of their covariance.

    Returns:
        mean [D], the symmetric root of the inverse covariance [D, D], and that of the covariance.
    """
    mean = targets.mean(0)
    values, vectors = np.linalg.eigh((targets - mean).T @ (targets - mean) / len(targets))
    roots = np.sqrt(np.maximum(values, 0) + epsilon)
    return mean, vectors / roots @ vectors.T, vectors * roots @ vectors.T


def probabilities(margins, positive, rounds=100):
    """Fits the logistic function of a margin, which keeps its order (Platt, 1999, with his regularized targets).

    Args:
        margins: [N].
        positive: [N] bool.
        rounds: greatest number of Newton's steps.

    Returns:
        slope, above 0, and offset: a score is sigmoid(slope * margin + offset). 1 and 0 where one kind is missing or
        the positives do not have the greater margins.
    """
    margins, count = np.asarray(margins, np.float64), int(positive.sum())
    if not 0 < count < len(margins):
        return 1.0, 0.0
    goal = np.where(positive, (count + 1) / (count + 2), 1 / (len(margins) - count + 2))
    x, theta = np.stack([margins, np.ones_like(margins)], axis=1), np.array([1.0, 0.0])

    def cost(theta):
        return (np.logaddexp(0, x @ theta) - goal * (x @ theta)).sum()

    for _ in range(rounds):
        score = 1 / (1 + np.exp(-np.clip(x @ theta, -500, 500)))
        gradient = x.T @ (score - goal)
        step = np.linalg.solve((x * (score * (1 - score))[:, None]).T @ x + 1e-9 * np.eye(2), gradient)
        rate = 1.0
        while rate > 1e-6 and cost(theta - rate * step) > cost(theta):
            rate /= 2
        theta = theta - rate * step
        if np.abs(step).max() < 1e-9:
            break
    return (float(theta[0]), float(theta[1])) if theta[0] > 0 else (1.0, 0.0)
