"""The manifests in docs and examples: valid by Kubernetes' schemas, and their parts fit together.

Each rule is then broken on purpose, and must be heard of.
"""

import re
import sys

import kubernetes_validate
import yaml

MANIFEST = "docs/kubernetes/chat.yaml"
EXAMPLE = "examples/kubernetes/manifest.yaml"
# From the first that knows preStop.sleep to the newest with a schema.
VERSIONS = ["1.30.0", "1.34.0", "1.37.0"]


class Broken(Exception):
    pass


def must(so, what):
    if not so:
        raise Broken(what)


def schema(objects):
    for version in VERSIONS:
        for it in objects:
            try:
                kubernetes_validate.validate(it, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                raise Broken(f"{version}: {it.get('kind')}: {error.message}") from error
            except kubernetes_validate.SchemaNotFoundError as error:
                what = f"{it.get('apiVersion')} {it.get('kind')}"
                raise Broken(f"{version}: there is no {what}") from error


def of_kind(objects, *kinds):
    return [it for it in objects if it["kind"] in kinds]


def pods(objects):
    """Each workload with its pod's spec and labels."""
    for it in of_kind(objects, "Deployment", "StatefulSet"):
        template = it["spec"]["template"]
        yield it, template["spec"], template["metadata"]["labels"]


def chosen(objects, selector):
    """The workloads whose pods have these labels."""
    return [it for it, _, labels in pods(objects) if selector.items() <= labels.items()]


def one_namespace(objects):
    (namespace,) = of_kind(objects, "Namespace")
    for it in objects:
        if it is not namespace:
            name = it["metadata"]["name"]
            stated = it["metadata"].get("namespace")
            must(stated == namespace["metadata"]["name"], f"{name}: namespace")


def selectors_choose_their_own(objects):
    for it, _, labels in pods(objects):
        selector = it["spec"]["selector"]["matchLabels"]
        must(selector.items() <= labels.items(), "a workload's selector")
    for it in of_kind(objects, "Service"):
        name = it["metadata"]["name"]
        must(len(chosen(objects, it["spec"]["selector"])) == 1, f"{name}: Service selector")
    for it in of_kind(objects, "PodDisruptionBudget"):
        selector = it["spec"]["selector"]["matchLabels"]
        must(len(chosen(objects, selector)) == 1, f"{it['metadata']['name']}: budget selector")
    for it, spec, labels in pods(objects):
        for spread in spec["topologySpreadConstraints"]:
            selector = spread["labelSelector"]["matchLabels"]
            must(selector.items() <= labels.items(), "spread selector")


def ports_have_names_that_exist(objects):
    for _, spec, _ in pods(objects):
        for container in spec["containers"]:
            names = {port["name"] for port in container["ports"]}
            for probe in ("readinessProbe", "livenessProbe"):
                action = container[probe].get("httpGet") or container[probe]["tcpSocket"]
                must(action["port"] in names, f"{container['name']}: {probe}: port")
    for service in of_kind(objects, "Service"):
        (workload,) = chosen(objects, service["spec"]["selector"])
        containers = workload["spec"]["template"]["spec"]["containers"]
        names = {port["name"] for container in containers for port in container["ports"]}
        for port in service["spec"]["ports"]:
            must(port["targetPort"] in names, f"{service['metadata']['name']}: targetPort")


def arguments(objects):
    """The gateway's options, and its pod's spec."""
    for it, spec, _ in pods(objects):
        if it["metadata"]["name"] == "gateway":
            (container,) = spec["containers"]
            return dict(arg.split("=", 1) for arg in container["args"]), spec
    raise Broken("no gateway")


def the_name_that_is_followed_exists(objects):
    options, _ = arguments(objects)
    pattern = r"srv:_([^.]+)\._tcp\.([^.]+)\.([^.]+)\.svc\.cluster\.local\."
    source = re.fullmatch(pattern, options["--discover"])
    must(source, "--discover")
    port, name, namespace = source.groups()
    services = [
        it
        for it in of_kind(objects, "Service")
        if it["metadata"]["name"] == name and it["metadata"]["namespace"] == namespace
    ]
    must(len(services) == 1, "--discover: no such Service")
    spec = services[0]["spec"]
    must(spec["clusterIP"] == "None", "the Service is not headless")
    must(any(it["name"] == port for it in spec["ports"]), "--discover: no such port")
    (workload,) = chosen(objects, spec["selector"])
    must(workload["spec"]["serviceName"] == name, "the StatefulSet's serviceName")
    # The targets of SRV records have the Service's port, and lead to the pods themselves.
    containers = workload["spec"]["template"]["spec"]["containers"]
    listens = {it["name"]: it["containerPort"] for c in containers for it in c["ports"]}
    for it in spec["ports"]:
        must(listens[it["targetPort"]] == it["port"], "a headless Service translates no ports")


def goodbyes_have_time(objects):
    for it, spec, _ in pods(objects):
        (container,) = spec["containers"]
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        must(sleep + 5 <= spec["terminationGracePeriodSeconds"], f"{it['metadata']['name']}: grace")
    options, spec = arguments(objects)
    (container,) = spec["containers"]
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain, spread = (
        int(options[name].removesuffix("s")) for name in ("--drain-timeout", "--drain-spread")
    )
    must(sleep + drain + 5 <= spec["terminationGracePeriodSeconds"], "gateway: grace for the drain")
    must(spread <= drain / 2, "--drain-spread")


def the_gateway_listens_where_it_says(objects):
    options, spec = arguments(objects)
    (container,) = spec["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    must(options["--listen"] == f"0.0.0.0:{ports['http']}", "--listen")
    must(options["--admin"] == f"0.0.0.0:{ports['admin']}", "--admin")


def the_gateway_is_probed_where_it_knows_of_drains(objects):
    _, spec = arguments(objects)
    (container,) = spec["containers"]
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        action = container[probe]["httpGet"]
        must((action["path"], action["port"]) == (path, "admin"), probe)
    services = [it["spec"]["ports"] for it in of_kind(objects, "Service")]
    exposed = {port["targetPort"] for ports in services for port in ports}
    must("admin" not in exposed, "a Service leads to the admin listener")


def the_pods_may_watch_endpoints(objects):
    (account,) = of_kind(objects, "ServiceAccount")
    (role,) = of_kind(objects, "Role")
    (binding,) = of_kind(objects, "RoleBinding")
    name = account["metadata"]["name"]
    must(binding["roleRef"]["name"] == role["metadata"]["name"], "the binding's role")
    must([it["name"] for it in binding["subjects"]] == [name], "the binding's account")
    for it, spec, _ in pods(objects):
        must(spec["serviceAccountName"] == name, f"{it['metadata']['name']}: account")
        must(spec["automountServiceAccountToken"], f"{it['metadata']['name']}: token")
    (rule,) = role["rules"]
    must(rule["apiGroups"] == ["discovery.k8s.io"], "the rule's group")
    must(rule["resources"] == ["endpointslices"], "the rule's resources")
    must(rule["verbs"] == ["list", "watch"], "the rule's verbs, all and no more")
    namespaces = {it["metadata"]["namespace"] for it in objects}
    must(len(namespaces) == 1, "one namespace")


EXAMPLE_RULES = [schema, the_pods_may_watch_endpoints]

EXAMPLE_BROKEN = [
    (schema, "roleRef:", "role:"),
    (the_pods_may_watch_endpoints, "verbs: [list, watch]", "verbs: [watch]"),
    (the_pods_may_watch_endpoints, "serviceAccountName: gateway", "serviceAccountName: default"),
    (the_pods_may_watch_endpoints, "  name: watch-endpoints\nsubjects", "  name: all\nsubjects"),
]

RULES = [
    schema,
    one_namespace,
    selectors_choose_their_own,
    ports_have_names_that_exist,
    the_name_that_is_followed_exists,
    goodbyes_have_time,
    the_gateway_listens_where_it_says,
    the_gateway_is_probed_where_it_knows_of_drains,
]

# The rule that must object when the first text becomes the second.
BROKEN = [
    (schema, "replicas: 3", "replicas: three"),
    (schema, "replicas: 3", "replica: 3"),
    (schema, "clusterIP: None", "clusterIp: None"),
    (schema, "apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n"),
    (schema, "maxUnavailable: 1\n  selector", "maxUnavailable: {}\n  selector"),
    (schema, "seconds: 35", "second: 35"),
    (one_namespace, "  namespace: chat\n", ""),
    (selectors_choose_their_own, "  selector:\n    app: chat", "  selector:\n    app: chats"),
    (selectors_choose_their_own, "matchLabels:\n      app: chat", "matchLabels:\n      app: chats"),
    (ports_have_names_that_exist, "targetPort: ws", "targetPort: web"),
    (ports_have_names_that_exist, "/readyz\n              port: admin", "/readyz\n              port: web"),
    (the_name_that_is_followed_exists, "=srv:_ws._tcp.chat.", "=srv:_web._tcp.chat."),
    (the_name_that_is_followed_exists, "chat.svc.cluster.local.\n ", "chat.svc.cluster.local\n "),
    (the_name_that_is_followed_exists, "clusterIP: None", "clusterIP: 10.0.0.1"),
    (the_name_that_is_followed_exists, "serviceName: chat", "serviceName: gateway"),
    (the_name_that_is_followed_exists, "port: 8080\n      target", "port: 80\n      target"),
    (goodbyes_have_time, "seconds: 35", "seconds: 60"),
    (goodbyes_have_time, "--drain-timeout=45s", "--drain-timeout=60s"),
    (goodbyes_have_time, "--drain-spread=20s", "--drain-spread=30s"),
    (the_gateway_listens_where_it_says, "--listen=0.0.0.0:8080", "--listen=0.0.0.0:3000"),
    (the_gateway_listens_where_it_says, "--admin=0.0.0.0:9090", "--admin=127.0.0.1:9090"),
    (the_gateway_is_probed_where_it_knows_of_drains, "path: /readyz", "path: /livez"),
    (the_gateway_is_probed_where_it_knows_of_drains, "targetPort: http", "targetPort: admin"),
]


def objects_of(text):
    return [it for it in yaml.safe_load_all(text) if it is not None]


def verdict(rule, objects):
    """What the rule objects to, if it does."""
    try:
        rule(objects)
    except Broken as error:
        return str(error)
    return None


def check(manifest, rules, broken):
    """Prints what fails, and returns how much of it."""
    with open(manifest, encoding="utf-8") as file:
        text = file.read()
    failed = 0
    objects = objects_of(text)
    for rule in rules:
        objection = verdict(rule, objects)
        if objection is not None:
            failed += 1
            print(f"FAILED: {manifest}: {rule.__name__}: {objection}")
    for rule, before, after in broken:
        if before not in text:
            failed += 1
            print(f"FAILED: {manifest}: {rule.__name__}: there is no {before!r}")
        elif verdict(rule, objects_of(text.replace(before, after, 1))) is None:
            failed += 1
            print(f"FAILED: {manifest}: {rule.__name__}: silent about {after!r}")
    print(f"{manifest}: {len(rules) + len(broken) - failed} passed, {failed} failed")
    return failed


def main():
    failed = check(MANIFEST, RULES, BROKEN) + check(EXAMPLE, EXAMPLE_RULES, EXAMPLE_BROKEN)
    return 1 if failed else 0


sys.exit(main())
