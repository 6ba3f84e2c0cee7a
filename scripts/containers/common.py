"""What check and run-as-pods share: commands and waits that always end, and what `it works` means."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICES = ["datagen", "distributor", "processor", "statistics"]

# From nothing, two cores compile some hundreds of crates.
BUILD_SECONDS = 3600
# Any other single command: the longest is a `down`, with its stop grace for every container.
COMMAND_SECONDS = 300
# A broker that starts while other things compile.
READY_SECONDS = 180
OBJECT_SECONDS = 60


class Failure(Exception):
    """Something is not as it must be; the message says what."""


class Final(Exception):
    """A failure that no waiting mends."""


def say(message):
    print(f"[{time.strftime('%H:%M:%S')}] {message}", flush=True)


def run(*command, seconds=COMMAND_SECONDS, environment=None, show=False):
    """Runs a command to its end and returns what it printed; with `show`, people see it instead."""
    command = [str(part) for part in command]
    pipe = None if show else subprocess.PIPE
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,  # so that its own children can be ended with it
        )
    except FileNotFoundError:
        raise Failure(f"{command[0]} is missing") from None
    try:
        output, errors = process.communicate(timeout=seconds)
    except BaseException as reason:
        end_group(process)
        if isinstance(reason, subprocess.TimeoutExpired):
            raise Failure(f"{' '.join(command[:4])}: not done within {seconds} s") from None
        raise
    if process.returncode != 0:
        told = "\n".join(part.strip() for part in (output, errors) if part)
        raise Failure(f"{' '.join(command)}: exit code {process.returncode}\n{told}")
    return (output or "").strip()


def end_group(process):
    """Ends a command and whatever it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return


def eventually(what, seconds, probe, pause=1.0):
    """Asks `probe` until it returns something true, which is returned; fails after `seconds`."""
    end = time.monotonic() + seconds
    last = None
    while True:
        try:
            answer = probe()
            if answer:
                return answer
            last = None
        except (Failure, OSError, ValueError, sqlite3.Error) as error:
            last = error
        if time.monotonic() >= end:
            raise Failure(f"{what}: not within {seconds} s" + (f" ({last})" if last else ""))
        time.sleep(pause)


def http(method, url, body=None, seconds=20):
    """One request: status and body, which is parsed if it is JSON."""
    data = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"content-type": "application/json"}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    except urllib.error.URLError as error:
        raise Failure(f"{method} {url}: {error.reason}") from None
    except (TimeoutError, ConnectionError) as error:
        raise Failure(f"{method} {url}: {error}") from None
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text.decode(errors="replace")


def is_ready(base):
    return http("GET", f"{base}/readyz", seconds=5)[0] == 200


def wait_until_served(base):
    """Both datagen and, behind it, statistics answer."""
    eventually(f"{base}/readyz", READY_SECONDS, lambda: is_ready(base))
    eventually(
        f"{base}/api/statistics",
        READY_SECONDS,
        lambda: http("GET", f"{base}/api/statistics", seconds=5)[0] == 200,
    )


def submit(base, body=None):
    """Posts an object and returns its id. 503 is an answer while the services find each other."""

    def post():
        status, answer = http("POST", f"{base}/api/objects", body)
        if status == 503:
            return None
        if status != 201:
            raise Final(f"POST /api/objects: {status} {answer}")
        return answer

    answer = eventually("POST /api/objects", OBJECT_SECONDS, post)
    return answer["id"]


def count_of(tasks):
    return len(tasks) if isinstance(tasks, list) else tasks


def succeeded(base, identity, tasks):
    """Waits for an object to succeed with this many tasks, and returns it."""

    def ask():
        status, thing = http("GET", f"{base}/api/objects/{identity}?wait=10")
        if status != 200:
            raise Failure(f"GET /api/objects/{identity}: {status} {thing}")
        return thing if thing["status"] in {"succeeded", "failed", "timed_out"} else None

    thing = eventually(f"object {identity} finished", OBJECT_SECONDS, ask)
    if thing["status"] != "succeeded":
        raise Failure(f"object {identity}: {thing['status']}: {json.dumps(thing)[:2000]}")
    if count_of(thing["tasks"]) != tasks:
        raise Failure(f"object {identity}: {count_of(thing['tasks'])} tasks instead of {tasks}")
    return thing


def processors_of(thing):
    """Who executed an object's tasks."""
    tasks = thing["tasks"] if isinstance(thing["tasks"], list) else []
    return {task.get("processor") for task in tasks} - {None}


def record(container):
    """The rows that statistics has written, read from a copy of its file: (objects, tasks, figures)."""
    with tempfile.TemporaryDirectory() as directory:
        run("docker", "cp", f"{container}:/data/.", directory)
        with contextlib.closing(sqlite3.connect(f"{directory}/stats.db")) as database:
            objects = database.execute("select count(*) from objects where status = 'succeeded'")
            tasks = database.execute("select count(*) from tasks where outcome = 'succeeded'")
            figures = database.execute("select * from statistics")
            return objects.fetchone()[0], tasks.fetchone()[0], dict(figures.fetchall())


def expect_record(container, objects, tasks):
    """The record holds exactly these, and its headline figures say the same."""

    def read():
        rows = record(container)
        if rows[:2] != (objects, tasks):
            raise Failure(f"{rows[0]} objects and {rows[1]} tasks instead of {objects} and {tasks}")
        return rows

    figures = eventually("the record", 30, read)[2]
    said = (figures.get("objects succeeded"), figures.get("tasks processed"))
    if said != (objects, tasks):
        raise Failure(f"the view `statistics` says {said} instead of {(objects, tasks)}")
    say(f"the record holds {objects} objects, {tasks} tasks, and the view says so")


def remove_images(tag):
    """Takes a tag away from the four images. The layers stay: the next build finds them."""
    for service in SERVICES:
        with contextlib.suppress(Failure):
            run("docker", "rmi", "--no-prune", f"ebs-{service}:{tag}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port_or_free(port):
    """This port of the loopback interface, or another if somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return port
        except OSError:
            return free_port()


def main(work, clean_up, explain):
    """Runs `work`; on failure or a signal says why, with `explain`; cleans up in any case."""

    def stop(number, _frame):
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    code = 1
    try:
        if not shutil.which("docker"):
            raise Failure("docker is missing")
        run("docker", "version", seconds=20)
        work()
        code = 0
    except (Failure, Final) as failure:
        say(f"FAILED: {failure}")
        quietly(explain)
    except KeyboardInterrupt as interrupt:
        say(f"interrupted: {interrupt}")
        code = 130
    finally:
        # a second Ctrl-C would leave things behind; every step below ends by itself
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        say("cleaning up")
        quietly(clean_up)
    say("all is well" if code == 0 else f"exit code {code}")
    sys.exit(code)


def quietly(step):
    try:
        step()
    except (Failure, OSError, sqlite3.Error) as failure:
        say(f"{failure}")
