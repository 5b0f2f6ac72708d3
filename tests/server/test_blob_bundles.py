"""Many small blobs in one answer."""

from __future__ import annotations

from typing import Any

import pytest

from headway.domain.base import new_id


class TestBundles:
    def ask(self, world: Any, project: Any, digests: list[str], token: str | None = None) -> Any:
        url = f"/api/v1/projects/{project.id}/blobs/bundle"
        return world.client.post(url, json={"digests": digests}, headers=world.headers(token or world.admin_token))

    def test_each_comes_with_its_size_in_the_order_asked_for(self, world: Any) -> None:
        project = world.project()
        contents = [b"second", b"", b"first" * 100_000, b"second"]
        digests = [world.blob(project, data).digest for data in contents]
        answer = self.ask(world, project, digests)
        assert answer.content == b"".join(len(data).to_bytes(8, "big") + data for data in contents)
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert answer.headers["content-disposition"].startswith("attachment")

    def test_an_agent_gets_those_of_its_project_and_no_others(self, world: Any) -> None:
        mine, theirs = world.project(), world.project()
        own, foreign = world.blob(mine, b"own").digest, world.blob(theirs, new_id("foreign").encode()).digest
        _, token = world.attempt(world.job(mine))
        assert self.ask(world, mine, [own], token).status_code == 200
        refused = self.ask(world, mine, [own, foreign], token)
        assert refused.status_code == 404 and refused.json()["details"]["missing"] == [foreign]
        assert self.ask(world, theirs, [foreign], token).status_code == 404

    @pytest.mark.parametrize("digests", [[], ["0" * 63], ["../../etc/passwd"], ["0" * 64] * 1001])
    def test_it_is_bounded(self, world: Any, digests: list[str]) -> None:
        assert self.ask(world, world.project(), digests).status_code == 422
