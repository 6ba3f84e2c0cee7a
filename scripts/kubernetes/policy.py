"""policy.py [--releases "1.31 1.35"] RENDERED.yaml... - checks rendered manifests.

Two checks: the schema of each Kubernetes release given, strictly (an unknown field or kind is an
error), and this project's own policy, the functions called `check_…` below. Every violation is
printed with the object it is in; exit code 1 if there is any.
"""

import argparse
import base64
import re
import sys
import urllib.parse

import kubernetes_validate
import kubernetes_validate.utils
import yaml

LABEL = "app.kubernetes.io/"
LABELS = ["name", "instance", "component", "part-of", "managed-by"]
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}
# Names that commands in the documentation rely on.
DEPLOYMENTS = {"datagen", "distributor", "processor", "statistics", "rabbit"}
OURS = DEPLOYMENTS - {"rabbit"}
# What a pod may be made of; above all not hostPath.
VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
# Those that the Pod Security Standard `restricted` allows and that we need.
SYSCTLS = {"net.ipv4.ip_unprivileged_port_start"}


# --- reading ---------------------------------------------------------------------------------


def load(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def name_of(thing):
    return f"{thing['kind']}/{thing['metadata']['name']}"


def labels_of(metadata):
    return metadata.get("labels") or {}


def pod_template(workload):
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]


def workloads(objects):
    return [thing for thing in objects if thing["kind"] in WORKLOADS]


def containers(workload):
    """Each container of a workload with a name for messages."""
    pod = pod_template(workload)["spec"]
    for group in ("initContainers", "containers"):
        for container in pod.get(group) or []:
            yield f"{name_of(workload)}, container {container['name']}", container


def keys_of(thing):
    """The keys of a ConfigMap or Secret."""
    return set(thing.get("data") or {}) | set(thing.get("stringData") or {})


def secret_value(thing, key):
    if key in (thing.get("stringData") or {}):
        return thing["stringData"][key]
    value = (thing.get("data") or {}).get(key)
    return None if value is None else base64.b64decode(value).decode()


def settings(workload, objects):
    """The environment of a workload's first container, as far as ConfigMaps and values tell it."""
    values = {}
    container = pod_template(workload)["spec"]["containers"][0]
    for source in container.get("envFrom") or []:
        name = (source.get("configMapRef") or {}).get("name")
        for thing in objects:
            if thing["kind"] == "ConfigMap" and thing["metadata"]["name"] == name:
                values.update(thing.get("data") or {})
    for variable in container.get("env") or []:
        if "value" in variable:
            values[variable["name"]] = variable["value"]
    return values


# --- the policy ------------------------------------------------------------------------------


def check_names(objects):
    """Documented commands name the deployments; nothing is there twice."""
    found = {thing["metadata"]["name"] for thing in objects if thing["kind"] == "Deployment"}
    for missing in sorted(DEPLOYMENTS - found):
        yield f"Deployment/{missing}: is missing"
    seen = set()
    for thing in objects:
        key = (name_of(thing), thing["metadata"].get("namespace"))
        if key in seen:
            yield f"{name_of(thing)}: is there twice"
        seen.add(key)


def check_labels(objects):
    """The six recommended labels; the version only where something runs."""
    for thing in objects:
        wanted = LABELS + (["version"] if thing["kind"] in WORKLOADS else [])
        for label in wanted:
            if not labels_of(thing["metadata"]).get(LABEL + label):
                yield f"{name_of(thing)}: has no label {LABEL}{label}"
    for workload in workloads(objects):
        metadata = pod_template(workload).get("metadata") or {}
        for label in LABELS + ["version"]:
            if not labels_of(metadata).get(LABEL + label):
                yield f"{name_of(workload)}: its pods have no label {LABEL}{label}"


