"""run-as-pods [--tag TAG] [--only DEPLOYMENT] [OVERLAY] - the system under the settings of the
manifests, by `docker run`, on a machine without a cluster.

Renders an overlay (kustomize/minikube if none is named) and starts each of its pods as a container
with the same user, groups, read-only root, capabilities, limits, sysctls, hostname, environment,
command, volumes and probes. Submits an object, then replaces the pods of rabbit and statistics, and
sees that object and queues are still there.

  --tag TAG           uses the images ebs-<service>:TAG instead of building some
  --only DEPLOYMENT   runs only this pod, until it is ready

What it does not know, it refuses, rather than passing over it.
"""

import argparse
import base64
import os
import pathlib
import re
import shutil
import tempfile

import yaml

from common import (
    BUILD_SECONDS,
    SERVICES,
    Failure,
    eventually,
    expect_record,
    http,
    main,
    remove_images,
    run,
    say,
    submit,
    succeeded,
    wait_until_served,
)

PROJECT = f"ebs-pods-{os.getpid()}"
LABEL = f"ebs.run-as-pods={PROJECT}"
FILES = pathlib.Path(tempfile.mkdtemp(prefix=f"{PROJECT}-"))
FILES.chmod(0o755)  # pods' users read what ConfigMaps hold
# A limit above what any probe here has.
START_SECONDS = 300
# Pods start in this order: the worst one, the broker last.
ORDER = ["datagen", "processor", "distributor", "statistics", "rabbit"]


