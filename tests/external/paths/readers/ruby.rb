# Readings by Ruby: WEBrick, and Rack's helpers for static files.
require "webrick"
require "rack"

def escape(text)
  text.b.gsub(%r{[^A-Za-z0-9/._~!$&'()*+,;=:@-]}n) { |byte| format("%%%02X", byte.ord) }
end

server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: ARGV[0].to_i,
                                 Logger: WEBrick::Log.new(File::NULL), AccessLog: [])
server.mount_proc("/") do |request, response|
  raw = request.unparsed_uri
  lines = ["webrick\t#{escape(request.path)}"]
  begin
    decoded = Rack::Utils.unescape_path(raw.split(/[?#]/).first)
    lines << "rack-static\t#{escape(Rack::Utils.clean_path_info(decoded))}"
  rescue StandardError
    lines << "rack-static\t!"
  end
  begin
    lines << "ruby-uri\t#{escape(URI.join('http://a/', raw).path)}"
  rescue StandardError
    lines << "ruby-uri\t!"
  end
  response.body = lines.join("\n") + "\n"
end
server.start
