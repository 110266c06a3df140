"""Where CornerNet-Saccade looks, and what it sees there (CornerNet-Lite, arXiv:1904.08900, sections 3.1 to 3.3).

A view is y and x of its center, pixels of the picture, and its zoom: pixels of the view over those of the picture.
"""

import tensorflow as tf

# Around a sure detection of the first look: of those longer than a side, the longer side in the crop, pixels.
AROUND = ((96.0, 192.0), (32.0, 64.0), (0.0, 24.0))
SURE = 0.5
# Places of like zooms that are nearer than this along either axis, pixels of the crop, are one; and what is alike.
NEAR, ALIKE = 16.0, (0.8, 1.2)


def windows(views, side):
    """What views show.

    Args:
        views: [..., 3] float32.
        side: of a view, pixels.

    Returns:
        origin [..., 2] int32, y and x, pixels of the picture, which may lie outside; and lengths [...] int32.
    """
    # A little more, as a quotient that is a whole number must not be rounded down.
    lengths = tf.cast(side / views[..., 2] + 1e-3, tf.int32)
    return tf.cast(views[..., :2], tf.int32) - tf.expand_dims(lengths // 2, -1), lengths


def zoomed(pixels, corners, rows, views, side):
    """Cuts and resizes views bilinearly, without antialias; black outside of the picture.

    As in the release the center comes to the view's pixel side // 2, an odd window loses its last row and column, and
    the part of the window inside the picture is resized by itself, to a size that is rounded down.

    Args:
        pixels: [B, H, W, 3] float32.
        corners: [B, 4] int32: x1, y1, x2, y2 of the pictures in them.
        rows: [N] int32, the picture of each view.
        views: [N, 3] float32.
        side: of a view, pixels.

    Returns:
        [N, side, side, 3] float32.
    """
    _, height, width, _ = tf.unstack(tf.shape(pixels))
    corner = tf.gather(corners, rows)
    _, length = windows(views, side)
    steps = tf.range(side)[None]

    def along(center, low, high):
        """Of each pixel of the view the two that it lies between, the share of the second, and whether it is inside."""
        center, length_, size = (tf.expand_dims(one, 1) for one in (center, length, high - low))
        start, end = tf.maximum(center - length_ // 2, 0), tf.minimum(center + length_ // 2, size)
        first = side // 2 - (center - start) * side // length_
        last = side // 2 + (end - center) * side // length_
        ratio = tf.cast(end - start, tf.float32) / tf.cast(tf.maximum(last - first, 1), tf.float32)
        greatest = tf.maximum(end - start - 1, 0)
        place = (tf.cast(steps - first, tf.float32) + 0.5) * ratio - 0.5
        place = tf.clip_by_value(place, 0.0, tf.cast(greatest, tf.float32))
        before = tf.cast(place, tf.int32)
        shift = start + tf.expand_dims(low, 1)
        after = tf.minimum(before + 1, greatest) + shift
        return before + shift, after, place - tf.floor(place), (steps >= first) & (steps < last)

    x1, y1, x2, y2 = tf.unstack(corner, axis=-1)
    center = tf.cast(views[:, :2], tf.int32)
    top, bottom, down, inside_y = along(center[:, 0], y1, y2)
    left, right, across, inside_x = along(center[:, 1], x1, x2)
    flat = tf.reshape(pixels, [-1, 3])

    def at(y, x):
        y = tf.clip_by_value(y, 0, height - 1) + tf.expand_dims(rows * height, 1)
        return tf.gather(flat, tf.expand_dims(y * width, 2) + tf.expand_dims(tf.clip_by_value(x, 0, width - 1), 1))

    across, down = tf.reshape(across, [-1, 1, side, 1]), tf.reshape(down, [-1, side, 1, 1])
    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(bottom, left) * (1 - across) + at(bottom, right) * across
    inside = tf.expand_dims(tf.expand_dims(inside_y, 2) & tf.expand_dims(inside_x, 1), 3)
    return tf.where(inside, upper * (1 - down) + lower * down, 0.0)


def in_picture(boxes, views, side):
    """Boxes [N, D, 4] in pixels of the views [N, 3], whose side is `side`, in pixels of the picture."""
    origin = tf.cast(tf.reverse(windows(views, side)[0], [-1]), tf.float32)
    return boxes / views[:, None, 2:] + tf.tile(origin, [1, 2])[:, None]


def around(found):
    """Places around sure detections, at zooms that bring them to a like size.

    Args:
        found: dict of `boxes` [B, N, 4] in pixels of the picture, and `scores` [B, N].

    Returns:
        [B, N, 4] float32: views, and the score: 1, or 0 where a detection is not sure.
    """
    x1, y1, x2, y2 = tf.unstack(found["boxes"], axis=-1)
    longer = tf.maximum(tf.maximum(x2 - x1, y2 - y1), 1e-3)
    wanted = tf.fill(tf.shape(longer), AROUND[-1][1])
    for least, side in AROUND[-2::-1]:
        wanted = tf.where(longer > least, side, wanted)
    score = tf.cast(found["scores"] > SURE, tf.float32)
    return tf.stack([(y1 + y2) / 2, (x1 + x2) / 2, wanted / longer, score], axis=-1)


def first(places, count):
    """The first places with a score, in their order: [B, count, 4] of [B, N, 4], see `apart`."""
    number = tf.shape(places)[1]
    places = tf.pad(places, [[0, 0], [0, count], [0, 0]])
    order = tf.where(places[..., 3] > 0, tf.shape(places)[1] - tf.range(number + count), 0)
    return tf.gather(places, tf.math.top_k(order, count).indices, batch_dims=1)


def apart(places, count):
    """The best places; of those near each other the better one alone.

    The release takes the distance along the nearer axis: what lies in the row or the column of a better place goes too.

    Args:
        places: [B, N, 4] float32: views, and the score, 0 where there is none.
        count: of places.

    Returns:
        [B, count, 4] float32, by falling score, which is 0 where there are fewer. Of equal ones the last comes first.
    """
    places = tf.reverse(places, [1])
    scores, found = places[..., 3], []
    for _ in range(count):
        row = tf.argmax(scores, axis=1, output_type=tf.int32)
        best = tf.gather(places, row, batch_dims=1)
        score = tf.gather(scores, row, batch_dims=1)
        found.append(tf.concat([best[:, :3], tf.expand_dims(score, 1)], axis=1))
        steps = tf.abs(places[..., :2] - tf.expand_dims(best[:, :2], 1))
        zoom = tf.expand_dims(best[:, 2], 1)
        ratio = places[..., 2] / zoom
        gone = (tf.reduce_min(steps, axis=-1) <= NEAR / zoom) & (ratio >= ALIKE[0]) & (ratio <= ALIKE[1])
        scores = tf.where(gone, 0.0, scores)
    return tf.stack(found, axis=1)
