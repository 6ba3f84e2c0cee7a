"""test_policy.py [--quiet] RENDERED.yaml - tests the policy: breaks good manifests in every way
that it forbids, one at a time, and expects the violation by name."""

import base64
import copy
import sys

import policy


def pick(objects, kind, name):
    for thing in objects:
        # generated names end in a hash
        if thing["kind"] == kind and (thing["metadata"]["name"] + "-").startswith(name + "-"):
            return thing
    raise LookupError(f"{kind}/{name}")


def pod(objects, name="datagen"):
    return pick(objects, "Deployment", name)["spec"]["template"]["spec"]


def container(objects, name="datagen"):
    return pod(objects, name)["containers"][0]


def put(thing, *path):
    """put(thing, "a", "b", value): thing["a"]["b"] = value"""
    for key in path[:-2]:
        thing = thing[key]
    thing[path[-2]] = path[-1]


def drop(thing, *path):
    for key in path[:-1]:
        thing = thing[key]
    del thing[path[-1]]


def secret(objects, key, value):
    put(pick(objects, "Secret", "rabbit"), "data", key, base64.b64encode(value.encode()).decode())


NAME = "app.kubernetes.io/name"
VERSION = "app.kubernetes.io/version"

ALLOW_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "allow-all", "labels": {}},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]},
}

# What is done to the manifests, and a part of the violation that must follow.
BREAKS = [
    (lambda o: put(pick(o, "Deployment", "datagen"), "metadata", "name", "front"), "Deployment/datagen: is missing"),
    (lambda o: o.append(copy.deepcopy(pick(o, "Service", "datagen"))), "Service/datagen: is there twice"),
    (lambda o: drop(pick(o, "Service", "datagen"), "metadata", "labels", NAME), "has no label"),
    (lambda o: drop(pick(o, "PersistentVolumeClaim", "rabbit"), "metadata", "labels"), "has no label"),
    (lambda o: drop(pick(o, "Deployment", "rabbit"), "spec", "template", "metadata", "labels", VERSION), "its pods have no label"),
    (lambda o: put(container(o), "image", "ebs-datagen:0.0.9"), "but version label"),
    (lambda o: put(pick(o, "Deployment", "datagen"), "spec", "selector", "matchLabels", NAME, "x"), "does not select its own pods"),
    (lambda o: put(pick(o, "Deployment", "datagen"), "spec", "selector", "matchLabels", {}), "selects nothing"),
    (lambda o: put(pick(o, "Deployment", "datagen"), "spec", "selector", "matchLabels", VERSION, "0.1.0"), "cannot be upgraded"),
    (lambda o: put(pick(o, "Service", "datagen"), "spec", "selector", NAME, "x"), "selects no pods"),
    (lambda o: put(pick(o, "Service", "rabbit"), "spec", "ports", 0, "targetPort", "x"), "has no port x"),
    (lambda o: put(pod(o), "serviceAccountName", "x"), "ServiceAccount/x is missing"),
    (lambda o: put(container(o), "envFrom", 0, "configMapRef", "name", "x"), "ConfigMap/x is missing"),
    (lambda o: put(container(o), "env", 0, "valueFrom", "secretKeyRef", "key", "X"), "has no key X"),
    (lambda o: put(container(o), "env", 0, "valueFrom", "secretKeyRef", "name", "x"), "Secret/x is missing"),
    (lambda o: o.remove(pick(o, "PersistentVolumeClaim", "statistics")), "PersistentVolumeClaim/statistics is missing"),
    (lambda o: put(container(o, "statistics"), "volumeMounts", 0, "name", "x"), "no volume of the pod"),
    (lambda o: put(container(o), "image", "localhost:5000/ebs-datagen"), "has no tag"),
    (lambda o: put(container(o, "rabbit"), "image", "rabbitmq:latest"), "is :latest"),
    (lambda o: drop(pod(o), "securityContext", "runAsNonRoot"), "runAsNonRoot is not true"),
    (lambda o: put(pod(o, "rabbit"), "securityContext", "runAsUser", 0), "runAsUser is not a number above 0"),
    (lambda o: put(container(o), "securityContext", "runAsUser", 0), "may run as root"),
    (lambda o: drop(pod(o), "securityContext", "runAsGroup"), "runAsGroup is not"),
    (lambda o: drop(pod(o), "securityContext", "seccompProfile"), "seccompProfile is not"),
    (lambda o: put(container(o), "securityContext", "seccompProfile", {"type": "Unconfined"}), "Unconfined"),
    (lambda o: drop(pod(o), "automountServiceAccountToken"), "automountServiceAccountToken"),
    (lambda o: drop(pod(o), "enableServiceLinks"), "enableServiceLinks"),
    (lambda o: put(pod(o), "hostNetwork", True), "hostNetwork is set"),
    (lambda o: put(pod(o), "securityContext", "sysctls", 0, "name", "kernel.shm_rmid_forced"), "is not one of"),
    (lambda o: put(pod(o), "volumes", [{"name": "x", "hostPath": {"path": "/"}}]), "of kind hostPath"),
    (lambda o: put(pod(o), "volumes", [{"name": "x", "emptyDir": {}}]), "has no sizeLimit"),
    (lambda o: put(container(o, "rabbit"), "securityContext", "readOnlyRootFilesystem", False), "readOnlyRootFilesystem"),
    (lambda o: drop(container(o), "securityContext", "allowPrivilegeEscalation"), "allowPrivilegeEscalation"),
    (lambda o: put(container(o), "securityContext", "privileged", True), "is privileged"),
    (lambda o: drop(container(o), "securityContext", "capabilities"), "capabilities are not dropped"),
    (lambda o: put(container(o), "securityContext", "capabilities", "add", ["NET_BIND_SERVICE"]), "adds capabilities"),
    (lambda o: put(container(o), "ports", 0, "hostPort", 80), "takes the host's port"),
    (lambda o: drop(container(o), "resources", "limits", "memory"), "resources.limits.memory is missing"),
    (lambda o: drop(container(o), "resources", "requests"), "resources.requests.cpu is missing"),
    (lambda o: put(container(o), "resources", "requests", "memory", "2Gi"), "requests more memory"),
    (lambda o: drop(container(o), "startupProbe"), "startupProbe is missing"),
    (lambda o: drop(container(o, "rabbit"), "livenessProbe", "timeoutSeconds"), "gives up after"),
    (lambda o: put(container(o), "livenessProbe", "httpGet", "path", "/readyz"), "does not ask /livez"),
    (lambda o: put(container(o), "readinessProbe", "httpGet", "port", "x"), "which it does not have"),
    (lambda o: put(pod(o), "terminationGracePeriodSeconds", 30), "is killed after 30 s"),
    (lambda o: put(pick(o, "ConfigMap", "ebs"), "data", "SHUTDOWN_GRACE", "1m"), "is killed after 40 s"),
    (lambda o: drop(pick(o, "Deployment", "statistics"), "spec", "strategy"), "is not Recreate"),
    (lambda o: put(pick(o, "Deployment", "rabbit"), "spec", "replicas", 2), "several replicas"),
    (lambda o: drop(pod(o, "rabbit"), "hostname"), "has no hostname"),
    (lambda o: put(container(o, "rabbit"), "env", 0, "name", "X"), "RABBITMQ_NODENAME is not fixed"),
    (lambda o: put(container(o), "env", 0, {"name": "QUEUE_URL", "value": "amqp://a:b@c"}), "does not come from a Secret"),
    (lambda o: put(pick(o, "ConfigMap", "ebs"), "data", "BUS", "amqp://a:b@c"), "is a credential"),
    (lambda o: secret(o, "RABBITMQ_DEFAULT_USER", "guest"), "is the guest user's"),
    (lambda o: secret(o, "RABBITMQ_DEFAULT_PASS", "other"), "has other credentials"),
    (lambda o: o.remove(pick(o, "NetworkPolicy", "ebs-deny-all")), "denies its ingress by default"),
    (lambda o: put(pick(o, "NetworkPolicy", "ebs-deny-all"), "spec", "egress", [{}]), "denies its egress by default"),
    (lambda o: o.remove(pick(o, "NetworkPolicy", "ebs-bus")), "Deployment/processor: cannot reach rabbit:5672"),
    (lambda o: put(pick(o, "NetworkPolicy", "statistics"), "spec", "ingress", 0, "from", 0, "podSelector", "matchLabels", NAME, "x"), "cannot reach statistics:80"),
    (lambda o: o.append(ALLOW_ALL), "Deployment/processor: may reach rabbit:15672"),
]

