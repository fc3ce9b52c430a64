// Readings by Java's own server, and by java.net.URI and java.nio.file as programs use them.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.function.Supplier;

public class Reader {
    static String escape(String text) {
        StringBuilder out = new StringBuilder();
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            char c = (char) (b & 0xff);
            if (c < 128 && (Character.isLetterOrDigit(c) || "/._~!$&'()*+,;=:@-".indexOf(c) >= 0)) {
                out.append(c);
            } else {
                out.append(String.format("%%%02X", b));
            }
        }
        return out.toString();
    }

    static String line(String name, Supplier<String> read) {
        try {
            return name + "\t" + escape(read.get()) + "\n";
        } catch (RuntimeException e) {
            return name + "\t!\n";
        }
    }

    public static void main(String[] args) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 0);
        server.createContext("/", exchange -> {
            URI uri = exchange.getRequestURI();
            String lines = line("java-uri", () -> uri.getPath())
                + line("java-normalize", () -> uri.normalize().getPath())
                + line("java-files", () -> Path.of("/", uri.getPath()).normalize().toString())
                + line("java-urldecoder", () -> URLDecoder.decode(uri.getRawPath(), StandardCharsets.UTF_8));
            byte[] body = lines.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}
