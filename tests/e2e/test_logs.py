"""Logs: floods, endless lines, bytes that are no text, and following across broken connections."""

from __future__ import annotations

import itertools
import json
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from headway import Client
from headway.domain.jobs import JobState
from headway.domain.logs import CUT_MARK, LogRow
from headway.errors import InvalidRequestError, NotFoundError, WaitTimeoutError
from headway.testing.faults import placed_replicas, repetitions, seeded, until
from headway.testing.server import ServerProcess

MEGABYTE = 1 << 20
LINE_BYTES = 1024

FLOOD = """
import sys
count, size = int(sys.argv[1]), int(sys.argv[2])
for start in range(0, count, 500):
    numbers = range(start, min(start + 500, count))
    lines = [f"{number:09d} ".encode().ljust(size - 1, b"%d" % (number % 10)) for number in numbers]
    sys.stdout.buffer.write(b"\\n".join(lines) + b"\\n")
"""

STEPS = """
import os, sys, time
for step in range(1, int(sys.argv[1]) + 1):
    print(os.environ["HEADWAY_REPLICA"], step, flush=True)
    if step % 20 == 0:
        time.sleep(0.01)
"""


def flood_line(number: int) -> str:
    return f"{number:09d} ".ljust(LINE_BYTES - 1, str(number % 10))


class Memory:
    """The most that the server, and any agent below its data directory, ever used (bytes of resident memory)."""

    def __init__(self, server: ServerProcess) -> None:
        assert server.process is not None
        self._server, self._data = psutil.Process(server.process.pid), server.data
        self.before = self.server = self._server.memory_info().rss
        self.agent = 0
        self.agents: set[int] = set()
        self._over = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.server = max(self.server, self._server.memory_info().rss)
            for pid in list(self.agents):
                try:
                    self.agent = max(self.agent, psutil.Process(pid).memory_info().rss)
                except psutil.NoSuchProcess:
                    self.agents.discard(pid)

    def check(self) -> None:
        grown = self.server - self.before
        print(
            f"server +{grown / MEGABYTE:.0f} MB to {self.server / MEGABYTE:.0f}, agent {self.agent / MEGABYTE:.0f} MB"
        )
        assert self.agent, "the agent was never seen"
        assert self.agent < 150 * MEGABYTE
        assert grown < 300 * MEGABYTE

    def follow_agents(self, client: Client, job_id: str) -> None:
        """Look at the agents of a job from now on."""
        token = client.jobs.attempts(job_id)[-1].token
        placed = until(lambda: placed_replicas(self._data, token), 20, "an agent")
        self.agents |= {replica.agent.pid for replica in placed.values()}


def test_a_flood_blocks_nothing_loses_nothing_and_costs_bounded_memory(
    running_server: ServerProcess, client: Client
) -> None:
    count = repetitions(40, 200) * MEGABYTE // LINE_BYTES
    memory = Memory(running_server)
    with memory.watched():
        job = client.jobs.create("flood", command=[sys.executable, "-c", FLOOD, str(count), str(LINE_BYTES)])
        until(lambda: client.jobs.attempts(job.id), 30, "an attempt")
        memory.follow_agents(client, job.id)
        number = 0
        for row in client.jobs.logs(job.id, follow=True, timeout=240):
            assert (row.line, row.message) == (number + 1, flood_line(number))
            number += 1
    assert number == count
    assert client.jobs.get(job.id).state is JobState.SUCCEEDED
    memory.check()


def test_a_flood_while_the_server_is_away_does_not_hold_the_program_up(
    own_server: ServerProcess, tmp_path: Path
) -> None:
    count = 10 * MEGABYTE // LINE_BYTES
    wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\n"
    with Client(own_server.url, own_server.token, project="flood", retry_for=30) as client:
        client.projects.create("flood")
        job = client.jobs.create("away", command=[sys.executable, "-c", wait + FLOOD, str(count), str(LINE_BYTES)])
        until(lambda: client.jobs.get(job.id).state is JobState.RUNNING, 30, "running")
        (replica,) = placed_replicas(own_server.data, client.jobs.attempts(job.id)[0].token).values()
        own_server.kill()
        (tmp_path / "go").touch()
        until(replica.directory.read_exit, 60, "the program ended without a server")
        own_server.start()
        rows = list(client.jobs.logs(job.id, follow=True, timeout=60))
        assert [row.line for row in rows] == list(range(1, count + 1))
        assert all(row.message == flood_line(row.line - 1) for row in rows)


