#!/usr/bin/env python3
"""Asks every parser on this machine how it reads each path of the corpus.

    apt-get install --no-install-recommends nginx-light apache2 php-cli nodejs golang-go \
        default-jdk-headless tomcat10 ruby-webrick ruby-rack puma
    python3 tests/external/paths/run.py            # compare with recorded.tsv
    python3 tests/external/paths/run.py --record   # rewrite recorded.tsv

Parsers that are not installed are left out, which the comparison counts as changes. A reading of
`!` is a rejection. Whether a request of the corpus is owned although one of the recorded readings
lies outside the route, and whether the crate's readings contain each recorded one, is then checked
by `cargo test --test it recorded_paths`.
"""

import collections
import os
import pathlib
import re
import shutil
import socket
import string
import subprocess
import sys
import tempfile
import time
from urllib.parse import quote_from_bytes

from corpus import corpus

HERE = pathlib.Path(__file__).resolve().parent
READERS = HERE / "readers"
RECORDED = HERE / "recorded.tsv"
SAFE = "/._~!$&'()*+,;=:@-"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def version_of(*command):
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    text = (shown.stdout + shown.stderr).strip().splitlines()
    return text[0] if text else "?"


class Parser:
    """A server whose response holds readings: lines of name and reading, or one raw path."""

    def __init__(self, name, version, command, raw=None, env=None, cwd=None):
        self.name, self.version, self.raw = name, version, raw
        self.port = None
        self.command, self.env, self.cwd = command, env or {}, cwd
        self.process = None

    def start(self):
        self.port = free_port()
        command = [part.replace("PORT", str(self.port)) for part in self.command]
        for file in pathlib.Path(self.cwd or "/nonexistent").glob("*.template"):
            text = file.read_text().replace("PORT", str(self.port))
            file.with_suffix("").write_text(text)
        self.process = subprocess.Popen(
            command, cwd=self.cwd, env={**os.environ, **self.env},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit(f"{self.name} ended at once: {command}")
                time.sleep(0.1)
        raise SystemExit(f"{self.name} does not listen")

    def stop(self):
        if self.process is not None:
            try:
                os.killpg(self.process.pid, 15)
                self.process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self.process.pid, 9)

    def read(self, target):
        """The readings of this target, by parser."""
        request = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
                connection.sendall(request.encode())
                response = b""
                while piece := connection.recv(65536):
                    response += piece
        except OSError:
            return {}
        head, _, body = response.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            return {name: "!" for name in ([self.raw] if self.raw else [])}
        if b"chunked" in head.lower():
            body = unchunk(body)
        if self.raw:
            return {self.raw: quote_from_bytes(body, safe=SAFE)}
        lines = body.decode("ascii", "replace").split("\n")
        return dict(line.split("\t", 1) for line in lines if "\t" in line)


def unchunk(body):
    whole = b""
    while body:
        length, _, body = body.partition(b"\r\n")
        size = int(length.split(b";")[0], 16)
        whole, body = whole + body[:size], body[size + 2:]
        if size == 0:
            break
    return whole


def nginx(work, name, merge):
    folder = work / name
    folder.mkdir()
    (folder / "nginx.conf.template").write_text(f"""
        daemon off; master_process off; pid {folder}/pid; error_log /dev/null;
        events {{}}
        http {{
          access_log off; merge_slashes {merge};
          client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{ listen 127.0.0.1:PORT; location / {{ return 200 "$uri"; }} }}
        }}""")
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    return Parser(name, version_of("nginx", "-v"), command, raw=name, cwd=folder)


def apache(work, name, slashes):
    folder = work / name
    folder.mkdir()
    modules = "/usr/lib/apache2/modules"
    (folder / "apache.conf.template").write_text(f"""
        ServerName a
        ServerRoot {folder}
        PidFile {folder}/pid
        ErrorLog /dev/null
        Listen 127.0.0.1:PORT
        LoadModule mpm_prefork_module {modules}/mod_mpm_prefork.so
        LoadModule authz_core_module {modules}/mod_authz_core.so
        LoadModule alias_module {modules}/mod_alias.so
        LoadModule cgi_module {modules}/mod_cgi.so
        AllowEncodedSlashes {slashes}
        ScriptAlias / {READERS}/echo.cgi/
        <Directory {READERS}>
          Require all granted
        </Directory>""")
    command = ["apache2", "-X", "-f", str(folder / "apache.conf")]
    return Parser(name, version_of("apache2", "-v"), command, raw=name, cwd=folder)


