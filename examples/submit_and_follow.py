"""Submit a job and print what it prints, until it is over.

Run it with HEADWAY_URL and HEADWAY_TOKEN set::

    python submit_and_follow.py
"""

import headway

COMMAND = """
for step in 1 2 3; do echo "step $step of 3"; done
echo "all done" > "$HEADWAY_OUTPUT_DIR/report.txt"
"""

with headway.Client() as client:
    try:
        client.projects.create("examples")
    except headway.ConflictError:
        pass  # it is there already

    job = client.jobs.create("hello", COMMAND, project="examples", count=2)
    print(f"submitted {job.id}")

    for row in client.jobs.logs(job.id, follow=True):
        print(f"{row.replica:>10} {row.line:>3} | {row.message}")

    job = client.jobs.wait(job.id)
    print(f"{job.id} {job.state.value}; it left {[entry.path for entry in job.outputs]}")