def check_version_labels(objects):
    """The version that our pods claim is the tag of their image."""
    for workload in workloads(objects):
        if workload["metadata"]["name"] not in OURS:
            continue
        version = labels_of(pod_template(workload).get("metadata") or {}).get(LABEL + "version")
        for where, container in containers(workload):
            tag = container["image"].split("@")[0].rpartition(":")[2]
            if tag != version:
                yield f"{where}: image tag {tag}, but version label {version}"


def check_selectors(objects):
    """A deployment selects its own pods; a service's ports lead somewhere."""
    for workload in workloads(objects):
        selected = ((workload["spec"].get("selector") or {}).get("matchLabels")) or {}
        labels = labels_of(pod_template(workload).get("metadata") or {})
        if workload["kind"] == "Deployment" and not selected:
            yield f"{name_of(workload)}: selects nothing"
        if not selected.items() <= labels.items():
            yield f"{name_of(workload)}: does not select its own pods"
        if LABEL + "version" in selected:
            yield f"{name_of(workload)}: a selector with a version cannot be upgraded"
    for service in objects:
        if service["kind"] != "Service" or service["spec"].get("type") == "ExternalName":
            continue
        selector = service["spec"].get("selector") or {}
        behind = [
            workload
            for workload in workloads(objects)
            if selector.items() <= labels_of(pod_template(workload).get("metadata") or {}).items()
        ]
        if not selector or not behind:
            yield f"{name_of(service)}: selects no pods"
        for workload in behind:
            named = {}
            for _, container in containers(workload):
                for port in container.get("ports") or []:
                    named[port.get("name")] = port["containerPort"]
            for port in service["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                if target not in named and target not in named.values():
                    yield f"{name_of(service)}: {name_of(workload)} has no port {target}"


def check_references(objects):
    """Whatever a pod refers to is there."""
    there = {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects}
    for workload in workloads(objects):
        pod = pod_template(workload)["spec"]
        account = pod.get("serviceAccountName")
        if account and ("ServiceAccount", account) not in there:
            yield f"{name_of(workload)}: ServiceAccount/{account} is missing"
        for volume in pod.get("volumes") or []:
            for kind, field, key in [
                ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName"),
                ("ConfigMap", "configMap", "name"),
                ("Secret", "secret", "secretName"),
            ]:
                if field in volume and (kind, volume[field][key]) not in there:
                    yield f"{name_of(workload)}: {kind}/{volume[field][key]} is missing"
        volumes = {volume["name"] for volume in pod.get("volumes") or []}
        volumes |= {
            claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates") or []
        }
        for where, container in containers(workload):
            for mount in container.get("volumeMounts") or []:
                if mount["name"] not in volumes:
                    yield f"{where}: mounts {mount['name']}, which is no volume of the pod"
            for source in container.get("envFrom") or []:
                for field, kind in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")]:
                    if field in source and (kind, source[field]["name"]) not in there:
                        yield f"{where}: {kind}/{source[field]['name']} is missing"
            for variable in container.get("env") or []:
                origin = variable.get("valueFrom") or {}
                for field, kind in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")]:
                    if field not in origin or origin[field].get("optional"):
                        continue
                    thing = there.get((kind, origin[field]["name"]))
                    if thing is None:
                        yield f"{where}: {kind}/{origin[field]['name']} is missing"
                    elif origin[field]["key"] not in keys_of(thing):
                        yield f"{where}: {name_of(thing)} has no key {origin[field]['key']}"


def check_images(objects):
    """Never whatever happens to be the latest."""
    for workload in workloads(objects):
        for where, container in containers(workload):
            image = container["image"]
            tag = image.split("/")[-1].partition(":")[2]
            if "@sha256:" not in image and not tag:
                yield f"{where}: image {image} has no tag"
            if tag == "latest":
                yield f"{where}: image {image} is :latest"


def check_identity(objects):
    """Not root, by number; no token; nothing of the host's."""
    for workload in workloads(objects):
        where = name_of(workload)
        pod = pod_template(workload)["spec"]
        security = pod.get("securityContext") or {}
        if security.get("runAsNonRoot") is not True:
            yield f"{where}: runAsNonRoot is not true"
        for field in ("runAsUser", "runAsGroup"):
            if not isinstance(security.get(field), int) or security[field] == 0:
                yield f"{where}: {field} is not a number above 0"
        if (security.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
            yield f"{where}: seccompProfile is not RuntimeDefault"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{where}: automountServiceAccountToken is not false"
        if pod.get("enableServiceLinks") is not False:
            yield f"{where}: enableServiceLinks is not false (it adds variables of the services' names)"
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(field):
                yield f"{where}: {field} is set"
        for sysctl in security.get("sysctls") or []:
            if sysctl["name"] not in SYSCTLS:
                yield f"{where}: sysctl {sysctl['name']} is not one of {sorted(SYSCTLS)}"
        for volume in pod.get("volumes") or []:
            for kind in volume.keys() - {"name"} - VOLUMES:
                yield f"{where}: volume {volume['name']} is of kind {kind}"
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{where}: volume {volume['name']} has no sizeLimit"


def check_privileges(objects):
    """A container can neither gain rights nor change its own files."""
    for workload in workloads(objects):
        for where, container in containers(workload):
            security = container.get("securityContext") or {}
            if security.get("readOnlyRootFilesystem") is not True:
                yield f"{where}: readOnlyRootFilesystem is not true"
            if security.get("allowPrivilegeEscalation") is not False:
                yield f"{where}: allowPrivilegeEscalation is not false"
            if security.get("privileged"):
                yield f"{where}: is privileged"
            capabilities = security.get("capabilities") or {}
            if capabilities.get("drop") != ["ALL"]:
                yield f"{where}: capabilities are not dropped (drop: [ALL])"
            if capabilities.get("add"):
                yield f"{where}: adds capabilities {capabilities['add']}"
            # the pod's own settings hold: none of them is undone here
            if security.get("runAsNonRoot") is False or security.get("runAsUser") == 0:
                yield f"{where}: may run as root"
            if (security.get("seccompProfile") or {"type": ""})["type"] == "Unconfined":
                yield f"{where}: seccompProfile is Unconfined"
            for port in container.get("ports") or []:
                if "hostPort" in port:
                    yield f"{where}: takes the host's port {port['hostPort']}"


def quantity(text):
    """A Kubernetes quantity as a number."""
    number, suffix = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text)).groups()
    factor = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    factor |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return float(number) * factor[suffix]