def tomcat(work):
    home = pathlib.Path("/usr/share/tomcat10")
    folder = work / "tomcat"
    for part in ("conf", "logs", "temp", "work", "webapps/ROOT/WEB-INF"):
        (folder / part).mkdir(parents=True)
    (folder / "conf" / "web.xml").write_text((pathlib.Path("/etc/tomcat10/web.xml")).read_text())
    (folder / "conf" / "server.xml.template").write_text("""
        <Server port="-1"><Service name="Catalina">
          <Connector port="PORT" address="127.0.0.1" encodedSolidusHandling="decode" allowBackslash="true"/>
          <Engine name="Catalina" defaultHost="a"><Host name="a" appBase="webapps"/></Engine>
        </Service></Server>""")
    (folder / "webapps/ROOT/WEB-INF/web.xml").write_text("""
        <web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="5.0">
          <servlet><servlet-name>echo</servlet-name><jsp-file>/echo.jsp</jsp-file></servlet>
          <servlet-mapping><servlet-name>echo</servlet-name><url-pattern>/*</url-pattern></servlet-mapping>
        </web-app>""")
    shutil.copy(READERS / "echo.jsp", folder / "webapps/ROOT/echo.jsp")
    jar = version_of("dpkg-query", "-W", "-f", "Apache Tomcat ${Version}", "tomcat10")
    env = {"CATALINA_HOME": str(home), "CATALINA_BASE": str(folder)}
    return Parser("tomcat", jar, [str(home / "bin/catalina.sh"), "run"],
                  env=env, cwd=folder / "conf")


def parsers(work):
    """The parsers whose programs are installed."""
    python = Parser("python", f"Python {sys.version.split()[0]}",
                    [sys.executable, str(READERS / "python.py"), "PORT"])
    found = [("python3", [python])]
    if shutil.which("nginx"):
        found.append(("nginx", [nginx(work, "nginx", "on"), nginx(work, "nginx-no-merge", "off")]))
    if shutil.which("apache2"):
        found.append(("apache2", [apache(work, "apache", "On"),
                                  apache(work, "apache-nodecode", "NoDecode")]))
    if shutil.which("php"):
        found.append(("php", [Parser("php", version_of("php", "-v"),
                              ["php", "-S", "127.0.0.1:PORT", str(READERS / "php.php")])]))
    if shutil.which("node"):
        found.append(("node", [Parser("node", "Node.js " + version_of("node", "-v"),
                               ["node", str(READERS / "node.mjs"), "PORT"])]))
    if shutil.which("go"):
        program = work / "go-reader"
        subprocess.run(["go", "build", "-o", str(program), str(READERS / "go.go")], check=True,
                       env={**os.environ, "GOFLAGS": "-mod=mod", "GO111MODULE": "off"})
        found.append(("go", [Parser("go", version_of("go", "version"), [str(program), "PORT"])]))
    if shutil.which("java"):
        found.append(("java", [Parser("java", version_of("java", "--version"),
                               ["java", str(READERS / "Reader.java"), "PORT"])]))
    if pathlib.Path("/usr/share/tomcat10/bin/catalina.sh").exists():
        found.append(("tomcat", [tomcat(work)]))
    if shutil.which("ruby"):
        found.append(("ruby", [Parser("ruby", version_of("ruby", "-v"),
                               ["ruby", str(READERS / "ruby.rb"), "PORT"])]))
    if shutil.which("puma"):
        found.append(("puma", [Parser("puma", version_of("puma", "--version"),
                               ["puma", "-e", "production", "-b", "tcp://127.0.0.1:PORT",
                                str(READERS / "puma.ru")])]))
    return [parser for _, group in found for parser in group]


def main():
    targets = corpus()
    readings = {target: collections.defaultdict(list) for target in targets}
    versions = []
    with tempfile.TemporaryDirectory(prefix="paths-") as folder:
        os.chmod(folder, 0o755)
        for parser in parsers(pathlib.Path(folder)):
            started = time.monotonic()
            parser.start()
            try:
                for target in targets:
                    for name, reading in parser.read(target).items():
                        readings[target][reading].append(name)
            finally:
                parser.stop()
            versions.append(f"{parser.name}: {parser.version}")
            print(f"{versions[-1]} ({time.monotonic() - started:.1f} s)", flush=True)
    names = sorted({name for by in readings.values() for found in by.values() for name in found})
    codes = dict(zip(names, string.ascii_letters))
    text = "".join(f"# {line}\n" for line in versions)
    text += "".join(f"# {code} = {name}\n" for name, code in codes.items())
    for target in targets:
        by = sorted((reading, found) for reading, found in readings[target].items() if reading != "!")
        columns = [f"{reading} {''.join(sorted(codes[it] for it in found))}" for reading, found in by]
        text += "\t".join([target, *columns]) + "\n"
    if "--record" in sys.argv:
        RECORDED.write_text(text)
        return
    recorded = RECORDED.read_text()
    strip = re.compile(r"^#.*\n", re.M)
    changed = sum(new != old for new, old in zip(strip.sub("", text).splitlines(),
                                                  strip.sub("", recorded).splitlines()))
    print(f"{len(targets) - changed} passed, {changed} failed")
    sys.exit(changed > 0)


main()
