"""Run a job on the code of a git repository, at a branch, tag or commit.

Run it with HEADWAY_URL and HEADWAY_TOKEN set; git has to be installed where the job runs::

    python git_workspace.py [URL [REF]]

Without a URL it makes a small repository in a temporary directory and runs its first commit.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import headway


def make_repository(directory: Path) -> tuple[str, str]:
    """A repository with two commits; its address, and the first commit."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=Example", "-c", "user.email=example@localhost"]
        done = subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    for text in ("first", "second"):
        (directory / "main.py").write_text(f"print('this is the {text} commit')\n")
        git("add", "main.py")
        git("commit", "--quiet", "-m", text)
    return directory.as_uri(), git("rev-parse", "HEAD~1")


with headway.Client() as client, tempfile.TemporaryDirectory() as scratch:
    try:
        client.projects.create("examples")
    except headway.ConflictError:
        pass  # it is there already

    url, ref = (sys.argv[1], (sys.argv[2:] or [None])[0]) if len(sys.argv) > 1 else make_repository(Path(scratch))
    command = "python main.py && git log -1 --format='%h %s'"
    job = client.jobs.create("from git", command, workspace={"git": url, "ref": ref}, project="examples")
    for row in client.jobs.logs(job.id, follow=True):
        print(row.message)
    print(client.jobs.wait(job.id).state.value)