def check_resources(objects):
    """Requests and limits, and the one not above the other."""
    for workload in workloads(objects):
        for where, container in containers(workload):
            resources = container.get("resources") or {}
            for resource in ("cpu", "memory"):
                values = []
                for field in ("requests", "limits"):
                    value = (resources.get(field) or {}).get(resource)
                    if value is None:
                        yield f"{where}: resources.{field}.{resource} is missing"
                    else:
                        values.append(quantity(value))
                if len(values) == 2 and values[0] > values[1]:
                    yield f"{where}: requests more {resource} than its limit"


def check_probes(objects):
    """Three probes each, on ports and paths that are there; liveness never asks for the broker."""
    for workload in workloads(objects):
        if workload["kind"] in {"Job", "CronJob"}:
            continue
        for container in pod_template(workload)["spec"]["containers"]:
            where = f"{name_of(workload)}, container {container['name']}"
            ports = {port.get("name") for port in container.get("ports") or []}
            for field in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(field)
                if not probe:
                    yield f"{where}: {field} is missing"
                    continue
                if probe.get("timeoutSeconds", 1) < 2:
                    yield f"{where}: {field} gives up after less than 2 seconds"
                http = probe.get("httpGet")
                if http and isinstance(http["port"], str) and http["port"] not in ports:
                    yield f"{where}: {field} asks port {http['port']}, which it does not have"
                if workload["metadata"]["name"] in OURS:
                    path = "/readyz" if field == "readinessProbe" else "/livez"
                    if (http or {}).get("path") != path:
                        yield f"{where}: {field} does not ask {path}"


