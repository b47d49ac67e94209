"""Servers of one's own: dollars per GPU-hour to dollars per million tokens, and what vLLM's metrics say of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.errors import BackendError, BadResponseError, InputError
from llmops.usage.self_hosting import (
    break_even_tokens,
    flat_rate,
    measured_ratio,
    rates_of,
    split_rates,
    time_shares,
    window_cost,
)
from llmops.usage.server_metrics import (
    ServerMetrics,
    ServerSnapshot,
    difference,
    metrics_url,
    parse_metrics,
    scrape,
    snapshot_of,
)
from stub_server import Reply, StubServer

BEFORE = ServerSnapshot(
    at=1000.0, prompt_tokens=100, generation_tokens=10, cached_tokens=0, requests=1, prefill_s=1.0, decode_s=2.0
)
# In an hour: 9 million tokens read in 900 s of prefill, 1 million written in 900 s of decoding.
AFTER = replace(
    BEFORE,
    at=4600.0,
    prompt_tokens=9_000_100,
    generation_tokens=1_000_010,
    cached_tokens=3_000_000,
    requests=1001,
    prefill_s=901.0,
    decode_s=902.0,
)
HOUR = difference(BEFORE, AFTER)


# The four methods


def test_flat():
    # $2.50 an hour; 2,500 tokens/s × 3,600 s × 40 % = 3.6 million tokens an hour; 2.5 / 3.6
    assert round(flat_rate(Decimal("2.5"), 1, 2500, Decimal("0.4")), 9) == Decimal("0.694444444")
    # Eight GPUs at $4, 10,000 tokens/s, always busy: $32 for 36 million
    assert round(flat_rate(4, 8, 10_000), 9) == Decimal("0.888888889")
    # At 10 % a token costs ten times what it costs at 100 %
    assert flat_rate(4, 8, 10_000, 0.1) == 10 * flat_rate(4, 8, 10_000)


def test_split():
    # $0.001 a second, 4,000 tokens/s read and 1,000 written at 4:1: 0.001 / (1,000 + 1,000) = $0.50 a million written
    assert split_rates(Decimal("0.001"), 4000, 1000) == (Decimal("0.125"), Decimal("0.5"))
    # Only reading: all of the cost is the input's
    assert split_rates(Decimal("0.001"), 1000, 0) == (Decimal(1), Decimal(4))
    with pytest.raises(InputError, match="no tokens"):
        split_rates(1, 0, 0)


@given(
    st.decimals("0.01", 100, places=4), st.integers(0, 10**6), st.integers(1, 10**5), st.decimals("0.1", 50, places=2)
)
def test_split_rates_add_up_to_what_the_server_costs(cost, read, written, ratio):
    rate_in, rate_out = split_rates(cost, read, written, ratio)
    assert abs(rate_in * read + rate_out * written - cost * 1_000_000) < Decimal("1e-12") * cost * 1_000_000
    assert abs(rate_out / rate_in - ratio) < Decimal("1e-20")


def test_the_ratio_is_measured_from_prefill_and_decoding():
    # 900 s for 9 million tokens is 0.1 ms a token; 900 s for 1 million is 0.9 ms: nine times as much
    assert measured_ratio(HOUR) == 9
    assert measured_ratio(replace(HOUR, prefill_s=None)) is None
    assert measured_ratio(replace(HOUR, prefill_s=0.0)) is None
    assert measured_ratio(replace(HOUR, generation_tokens=0)) is None


def test_time_shares_of_a_bill():
    assert time_shares(100, [1, 1, 2]) == [25, 25, 50]
    # 10 / 3 leaves one over; equal remainders: the first gets it
    assert time_shares(10, [1, 1, 1]) == [4, 3, 3]
    # 7 × (0.5, 0.3, 0.2) = 3.5, 2.1, 1.4: one is missing, the largest remainder is the first's
    assert time_shares(7, [5, 3, 2]) == [4, 2, 1]
    assert time_shares(0, [1.5, 0.0]) == [0, 0]
    for nothing in ([], [0.0], [-1.0, 2.0]):
        with pytest.raises(InputError, match="no request took any"):
            time_shares(10, nothing)


@given(
    st.integers(0, 10**18), st.lists(st.floats(0, 1e6), min_size=1, max_size=50).filter(lambda values: sum(values) > 0)
)
def test_time_shares_add_up_exactly(bill, seconds):
    shares = time_shares(bill, seconds)
    assert sum(shares) == bill
    assert all(share == 0 for share, value in zip(shares, seconds, strict=True) if value == 0)
    by_time = [share for _, share in sorted(zip(seconds, shares, strict=True))]
    assert by_time == sorted(by_time)


def test_break_even():
    # $1,800 a month against $0.60 a million of which $0.10 is paid anyway: 1,800 / 0.5 = 3,600 million
    assert break_even_tokens(1800, Decimal("0.6"), Decimal("0.1")) == 3_600_000_000
    assert break_even_tokens(1800, Decimal("0.6"), Decimal("0.6")) is None
    assert break_even_tokens(1800, Decimal("0.5"), 1) is None
    assert break_even_tokens(0, 1) == 0


# Rates of a server as it is written


def test_rates_without_metrics_are_assumed():
    flat = rates_of({"gpu_per_hour": 2.5, "tokens_per_second": 2500, "utilisation": 0.4})
    assert (flat.input, flat.certainty, flat.measured, flat.method) == (flat.output, "estimated", False, "flat")
    assert round(flat.input, 9) == Decimal("0.694444444")
    split = rates_of({"gpu_per_hour": 3.6, "method": "split", "tokens_per_second": 2500, "utilisation": 0.4})
    # 1,000 tokens/s, of them 750 read: 0.001 / (750 / 4 + 250) × 10⁶ = 2.285714…
    assert round(split.output, 6) == Decimal("2.285714")
    assert round(split.output / split.input, 20) == 4
    speeds = {"input_tokens_per_second": 4000, "output_tokens_per_second": 1000}
    told = rates_of({"gpu_per_hour": 3.6, "method": "split", "utilisation": 0.5, "output_input_ratio": 2, **speeds})
    # 0.001 / (2,000 / 2 + 500) × 10⁶
    assert round(told.output, 9) == Decimal("0.666666667")


def test_rates_with_metrics_are_measured():
    # $3.60 for 10 million tokens
    flat = rates_of({"gpu_per_hour": 3.6}, HOUR)
    assert (flat.input, flat.output, flat.measured) == (Decimal("0.36"), Decimal("0.36"), True)
    # Half of the time was prefill: $1.80 for 9 million read, $1.80 for 1 million written
    split = rates_of({"gpu_per_hour": 3.6, "method": "split"}, HOUR)
    assert (round(split.input, 9), round(split.output, 9), split.ratio) == (Decimal("0.2"), Decimal("1.8"), 9)
    assert replace(split, method="time_share") == rates_of({"gpu_per_hour": 3.6, "method": "time_share"}, HOUR)
    written = {"gpu_per_hour": 3.6, "method": "split", "output_input_ratio": 4}
    # A ratio that is written stands: 3.6 / (9 / 4 + 1) a million written
    assert round(rates_of(written, HOUR).output, 6) == Decimal("1.107692")
    assert rates_of({**written, "method": "time_share"}, HOUR).ratio == 9
    unmeasured = replace(HOUR, prefill_s=None, decode_s=None)
    assert rates_of({"gpu_per_hour": 3.6, "method": "split"}, unmeasured).ratio == 4


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({}, "gpu_per_hour isn't known"),
        ({"gpu_per_hour": 1}, "utilisation isn't known"),
        ({"gpu_per_hour": 1, "utilisation": 0.5}, "tokens_per_second isn't known"),
        ({"gpu_per_hour": -1}, "gpu_per_hour is -1"),
        ({"gpu_per_hour": "2.50"}, "gpu_per_hour is '2.50'"),
        ({"gpu_per_hour": 1, "gpus": 0}, "gpus is 0"),
        ({"gpu_per_hour": 1, "utilisation": 40}, "utilisation is 40"),
        ({"gpu_per_hour": 1, "utilisation": 0}, "utilisation is 0"),
        ({"gpu_per_hour": float("nan")}, "gpu_per_hour is nan"),
        ({"gpu_per_hour": True}, "gpu_per_hour is True"),
        ({"gpu_per_hour": 1, "method": "magic"}, "method is 'magic'.*flat, split, time_share"),
        ({"gpu_per_hour": 1, "utilization": 0.4}, "'utilization'.*did you mean 'utilisation'"),
    ],
)
def test_a_wrong_server_says_what_is_wrong(server, said):
    with pytest.raises(InputError, match=said) as caught:
        rates_of(server, where="prices.yaml:3")
    assert caught.value.where == "prices.yaml:3"


# A window


def test_a_window_tells_what_was_used_from_what_was_paid():
    # An hour at $3.60; requests took 1,800 s of 3,600
    cost = window_cost(BEFORE, AFTER, {"gpu_per_hour": 3.6, "method": "split"})
    assert (cost.allocation, cost.usage, cost.idle) == (3_600_000_000, 1_800_000_000, 1_800_000_000)
    assert (cost.busy_share, cost.busy_from, cost.hours) == (0.5, "request times", 1.0)
    assert cost.allocation_rates is not None
    assert cost.usage_rates is not None
    assert round(cost.allocation_rates.output, 9) == Decimal("1.8")
    assert (round(cost.usage_rates.output, 9), cost.usage_rates.basis) == (Decimal("0.9"), "usage")


def test_a_stated_speed_says_how_busy_a_server_was():
    # 10 million of 5,556 × 3,600 = 20 million tokens
    cost = window_cost(BEFORE, AFTER, {"gpu_per_hour": 3.6, "gpus": 2, "tokens_per_second": 10_000_000 / 1800})
    assert cost.busy_from == "tokens per second"
    assert (cost.allocation, cost.usage) == (7_200_000_000, 3_600_000_000)
    assert (cost.hours, cost.gpu_hours) == (1.0, 2.0)


def test_a_window_without_tokens_is_all_idle():
    cost = window_cost(BEFORE, replace(BEFORE, at=4600.0), {"gpu_per_hour": 3.6})
    assert (cost.allocation, cost.usage, cost.idle) == (3_600_000_000, 0, 3_600_000_000)
    assert cost.allocation_rates is None
    assert cost.usage_rates is None


def test_what_is_not_measured_counts_as_used():
    old = [replace(snapshot, prefill_s=None, decode_s=None) for snapshot in (BEFORE, AFTER)]
    cost = window_cost(*old, {"gpu_per_hour": 3.6})
    assert (cost.busy_share, cost.busy_from, cost.idle) == (None, "unknown", 0)


@given(st.floats(0, 1e5), st.floats(0.001, 1e6), st.floats(0, 1e6), st.integers(0, 10**9))
def test_used_and_idle_always_add_up_to_what_was_paid(price, seconds, busy, tokens):
    after = replace(BEFORE, at=BEFORE.at + seconds, decode_s=2.0 + busy, generation_tokens=10 + tokens)
    cost = window_cost(BEFORE, after, {"gpu_per_hour": price})
    assert cost.usage + cost.idle == cost.allocation
    assert min(cost.usage, cost.idle) >= 0


def test_readings_must_belong_together():
    with pytest.raises(InputError, match="isn't later"):
        difference(AFTER, BEFORE)
    with pytest.raises(InputError, match="started anew"):
        difference(BEFORE, replace(AFTER, generation_tokens=5))
    with pytest.raises(InputError, match="started anew"):
        difference(replace(BEFORE, started_at=900.0), replace(AFTER, started_at=2000.0))


def test_a_reading_can_be_kept():
    assert ServerSnapshot.of_data(AFTER.as_data()) == AFTER
    for wrong in ({"at": 1}, {**AFTER.as_data(), "other": 1}, {**AFTER.as_data(), "prompt_tokens": "9"}):
        with pytest.raises(InputError, match="reading"):
            ServerSnapshot.of_data(wrong)


# Prometheus text

NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,20}", fullmatch=True)
LABELS = st.dictionaries(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True), st.text(max_size=20), max_size=4
)
SAMPLES = st.tuples(NAMES, LABELS, st.floats(allow_nan=False))


def written(name: str, labels: dict[str, str], value: float, spaces: str = "", stamp: str = "") -> str:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    inside = ",".join(f'{key}{spaces}={spaces}"{escaped(text)}"' for key, text in labels.items())
    shown = {float("inf"): "+Inf", float("-inf"): "-Inf"}.get(value, repr(value))
    return f"{name}{{{inside}}} {shown}{stamp}" if labels else f"{name} {shown}{stamp}"


@given(
    st.lists(SAMPLES, max_size=8),
    st.sampled_from(["", " ", "\t "]),
    st.sampled_from(["", " 1395066363000", ' # {a="b"} 1']),
)
def test_what_is_written_is_read(samples, spaces, stamp):
    lines = [written(*sample, spaces, stamp) for sample in samples]
    text = "# HELP x y\n# TYPE x counter\n\n" + "\n".join(lines) + "\n# EOF\n"
    assert [tuple(sample) for sample in parse_metrics(text)] == samples


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    try:
        parse_metrics(text)
    except BadResponseError as error:
        assert "line " in str(error)


@pytest.mark.parametrize(
    "line",
    ["x", "x{", 'x{a="b} 1', 'x{a="b"', "x{a=b} 1", "x one", "1x 1", "x 1_0", 'x{a="b" c="d"} 1', "x{,} 1", "<html>"],
)
def test_a_line_that_is_not_prometheus_text_is_named(line):
    with pytest.raises(BadResponseError, match="line 2 "):
        parse_metrics(f"a 1\n{line}\n")


@pytest.mark.parametrize("line", ["x " + "1" * 50_000 + "x", "x{" + 'a="b",' * 20_000, 'x{a="' + "\\" * 50_000])
def test_a_long_broken_line_takes_no_time(line):
    began = time.process_time()
    with pytest.raises(BadResponseError):
        parse_metrics(line)
    assert time.process_time() - began < 2


def test_small_things_of_the_format():
    read = parse_metrics('x{a="1",} NaN\r\n  y\t2e3 \nz{} -Inf\nw{a="}",b="#"} 1\n')
    assert [sample.name for sample in read] == ["x", "y", "z", "w"]
    assert read[0].value != read[0].value
    assert (read[1].value, read[2].labels, read[3].labels) == (2000.0, {}, {"a": "}", "b": "#"})


# Lines as vLLM 0.32 writes them
VLLM = """# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79612354209e+09
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny-llama"} 3.0
vllm:num_requests_waiting{engine="0",model_name="tiny-llama"} 1.0
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="tiny-llama"} 1348.0
vllm:prompt_tokens_total{engine="1",model_name="tiny-llama"} 52.0
vllm:prompt_tokens_total{engine="0",model_name="other"} 9.0
# TYPE vllm:prompt_tokens_created gauge
vllm:prompt_tokens_created{engine="0",model_name="tiny-llama"} 1.79612354209e+09
vllm:prompt_tokens_by_source_total{engine="0",model_name="tiny-llama",source="local_compute"} 1300.0
vllm:prompt_tokens_cached_total{engine="0",model_name="tiny-llama"} 100.0
vllm:generation_tokens_total{engine="0",model_name="tiny-llama"} 320.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="tiny-llama"} 15.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny-llama"} 5.0
# TYPE vllm:request_prefill_time_seconds histogram
vllm:request_prefill_time_seconds_bucket{engine="0",le="+Inf",model_name="tiny-llama"} 20.0
vllm:request_prefill_time_seconds_count{engine="0",model_name="tiny-llama"} 20.0
vllm:request_prefill_time_seconds_sum{engine="0",model_name="tiny-llama"} 0.09
vllm:request_decode_time_seconds_sum{engine="0",model_name="tiny-llama"} 0.51
"""


def test_counters_of_vllm():
    read = snapshot_of(VLLM, 5.0)
    assert (read.prompt_tokens, read.generation_tokens, read.cached_tokens, read.requests) == (1409, 320, 100, 20)
    assert (read.prefill_s, read.decode_s, read.queue_s) == (0.09, 0.51, None)
    assert (read.at, read.running, read.waiting, read.started_at) == (5.0, 3, 1, 1796123542.09)
    assert snapshot_of(VLLM, 5.0, model="tiny-llama").prompt_tokens == 1400
    with pytest.raises(BadResponseError, match="no vllm:prompt_tokens_total of model absent"):
        snapshot_of(VLLM, 5.0, model="absent")
    with pytest.raises(BadResponseError, match="is it a vLLM server"):
        snapshot_of("up 1\n", 5.0)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:8000/v1", "http://h:8000/metrics"),
        ("http://h:8000/v1/", "http://h:8000/metrics"),
        ("http://h:8000", "http://h:8000/metrics"),
        ("https://h/llm/v1", "https://h/llm/metrics"),
        ("http://h:9090/metrics", "http://h:9090/metrics"),
    ],
)
def test_where_metrics_are(base, url):
    assert metrics_url(base) == url


def test_scraping_a_server():
    with StubServer([Reply(body=VLLM), Reply(status=404, body="nothing"), Reply(body="<html>")]) as server:
        read = asyncio.run(scrape(server.url, clock=lambda: 7.0))
        assert (read.at, read.prompt_tokens) == (7.0, 1409)
        assert (server.seen[0].method, server.seen[0].path) == ("GET", "/metrics")
        with pytest.raises(BackendError, match="404"):
            asyncio.run(scrape(server.url))
        with pytest.raises(BadResponseError, match="/metrics: line 1"):
            asyncio.run(scrape(server.url))


def test_how_busy_is_at_most_all_of_the_time():
    assert ServerMetrics(10.0, 5, 5, prefill_s=3.0, decode_s=2.0).busy_share == 0.5
    assert ServerMetrics(10.0, 5, 5, prefill_s=30.0, decode_s=20.0).busy_share == 1.0
    assert ServerMetrics(10.0, 5, 5).busy_share is None
