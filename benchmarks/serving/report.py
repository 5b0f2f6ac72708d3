"""Ratios against the aims, a table for people, and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Servers = dict[str, Any]
FRAMEWORK_NAMES = ("litserve", "bentoml", "ray serve", "mlflow", "mlserver")
REPLICA, GATEWAY = "headway replica", "headway gateway + 1"


def figure(servers: Servers, name: str, connections: str, key: str = "requests_per_second") -> float | None:
    found = servers.get(name, {}).get(connections)
    return None if found is None else float(found[key])


def aim(what: str, reached: float | None, bound: float, at_least: bool, unit: str = "×") -> dict[str, Any]:
    """One line of the table of aims; ``met`` is None where a peer was not measured."""
    met = None if reached is None else (reached >= bound if at_least else reached <= bound)
    shown = None if reached is None else round(reached, 3)
    return {"what": what, "aim": f"{'≥' if at_least else '≤'} {bound:g} {unit}".strip(), "reached": shown, "met": met}


def over(first: float | None, second: float | None) -> float | None:
    return None if first is None or not second else first / second


def less(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def aims_of(kind: str, servers: Servers) -> list[dict[str, Any]]:
    """The aims that are judged with one model."""
    at = {count: figure(servers, REPLICA, count) for count in ("8", "64")}
    frameworks = [figure(servers, name, "64") for name in FRAMEWORK_NAMES]
    best = max((found for found in frameworks if found is not None), default=None)
    found = [
        aim("64 connections, over granian + orjson", over(at["64"], figure(servers, "granian+orjson", "64")), 6, True),
        aim("64 connections, over FastAPI", over(at["64"], figure(servers, "fastapi", "64")), 20, True),
        aim("64 connections, over the best framework", over(at["64"], best), 25, True),
        aim("8 connections, over granian + orjson", over(at["8"], figure(servers, "granian+orjson", "8")), 2, True),
        aim("8 connections, over FastAPI", over(at["8"], figure(servers, "fastapi", "8")), 6, True),
        aim(
            "gateway, 64 connections, over granian + orjson without one",
            over(figure(servers, GATEWAY, "64"), figure(servers, "granian+orjson", "64")),
            4,
            True,
        ),
        aim(
            "p50 at one connection, over Starlette's",
            over(figure(servers, REPLICA, "1", "p50_ms"), figure(servers, "starlette", "1", "p50_ms")),
            1,
            False,
        ),
        aim(
            "gateway adds at p50, one connection",
            less(figure(servers, GATEWAY, "1", "p50_ms"), figure(servers, REPLICA, "1", "p50_ms")),
            0.1,
            False,
            "ms",
        ),
        aim(
            "gateway adds at p99, half load",
            less(figure(servers, GATEWAY, "half", "p99_ms"), figure(servers, REPLICA, "half", "p99_ms")),
            1.0,
            False,
            "ms",
        ),
    ]
    return [{"model": kind, **line} for line in found]


def all_aims(results: dict[str, Any]) -> list[dict[str, Any]]:
    found = [line for kind, by in results["models"].items() for line in aims_of(kind, by["servers"])]
    for kind, memory in results.get("bare_memory_mb", {}).items():
        own = results["models"][kind]["memory_mb"][REPLICA]
        found.append(
            {
                "model": kind,
                **aim("memory above NumPy, library and model", own - memory["bare with model"], 30, False, "MB"),
            }
        )
    if "many_deployments" in results:
        few, many = results["many_deployments"]["p50_ms"].values()
        found.append({"model": "digits", **aim("p50 with 1,000 deployments over that with 5", many / few, 1.1, False)})
    if "first_answer" in results:
        taken = results["first_answer"]["median_seconds"]
        found.append({"model": "digits", **aim("deploy to first answer", taken, 2.0, False, "s")})
    return found


def show(report: dict[str, Any]) -> None:
    for kind, by in report["results"]["models"].items():
        print(f"{kind:20} {'connections':>11} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>9} {'server µs':>10}")
        for name, found in by["servers"].items():
            if "error" in found:
                print(f"{name:20} {found['error'].splitlines()[-1][:90]}")
                continue
            for count, one in found.items():
                figures = f"{one['requests_per_second']:9.0f} {one['p50_ms']:8.3f} {one['p99_ms']:9.3f}"
                print(f"{name:20} {count:>11} {figures} {one['server_cpu_us']:10.1f}")
    for line in report["aims"]:
        word = {True: "met", False: "MISSED", None: "not measured"}[line["met"]]
        reached = "" if line["reached"] is None else f"{line['reached']:10.3f}"
        print(f"{line['model']:8} {line['what']:60} {line['aim']:>10} {reached:>10}  {word}")


def plot(report: dict[str, Any], path: Path) -> None:
    """Requests a second at 64 connections and p50 at one, each model a row."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    by_model = report["results"]["models"]
    figure_, axes = pyplot.subplots(len(by_model), 2, figsize=(12, 1 + 3.4 * len(by_model)), squeeze=False)
    panels = (("64", "requests_per_second", "requests/s, 64 connections"), ("1", "p50_ms", "p50 in ms, 1 connection"))
    for row, (kind, by) in zip(axes, by_model.items(), strict=True):
        for axis, (count, key, title) in zip(row, panels, strict=True):
            bars = {name: value for name in by["servers"] if (value := figure(by["servers"], name, count, key))}
            names = sorted(bars, key=lambda name: bars[name], reverse=key == "p50_ms")
            colours = ["#1f6feb" if name.startswith("headway") else "#9aa4b2" for name in names]
            drawn = axis.barh(names, [bars[name] for name in names], color=colours)
            axis.bar_label(
                drawn, labels=[f"{bars[name]:,.0f}" if key != "p50_ms" else f"{bars[name]:.2f}" for name in names]
            )
            axis.set_xscale("log")
            axis.set_title(f"{kind}: {title}")
            axis.margins(x=0.25)
    figure_.tight_layout()
    figure_.savefig(path, dpi=120)