def seconds(text):
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", text).groups()
    return float(number) * {"ms": 1e-3, "s": 1, "m": 60, "h": 3600}[unit]


def check_life_cycle(objects):
    """Time to drain; never two owners of one volume."""
    for workload in workloads(objects):
        where = name_of(workload)
        pod = pod_template(workload)["spec"]
        grace = pod.get("terminationGracePeriodSeconds", 30)
        if workload["metadata"]["name"] in OURS:
            stop = (pod["containers"][0].get("lifecycle") or {}).get("preStop") or {}
            needed = seconds(settings(workload, objects).get("SHUTDOWN_GRACE", "25s"))
            needed += (stop.get("sleep") or {}).get("seconds", 0)
            if grace <= needed:
                yield f"{where}: is killed after {grace} s, but may need {needed:g} s to stop"
        claims = [volume for volume in pod.get("volumes") or [] if "persistentVolumeClaim" in volume]
        if workload["kind"] == "Deployment" and claims:
            if (workload["spec"].get("strategy") or {}).get("type") != "Recreate":
                yield f"{where}: has a volume of its own, but its strategy is not Recreate"
            if workload["spec"].get("replicas", 1) != 1:
                yield f"{where}: has a volume of its own, but several replicas"


def check_rabbit(objects):
    """The node keeps its name, because its data directory is called after it."""
    for workload in workloads(objects):
        if workload["metadata"]["name"] != "rabbit" or workload["kind"] != "Deployment":
            continue
        pod = pod_template(workload)["spec"]
        if not pod.get("hostname"):
            yield f"{name_of(workload)}: has no hostname of its own"
        if "@" not in settings(workload, objects).get("RABBITMQ_NODENAME", ""):
            yield f"{name_of(workload)}: RABBITMQ_NODENAME is not fixed"


def check_credentials(objects):
    """Credentials are in Secrets only, they match, and they are not the guest's."""
    for workload in workloads(objects):
        for where, container in containers(workload):
            for variable in container.get("env") or []:
                secret = re.search("PASS|TOKEN|QUEUE_URL|SECRET|COOKIE", variable["name"])
                if secret and variable.get("value"):
                    yield f"{where}: {variable['name']} does not come from a Secret"
    for thing in objects:
        if thing["kind"] == "ConfigMap":
            for key, value in (thing.get("data") or {}).items():
                if re.search(r"amqps?://[^/\s]*@", value) or re.search("PASS|TOKEN", key):
                    yield f"{name_of(thing)}: {key} is a credential"
        if thing["kind"] != "Secret":
            continue
        user = secret_value(thing, "RABBITMQ_DEFAULT_USER")
        password = secret_value(thing, "RABBITMQ_DEFAULT_PASS")
        address = secret_value(thing, "QUEUE_URL")
        url = urllib.parse.urlsplit(address or "")
        if "guest" in (user, url.username):
            yield f"{name_of(thing)}: is the guest user's"
        if user and address and url.hostname == "rabbit":
            if (urllib.parse.unquote(url.username or ""), urllib.parse.unquote(url.password or "")) != (
                user,
                password,
            ):
                yield f"{name_of(thing)}: QUEUE_URL has other credentials than the broker"


def check_network(objects):
    """Every pod of ours is shut by default, both ways."""
    policies = [thing for thing in objects if thing["kind"] == "NetworkPolicy"]
    for workload in workloads(objects):
        labels = labels_of(pod_template(workload).get("metadata") or {})
        for way in ("Ingress", "Egress"):
            shut = any(
                way in policy["spec"].get("policyTypes", [])
                and not policy["spec"]["podSelector"].get("matchExpressions")
                and (policy["spec"]["podSelector"].get("matchLabels") or {}).items() <= labels.items()
                and not policy["spec"].get(way.lower())
                for policy in policies
            )
            if not shut:
                yield f"{name_of(workload)}: no NetworkPolicy denies its {way.lower()} by default"


