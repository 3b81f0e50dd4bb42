-- The script of wrk in `scripts/bench`. It prints the counts of a run as JSON. By its arguments it also makes the requests:
--   credentials FILE   the next Authorization header of FILE each time
--   rotate FILE        exchanges the opaque tokens of FILE, then those that came back for them

local lines = {}

function setup(only_thread)
   thread = only_thread
end

function init(args)
   local mode, file = args[1], args[2] or "/dev/null"
   for line in io.lines(file) do
      table.insert(lines, mode == "credentials" and wrk.format("GET", nil, {["Authorization"] = line}) or line)
   end
   prepared, sent = #lines, 0
   if mode == "credentials" then
      function request()
         sent = sent + 1
         return lines[(sent - 1) % prepared + 1]
      end
   elseif mode == "rotate" then
      function request()
         sent = sent + 1
         return wrk.format("POST", nil, {["Authorization"] = "Bearer " .. lines[sent]})
      end
      function response(status, headers, body)
         table.insert(lines, body:match('"opaque_token":"([^"]+)"'))
      end
   end
end

function done(run, latency)
   local failed, unused = run.errors, thread:get("prepared") - thread:get("sent")
   io.write(string.format(
      '\nRESULT {"requests": %d, "seconds": %f, "failed": {"connect": %d, "read": %d, "write": %d, "timeout": %d, '
         .. '"status": %d}, "least": %d, "p50": %d, "p90": %d, "p99": %d, "p99.9": %d, "unused": %d}\n',
      run.requests, run.duration / 1e6, failed.connect, failed.read, failed.write, failed.timeout, failed.status,
      latency.min, latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9), unused))
end