class Manifests:
    def __init__(self, overlay):
        self.objects = [thing for thing in yaml.safe_load_all(render(overlay)) if thing]

    def find(self, kind, name):
        for thing in self.objects:
            if (thing["kind"], thing["metadata"]["name"]) == (kind, name):
                return thing
        raise Failure(f"{kind}/{name} is not in the manifests")

    def values(self, kind, name):
        """The data of a ConfigMap or a Secret."""
        thing = self.find(kind, name)
        values = dict(thing.get("data") or {})
        if kind == "Secret":
            values = {key: base64.b64decode(value).decode() for key, value in values.items()}
            values |= thing.get("stringData") or {}
        return values

    def service_names(self, labels, ports):
        """The names under which a pod is found. The ports must be the same: here is no translation."""
        for service in self.objects:
            if service["kind"] != "Service":
                continue
            if not service["spec"]["selector"].items() <= labels.items():
                continue
            for port in service["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                if ports.get(target, target) != port["port"]:
                    raise Failure(f"Service/{service['metadata']['name']} translates port {port['port']}")
            yield service["metadata"]["name"]


def render(overlay):
    if shutil.which("kubectl"):
        return run("kubectl", "kustomize", overlay)
    return run("kustomize", "build", overlay)


def bytes_of(text):
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi|)", str(text)).groups()
    return int(number) * {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[unit]


def cores_of(text):
    text = str(text)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


class Pod:
    """One deployment's pod as a container."""

    def __init__(self, manifests, deployment, images):
        self.manifests = manifests
        self.name = deployment["metadata"]["name"]
        self.container = f"{PROJECT}-{self.name}"
        self.labels = deployment["spec"]["template"]["metadata"]["labels"]
        self.spec = deployment["spec"]["template"]["spec"]
        if len(self.spec["containers"]) != 1 or self.spec.get("initContainers"):
            raise Failure(f"{self.name}: pods of several containers are not known here")
        self.main = self.spec["containers"][0]
        self.image = images.get(self.image_name(), self.main["image"])
        self.ports = {port["name"]: port["containerPort"] for port in self.main["ports"]}

    def image_name(self):
        return self.main["image"].split("/")[-1].split(":")[0]

    # -- settings -> flags --

    def environment(self):
        values = {}
        for source in self.main.get("envFrom") or []:
            if "configMapRef" in source:
                values |= self.manifests.values("ConfigMap", source["configMapRef"]["name"])
            elif "secretRef" in source:
                values |= self.manifests.values("Secret", source["secretRef"]["name"])
        for variable in self.main.get("env") or []:
            origin = variable.get("valueFrom")
            if origin is None:
                value = re.sub(
                    r"\$\((\w+)\)",
                    lambda match: values.get(match[1], match[0]),
                    variable.get("value", ""),
                )
            elif "secretKeyRef" in origin:
                reference = origin["secretKeyRef"]
                if reference.get("optional"):
                    continue  # as in a cluster where nobody made it
                value = self.manifests.values("Secret", reference["name"])[reference["key"]]
            elif "configMapKeyRef" in origin:
                reference = origin["configMapKeyRef"]
                value = self.manifests.values("ConfigMap", reference["name"])[reference["key"]]
            else:
                raise Failure(f"{self.name}: {variable['name']} comes from {list(origin)}")
            values[variable["name"]] = value
        return values

    def security_flags(self):
        pod = self.spec["securityContext"]
        own = self.main["securityContext"]
        user = own.get("runAsUser", pod["runAsUser"])
        group = own.get("runAsGroup", pod["runAsGroup"])
        yield from ("--user", f"{user}:{group}")
        if "fsGroup" in pod:
            yield from ("--group-add", str(pod["fsGroup"]))
        if own.get("readOnlyRootFilesystem"):
            yield "--read-only"
        for capability in own["capabilities"].get("drop") or []:
            yield from ("--cap-drop", capability)
        for capability in own["capabilities"].get("add") or []:
            yield from ("--cap-add", capability)
        if own.get("allowPrivilegeEscalation") is False:
            yield from ("--security-opt", "no-new-privileges")
        if pod["seccompProfile"]["type"] != "RuntimeDefault":  # which is Docker's default too
            raise Failure(f"{self.name}: seccomp profile {pod['seccompProfile']}")
        for sysctl in pod.get("sysctls") or []:
            yield from ("--sysctl", f"{sysctl['name']}={sysctl['value']}")

    def resource_flags(self):
        limits = self.main["resources"]["limits"]
        # a pod has no swap
        yield from ("--memory", str(bytes_of(limits["memory"])))
        yield from ("--memory-swap", str(bytes_of(limits["memory"])))
        yield from ("--cpus", str(min(cores_of(limits["cpu"]), os.cpu_count() or 1)))

    def volume_flags(self):
        volumes = {volume["name"]: volume for volume in self.spec.get("volumes") or []}
        group = self.spec["securityContext"].get("fsGroup")
        for mount in self.main.get("volumeMounts") or []:
            volume = volumes[mount["name"]]
            target = mount["mountPath"]
            if "persistentVolumeClaim" in volume:
                name = self.volume(volume["persistentVolumeClaim"]["claimName"])
                # Kubernetes copies nothing out of the image into a volume
                yield from ("--mount", f"type=volume,src={name},dst={target},volume-nocopy")
            elif "emptyDir" in volume:
                size = bytes_of(volume["emptyDir"].get("sizeLimit", "64Mi"))
                mode = "0777" if group is None else f"2777,gid={group}"
                yield from ("--tmpfs", f"{target}:rw,exec,size={size},mode={mode}")
            elif "configMap" in volume or "secret" in volume:
                kind = "ConfigMap" if "configMap" in volume else "Secret"
                source = volume.get("configMap") or volume["secret"]
                name = source.get("name") or source["secretName"]
                directory = self.write_files(kind, name)
                path = directory / mount["subPath"] if "subPath" in mount else directory
                yield from ("--mount", f"type=bind,src={path},dst={target},readonly")
            else:
                raise Failure(f"{self.name}: volume {volume}")

    def write_files(self, kind, name):
        directory = FILES / f"{kind}-{name}".lower()
        directory.mkdir(exist_ok=True)
        for key, value in self.manifests.values(kind, name).items():
            (directory / key).write_text(value, encoding="utf-8")
            (directory / key).chmod(0o644)
        return directory

    def volume(self, claim):
        self.manifests.find("PersistentVolumeClaim", claim)
        return f"{PROJECT}-{claim}"

    def prepare_volumes(self):
        """As storage drivers do at their harshest: the volume's root belongs to root, and every file
        is opened to fsGroup before each start."""
        group = self.spec["securityContext"].get("fsGroup")
        for volume in self.spec.get("volumes") or []:
            if "persistentVolumeClaim" not in volume:
                continue
            name = self.volume(volume["persistentVolumeClaim"]["claimName"])
            run("docker", "volume", "create", "--label", LABEL, name)
            if group is None:
                continue
            open_up = (
                f"chgrp -R {group} /volume && chmod -R g+rw /volume"
                " && find /volume -type d -exec chmod g+xs {} +"
            )
            rabbit = self.manifests.find("Deployment", "rabbit")
            image = rabbit["spec"]["template"]["spec"]["containers"][0]["image"]  # has a shell
            run(
                *("docker", "run", "--rm", "--label", LABEL, "--user", "0", "--network", "none"),
                *("--mount", f"type=volume,src={name},dst=/volume,volume-nocopy"),
                *("--entrypoint", "sh", image, "-c", open_up),
            )

    def start(self):
        self.prepare_volumes()
        environment = self.environment()
        flags = ["--name", self.container, "--label", LABEL, "--network", PROJECT]
        flags += ["--hostname", self.spec.get("hostname", f"{self.name}-0")]
        for alias in self.manifests.service_names(self.labels, self.ports):
            flags += ["--network-alias", alias]
        # values by way of the client's environment: a command line is for everybody to read
        for name in environment:
            flags += ["--env", name]
        flags += [*self.security_flags(), *self.resource_flags(), *self.volume_flags()]
        flags += ["--restart", "unless-stopped"]
        flags += ["--stop-timeout", str(self.spec.get("terminationGracePeriodSeconds", 30))]
        if "http" in self.ports:
            flags += ["--publish", f"127.0.0.1::{self.ports['http']}"]
        command = [*(self.main.get("command") or []), *(self.main.get("args") or [])]
        if self.main.get("command"):
            flags += ["--entrypoint", command.pop(0)]
        say(f"{self.name}: docker run {' '.join(flags)} {self.image} {' '.join(command)}".rstrip())
        run("docker", "run", "--detach", *flags, self.image, *command, environment=environment)

    def stop(self):
        """As Kubernetes ends a pod. Within its grace, or it was killed."""
        run("docker", "stop", self.container)
        code = self.state("ExitCode")
        if code == "137":
            raise Failure(f"{self.name}: did not stop within its grace, and was killed")
        run("docker", "rm", self.container)
        say(f"{self.name}: stopped, exit code {code}")

    # -- what it says --

    def state(self, field):
        return run("docker", "inspect", "--format", f"{{{{.State.{field}}}}}", self.container)

    def base(self):
        address = run("docker", "port", self.container, f"{self.ports['http']}/tcp")
        return f"http://{address.splitlines()[0]}"

    def passes(self, probe):
        seconds = probe.get("timeoutSeconds", 1)
        if "exec" in probe:
            run("docker", "exec", self.container, *probe["exec"]["command"], seconds=seconds)
            return True
        http_get = probe["httpGet"]
        if http_get["port"] != "http":
            raise Failure(f"{self.name}: probe of port {http_get['port']}")
        return http("GET", self.base() + http_get["path"], seconds=seconds)[0] == 200

    def wait_until_ready(self):
        for field in ("startupProbe", "readinessProbe", "livenessProbe"):
            eventually(f"{self.name}: {field}", START_SECONDS, lambda f=field: self.passes(self.main[f]))
        say(f"{self.name}: ready")

    def expect_undisturbed(self):
        restarts = run("docker", "inspect", "--format", "{{.RestartCount}}", self.container)
        if restarts != "0" or self.state("OOMKilled") != "false":
            raise Failure(f"{self.name}: {restarts} restarts, out of memory: {self.state('OOMKilled')}")


def queues(rabbit):
    """Name, type and durability of every queue with a name of its own."""
    listed = run(
        *("docker", "exec", rabbit.container, "rabbitmqctl", "--quiet", "--formatter", "csv"),
        *("list_queues", "name", "type", "durable", "exclusive"),
    )
    rows = [line.replace('"', "").split(",") for line in listed.splitlines()[1:]]
    return sorted(row for row in rows if row[3] != "true")


def work(arguments):
    manifests = Manifests(arguments.overlay)
    images = {}
    if arguments.only in {None, *SERVICES}:
        tag = arguments.tag or PROJECT
        images = {f"ebs-{service}": f"ebs-{service}:{tag}" for service in SERVICES}
        if not arguments.tag:
            for service in SERVICES:
                say(f"building ebs-{service}")
                build = ["docker", "build", "--quiet", "--target", service]
                run(*build, "--tag", f"ebs-{service}:{tag}", ".", seconds=BUILD_SECONDS)

    pods = {
        name: Pod(manifests, manifests.find("Deployment", name), images)
        for name in ORDER
        if arguments.only in {None, name}
    }
    run("docker", "network", "create", "--label", LABEL, PROJECT)
    for pod in pods.values():
        pod.start()
    if arguments.only:
        if arguments.only == "rabbit":
            pods["rabbit"].wait_until_ready()
            say(f"replacing it with the same volume; queues: {queues(pods['rabbit'])}")
            pods["rabbit"].stop()
            pods["rabbit"].start()
        pods[arguments.only].wait_until_ready()
        pods[arguments.only].expect_undisturbed()
        pods[arguments.only].stop()
        return

    for pod in pods.values():
        pod.wait_until_ready()
    base = pods["datagen"].base()
    wait_until_served(base)
    first = submit(base)
    succeeded(base, first, tasks=3)
    say(f"object {first} succeeded with 3 tasks")
    expect_record(pods["statistics"].container, objects=1, tasks=3)
    before = queues(pods["rabbit"])
    names = {row[0] for row in before}
    if not {"ebs.distributor", "ebs.processor.word-frequencies", "ebs.statistics"} <= names:
        raise Failure(f"these queues are not the system's: {sorted(names)}")
    for pod in pods.values():
        pod.expect_undisturbed()

    say("replacing the pods of rabbit and statistics")
    for name in ("rabbit", "statistics"):
        pods[name].stop()
        pods[name].start()
    for pod in pods.values():
        pod.wait_until_ready()
    wait_until_served(base)
    status, thing = http("GET", f"{base}/api/objects/{first}")
    if status != 200 or thing["status"] != "succeeded":
        raise Failure(f"object {first} after the replacement: {status} {thing}")
    missing = [row for row in before if row not in queues(pods["rabbit"])]
    if missing:
        raise Failure(f"queues that are not there any more: {missing}")
    say(f"the object and all {len(before)} queues are still there")
    second = submit(base)
    succeeded(base, second, tasks=3)
    expect_record(pods["statistics"].container, objects=2, tasks=6)
    for pod in pods.values():
        pod.expect_undisturbed()
    for pod in pods.values():
        pod.stop()


def explain():
    for container in listed("ps", "--all"):
        say(run("docker", "inspect", "--format", "{{.Name}}: {{json .State}}", container))
        run("docker", "logs", "--tail", "40", container, show=True)


def listed(*what):
    return run("docker", *what, "--quiet", "--filter", f"label={LABEL}").split()


def clean_up():
    for container in listed("ps", "--all"):
        run("docker", "rm", "--force", "--volumes", container)
    for volume in listed("volume", "ls"):
        run("docker", "volume", "rm", volume)
    for network in listed("network", "ls"):
        run("docker", "network", "rm", network)
    remove_images(PROJECT)
    shutil.rmtree(FILES, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="run-as-pods", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overlay", nargs="?", default="kustomize/minikube", metavar="OVERLAY")
    parser.add_argument("--tag")
    parser.add_argument("--only", choices=ORDER, metavar="DEPLOYMENT")
    parsed = parser.parse_args()
    main(lambda: work(parsed), clean_up, explain)