def test_a_line_of_100_megabytes_is_cut_and_the_next_one_is_whole(
    running_server: ServerProcess, client: Client
) -> None:
    program = "import sys\nfor _ in range(100): sys.stdout.write('x' * 1048576)\nprint('\\nafter')"
    memory = Memory(running_server)
    with memory.watched():
        job = client.jobs.create("long line", command=[sys.executable, "-c", program])
        until(lambda: client.jobs.attempts(job.id), 30, "an attempt")
        memory.follow_agents(client, job.id)
        long, after = client.jobs.logs(job.id, follow=True, timeout=120)
    assert long.message == "x" * MEGABYTE + CUT_MARK.format(count=99 * MEGABYTE)
    assert (long.line, after.line, after.message) == (1, 2, "after")
    assert client.jobs.get(job.id).state is JobState.SUCCEEDED
    memory.check()


@pytest.mark.parametrize("follow", [True, False])
def test_bytes_arrive_as_they_would_be_read(client: Client, follow: bool) -> None:
    printed = {
        b"\xff\xfe caf\xc3\xa9\n": "\ufffd\ufffd café",
        b"10%\r50%\r100%\n": "100%",
        b"dos line\r\n": "dos line",
        b"\x1b[31mred\x1b[0m \x1b]0;title\x07\n": "\x1b[31mred\x1b[0m \x1b]0;title\x07",
        b"a\0b\n": "a\0b",
        b"\n": "",
        "one\u2028line\u2029only\x85\x0b\x0c\x1c.\n".encode(): "one\u2028line\u2029only\x85\x0b\x0c\x1c.",
        b"data: x\\nid: 5\n": "data: x\\nid: 5",
        "\U0001f9ea \u202eabc\n".encode(): "\U0001f9ea \u202eabc",
        b"no newline at the end": "no newline at the end",
    }
    program = f"import sys\nsys.stdout.buffer.write({b''.join(printed)!r})"
    job = client.jobs.create("bytes", command=[sys.executable, "-c", program])
    if not follow:
        client.jobs.wait(job.id, timeout=60)
    rows = list(client.jobs.logs(job.id, follow=follow))
    assert [row.message for row in rows] == list(printed.values())
    assert [row.line for row in rows] == list(range(1, len(printed) + 1))


def test_a_progress_bar_is_one_line_however_long_it_runs(client: Client) -> None:
    program = "import sys\nfor n in range(200000): sys.stdout.write(f'\\r{n:06d} done')\nprint()\nprint('next')"
    job = client.jobs.create("bar", command=[sys.executable, "-c", program])
    rows = list(client.jobs.logs(job.id, follow=True, timeout=60))
    assert [(row.line, row.message) for row in rows] == [(1, "199999 done"), (2, "next")]


class Follower:
    """Reads a log stream over raw connections that are cut, and comes back with Last-Event-ID."""

    def __init__(self, server: ServerProcess, path: str) -> None:
        self._url, self._headers = server.url + path, {"Authorization": f"Bearer {server.token}"}
        self.rows: list[LogRow] = []
        self.ended = False
        self._last_id: str | None = None

    def read(self, most: int) -> None:
        """One connection, cut after about ``most`` bytes at any place; only whole events count."""
        headers = dict(self._headers) | ({"Last-Event-ID": self._last_id} if self._last_id else {})
        waiting, taken = b"", 0
        with httpx.stream("GET", self._url, headers=headers, trust_env=False, timeout=60) as response:
            assert response.status_code == 200
            for chunk in response.iter_raw():
                waiting += chunk[: most - taken]
                taken += len(chunk)
                *events, waiting = waiting.split(b"\n\n")
                for event in events:
                    self._take(event.decode())
                if taken >= most or self.ended:
                    return

    def _take(self, event: str) -> None:
        fields = dict(line.split(": ", 1) for line in event.split("\n") if not line.startswith(":"))
        if fields.get("event") == "end":
            self.ended = True
        if fields.get("event") == "rows":
            self._last_id = fields["id"]
            self.rows += [LogRow.model_validate(row) for row in json.loads(fields["data"])]


