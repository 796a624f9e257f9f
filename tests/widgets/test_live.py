"""Runs: order, stop, pause, errors and counts, live and headless alike."""

import asyncio
import threading

import pytest

from vintk_kit.errors import InputError
from vintk_kit.widgets import HeadlessRun, LatestJob, LiveRun, callback_rows, make_run


async def until(condition, seconds=30.0):
    """Waits for a condition; the deadline is generous because a loaded machine may stall."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def count_to(n):
    return lambda stop: ({"key": f"k{i // 2}", "value": i} for i in range(n))


def endless(stop):
    i = 0
    while not stop.wait(0.001):
        yield {"value": i}
        i += 1


def live(rows, **options):
    return LiveRun(rows, period=0.005, **options)


def test_both_twins_deliver_every_row_in_order_and_count_distinct_keys():
    async def go(run):
        frame = await run
        return run.state, run.completed, frame["value"].tolist()

    async def both():
        return await go(live(count_to(5), count="key")), await go(HeadlessRun(count_to(5), count="key"))

    assert asyncio.run(both()) == (("done", 3, [0, 1, 2, 3, 4]),) * 2


def test_rows_come_in_batches_on_the_loop_and_never_from_the_worker():
    threads, batches = [], []

    def take(batch):
        threads.append(threading.current_thread())
        batches.append(len(batch))

    async def go():
        run = LiveRun(count_to(500), period=0.02, on_rows=take)
        await run
        return run

    run = asyncio.run(go())
    assert set(threads) == {threading.main_thread()}
    assert sum(batches) == len(run.rows) == 500
    assert len(batches) < 50


def test_stop_and_pause_and_resume_from_another_thread():
    async def go():
        run = live(endless)
        run.start()
        await until(lambda: len(run.rows) > 3)
        await asyncio.to_thread(run.pause)
        await until(lambda: run.state == "paused")
        await asyncio.sleep(0.05)  # the row under way arrives
        held = len(run.rows)
        await asyncio.sleep(0.05)
        assert len(run.rows) == held
        await asyncio.to_thread(run.resume)
        await until(lambda: len(run.rows) > held)
        await asyncio.to_thread(run.stop)
        frame = await run.done()
        assert run.state == "stopped"
        assert len(frame) == len(run.rows) > held

    asyncio.run(go())


def test_stop_ends_a_paused_run():
    async def go():
        run = live(endless)
        run.start()
        await until(lambda: run.rows)
        run.pause()
        run.stop()
        await run.done()
        assert run.state == "stopped"

    asyncio.run(go())


def broken(stop):
    yield {"value": 1}
    raise InputError("sigma: got -1; allowed: positive")


@pytest.mark.parametrize("is_live", [True, False])
def test_an_error_is_kept_with_the_rows_before_it_and_raised_on_await(is_live):
    async def go():
        run = make_run(broken, live=is_live)
        with pytest.raises(InputError, match="sigma"):
            await run
        assert (run.state, len(run.frame)) == ("failed", 1)
        with pytest.raises(InputError):
            await run.done()

    asyncio.run(go())


def test_an_error_while_drawing_ends_the_run():
    def draw(batch):
        raise ZeroDivisionError("no figure")

    async def go():
        run = live(endless, on_rows=draw)
        with pytest.raises(ZeroDivisionError):
            await run
        assert run.state == "failed"

    asyncio.run(go())


def test_a_run_starts_anew_after_its_end_but_not_twice_at_once():
    async def go():
        run = live(count_to(3))
        run.start()
        run.start()
        assert len(await run) == 3
        run.start()
        return await run

    assert asyncio.run(go())["value"].tolist() == [0, 1, 2]


def test_failed_rows_are_counted():
    run = HeadlessRun(lambda stop: [{"error": None}, {"error": "E: x"}, {"error": float("nan")}])
    run.start()
    assert (run.failures, run.completed) == (1, 3)


def test_a_live_run_without_a_loop_says_so():
    with pytest.raises(InputError, match="live=False"):
        LiveRun(count_to(1)).start()


def test_callback_functions_become_rows_with_a_result():
    def work(n, on_row, stop):
        for i in range(n):
            if stop.is_set():
                return "stopped"
            on_row({"value": i})
        return "finished"

    job = callback_rows(work, "on_row", 4)
    assert [row["value"] for row in job(threading.Event())] == [0, 1, 2, 3]
    assert job.result == "finished"
    stop = threading.Event()
    rows = callback_rows(work, "on_row", 1000)
    iterator = rows(stop)
    next(iterator)
    stop.set()
    iterator.close()
    assert rows.result == "stopped"


def test_callback_errors_reach_the_consumer():
    def work(on_row, stop):
        on_row({"value": 0})
        raise InputError("no data")

    iterator = callback_rows(work, "on_row")(threading.Event())
    assert next(iterator) == {"value": 0}
    with pytest.raises(InputError, match="no data"):
        next(iterator)


def test_only_the_newest_settings_are_computed():
    async def go():
        entered, release, results, errors = threading.Event(), threading.Event(), [], []

        def compute(settings):
            entered.set()
            assert release.wait(30)
            if settings == 9:
                raise InputError("nine")
            return settings * 10

        job = LatestJob(compute, lambda s, r: results.append(r), lambda s, e: errors.append(str(e)))
        job.submit(1)
        await asyncio.to_thread(entered.wait)
        for settings in range(2, 9):
            job.submit(settings)
        release.set()
        await until(lambda: job.idle and len(results) == 2)
        job.submit(9)
        await until(lambda: errors)
        return results, errors

    assert asyncio.run(go()) == ([10, 80], ["nine"])
