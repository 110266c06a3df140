"""Prints reports as tables."""

_COLUMNS = (
    "median_ms", "best_ms", "floor_ms", "ratio", "best_ratio", "images_s", "floor_share", "gflop", "peak_mib",
    "copies", "gbs", "pair_ns",
)  # fmt: skip


def show(title, report):
    """Prints a report of `measure.measure`, one line per case."""
    speed = report["machine"]
    rates = [speed[key] for key in ("matmul_gflops", "best_matmul_gflops", "copy_gbs")]
    print("\n{}: matmul {:.0f} GFLOP/s (best {:.0f}), copy {:.1f} GB/s".format(title, *rates))
    columns = [column for column in _COLUMNS if any(column in line for line in report["cases"])]
    print(" " * 56 + "".join(f"{column:>12s}" for column in columns))
    for line in report["cases"]:
        print(f"{line['name']:56s}" + "".join(f"{line[c]:12.2f}" if c in line else " " * 12 for c in columns))