def by_replica(rows: list[LogRow]) -> dict[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for row in rows:
        found.setdefault(row.replica, []).append((row.line, row.message))
    return found


def test_a_follower_whose_connection_is_cut_anywhere_misses_and_repeats_nothing(
    running_server: ServerProcess, client: Client
) -> None:
    chance, steps = seeded(), repetitions(2000, 20000)
    job = client.jobs.create("cut", command=[sys.executable, "-c", STEPS, str(steps)], count=2)
    follower, connections = Follower(running_server, f"/api/v1/jobs/{job.id}/logs/stream"), 0
    while not follower.ended:
        follower.read(cut_point(chance))
        connections += 1
    print(f"{connections} connections")
    assert connections > 5
    names = ("worker-0", "worker-1")
    expected = {name: [(step, f"{name} {step}") for step in range(1, steps + 1)] for name in names}
    assert by_replica(follower.rows) == expected
    replicas = [row.replica for row in follower.rows]
    assert sum(a != b for a, b in itertools.pairwise(replicas)) > 2, "the replicas are not interleaved"
    stamps = [row.timestamp for row in client.jobs.logs(job.id)]
    assert stamps == sorted(stamps)


def cut_point(chance: random.Random) -> int:
    return chance.choice([chance.randrange(1, 200), chance.randrange(200, 20_000), chance.randrange(20_000, 120_000)])


def test_following_waits_for_the_start_and_ends_with_the_job(client: Client) -> None:
    job = client.jobs.create("later", command="echo one; echo two", start=False)
    with pytest.raises(WaitTimeoutError):
        next(iter(client.jobs.logs(job.id, follow=True, timeout=0.5)))
    found: list[str] = []
    reader = threading.Thread(
        target=lambda: found.extend(row.message for row in client.jobs.logs(job.id, follow=True, timeout=60))
    )
    reader.start()
    client.jobs.start(job.id)
    reader.join(60)
    assert found == ["one", "two"]
    assert client.jobs.get(job.id).state is JobState.SUCCEEDED
    assert [row.message for row in client.jobs.logs(job.id, follow=True, timeout=10)] == ["one", "two"]


def test_the_tail_of_a_log(client: Client) -> None:
    job = client.jobs.create("tail", command=[sys.executable, "-c", STEPS, "1500"], count=2)
    client.jobs.wait(job.id, timeout=60)
    one = [row.message for row in client.jobs.logs(job.id, replica="worker-1", tail=3)]
    assert one == ["worker-1 1498", "worker-1 1499", "worker-1 1500"]
    everything = list(client.jobs.logs(job.id))
    assert len(everything) == 3000
    assert list(client.jobs.logs(job.id, tail=10)) == everything[-10:]
    assert list(client.jobs.logs(job.id, tail=10, follow=True, timeout=10)) == everything[-10:]
    assert list(client.jobs.logs(job.id, tail=0)) == []
    assert list(client.jobs.logs(job.id, tail=0, follow=True, timeout=10)) == []


def test_what_cannot_be_read_is_one_clear_error(client: Client) -> None:
    job = client.jobs.create("errors", command="true", start=False)
    with pytest.raises(NotFoundError):
        list(client.jobs.logs("jobnosuch"))
    with pytest.raises(InvalidRequestError, match="tail"):
        client.jobs.logs(job.id, tail=-1)
    assert list(client.jobs.logs(job.id)) == []