def allows(objects, source, target, port):
    """Whether the network policies let one workload's pods reach a port of another's."""

    def selects(selector, labels):
        for rule in selector.get("matchExpressions") or []:
            inside = labels.get(rule["key"]) in rule.get("values", [])
            if inside != (rule["operator"] == "In"):
                return False
        return (selector.get("matchLabels") or {}).items() <= labels.items()

    def one_way(way, peers, mine, other):
        applying = [
            thing["spec"]
            for thing in objects
            if thing["kind"] == "NetworkPolicy"
            and way in thing["spec"].get("policyTypes", [])
            and selects(thing["spec"]["podSelector"], mine)
        ]
        if not applying:
            return True
        for rule in (rule for spec in applying for rule in spec.get(way.lower()) or []):
            right_port = "ports" not in rule or any(p["port"] == port for p in rule["ports"])
            right_peer = peers not in rule or any(
                "podSelector" in peer and "namespaceSelector" not in peer
                and selects(peer["podSelector"], other)
                for peer in rule[peers]
            )
            if right_port and right_peer:
                return True
        return False

    source, target = (labels_of(pod_template(workload)["metadata"]) for workload in (source, target))
    return one_way("Egress", "to", source, target) and one_way("Ingress", "from", target, source)


def check_traffic(objects):
    """The network policies let through what is needed, and nothing else."""
    by_name = {workload["metadata"]["name"]: workload for workload in workloads(objects)}
    needed = {(name, "rabbit", 5672) for name in OURS} | {("datagen", "statistics", 80)}
    for source in sorted(OURS & by_name.keys()):
        for target in sorted(DEPLOYMENTS & by_name.keys() - {source}):
            for port in (80, 4369, 5672, 15672, 25672):
                allowed = allows(objects, by_name[source], by_name[target], port)
                if allowed and (source, target, port) not in needed:
                    yield f"Deployment/{source}: may reach {target}:{port}, but has no need to"
                if not allowed and (source, target, port) in needed:
                    yield f"Deployment/{source}: cannot reach {target}:{port}"


CHECKS = [value for key, value in list(globals().items()) if key.startswith("check_")]


def policy_violations(objects):
    return [violation for check in CHECKS for violation in check(objects)]


# --- the schemas -----------------------------------------------------------------------------


def schema_violations(objects, release):
    for thing in objects:
        try:
            used = kubernetes_validate.validate(thing, release, strict=True)
            if used != release:  # it falls back to an older schema silently
                yield f"{name_of(thing)}: there is no schema of Kubernetes {release}"
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            yield f"{name_of(thing)}: Kubernetes {release}: {path}: {error.message}"
        except (
            kubernetes_validate.SchemaNotFoundError,
            kubernetes_validate.InvalidSchemaError,
            kubernetes_validate.utils.VersionNotSupportedError,
        ) as error:
            yield f"{name_of(thing)}: Kubernetes {release}: {error.message}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--releases", default="", help="Kubernetes releases, separated by spaces")
    parser.add_argument("files", nargs="+", metavar="RENDERED.yaml")
    arguments = parser.parse_args()

    failed = False
    for path in arguments.files:
        objects = load(path)
        overlay = path.rpartition("/")[2].removesuffix(".yaml")
        for release in arguments.releases.split():
            violations = list(schema_violations(objects, release))
            for violation in violations:
                print(f"{overlay}: {violation}")
            if not violations:
                print(f"{overlay}: {len(objects)} objects are valid in Kubernetes {release}")
            failed |= bool(violations)
        violations = policy_violations(objects)
        for violation in violations:
            print(f"{overlay}: {violation}")
        if not violations:
            print(f"{overlay}: {len(workloads(objects))} workloads keep to the policy")
        failed |= bool(violations)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
