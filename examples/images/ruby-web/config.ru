require_relative 'version'
run ->(_env) { [200, { 'Content-Type' => 'text/plain' }, ["ruby #{VERSION} #{ENV['RACK_ENV']}\n"]] }