# The same for the schemas.
INVALID = [
    (lambda o: put(pod(o), "securityContext", "runAsNonroot", True), "runAsNonroot"),
    (lambda o: put(container(o), "ports", 0, "containerPort", "80"), "containerPort"),
    (lambda o: o.append({"apiVersion": "ebs.io/v1", "kind": "Bus", "metadata": {"name": "x"}}), "Couldn't find schema"),
]


def main():
    quiet = "--quiet" in sys.argv
    path = sys.argv[-1]
    good = policy.load(path)
    before = set(policy.policy_violations(good))
    tested = set()
    failed = 0
    for break_it, expected in BREAKS:
        broken = copy.deepcopy(good)
        break_it(broken)
        found = set(policy.policy_violations(broken)) - before
        hits = [violation for violation in found if expected in violation]
        if not hits:
            failed += 1
            print(f"not caught: {expected!r}; instead: {sorted(found)}")
        elif not quiet:
            print(f"caught: {hits[0]}")
    for check in policy.CHECKS:
        for break_it, _ in BREAKS:
            broken = copy.deepcopy(good)
            break_it(broken)
            if set(check(broken)) - before:
                tested.add(check.__name__)
                break
    for check in policy.CHECKS:
        if check.__name__ not in tested:
            failed += 1
            print(f"no test: {check.__name__}")
    for break_it, expected in INVALID:
        broken = copy.deepcopy(good)
        break_it(broken)
        found = list(policy.schema_violations(broken, "1.31"))
        if not any(expected in violation for violation in found):
            failed += 1
            print(f"not caught: {expected!r}; instead: {found}")
        elif not quiet:
            print(f"caught: {found[0]}")
    if failed:
        sys.exit(1)
    print(f"the policy catches {len(BREAKS) + len(INVALID)} deliberate violations")


if __name__ == "__main__":
    main()
