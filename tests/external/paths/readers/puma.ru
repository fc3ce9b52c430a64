# Readings by Puma, as a Rack application gets them.
run(lambda do |env|
  escape = lambda do |text|
    text.b.gsub(%r{[^A-Za-z0-9/._~!$&'()*+,;=:@-]}n) { |byte| format("%%%02X", byte.ord) }
  end
  [200, {}, ["puma\t#{escape.call(env['PATH_INFO'])}\n"]]
end)
