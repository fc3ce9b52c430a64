// Readings by Node.js: its URL parser (WHATWG), and what programs do with the path.
import http from "node:http";
import path from "node:path";

const escape = (text) =>
  [...Buffer.from(text, "utf8")]
    .map((byte) => (/[A-Za-z0-9/._~!$&'()*+,;=:@-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : "%" + byte.toString(16).padStart(2, "0").toUpperCase()))
    .join("");

const readers = {
  "node-whatwg": (target) => new URL(target, "http://a").pathname,
  "node-whatwg-decoded": (target) => decodeURIComponent(new URL(target, "http://a").pathname),
  "node-concatenated": (target) => decodeURIComponent(new URL("http://a" + target).pathname),
  "node-posix": (target) => path.posix.normalize(decodeURIComponent(target.split(/[?#]/)[0])),
  "node-win32": (target) => path.win32.normalize(decodeURIComponent(target.split(/[?#]/)[0])).replaceAll("\\", "/"),
  "node-nfkc": (target) => path.posix.normalize(decodeURIComponent(target.split(/[?#]/)[0]).normalize("NFKC")),
};

const server = http.createServer((request, response) => {
  const lines = Object.entries(readers).map(([name, read]) => {
    try {
      return `${name}\t${escape(read(request.url))}`;
    } catch {
      return `${name}\t!`;
    }
  });
  response.end(lines.join("\n") + "\n");
});
server.listen(Number(process.argv[2]), "127.0.0.1");
