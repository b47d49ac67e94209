"""Rates of the self-hosted servers in your prices, by the name of their backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmops.usage.rates import Rates

if TYPE_CHECKING:
    from llmops.usage.prices_yaml import YamlPrices

_SPEEDS = ("tokens_per_second", "input_tokens_per_second", "output_tokens_per_second")


def rates_of_servers(yours: YamlPrices) -> Mapping[str, Rates]:
    """Rates of the servers whose speed your prices state; the others' need what the server counted.

    Raises `InputError` with file and line for a server that isn't described as one.
    """
    rates = {}
    for name, server in yours.servers.items():
        from llmops.usage.self_hosting import check_server, rates_of

        where = yours.where("servers", name)
        if any(server.get(speed) is not None for speed in _SPEEDS):
            found = rates_of(server, where=where)
            rates[name] = Rates.of({"input": found.input, "output": found.output})
        else:
            check_server(server, where=where)
    return rates
