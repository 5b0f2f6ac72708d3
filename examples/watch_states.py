"""Record a job, start it later, and watch every move it makes.

Run it with HEADWAY_URL and HEADWAY_TOKEN set::

    python watch_states.py
"""

import headway

with headway.Client() as client:
    try:
        client.projects.create("examples")
    except headway.ConflictError:
        pass  # it is there already

    job = client.jobs.create("quick", "echo here I am", project="examples", start=False)
    print(f"{job.id} is {job.state.value}")

    client.jobs.start(job.id)
    for event in client.jobs.watch(job.id):
        print(f"{event.time:%H:%M:%S} {event.data['from']} -> {event.data['to']}  {event.data.get('reason') or ''}")
