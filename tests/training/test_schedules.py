"""Learning rates against the arithmetic."""

import math

import pytest

from kerasdet.training.schedules import Plan, Schedule


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 1e-5), (250, 0.01 * (0.001 + 0.999 * 0.5)), (500, 0.01), (59_999, 0.01), (60_000, 1e-3), (80_000, 1e-4)],
)
def test_steps_with_warmup(step, rate):
    """RetinaNet, section 4: 0.01, divided by 10 at 60k and again at 80k."""
    schedule = Schedule(0.01, 90_000, warmup=500, drops=(60_000, 80_000))
    assert float(schedule(step)) == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize("step", [100, 300, 550, 1000])
def test_cosine(step):
    schedule = Schedule(0.2, 1000, warmup=100)
    expected = 0.2 * 0.5 * (1 + math.cos(math.pi * (step - 100) / 900))
    assert float(schedule(step)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0.0), (500, 0.5**4), (1000, 1.0), (2000, 2.5), (3000, 5.0), (4000, 0.5)]
)
def test_burn_in_and_drops_of_different_factors(step, share):
    """As in darknet: the fourth power of the steps, then a factor at each step."""
    schedule = Schedule(1e-3, 5000, 1000, 0.0, (1500, 2500, 3500), (2.5, 2.0, 0.1), warmup_power=4)
    assert float(schedule(step)) == pytest.approx(1e-3 * share, rel=1e-5)
    again = Schedule.from_config(schedule.get_config())
    assert float(again(step)) == float(schedule(step))


def test_config_makes_the_same_schedule():
    schedule = Schedule(0.01, 90_000, 500, 0.1, (60_000,), 0.5)
    again = Schedule.from_config(schedule.get_config())
    assert [float(again(s)) for s in (0, 100, 70_000)] == [float(schedule(s)) for s in (0, 100, 70_000)]


def test_a_plan_is_stretched_with_all_its_shares():
    """To a fifth: warm-up, drops and the horizon of the average too; the rounds stay."""
    plan = Plan(0.1, 2500, 200, 0.001, (1500, 2000), 500, ema=0.998).for_steps(500)
    assert (plan.steps, plan.warmup, plan.drops, plan.evaluate_every, plan.rounds) == (500, 40, (300, 400), 100, 5)
    assert plan.ema == pytest.approx(0.99)
    assert Plan(0.1, 100, 0, 0.001, (), 50).for_steps(10).ema is None
