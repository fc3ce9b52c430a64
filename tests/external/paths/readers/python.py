"""Readings by Python: its HTTP server, wsgiref, and what programs do with urllib."""

import http.server
import posixpath
import sys
import urllib.parse
from urllib.parse import quote, unquote, unquote_to_bytes, urljoin, urlsplit

SAFE = "/._~!$&'()*+,;=:@-"


class Reader(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        raw = self.requestline.split(" ")[1]
        readers = {
            # http.server has collapsed leading slashes in self.path.
            "python-http": lambda: self.translate_path(self.path)[len(self.directory) - 1 :],
            "python-wsgi": lambda: unquote_to_bytes(raw.split("?", 1)[0]),
            "python-urlsplit": lambda: unquote(urlsplit(raw).path),
            "python-concatenated": lambda: unquote(urlsplit("http://a" + raw).path),
            "python-urljoin": lambda: urlsplit(urljoin("http://a/", raw)).path,
            "python-twice": lambda: posixpath.normpath(unquote(unquote(urlsplit(raw).path))),
        }
        lines = []
        for name, read in readers.items():
            try:
                lines.append(f"{name}\t{quote(read(), safe=SAFE)}\n")
            except ValueError:
                lines.append(f"{name}\t!\n")
        body = "".join(lines).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


Reader.directory = "/"
http.server.ThreadingHTTPServer(
    ("127.0.0.1", int(sys.argv[1])), lambda *args: Reader(*args, directory="/")
).serve_forever()
